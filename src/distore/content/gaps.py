"""Frontier: which bytes of a file have arrived, when they arrive in any order."""

from __future__ import annotations

from bisect import insort


class Frontier:
    """``end`` is the end of the bytes from 0 without a gap; later islands wait behind it."""

    __slots__ = ("_islands", "end")

    def __init__(self, end: int = 0) -> None:
        self.end = end
        self._islands: list[tuple[int, int]] = []  # sorted by start, all beyond end

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
