"""Readers of blobs that are no files of their own: a stretch of an open file, bytes in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from distore._internal.oserrors import translated
from distore.errors import FailedPrecondition, OutOfRange

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class SliceReader:
    """A Reader of ``size`` bytes at ``start`` of an open file, which it keeps open by itself.

    Args:
        subject: What messages call it.
    """

    def __init__(self, fd: int, *, start: int, size: int, subject: str) -> None:
        self._subject = subject
        self._start = start
        self.size = size
        with translated(subject):
            self._fd = os.dup(fd)

    def read_at(self, length: int, offset: int, /) -> bytes:
        if length < 0:
            raise OutOfRange(f"{self._subject}: cannot read {length} bytes")
        space = bytearray(max(0, min(length, self.size - offset)))
        return bytes(memoryview(space)[: self.readinto_at(space, offset)])

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        if offset < 0:
            raise OutOfRange(f"{self._subject}: cannot read at {offset}")
        if self._fd < 0:
            raise FailedPrecondition(f"{self._subject}: read from a closed reader")
        view = memoryview(buffer).cast("B")[: max(0, self.size - offset)]
        done = 0
        with translated(self._subject):
            while done < len(view):
                size = os.preadv(self._fd, [view[done:]], self._start + offset + done)
                if not size:
                    break
                done += size
        return done

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> SliceReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class BytesReader:
    """A Reader of bytes in memory."""

    def __init__(self, data: bytes, *, subject: str = "content") -> None:
        self._data = data
        self._subject = subject
        self.size = len(data)

    def read_at(self, length: int, offset: int, /) -> bytes:
        if length < 0 or offset < 0:
            raise OutOfRange(f"{self._subject}: cannot read {length} bytes at {offset}")
        return self._data[offset : offset + length]

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read_at(len(view), offset)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> BytesReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
