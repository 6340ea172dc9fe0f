"""Header: one block of 512 bytes that begins a member of a tar file (POSIX ustar, GNU, and of before)."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

_FIELDS: Final = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
EXTENSIONS: Final = (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL)
_SUM: Final = slice(148, 156)
_BLANKS: Final = 8 * 32  # its own field counts as blanks
_POSIX: Final = b"ustar\0"
_USTAR: Final = b"ustar"
_WIDE: Final = 0x80  # first byte of a number in base 256


class BadHeader(ValueError):
    """No header of a tar file."""


class Header:
    """What it says; text as bytes, without meaning. Of one that extends the next, ``kind`` and ``size``."""

    __slots__ = (
        "block",
        "device",
        "gid",
        "gname",
        "kind",
        "link",
        "mode",
        "mtime",
        "name",
        "size",
        "uid",
        "uname",
    )

    def __init__(self, block: bytes) -> None:
        """Raises BadHeader."""
        (name, mode, uid, gid, size, mtime, total, kind, link, magic, uname, gname, major, minor, prefix) = (
            _FIELDS.unpack(block)
        )
        _check(block, number(total))
        self.block = block  # which may have a sparse map
        self.kind: bytes = kind
        self.size = number(size)
        if kind in EXTENSIONS:  # of which nothing else counts
            return
        self.name = text(name)
        self.mode = _often(mode)
        self.uid, self.gid = _often(uid), _often(gid)
        self.mtime = number(mtime)
        self.link = text(link)
        self.uname = self.gname = b""
        self.device = (0, 0)
        if magic[:5] != _USTAR:  # of before 1988
            return
        self.uname, self.gname = text(uname), text(gname)
        if kind in b"34":
            self.device = _often(major), _often(minor)
        # GNU has times where others have the beginning of the name.
        if prefix[0] and magic[:6] == _POSIX:
            self.name = text(prefix) + b"/" + self.name


def text(field: bytes) -> bytes:
    """A field up to its first NUL."""
    return field.partition(b"\0")[0]


def number(field: bytes) -> int:
    """A field of octal digits, or in base 256.

    Raises:
        BadHeader: It is no number.
    """
    if field[0] & _WIDE:
        value = int.from_bytes(field, "big", signed=True)
        # The bit that tells of base 256 is no part of a positive number.
        return value if field[0] == 0xFF else value + (_WIDE << (8 * (len(field) - 1)))
    digits = field.partition(b"\0")[0].strip()
    if not digits:
        return 0
    try:
        return int(digits, 8)
    except ValueError as error:
        raise BadHeader from error


_often = lru_cache(maxsize=1024)(number)  # few modes and owners for many members


def _check(block: bytes, total: int) -> None:
    field = block[_SUM]
    if sum(block) - sum(field) + _BLANKS != total:
        # Some old programs took bytes for signed ones.
        high = sum(byte >= 0x80 for byte in block[:148]) + sum(byte >= 0x80 for byte in block[156:])
        if sum(block) - sum(field) + _BLANKS - 256 * high != total:
            raise BadHeader


def summed(block: bytes) -> bytes:
    """With its checksum, which counts its own field as blanks."""
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
