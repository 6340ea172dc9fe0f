"""Request bodies: nothing, bytes in memory, or a part of a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.content.store import Reader

PIECE: Final = 256 * 1024  # bytes handed to the socket at a time


class Whole:
    """Bytes in memory; by default none."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[bytes]:
        return iter((self._data,) if self._data else ())


class Slice:
    """Bytes of a blob from ``start`` up to ``end``; ``on_piece`` is told where each piece begins,
    and the end."""

    def __init__(self, reader: Reader, start: int, end: int, on_piece: Callable[[int], None]) -> None:
        self._reader = reader
        self._start = start
        self._end = end
        self._on_piece = on_piece

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[bytes]:
        at = self._start
        while at < self._end:
            piece = self._reader.read_at(min(PIECE, self._end - at), at)
            if not piece:
                raise FailedPrecondition(f"content ends at byte {at}, {self._end} were promised")
            self._on_piece(at)
            yield piece
            at += len(piece)
        self._on_piece(at)
