"""Housekeeping: what a registry does by itself from time to time, while it serves."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import DistoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

_PATIENCE: Final = 10.0  # seconds that ``close`` waits for a step; every one may be cut off anywhere
OFTEN: Final = 60.0  # seconds between two times of what every process does
HASTE: Final = 30.0  # seconds at least between two rounds, however full the disk is
_TOLD: Final = 3600.0  # seconds between two lines about a disk that is full
_FIRST: Final = 60.0  # seconds until the first round: a server that starts has other things to do


class Step(NamedTuple):
    """One thing to do: ``run`` says in words what came of it, or nothing when nothing did."""

    name: str
    run: Callable[[], str]


@dataclass(slots=True)
class _Counts:
    rounds: int = 0
    failures: int = 0


class Housekeeper:
    """Runs its steps one after another in a thread of its own; the failure of one is told, and the others
    run. ``close`` ends it after the step that is at work.

    Args:
        interval: Seconds between two rounds; 0: only when ``wake`` is called.
        turn: Entered for a round: whether it is for this process to do, for no other one does it now, or
            has done it within so many seconds.
        tell: Takes one line.
        monotonic: Seconds.
        often: Called at the start and every minute, whose ever turn it is.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        interval: float,
        turn: Callable[[float], AbstractContextManager[bool]],
        tell: Callable[[str], None],
        monotonic: Callable[[], float],
        often: Callable[[], None] = lambda: None,
    ) -> None:
        self._steps = steps
        self._interval = interval
        self._turn = turn
        self._tell = tell
        self._monotonic = monotonic
        self._often = often
        self._changed = threading.Condition()
        self._over = False
        self._woken = False
        self._told_full = -math.inf
        self._last = monotonic() - HASTE
        self._thread: threading.Thread | None = None
        self.counts = _Counts()

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Do not wait for the interval: there is need. Costs nothing."""
        if self._woken:
            return
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self) -> None:
        """End; returns when nothing is at work any more, or what is takes too long."""
        with self._changed:
            self._over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def round(self, *, within: float = 0.0) -> bool:
        """All steps, now; whether it was this process that ran them.

        Args:
            within: Seconds; not if another process has done it so recently.
        """
        try:
            with self._turn(within) as ours:
                if ours:
                    self._steps_in_turn()
                return ours
        except Exception as error:  # noqa: BLE001 - the thread must live
            self._failed("its turn", error)
            return False

    def _steps_in_turn(self) -> None:
        for step in self._steps:
            if self._over:
                return
            try:
                came = step.run()
            except Exception as error:  # noqa: BLE001 - the others run, and the next round may go better
                self._failed(step.name, error)
                continue
            if came:
                self._tell(f"housekeeping: {step.name}: {came}")
        self.counts.rounds += 1

    def _failed(self, name: str, error: Exception) -> None:
        self.counts.failures += 1
        text = str(error) if isinstance(error, DistoreError) else repr(error)
        self._tell(f"housekeeping: {name} failed: {text}")

    def _run(self) -> None:
        due = self._after(min(_FIRST, self._interval))
        while self._waited(due):
            haste, self._woken = self._woken, False
            if haste:
                self._full()
            # A little less than the interval: all processes wait for the same time.
            self.round(within=HASTE / 2 if haste else self._interval * 0.9)
            self._last = self._monotonic()
            due = self._after(self._interval)

    def _full(self) -> None:
        moment = self._monotonic()
        if moment - self._told_full >= _TOLD:
            self._told_full = moment
            self._tell("the disk is full: pushes are refused until there is room; pulls go on")

    def _after(self, seconds: float) -> float:
        return self._monotonic() + seconds if self._interval else math.inf

    def _waited(self, due: float) -> bool:
        """Until it is time for a round, or there is need; False: it ends."""
        while True:
            try:
                self._often()
            except Exception as error:  # noqa: BLE001 - it may go better the next time
                self._failed("what is done often", error)
            if self._is_over(min(due, self._monotonic() + OFTEN)):
                return False
            if self._monotonic() >= self._next(due):
                return True

    def _next(self, due: float) -> float:
        return min(self._last + HASTE, due) if self._woken else due

    def _is_over(self, until: float) -> bool:
        """Wait until then, or until there is need; whether it ends."""
        with self._changed:
            while not self._over:
                left = self._next(until) - self._monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return self._over
