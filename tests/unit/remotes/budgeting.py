"""What the tests of the budget share: a clock that moves when somebody sleeps, one host, its file."""

from __future__ import annotations

from distore.remotes.budget import SharedBudget

HOST = "registry.example:5000"
FILE = "registry.example%3A5000"


class Clock:
    """Moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(round(seconds, 3))
        self.now += seconds


def waits(budget: SharedBudget, clock: Clock, *, host: str = HOST) -> float:
    """Seconds that one request waits."""
    before = clock.now
    budget.enter(host)
    return round(clock.now - before, 3)
