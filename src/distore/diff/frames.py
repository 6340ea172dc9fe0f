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
_UNKNOWN: Final = {b"\xfd7zX": "xz", b"\x04\x22\x4d\x18": "lz4"}  # none of them can begin a tar file
_DEFLATE: Final = b"\x08"
_FIXED: Final = 10  # bytes of a gzip header before what its flags tell of
_HAS_TEXT, _HAS_CHECKSUM, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT = 1, 2, 4, 8, 16
_MAX_HEADER: Final = 1024 * 1024  # bytes of a name and the like


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
    error: tuple[type[Exception], ...] = field(repr=False)
    padded: bool


def compression_of(head: bytes) -> str | None:
    """GZIP, ZSTD or None, by the first HEAD bytes."""
    if head.startswith(_GZIP_MAGIC):
        return GZIP
    return ZSTD if head.startswith(_ZSTD_MAGIC) else None


def frames_of(head: bytes, *, subject: str) -> Frames | None:
    """How bytes that begin with ``head`` are undone; None when they are plain.

    Raises:
        Unimplemented: They are zstd, which this Python cannot read, or something else that nobody reads.
    """
    compression = compression_of(head)
    if head[:HEAD] in _UNKNOWN:
        raise Unimplemented(f"{subject}: compressed by {_UNKNOWN[head[:HEAD]]}; want gzip, zstd or none")
    if compression == GZIP:
        from isal import igzip_lib

        damage: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # its stub says an instance
        return Frames(compression=GZIP, new=_Member, error=(zlib.error, damage), padded=True)
    if compression == ZSTD:
        zstd = zstd_module(subject)
        return Frames(compression=ZSTD, new=zstd.ZstdDecompressor, error=(zstd.ZstdError,), padded=False)
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
    """A gzip member (RFC 1952, section 2.2).

    igzip wants the whole header at once, whatever its own documentation says (isal 1.9.1), so that the
    header is read here.
    """

    def __init__(self) -> None:
        from isal import igzip_lib

        self._body = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP_NO_HDR_VER)
        self._head: bytes | None = b""  # None: its end is behind us

    @property
    def eof(self) -> bool:
        return self._body.eof

    @property
    def needs_input(self) -> bool:
        return self._body.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._body.unused_data

    def decompress(self, data: ReadableBuffer, /, max_length: int = -1) -> bytes:
        """With ``data`` where input is needed, with nothing where it is not."""
        if self._head is not None:
            self._head += data
            end = _header_end(self._head)
            if end is None:
                if len(self._head) > _MAX_HEADER:
                    raise zlib.error("a header without an end")
                return b""
            data, self._head = self._head[end:], None
            if not data:
                return b""
        return self._body.decompress(data, max_length)


def _header_end(head: bytes) -> int | None:
    """Bytes of the header of a gzip member, None while its end is missing.

    Raises:
        zlib.error: It is none.
    """
    if not head.startswith(_GZIP_MAGIC[: len(head)]) or head[2:3] not in (b"", _DEFLATE):
        raise zlib.error("no header")
    if len(head) < _FIXED:
        return None
    flags, end = head[3], _FIXED
    if flags & ~(_HAS_TEXT | _HAS_CHECKSUM | _HAS_EXTRA | _HAS_NAME | _HAS_COMMENT):
        raise zlib.error("unknown flags")
    if flags & _HAS_EXTRA:
        end += 2 + int.from_bytes(head[end : end + 2], "little")
    for flag in (_HAS_NAME, _HAS_COMMENT):
        if flags & flag:
            end = head.find(b"\0", end) + 1
            if not end:
                return None
    if flags & _HAS_CHECKSUM:
        end += 2
        if end <= len(head) and int.from_bytes(head[end - 2 : end], "little") != (
            zlib.crc32(head[: end - 2]) & 0xFFFF
        ):
            raise zlib.error("bad checksum of the header")
    return end if end <= len(head) else None
