"""Pace: whether a client gives and takes bytes fast enough to be waited for."""

from __future__ import annotations

from typing import Final, NamedTuple

_WINDOW: Final = 60.0  # seconds


class Pace(NamedTuple):
    """``least`` bytes a second over ``window`` seconds of waiting; 0: any byte will do."""

    least: int = 0
    window: float = _WINDOW

    def watch(self) -> Watch:
        """For one body."""
        return Watch(self)


class Watch:
    """Counts the time that we wait for a client, and none that a client waits for us."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._waited = 0.0
        self._moved = 0

    @property
    def patience(self) -> float:
        """Seconds until the next wait must be accounted for with ``waited``, whether it is over or not."""
        return max(0.01, self._pace.window - self._waited)

    def waited(self, seconds: float, moved: int) -> bool:
        """We waited that long, and so many bytes came or went; False: that is too slow."""
        self._waited += seconds
        self._moved += moved
        if self._waited < self._pace.window:
            return True
        enough = self._moved >= max(1, self._pace.least * self._pace.window)
        self._waited, self._moved = 0.0, 0
        return enough
