"""Frames: what gzip and zstd files are made of, told apart and undone one by one."""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from distore.errors import Unimplemented

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from _typeshed import ReadableBuffer

GZIP: Final = "gzip"
ZSTD: Final = "zstd"
HEAD: Final = 4  # bytes that tell the compression
# What follows a frame is copied. Where they are tiny and many, little may follow: after each the
# next gets this much at first, and twice as much every time.
FIRST_INPUT: Final = 1024  # bytes

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_WBITS: Final = 31  # gzip, and nothing else (zlib.h, inflateInit2)


class Frame(Protocol):
    """One gzip member or zstd frame being read, as ZstdDecompressor has it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: ReadableBuffer, /, max_length: int = -1) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """How a compression is undone.

    ``error`` is what a frame raises for damage; ``padded``, whether zeros may follow the last one.
    """

    compression: str
    new: Callable[[], Frame] = field(repr=False)
    error: type[Exception] = field(repr=False)
    padded: bool


def compression_of(head: bytes) -> str | None:
    """GZIP, ZSTD or None, by the first HEAD bytes."""
    if head.startswith(_GZIP_MAGIC):
        return GZIP
    return ZSTD if head.startswith(_ZSTD_MAGIC) else None


def frames_of(head: bytes, *, subject: str) -> Frames | None:
    """How bytes that begin with ``head`` are undone; None when they are plain.

    Raises:
        Unimplemented: They are zstd, which this Python cannot read.
    """
    compression = compression_of(head)
    if compression == GZIP:
        return Frames(compression=GZIP, new=_Member, error=zlib.error, padded=True)
    if compression == ZSTD:
        zstd = zstd_module(subject)
        return Frames(compression=ZSTD, new=zstd.ZstdDecompressor, error=zstd.ZstdError, padded=False)
    return None


def zstd_module(subject: str) -> ModuleType:
    """The zstd of the standard library, or the same for older ones.

    Raises:
        Unimplemented: There is none.
    """
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise Unimplemented(f"{subject}: zstd needs Python 3.14 or the package backports.zstd") from error
    return zstd


class _Member:
    """A gzip member (RFC 1952, section 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_WBITS)
        self._tail = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: ReadableBuffer, /, max_length: int = -1) -> bytes:
        """With ``data`` where input is needed, with nothing where it is not."""
        plain = self._member.decompress(self._tail or data, max_length)
        self._tail = self._member.unconsumed_tail
        # What filled the room may have more behind it that zlib holds.
        self.needs_input = not (self._tail or self.eof or len(plain) == max_length)
        return plain
