"""Frontier: which bytes of a file have arrived, when they arrive in any order."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Frontier:
    """``end`` is the end of the bytes from 0 without a gap; later islands wait behind it."""

    __slots__ = ("_islands", "end")

    def __init__(self, end: int = 0, islands: Iterable[tuple[int, int]] = ()) -> None:
        self.end = end
        self._islands: list[tuple[int, int]] = []  # in order, all beyond end; no two of them touch
        for start, stop in islands:
            self.add(start, stop)

    @property
    def islands(self) -> list[tuple[int, int]]:
        """What has arrived behind a gap, as (start, end) pairs that do not touch."""
        return list(self._islands)

    def missing(self, total: int) -> list[tuple[int, int]]:
        """What of ``total`` bytes has not arrived, as (start, end) pairs."""
        last = self._islands[-1][1] if self._islands else self.end
        return [*self.gaps, *([(last, total)] if last < total else [])]

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Missing ranges before the last byte that arrived, as (start, end) pairs."""
        gaps, reached = [], self.end
        for start, end in self._islands:
            gaps.append((reached, start))
            reached = end
        return gaps

    def add(self, start: int, end: int) -> None:
        """Bytes from ``start`` up to ``end`` have arrived; ``start`` is not before ``self.end``."""
        if start == self.end and not self._islands:
            self.end = end
            return
        if end <= start:
            return
        islands = self._islands
        first = bisect_left(islands, (start, start))
        if first and islands[first - 1][1] >= start:
            first -= 1
            start = islands[first][0]
        after = first
        while after < len(islands) and islands[after][0] <= end:
            end = max(end, islands[after][1])
            after += 1
        islands[first:after] = [(start, end)]
        if islands[0][0] <= self.end:
            self.end = max(self.end, islands.pop(0)[1])
