"""Frontier: which bytes of a file have arrived, when they arrive in any order."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Frontier:
    """``end`` is the end of the bytes from 0 without a gap; later islands wait behind it."""

    __slots__ = ("_islands", "end")

    def __init__(self, end: int = 0, islands: Iterable[tuple[int, int]] = ()) -> None:
        self.end = end
        self._islands: list[tuple[int, int]] = []  # sorted by start, all beyond end
        for start, stop in islands:
            self.add(start, stop)

    @property
    def islands(self) -> list[tuple[int, int]]:
        """What has arrived behind a gap, as (start, end) pairs that do not touch."""
        joined: list[tuple[int, int]] = []
        for start, end in self._islands:
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((start, end))
        return joined

    def missing(self, total: int) -> list[tuple[int, int]]:
        """What of ``total`` bytes has not arrived, as (start, end) pairs."""
        last = max((end for _, end in self._islands), default=self.end)
        return [*self.gaps, *([(last, total)] if last < total else [])]

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Missing ranges before the last byte that arrived, as (start, end) pairs."""
        gaps, reached = [], self.end
        for start, end in self._islands:
            if start > reached:
                gaps.append((reached, start))
            reached = max(reached, end)
        return gaps

    def add(self, start: int, end: int) -> None:
        """Bytes from ``start`` up to ``end`` have arrived; ``start`` is not before ``self.end``."""
        if start == self.end and not self._islands:
            self.end = end
            return
        if end > start:
            insort(self._islands, (start, end))
        while self._islands and self._islands[0][0] <= self.end:
            self.end = max(self.end, self._islands.pop(0)[1])
