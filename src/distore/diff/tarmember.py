"""Members of a tar file as they stream by, and headers that are the same on every machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, overload

from distore.diff import paxrecords
from distore.diff.tarheader import EXTENSIONS, LONG_NAME, PAX, PAX_GLOBAL, BadHeader, Header, summed
from distore.diff.tarsparse import MAX_ZEROS, expanded, sparse_map
from distore.errors import DataLoss, FailedPrecondition, ResourceExhausted, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import ReadableBuffer

    from distore.diff.tarsparse import Hole, Sparse

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)  # of an archive
MAX_EXTENSION: Final = 1024 * 1024  # bytes of a long name or of pax records
_MAX_EXTENSIONS: Final = 16  # before one member
MAX_NAME: Final = 4096  # characters; no system opens longer paths
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KINDS: Final = {b"\0": REGULAR, b"7": REGULAR, b"S": REGULAR} | {
    kind: kind for kind in (REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO)
}
_DEVICES: Final = (CHARACTER, BLOCK_DEVICE)
# Records that stand for fields of the header; an empty one leaves the field as it is.
_OWN: Final = (b"path", b"linkpath", b"size", b"uid", b"gid", b"uname", b"gname", b"mtime")
_NOTHING: Final = bytes(BLOCK)
_NUMBER: Final = re.compile(rb"[0-9]{1,19}")
_TIME: Final = re.compile(rb"(-?[0-9]{1,19})(?:\.([0-9]*))?")
_SHOWN: Final = 80  # characters of a name that a message repeats
_WIDE: Final = 0o77777777777  # the largest number of eleven octal digits
_NARROW: Final = 0o7777777  # and of seven


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What a tar file says about a member beside its name and bytes.

    ``mtime`` in whole seconds since the epoch; ``records`` are the other pax records (xattrs, parts
    of a second), by key.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    uname: str = ""
    gname: str = ""
    records: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member. ``name`` has no ``.``, ``..`` or empty parts, and is empty for the root; so is the
    ``link`` of a hard link, that of a symbolic one is as it was. ``size`` in bytes."""

    name: str
    kind: bytes
    meta: Meta
    link: str = ""
    size: int = 0
    device: tuple[int, int] = (0, 0)


def clean(name: str, *, subject: str) -> str:
    """A name in its one spelling: relative to the root, without ``.`` and ``..``.

    Raises:
        FailedPrecondition: It leads out of the root, or no system can have it.
        ResourceExhausted: It is longer than MAX_NAME.
    """
    if len(name) > MAX_NAME:
        raise ResourceExhausted(f"{subject}: a name of over {MAX_NAME} characters: {shown(name)}")
    parts: list[str] = []
    for part in name.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise FailedPrecondition(f"{subject}: {shown(name)} leads out of the image")
    return "/".join(parts)


def shown(name: str) -> str:
    """A name for a message."""
    return ascii(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")


@overload
def members(
    chunks: Iterable[ReadableBuffer], *, subject: str, note: Callable[[int], None] = ...
) -> Iterator[Member | memoryview]: ...
@overload
def members(
    chunks: Iterable[ReadableBuffer], *, subject: str, note: Callable[[int], None] = ..., holes: Literal[True]
) -> Iterator[Member | memoryview | Hole]: ...
def members(
    chunks: Iterable[ReadableBuffer],
    *,
    subject: str,
    note: Callable[[int], None] = lambda _start: None,
    holes: bool = False,
) -> Iterator[Member | memoryview | Hole]:
    """Every member of a plain tar file, each followed by its bytes in pieces.

    A piece is good until the next is asked for. ``chunks`` is read to its end; for what lies behind
    the archive empty pieces come. Memory does not grow with it. Global pax headers are passed over,
    as container engines do. A sparse member comes as the file it stands for.

    Args:
        note: Told where the first header of each member begins, before the member comes: bytes from
            where ``chunks`` begins, so that it can be read again from there.
        holes: Give a Hole for each that a sparse member has, not its zeros.
    Raises:
        FailedPrecondition: No tar file, or a name that leads out of the root.
        DataLoss: Damaged or truncated.
        ResourceExhausted: Over MAX_EXTENSION, MAX_NAME, MAX_MAP or MAX_ZEROS.
        Unimplemented: A member of an unknown kind.
    """
    stream = _Stream(chunks, subject)
    records: dict[bytes, bytes] = {}
    first, extensions, start, zeros = True, 0, 0, 0
    while (head := _header(stream, subject, first=first)) is not None:
        first, extensions = False, extensions + 1
        if extensions > _MAX_EXTENSIONS:
            raise ResourceExhausted(f"{subject}: over {_MAX_EXTENSIONS} headers for one member")
        if head.kind in EXTENSIONS:
            _extend(records, head, _extension(stream, head.size, subject), subject)
            continue
        sparse = sparse_map(head, records, stream, subject)
        member = _member(head, records, sparse, subject)
        records, extensions = {}, 0
        note(start)
        yield member
        if sparse is not None:
            zeros += 0 if holes else sparse.size - sparse.stored
            if zeros > MAX_ZEROS:
                raise ResourceExhausted(f"{subject}: its sparse members have over {MAX_ZEROS} bytes of holes")
            yield from expanded(sparse, stream, holes=holes)
            stream.exactly(-sparse.stored % BLOCK)
        elif member.kind == REGULAR:
            yield from stream.pieces(member.size)
            stream.exactly(-member.size % BLOCK)
        start = stream.offset
    if records:
        raise DataLoss(f"{subject}: truncated: what an extension header is about is missing")
    yield from stream.rest()


def _extend(records: dict[bytes, bytes], head: Header, data: bytes, subject: str) -> None:
    """Note what an extension header says about the member after it."""
    if head.kind == PAX:
        said = paxrecords.parsed(data, subject=subject)
        records |= {key: value for key, value in said.items() if value or key not in _OWN}
    elif head.kind != PAX_GLOBAL:
        records[b"path" if head.kind == LONG_NAME else b"linkpath"] = data.split(b"\0", 1)[0]


class _Stream:
    """Bytes that come in pieces, taken in other pieces."""

    def __init__(self, chunks: Iterable[ReadableBuffer], subject: str) -> None:
        self._chunks = iter(chunks)
        self._subject = subject
        self._left = memoryview(b"")
        self.offset = 0  # of what is taken next

    def exactly(self, size: int, *, may_end: bool = False) -> bytes:
        """The next ``size`` bytes; none at all at the end, if it ``may_end`` here.

        Raises:
            DataLoss: There are fewer.
        """
        if not size:
            return b""
        if size <= len(self._left):
            data, self._left = bytes(self._left[:size]), self._left[size:]
            self.offset += size
            return data
        data = b"".join(bytes(piece) for piece in self._up_to(size))
        if len(data) < size and (data or not may_end):
            raise DataLoss(f"{self._subject}: truncated within a member")
        return data

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes, as they come.

        Raises:
            DataLoss: There are fewer.
        """
        for piece in self._up_to(size):
            size -= len(piece)
            yield piece
        if size:
            raise DataLoss(f"{self._subject}: truncated: {size} bytes are missing of a member")

    def rest(self) -> Iterator[memoryview]:
        """Take all that is left; an empty piece for each."""
        for _ in self._chunks:
            yield memoryview(b"")

    def _up_to(self, size: int) -> Iterator[memoryview]:
        while size:
            if not self._left:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._left = memoryview(chunk).cast("B")
            piece, self._left = self._left[:size], self._left[size:]
            size -= len(piece)
            self.offset += len(piece)
            if piece:
                yield piece


def _header(stream: _Stream, subject: str, *, first: bool) -> Header | None:
    """The next header, None at the end of the archive."""
    try:
        block = stream.exactly(BLOCK, may_end=not first)
    except DataLoss as error:
        if first:
            raise FailedPrecondition(f"{subject}: not a tar file") from error
        raise
    if not block or block == _NOTHING:
        return None
    try:
        head = Header(block)
    except BadHeader as error:
        if first:
            raise FailedPrecondition(f"{subject}: not a tar file") from error
        raise DataLoss(f"{subject}: damaged: no member where one should begin") from error
    if head.size < 0:
        raise DataLoss(f"{subject}: damaged: a member of {head.size} bytes")
    return head


def _extension(stream: _Stream, size: int, subject: str) -> bytes:
    if size > MAX_EXTENSION:
        raise ResourceExhausted(f"{subject}: an extension header of {size} bytes")
    data = stream.exactly(size)
    stream.exactly(-size % BLOCK)
    return data


class _Said:
    """Records that stand for fields of a header; what is asked for is taken out of them."""

    def __init__(self, records: dict[bytes, bytes], subject: str) -> None:
        self._records = records
        self._subject = subject

    def text(self, key: bytes, own: bytes) -> str:
        value = self._records.pop(key, None) if self._records else None
        if value is None:
            value = own
        elif b"\0" in value:
            raise FailedPrecondition(f"{self._subject}: a {key.decode()} with a NUL in it")
        return value.decode("utf-8", "surrogateescape")

    def number(self, key: bytes, own: int) -> int:
        value = self._records.pop(key, None)
        if value is None:
            return own
        if not _NUMBER.fullmatch(value):
            raise DataLoss(f"{self._subject}: damaged: bad {key.decode()} in pax records")
        return int(value)


def _member(head: Header, records: dict[bytes, bytes], sparse: Sparse | None, subject: str) -> Member:
    """A header and the records before it."""
    said = _Said(records, subject)
    raw = said.text(b"path", head.name)
    name, link = clean(raw, subject=subject), said.text(b"linkpath", head.link)
    kind = _KINDS.get(head.kind)
    if kind is None:
        raise Unimplemented(f"{subject}: {shown(raw)} is of an unknown kind, {head.kind!r}")
    if kind == REGULAR and head.kind == b"\0" and raw.endswith("/"):
        kind = FOLDER  # as tar files of before 1988 have it
    if kind == HARD_LINK:
        link = clean(link, subject=subject)
    size = said.number(b"size", head.size)
    meta = Meta(
        mode=head.mode & 0o7777,
        uid=said.number(b"uid", head.uid),
        gid=said.number(b"gid", head.gid),
        mtime=_time(head, records, subject),
        uname=said.text(b"uname", head.uname),
        gname=said.text(b"gname", head.gname),
        records=tuple(sorted(records.items())) if records else (),
    )
    return Member(
        name=name,
        kind=kind,
        meta=meta,
        link=link if kind in (HARD_LINK, SYMLINK) else "",
        size=(size if sparse is None else sparse.size) if kind == REGULAR else 0,
        device=head.device if kind in _DEVICES else (0, 0),
    )


def _time(head: Header, records: dict[bytes, bytes], subject: str) -> int:
    """Whole seconds; a record with parts of one stays, as readers prefer it."""
    value = records.get(b"mtime")
    if value is None:
        return head.mtime
    found = _TIME.fullmatch(value)
    if not found:
        raise DataLoss(f"{subject}: damaged: bad mtime in pax records")
    if not (found[2] or b"").strip(b"0"):
        del records[b"mtime"]
    return int(found[1])


def header(member: Member) -> bytes:
    """The header of a member: POSIX ustar, with pax records before it where that is too narrow.

    Raises:
        FailedPrecondition: A device whose numbers no tar file can have.
    """
    meta, name = member.meta, member.name or "."
    if member.kind == FOLDER:
        name = f"{name}/"
    records = dict(meta.records)
    link = _field(records, b"linkpath", member.link, 100)
    path = _field(records, b"path", name, 100)
    if max(member.device) > _NARROW:
        raise FailedPrecondition(f"{shown(member.name)}: device numbers {member.device} do not fit")
    block = b"".join(
        (
            path.ljust(100, b"\0"),
            b"%07o\0" % meta.mode,
            b"%07o\0" % _digits(records, b"uid", meta.uid, _NARROW),
            b"%07o\0" % _digits(records, b"gid", meta.gid, _NARROW),
            b"%011o\0" % _digits(records, b"size", member.size, _WIDE),
            b"%011o\0" % _digits(records, b"mtime", meta.mtime, _WIDE),
            b" " * 8,
            member.kind,
            link.ljust(100, b"\0"),
            b"ustar\x0000",
            _field(records, b"uname", meta.uname, 31).ljust(32, b"\0"),
            _field(records, b"gname", meta.gname, 31).ljust(32, b"\0"),
            b"%07o\0%07o\0" % member.device,
            bytes(167),
        )
    )
    return _extended(records) + summed(block)


def padding(size: int) -> bytes:
    """What follows ``size`` bytes of a member."""
    return bytes(-size % BLOCK)


def _field(records: dict[bytes, bytes], key: bytes, text: str, room: int) -> bytes:
    """The bytes of a text field; a record tells what does not fit, or is not ASCII."""
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > room or not text.isascii():
        records[key] = data
    return data[:room]


def _digits(records: dict[bytes, bytes], key: bytes, value: int, most: int) -> int:
    if 0 <= value <= most:
        return value
    records.setdefault(key, b"%d" % value)  # one with parts of a second is there already
    return 0


def _extended(records: dict[bytes, bytes]) -> bytes:
    """The extension header for ``records``, nothing without any."""
    data = paxrecords.formatted(records)
    if not data:
        return b""
    block = b"".join(
        (
            b"././@PaxHeader".ljust(100, b"\0"),
            b"0000644\x000000000\x000000000\0",
            b"%011o\x0000000000000\0" % len(data),
            b" " * 8,
            PAX,
            bytes(100),
            b"ustar\x0000",
            bytes(64),
            b"0000000\x000000000\0",
            bytes(167),
        )
    )
    return summed(block) + data + padding(len(data))
