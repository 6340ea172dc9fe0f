"""Rows out of the pages of a damaged SQLite file, one by one, without SQLite.

Only what a page holds alive is read (sqlite.org/fileformat2.html): tables without rowids and
indexes, which look alike, and no pages of the free list while that can be read. Whose rows they
are, the caller must tell from what they hold.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

Value = None | int | float | str | bytes
Row = tuple[Value, ...]

_DEFAULT_PAGE: Final = 4096  # bytes; what SQLite takes and all our databases have
_FILE_HEADER: Final = 100  # bytes before the first page's own
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_LOG_MAGIC: Final = (0x377F0682, 0x377F0683)  # checksums of little- and of big-endian words
_LEAF: Final = 0x0A
_INTERIOR: Final = 0x02
_MAX_PAYLOAD: Final = 1024 * 1024  # bytes of one row; ours have up to some kilobytes
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type: bytes


def rows(path: str) -> Iterator[Row]:
    """Every row that can be read, in no fixed order; one may come twice, or be of an index.

    Args:
        path: The database; what is complete in the log beside it counts.
    """
    with open(path, "rb") as file:
        pages = _Pages(file, _committed(f"{path}-wal"))
        free = pages.free()
        for number in range(1, pages.count + 1):
            if number not in free:
                yield from pages.rows(number)


class _Pages:
    def __init__(self, file: BinaryIO, newer: dict[int, bytes]) -> None:
        self._file = file
        self._newer = newer
        self._header = newer[1] if 1 in newer else file.read(_FILE_HEADER)
        self.size = _page_size(self._header)
        size = os.fstat(file.fileno()).st_size
        self.count = max([-(-size // self.size), *newer])

    def page(self, number: int) -> bytes:
        """One page; shorter, or empty, when the file ends before."""
        if number in self._newer:
            return self._newer[number]
        self._file.seek((number - 1) * self.size)
        return self._file.read(self.size)

    def free(self) -> set[int]:
        """Pages that hold nothing any more, as far as their list can be read."""
        found: set[int] = set()
        trunk = int.from_bytes(self._header[32:36], "big")
        while 0 < trunk <= self.count and trunk not in found:
            found.add(trunk)
            page = self.page(trunk)
            count = int.from_bytes(page[4:8], "big")
            if count > self.size // 4:
                break
            found.update(struct.unpack_from(f">{count}I", page, 8) if len(page) >= 8 + 4 * count else ())
            trunk = int.from_bytes(page[:4], "big")
        return found

    def rows(self, number: int) -> Iterator[Row]:
        page = self.page(number)
        start = _FILE_HEADER if number == 1 else 0
        if len(page) < start + 12 or page[start] not in (_LEAF, _INTERIOR):
            return
        is_leaf = page[start] == _LEAF
        count = int.from_bytes(page[start + 3 : start + 5], "big")
        at = start + (8 if is_leaf else 12)
        for index in range(min(count, (len(page) - at) // 2)):
            cell = int.from_bytes(page[at + 2 * index : at + 2 * index + 2], "big")
            try:
                yield _record(self._payload(page, cell + (0 if is_leaf else 4)))
            except (IndexError, ValueError, struct.error):  # damaged here: the next one may be right
                continue

    def _payload(self, page: bytes, at: int) -> bytes:
        length, at = _varint(page, at)
        if not 0 < length <= _MAX_PAYLOAD:
            raise ValueError("no length of a row")
        most = (self.size - 12) * 64 // 255 - 23
        least = (self.size - 12) * 32 // 255 - 23
        local = length
        if length > most:
            local = least + (length - least) % (self.size - 4)
            local = local if local <= most else least
        data = page[at : at + local]
        following = int.from_bytes(page[at + local : at + local + 4], "big") if local < length else 0
        while len(data) < length and 0 < following <= self.count:
            more = self.page(following)
            if len(more) < self.size:
                break
            following = int.from_bytes(more[:4], "big")
            data += more[4 : 4 + length - len(data)]
        if len(data) < length:
            raise ValueError("its end is missing")
        return data


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 else _DEFAULT_PAGE


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for index in range(at, at + 8):
        byte = data[index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, index + 1
    return value << 8 | data[at + 8], at + 9


def _record(payload: bytes) -> Row:
    size, at = _varint(payload, 0)
    if size > len(payload):
        raise ValueError("a header beyond its row")
    kinds = []
    while at < size:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise ValueError("not as long as it says")
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    """A column and where it ends."""
    if kind in (0, 8, 9):
        return (None if kind == 0 else kind - 8), at
    if kind >= 12:
        end = at + (kind - 12) // 2
        data = payload[at:end]
        return (data.decode() if kind % 2 else data), end
    if kind == 7:
        return float(struct.unpack_from(">d", payload, at)[0]), at + 8
    if kind not in _INTEGERS:
        raise ValueError("no type of a column")
    end = at + _INTEGERS[kind]
    return int.from_bytes(payload[at:end], "big", signed=True), end


def _committed(path: str) -> dict[int, bytes]:
    """The pages in a write-ahead log, up to the last transaction that is whole."""
    try:
        with open(path, "rb") as file:
            return _frames(file)
    except FileNotFoundError:
        return {}


def _frames(file: BinaryIO) -> dict[int, bytes]:
    header = file.read(_LOG_HEADER)
    if len(header) < _LOG_HEADER or int.from_bytes(header[:4], "big") not in _LOG_MAGIC:
        return {}
    order = ">" if header[3] & 1 else "<"
    size = int.from_bytes(header[8:12], "big")
    if size < 512 or size > 65536:
        return {}
    sums = _checksum(order, header[:24], (0, 0))
    if struct.pack(">2I", *sums) != header[24:]:
        return {}
    whole: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    while len(frame := file.read(_FRAME_HEADER + size)) == _FRAME_HEADER + size:
        sums = _checksum(order, frame[:8] + frame[_FRAME_HEADER:], sums)
        number, commit = struct.unpack_from(">2I", frame)
        if frame[8:16] != header[16:24] or struct.pack(">2I", *sums) != frame[16:24]:
            break
        pending[number] = frame[_FRAME_HEADER:]
        if commit:  # the size of the database then, in pages: what was beyond it is gone
            whole |= pending
            whole = {known: page for known, page in whole.items() if known <= commit}
            pending = {}
    return whole


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """The running checksum of a log (sqlite.org/fileformat2.html, "Checksum Algorithm")."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
