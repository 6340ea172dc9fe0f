"""Budget: how often a host that asked for patience may be asked, for all processes together."""

from __future__ import annotations

import random as _random
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from distore._internal.retry import with_retry_after
from distore.errors import Cancelled, Unavailable
from distore.remotes.hostnotes import HostNotes
from distore.remotes.spacing import refused, reserve, succeeded, warned

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.remotes.spacing import Spacing

LONGEST_WAIT: Final = 120.0  # seconds; the wish of a host for more is an error
_REFUSALS: Final = frozenset((429, 503))
_LONG: Final = 2.0  # seconds; people want to know of a wait from here on
_SLACK: Final = 0.01  # seconds that a clock may be late


class Budget(Protocol):
    """Learns from answers when a host may be asked again. Safe to share between threads."""

    def enter(self, netloc: str, /) -> None:
        """Return when ``netloc``, host and port, may be asked once.

        Raises:
            Unavailable: It wants to be left alone for longer than LONGEST_WAIT; ``retry_after``
                knows for how long.
            Cancelled: The wait was broken off.
        """
        ...

    def told(
        self, netloc: str, status: int, /, *, retry_after: float | None = None, remaining: int | None = None
    ) -> None:
        """Learn from an answer.

        Args:
            retry_after: Seconds it asks to be left alone for, or None.
            remaining: How many requests it still allows, or None.
        """
        ...

    def abort(self) -> None:
        """Break off every wait."""
        ...


class NoBudget:
    """Every host may be asked at any time."""

    def enter(self, netloc: str, /) -> None:
        return None

    def told(
        self, netloc: str, status: int, /, *, retry_after: float | None = None, remaining: int | None = None
    ) -> None:
        return None

    def abort(self) -> None:
        return None


class SharedBudget:
    """One small file for each host that refused somebody lately; none for the others.

    Whoever may not write there keeps what it learns for itself. No trouble with the files is an
    error.

    Args:
        folder: Where the files are, or None: keep everything in memory. It is made when first
            needed, if the folder above it is there.
        now: Seconds since the epoch.
        random: A number from 0 up to 1.
        sleep: Waits for seconds; may raise Cancelled. None: a wait that ``abort`` ends.
        on_wait: Told a host and the seconds of a long wait; once while several wait.
    """

    def __init__(
        self,
        folder: str | None,
        *,
        now: Callable[[], float] = time.time,
        random: Callable[[], float] = _random.random,
        sleep: Callable[[float], None] | None = None,
        on_wait: Callable[[str, float], None] = lambda _netloc, _seconds: None,
    ) -> None:
        self._notes = HostNotes(folder)
        self._now = now
        self._random = random
        self._sleep = sleep or self._wait
        self._on_wait = on_wait
        self._noted: dict[str, float] = {}  # until when the wait that was told lasts
        self._guard = threading.Lock()
        self._memory: dict[str, Spacing] = {}  # what could not be written
        self._spaced: set[str] = set()  # whose successes count
        self._wake = threading.Condition()
        self._aborts = 0

    def enter(self, netloc: str, /) -> None:
        if netloc not in self._memory and not self._notes.exists(netloc):
            return
        waited = 0.0
        while wait := self._reserve(netloc, waited):
            self._note(netloc, wait)
            self._sleep(wait)
            waited += wait
            spacing = self._look(netloc)
            if spacing is None or spacing.until - self._now() < _SLACK:
                return  # nobody was refused meanwhile

    def told(
        self, netloc: str, status: int, /, *, retry_after: float | None = None, remaining: int | None = None
    ) -> None:
        now, chance = self._now(), self._random()
        if status in _REFUSALS:
            self._change(netloc, lambda old: refused(old, now, retry_after=retry_after, chance=chance))
        elif status >= 500:
            return
        elif remaining == 0:
            self._change(netloc, lambda old: warned(old, now))
        elif netloc in self._spaced:
            self._change(netloc, lambda old: succeeded(old, now))

    def abort(self) -> None:
        with self._wake:
            self._aborts += 1
            self._wake.notify_all()

    def _reserve(self, netloc: str, waited: float) -> float:
        """Seconds to wait for a moment that is nobody else's."""
        now = self._now()
        wait = 0.0

        def change(old: Spacing | None) -> Spacing | None:
            nonlocal wait
            if old is None:
                return None
            wait, new = reserve(old, now)
            return new if waited + wait <= LONGEST_WAIT else old

        self._change(netloc, change)
        if waited + wait > LONGEST_WAIT:
            message = f"{netloc}: asks to be left alone for {wait:.0f} s; try again later"
            raise with_retry_after(Unavailable(message), wait)
        return wait

    def _note(self, netloc: str, wait: float) -> None:
        now = self._now()
        with self._guard:
            new = wait >= _LONG and now >= self._noted.get(netloc, 0.0)
            if new:
                self._noted[netloc] = now + wait
        if new:
            self._on_wait(netloc, wait)

    def _look(self, netloc: str) -> Spacing | None:
        found: Spacing | None = None

        def change(old: Spacing | None) -> Spacing | None:
            nonlocal found
            found = old
            return old

        self._change(netloc, change)
        return found

    def _change(self, netloc: str, change: Callable[[Spacing | None], Spacing | None]) -> None:
        """Replace what is known of a host, in its file or, failing that, here."""
        with self._guard:  # threads queue here, processes at the file
            known = self._memory.get(netloc)
            new, kept = self._notes.change(netloc, change, known=known, now=self._now())
            if new is None or kept:
                self._memory.pop(netloc, None)
            else:
                self._memory[netloc] = new
            if new is None:
                self._spaced.discard(netloc)
            else:
                self._spaced.add(netloc)

    def _wait(self, seconds: float) -> None:
        with self._wake:
            mine = self._aborts
            if self._wake.wait_for(lambda: self._aborts != mine, seconds):
                raise Cancelled("waiting for a registry was broken off")
