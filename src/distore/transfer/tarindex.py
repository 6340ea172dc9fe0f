"""TarArchive: where in a tar file its members lie. Nothing is ever extracted."""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.content.slices import SliceReader
from distore.diff.frames import HEAD, compression_of
from distore.errors import DataLoss, FailedPrecondition, ResourceExhausted, Unimplemented
from distore.transfer.unpacking import Unpacker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

MAX_MEMBERS: Final = 200_000
MAX_EXTENSION: Final = 1024 * 1024  # bytes of a long name or of pax records
MAX_NAME: Final = 1024  # characters; no image archive has longer ones
MAX_NAMES: Final = 32 * 1024 * 1024  # characters of all names and links together
_MAX_LINKS: Final = 8  # links that follow each other
_CHUNK: Final = 1024 * 1024  # bytes
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_PAX_KEYS: Final = (b"path", b"linkpath", b"size")
_SPARSE: Final = b"S"
_BLOBS: Final = "blobs/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Where the bytes of a member lie: ``offset`` and ``size`` in bytes."""

    offset: int
    size: int


class TarArchive:
    """An open tar file, plain, gzip or (where Python can) zstd. Safe to share between threads.

    A compressed one is unpacked once, into an unnamed file in the folder for temporary files.

    Args:
        subject: What messages call it.
    Raises:
        NotFound: No such file.
        FailedPrecondition: No tar file, or one with ambiguous blobs.
        ResourceExhausted: Over MAX_MEMBERS, MAX_NAMES or MAX_EXTENSION.
        DataLoss: Truncated or damaged.
        Unimplemented: Compressed with zstd, or with sparse members.
        DiskFull: No room to unpack it.
    """

    def __init__(self, path: str, *, subject: str) -> None:
        self._subject = subject
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self._fd = _open(path, subject)
        try:
            self._unpack()
            self._index()
        except BaseException:
            self.close()
            raise

    def find(self, name: str) -> Member | None:
        """A regular file by its name; links are followed within the archive."""
        found = clean_name(name) or ""
        for _ in range(_MAX_LINKS):
            if found not in self._links:
                return self._files.get(found)
            found = self._links[found]
        raise FailedPrecondition(f"{self._subject}: links that lead to each other")

    def read(self, name: str, *, limit: int) -> bytes | None:
        """A whole small member, None when it is missing.

        Raises:
            ResourceExhausted: It has more than ``limit`` bytes.
        """
        member = self.find(name)
        if member is None:
            return None
        if member.size > limit:
            raise ResourceExhausted(
                f"{self._subject}: {name[:80]!a} has {member.size} bytes, the limit is {limit}"
            )
        with self.reader(member) as reader:
            return reader.read_at(member.size, 0)

    def reader(self, member: Member) -> SliceReader:
        """Open a member; the reader outlives the archive."""
        if self._fd < 0:
            raise FailedPrecondition(f"{self._subject}: read from a closed archive")
        return SliceReader(self._fd, start=member.offset, size=member.size, subject=self._subject)

    def close(self) -> None:
        """Release it; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _unpack(self) -> None:
        with translated(self._subject):
            if compression_of(os.pread(self._fd, HEAD, 0)) is None:
                return
        with (
            translated(f"{self._subject}: unpacking it in {tempfile.gettempdir()}"),
            tempfile.TemporaryFile(buffering=0) as plain,
        ):
            fd = plain.fileno()

            def take(data: ReadableBuffer) -> None:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]

            unpacker = Unpacker(take, subject=self._subject)
            offset = 0
            while data := os.pread(self._fd, _CHUNK, offset):
                unpacker.feed(data)
                offset += len(data)
            unpacker.finish()
            packed, self._fd = self._fd, os.dup(fd)
            os.close(packed)

    def _index(self) -> None:
        room = MAX_NAMES
        with translated(self._subject):
            for info, offset in _members(self._fd, self._subject):
                name = clean_name(info.name)
                if name is None:
                    continue
                room -= len(name) + min(len(info.linkname), MAX_NAME)
                if room < 0:
                    raise ResourceExhausted(f"{self._subject}: names of over {MAX_NAMES} characters")
                self._links.pop(name, None)
                if info.isreg():
                    self._add(name, Member(offset=offset, size=info.size))
                    continue
                self._files.pop(name, None)
                if info.issym() or info.islnk():
                    # A symbolic link is relative to its own folder, a hard link to the archive.
                    folder = posixpath.dirname(name) if info.issym() else ""
                    target = clean_name(posixpath.normpath(posixpath.join(folder, info.linkname)))
                    if target is not None:
                        self._links[name] = target

    def _add(self, name: str, member: Member) -> None:
        """A later member of a name takes the place of the earlier, as it would by extraction; of a
        blob, whose bytes its name tells, one is as good as the other."""
        old = self._files.get(name)
        if old is not None and name.startswith(_BLOBS):
            if old.size != member.size:
                raise FailedPrecondition(f"{self._subject}: holds {name[:80]!a} twice, with other sizes")
            return
        self._files[name] = member


def _open(path: str, subject: str) -> int:
    with translated(subject):
        # Not blocking: a fifo would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FailedPrecondition(f"{subject}: not a regular file")
        return fd


def _members(fd: int, subject: str) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Every member and the offset of its bytes; extensions are applied and not shown.

    tarfile.TarFile would do it, but reads extensions of any size into memory.
    """
    end, offset, count = os.fstat(fd).st_size, 0, 0
    changes: dict[str, str] = {}
    while (info := _header(fd, offset, subject)) is not None:
        offset += tarfile.BLOCKSIZE
        count += 1
        if count > MAX_MEMBERS:
            raise ResourceExhausted(f"{subject}: over {MAX_MEMBERS} members: not the archive of an image")
        if info.type in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            if not 0 <= info.size <= MAX_EXTENSION:
                raise ResourceExhausted(f"{subject}: an extension header of {info.size} bytes")
            data = os.pread(fd, info.size, offset)
            if info.type != _PAX_GLOBAL:  # those say nothing that is needed here
                changes.update(read_extension(info.type, data, subject))
        else:
            apply_extension(info, changes, subject)
            changes = {}
            yield info, offset
        if not (info.isreg() or info.type not in tarfile.SUPPORTED_TYPES or info.type in b"LKxg"):
            continue  # links, folders and devices have no bytes, whatever their header says
        if not 0 <= info.size <= end - offset:
            raise DataLoss(f"{subject}: truncated: {info.size} bytes should follow byte {offset}")
        offset += -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    if not count:
        raise FailedPrecondition(f"{subject}: not a tar file, or an empty one")


def _header(fd: int, offset: int, subject: str) -> tarfile.TarInfo | None:
    """The header at ``offset``, None at the end of the archive."""
    block = os.pread(fd, tarfile.BLOCKSIZE, offset)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]  # typeshed
        return None
    except tarfile.HeaderError as error:
        if not offset:
            raise FailedPrecondition(f"{subject}: not a tar file") from error
        raise DataLoss(f"{subject}: damaged: no member begins at byte {offset}") from error
    if info.type == _SPARSE:
        raise Unimplemented(f"{subject}: has sparse members; make it without tar --sparse")
    return info


def read_extension(kind: bytes, data: bytes, subject: str) -> dict[str, str]:
    """What an extension header says about the next member."""
    if kind == _PAX:
        return _pax(data, subject)
    text = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return {"path" if kind == _LONG_NAME else "linkpath": text}


def _pax(data: bytes, subject: str) -> dict[str, str]:
    """Records of the form ``length key=value\\n`` (POSIX, pax, "pax Extended Header")."""
    records: dict[str, str] = {}
    start = 0
    while start < len(data) and data[start]:
        digits, space, _ = data[start : start + 9].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        key, equals, value = data[start + len(digits) + 1 : start + length].partition(b"=")
        if length > len(data) - start or not equals or not value.endswith(b"\n"):
            raise DataLoss(f"{subject}: damaged: bad pax records")
        if key in _PAX_KEYS:  # others may be many, before one member
            records[key.decode()] = value[:-1].decode("utf-8", "surrogateescape")
        start += length
    return records


def apply_extension(info: tarfile.TarInfo, changes: dict[str, str], subject: str) -> None:
    info.name = changes.get("path", info.name)
    info.linkname = changes.get("linkpath", info.linkname)
    size = changes.get("size")
    if size is not None:
        if not size.isascii() or not size.isdigit() or len(size) > 19:
            raise DataLoss(f"{subject}: damaged: bad size in pax records")
        info.size = int(size)


def clean_name(name: str) -> str | None:
    """A name as it is looked up; None for one that no image archive has."""
    while name.startswith("./"):
        name = name[2:]
    if not name or len(name) > MAX_NAME or name.startswith("/") or ".." in name.split("/"):
        return None
    return name
