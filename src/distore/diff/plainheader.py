"""Headers of plain members, as ``tarmember.header`` writes them, in a third of the time."""

from __future__ import annotations

from typing import Final

from distore.diff.tarmember import padding

_SHORT: Final = 100  # bytes of a name
_NARROW: Final = 0o7777777
_WIDE: Final = 0o77777777777
_BLANKS: Final = 8 * 32  # the checksum's own field counts as blanks
_DEVICE: Final = b"0000000\x000000000\0"
_TAIL: Final = b"".join((bytes(100), b"ustar\x0000", bytes(64), _DEVICE, bytes(167)))
_TAIL_SUM: Final = sum(_TAIL) + _BLANKS
_PAX_HEAD: Final = b"././@PaxHeader".ljust(_SHORT, b"\0") + b"0000644\x000000000\x000000000\0"
_PAX_TIME: Final = b"0" * 11 + b"\0"
_PAX_SUM: Final = sum(_PAX_HEAD) + sum(_PAX_TIME) + ord("x") + _TAIL_SUM
_TIME: Final = 10  # bytes of a record beside its time; times of 11 to 21 bytes make two digits


def plain_header(
    name: bytes, kind: bytes, *, mode: int, owner: tuple[int, int], size: int, time: int, exact: bytes = b""
) -> bytes | None:
    """The header of a member without a link, a device and attributes; None when it takes more than
    fits here.

    Args:
        name: ASCII; of a folder with a slash at its end.
        time: In whole seconds.
        exact: The same with its parts of a second; empty when there are none.
    """
    uid, gid = owner
    if len(name) > _SHORT or not (0 <= uid <= _NARROW and 0 <= gid <= _NARROW):
        return None
    if not (0 <= time <= _WIDE and size <= _WIDE and name.isascii()):
        return None
    fields = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, time)
    total = sum(name) + sum(fields) + sum(kind) + _TAIL_SUM
    block = b"%b%b%06o\0 %b%b" % (name.ljust(_SHORT, b"\0"), fields, total, kind, _TAIL)
    return _timed(exact) + block if exact else block


def _timed(exact: bytes) -> bytes:
    record = b"%d mtime=%b\n" % (len(exact) + _TIME, exact)
    digits = b"%011o\0" % len(record)
    parts = (_PAX_HEAD, digits, _PAX_TIME, _PAX_SUM + sum(digits), _TAIL, record, padding(len(record)))
    return b"%b%b%b%06o\0 x%b%b%b" % parts
