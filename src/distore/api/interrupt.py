"""Interrupt: ends calls that run in other threads."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distore.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Interrupt:
    """Once set, the calls that were made with it end soon with Cancelled, and what came is kept.
    Safe to share between threads; it is never reset."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._guard = threading.Lock()
        self._running: dict[object, Callable[[], None]] = {}

    @property
    def is_set(self) -> bool:
        """Whether calls are to end."""
        return self._flag.is_set()

    def set(self) -> None:
        """End them. To call it again does no harm: it breaks off what was begun in between."""
        self._flag.set()
        with self._guard:  # held, so that nobody else has got the connections meanwhile
            for abort in self._running.values():
                abort()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Cancelled: It is set.
        """
        if self._flag.is_set():
            raise Cancelled("stopped; what came is kept")

    @contextmanager
    def breaking(self, abort: Callable[[], None]) -> Iterator[None]:
        """While the block runs, ``set`` calls ``abort``, which must not wait.

        Raises:
            Cancelled: It is set already.
        """
        mine = object()
        with self._guard:
            self.check()
            self._running[mine] = abort
        try:
            yield
        finally:
            with self._guard:
                del self._running[mine]
