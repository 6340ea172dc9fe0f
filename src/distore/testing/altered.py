"""Readers and bodies for tests: over bytes, counted, cut off, or with other bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distore.errors import DataLoss, Unavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from distore.content.store import Reader
    from distore.registry.message import Body


@dataclass(slots=True)
class Altered:
    """A Reader that gives other bytes, fewer at a time, or none after a while."""

    inner: Reader
    most: int | None = None  # bytes a read
    until: int | None = None  # the offset where it breaks
    flipped: bool = False
    on_read: Callable[[int], None] = field(default=lambda _: None)

    @property
    def size(self) -> int:
        return self.inner.size

    def read_at(self, length: int, offset: int, /) -> bytes:
        length = length if self.most is None else min(length, self.most)
        if self.until is not None:
            length = min(length, self.until - offset)
            if length <= 0:
                raise DataLoss("broken off on purpose")
        data = self.inner.read_at(length, offset)
        self.on_read(len(data))
        return bytes(byte ^ 0xFF for byte in data) if self.flipped else data

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read_at(len(view), offset)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Altered:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class CutBody:
    """A Body that breaks off after ``left`` bytes."""

    def __init__(self, inner: Body, left: int) -> None:
        self._inner = inner
        self._left = left
        self.is_cut = False

    def read(self, limit: int, /) -> bytes:
        if not self._left:
            self.is_cut = True
            raise Unavailable("request body: broken off on purpose")
        piece = self._inner.read(min(limit, self._left))
        self._left -= len(piece)
        return piece


class CountedBody:
    """A Body that tells how much of it is read."""

    def __init__(self, inner: Body, on_read: Callable[[int], None]) -> None:
        self._inner = inner
        self._on_read = on_read

    def read(self, limit: int, /) -> bytes:
        piece = self._inner.read(limit)
        self._on_read(len(piece))
        return piece
