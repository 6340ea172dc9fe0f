"""Pace: what all workers of a transfer share: when to stop, and how fast they may be."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from distore.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_CONCURRENCY: Final = 6  # connections of one transfer
MAX_CONCURRENCY: Final = 64
_BURST: Final = 0.1  # seconds' worth of bytes that may travel at once
# Whoever sends is not left alone for long: a registry closes a connection that rests for a minute.
_PIECES: Final = 4  # that a second's worth of bytes comes in
_LEAST: Final = 4096  # bytes


class Stop:
    """Asked often by whoever works; safe to share between threads."""

    def __init__(self) -> None:
        self._flag = threading.Event()

    def set(self) -> None:
        """End the transfer."""
        self._flag.set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Cancelled: The transfer is to end.
        """
        if self._flag.is_set():
            raise Cancelled("stopped; what came is kept")

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the end of the transfer (Cancelled)."""
        if self._flag.wait(seconds):
            self.check()


class Throttle:
    """At most ``rate`` bytes a second, for all threads together; None: no limit.

    Args:
        clock: Monotonic seconds.
        sleep: Waits that many seconds.
    """

    def __init__(
        self, rate: int | None, *, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._guard = threading.Lock()
        self._due = 0.0  # when the bytes taken so far have had their time

    def piece(self, most: int) -> int:
        """How many bytes to ask for at a time, ``most`` of them without a rate."""
        return min(most, max(_LEAST, self._rate // _PIECES)) if self._rate else most

    def take(self, size: int) -> None:
        """Wait until ``size`` more bytes may count."""
        if not self._rate:
            return
        with self._guard:
            now = self._clock()
            self._due = max(self._due, now - _BURST) + size / self._rate
            wait = self._due - now
        if wait > 0:
            self._sleep(wait)
