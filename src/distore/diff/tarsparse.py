"""Sparse members: files with holes, as GNU tar has them (its manual, "Storing Sparse Files").

A map lists the pieces that are there, by offset and bytes. It is in the header and in blocks behind it
(the old format), in pax records (0.0, 0.1), or before the bytes of the member (1.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from distore.diff.paxrecords import SPARSE_MAP
from distore.diff.tarheader import BadHeader, Header, number
from distore.errors import DataLoss, ResourceExhausted, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MAP: Final = 131_072  # pieces of one member
MAX_ZEROS: Final = 8 * 1024 * 1024 * 1024  # bytes of all holes of a layer, where they are read as zeros
_LARGEST: Final = (1 << 63) - 1  # bytes of a file that a system can have
_BLOCK: Final = 512
_OLD: Final = b"S"
_PAIR: Final = 24  # bytes of an offset and a size in the old format
_IN_HEADER, _IN_BLOCK = 4, 21  # pairs
_AT: Final = 386  # of the first pair in a header
_MORE_AT, _SIZE_AT, _MORE_IN_BLOCK_AT = 482, 483, 504
_PREFIX: Final = b"GNU.sparse."
_NAME, _SIZE, _REAL_SIZE = _PREFIX + b"name", _PREFIX + b"size", _PREFIX + b"realsize"
_MAJOR, _MINOR = _PREFIX + b"major", _PREFIX + b"minor"
_NUMBER: Final = re.compile(rb"[0-9]{1,19}")
_LINE: Final = 20  # bytes of a number and its end
_ZEROS: Final = memoryview(bytes(64 * 1024))


class Stream(Protocol):
    """The bytes behind a header."""

    def exactly(self, size: int, /) -> bytes: ...
    def pieces(self, size: int, /) -> Iterator[memoryview]: ...


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes of a file that are zero and take no room."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse:
    """What a sparse member stands for.

    Args:
        pieces: Offset and bytes of what is there, in order.
        size: Bytes of the file.
        stored: Bytes of it that follow.
    """

    pieces: tuple[tuple[int, int], ...]
    size: int
    stored: int


def sparse_map(head: Header, records: dict[bytes, bytes], stream: Stream, subject: str) -> Sparse | None:
    """The map of a member, None for one that is not sparse; all about it is taken out of ``records``.

    Raises:
        DataLoss: Damaged.
        ResourceExhausted: Over MAX_MAP.
        Unimplemented: Of a version that is not known.
    """
    if head.kind == _OLD:
        return _old(head, records, stream, subject)
    if not any(key.startswith(_PREFIX) for key in records):
        return None
    said = {key: records.pop(key) for key in [*records] if key.startswith(_PREFIX)}
    if _NAME in said:
        records[b"path"] = said[_NAME]
    stored = _stored(head, records, subject)
    version = said.get(_MAJOR, b"0"), said.get(_MINOR, b"0")
    if version == (b"1", b"0"):
        numbers, used = _before_the_bytes(stream, subject)
        return _checked(numbers, said.get(_REAL_SIZE, b""), stored - used, subject)
    if version[0] == b"0" and SPARSE_MAP in said:
        return _checked(said[SPARSE_MAP].split(b","), said.get(_SIZE, b""), stored, subject)
    raise Unimplemented(f"{subject}: a sparse member of an unknown version; make it without tar --sparse")


def expanded(sparse: Sparse, stream: Stream, *, holes: bool) -> Iterator[memoryview | Hole]:
    """The bytes of the file, with a Hole or the zeros for each hole."""
    at = 0
    for offset, size in (*sparse.pieces, (sparse.size, 0)):
        if offset > at:
            yield from _hole(offset - at, holes=holes)
        yield from stream.pieces(size)
        at = offset + size


def _hole(size: int, *, holes: bool) -> Iterator[memoryview | Hole]:
    if holes:
        yield Hole(size)
        return
    while size:
        piece = _ZEROS[: min(size, len(_ZEROS))]
        size -= len(piece)
        yield piece


def _old(head: Header, records: dict[bytes, bytes], stream: Stream, subject: str) -> Sparse:
    block, at, pairs, more_at = head.block, _AT, _IN_HEADER, _MORE_AT
    numbers: list[bytes] = []
    while True:
        for start in range(at, at + pairs * _PAIR, _PAIR):
            if block[start] or block[start + 12]:
                numbers += (_digits(block[start : start + 12]), _digits(block[start + 12 : start + _PAIR]))
        if len(numbers) > 2 * MAX_MAP:
            raise _too_many(subject)
        if not block[more_at]:
            break
        block, at, pairs, more_at = stream.exactly(_BLOCK), 0, _IN_BLOCK, _MORE_IN_BLOCK_AT
    size = _digits(head.block[_SIZE_AT : _SIZE_AT + 12])
    return _checked(numbers, size, _stored(head, records, subject), subject)


def _digits(field: bytes) -> bytes:
    try:
        return b"%d" % number(field)
    except BadHeader:
        return b""


def _stored(head: Header, records: dict[bytes, bytes], subject: str) -> int:
    """Bytes behind the header, its map included where it is there."""
    value = records.get(b"size")
    if value is None:
        return head.size
    if not _NUMBER.fullmatch(value):
        raise _damaged(subject)
    return int(value)


def _before_the_bytes(stream: Stream, subject: str) -> tuple[list[bytes], int]:
    """The numbers of a map of version 1.0, and how many bytes it takes: lines, filled up to a block."""
    data = stream.exactly(_BLOCK)
    first, end, _ = data.partition(b"\n")
    if not end or not _NUMBER.fullmatch(first):
        raise _damaged(subject)
    count = 2 * int(first)
    if count > 2 * MAX_MAP:
        raise _too_many(subject)
    blocks, lines = [data], data.count(b"\n")
    while lines <= count:
        if len(blocks) * _BLOCK > (count + 2) * _LINE + _BLOCK:
            raise _damaged(subject)
        blocks.append(stream.exactly(_BLOCK))
        lines += blocks[-1].count(b"\n")
    return b"".join(blocks).split(b"\n")[1 : count + 1], len(blocks) * _BLOCK


def _checked(numbers: list[bytes], size: bytes, stored: int, subject: str) -> Sparse:
    if len(numbers) > 2 * MAX_MAP:
        raise _too_many(subject)
    if len(numbers) % 2 or not all(map(_NUMBER.fullmatch, (size, *numbers))):
        raise _damaged(subject)
    values = [int(value) for value in numbers]
    pieces = tuple(zip(values[::2], values[1::2], strict=True))
    end = total = 0
    for offset, length in pieces:
        if offset < end:
            raise _damaged(subject)
        end, total = offset + length, total + length
    if end > int(size) or int(size) > _LARGEST or total != stored:
        raise _damaged(subject)
    return Sparse(pieces=pieces, size=int(size), stored=stored)


def _damaged(subject: str) -> DataLoss:
    return DataLoss(f"{subject}: damaged: bad map of a sparse member")


def _too_many(subject: str) -> ResourceExhausted:
    return ResourceExhausted(f"{subject}: a sparse member of over {MAX_MAP} pieces")
