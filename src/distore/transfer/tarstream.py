"""TarStream: the members of a tar file that comes once, in pieces, and cannot be read back."""

from __future__ import annotations

import posixpath
import tarfile
from typing import TYPE_CHECKING, Final, Protocol

from distore.errors import DataLoss, FailedPrecondition, ResourceExhausted, Unimplemented
from distore.transfer import tarindex
from distore.transfer.tarindex import MAX_EXTENSION, MAX_MEMBERS, MAX_NAME, MAX_NAMES

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_EXTENSIONS: Final = (b"L", b"K", b"x", b"g")
_PAX_GLOBAL: Final = b"g"
_SPARSE: Final = b"S"


class Taker(Protocol):
    """Gets what is in a tar file, in its order. Names are relative and lead nowhere else."""

    def begin(self, name: str, size: int, /) -> None:
        """A regular file of ``size`` bytes begins."""
        ...

    def take(self, data: bytes | memoryview, /) -> None:
        """Its next bytes; a view is good until this returns."""
        ...

    def end(self) -> None:
        """It is whole."""
        ...

    def link(self, name: str, target: str | None, /) -> None:
        """A link to another member, or with None a thing that is no file; it takes the name."""
        ...


class TarStream:
    """Finds out where members begin and end; nothing is kept but one header or extension.

    Args:
        subject: What messages call the tar file.
    """

    def __init__(self, taker: Taker, *, subject: str) -> None:
        self._taker = taker
        self._subject = subject
        self._held = bytearray()  # of a header or an extension
        self._extension: tarfile.TarInfo | None = None  # whose bytes are being held
        self._changes: dict[str, str] = {}  # what extensions say about the next member
        self._body = self._padding = 0  # bytes of the member that are still to come
        self._taken = False  # whether somebody wants them
        self._offset = self._count = 0
        self._room = MAX_NAMES
        self.ended = False  # the mark of the end was seen; what comes behind it is padding

    def feed(self, data: ReadableBuffer, /) -> None:
        """Take the next bytes.

        Raises:
            FailedPrecondition: It is no tar file.
            DataLoss: It is damaged.
            ResourceExhausted: Over MAX_MEMBERS, MAX_NAMES or MAX_EXTENSION.
            Unimplemented: It has sparse members.
        """
        view = memoryview(data).cast("B")
        while view and not self.ended:
            if self._body:
                size = min(self._body, len(view))
                self._pass_on(data if isinstance(data, bytes) and size == len(data) else view[:size])
            elif self._padding:
                size = min(self._padding, len(view))
                self._padding -= size
            else:
                size = min(self._wanted() - len(self._held), len(view))
                self._held += view[:size]
                if len(self._held) == self._wanted():
                    held, self._held = bytes(self._held), bytearray()
                    self._complete(held)
            view = view[size:]
            self._offset += size

    def finish(self) -> None:
        """There are no more.

        Raises:
            FailedPrecondition: There was no tar file.
            DataLoss: The end is missing.
        """
        if not self._count:
            raise FailedPrecondition(f"{self._subject}: not a tar file, or an empty one")
        if self._body or self._held or self._extension is not None:
            missing = self._body or self._wanted() - len(self._held)
            raise DataLoss(
                f"{self._subject}: truncated: {missing} bytes more should follow byte {self._offset}"
            )

    def _wanted(self) -> int:
        return tarfile.BLOCKSIZE if self._extension is None else self._extension.size

    def _pass_on(self, data: bytes | memoryview) -> None:
        self._body -= len(data)
        if self._taken:
            self._taker.take(data)
            if not self._body:
                self._taker.end()

    def _complete(self, held: bytes) -> None:
        """A header, or the bytes of an extension, is whole."""
        if self._extension is not None:
            extension, self._extension = self._extension, None
            self._padding = -extension.size % tarfile.BLOCKSIZE
            if extension.type != _PAX_GLOBAL:  # those say nothing that is needed here
                self._changes.update(tarindex.read_extension(extension.type, held, self._subject))
            return
        info = self._header(held)
        if info is None:
            self.ended = True
        elif info.type in _EXTENSIONS:
            if not 0 <= info.size <= MAX_EXTENSION:
                raise ResourceExhausted(f"{self._subject}: an extension header of {info.size} bytes")
            if info.size:
                self._extension = info
        else:
            tarindex.apply_extension(info, self._changes, self._subject)
            self._changes = {}
            self._member(info)

    def _header(self, block: bytes) -> tarfile.TarInfo | None:
        """None at the end of the archive."""
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed
            return None
        except tarfile.HeaderError as error:
            if not self._count:
                raise FailedPrecondition(f"{self._subject}: not a tar file") from error
            raise DataLoss(
                f"{self._subject}: damaged: no member begins before byte {self._offset}"
            ) from error
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise ResourceExhausted(
                f"{self._subject}: over {MAX_MEMBERS} members: not the archive of an image"
            )
        if info.type == _SPARSE:
            raise Unimplemented(f"{self._subject}: has sparse members; make it without tar --sparse")
        return info

    def _member(self, info: tarfile.TarInfo) -> None:
        if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES:  # others have no bytes
            if info.size < 0:
                raise DataLoss(f"{self._subject}: damaged: a member of {info.size} bytes")
            self._body, self._padding = info.size, -info.size % tarfile.BLOCKSIZE
        name = tarindex.clean_name(info.name)
        self._taken = name is not None and info.isreg()
        if name is None:
            return
        self._room -= len(name) + min(len(info.linkname), MAX_NAME)
        if self._room < 0:
            raise ResourceExhausted(f"{self._subject}: names of over {MAX_NAMES} characters")
        if not info.isreg():
            self._taker.link(name, _target(info, name))
            return
        self._taker.begin(name, info.size)
        if not info.size:
            self._taker.end()


def _target(info: tarfile.TarInfo, name: str) -> str | None:
    """A symbolic link is relative to its own folder, a hard link to the archive."""
    if not (info.issym() or info.islnk()):
        return None
    folder = posixpath.dirname(name) if info.issym() else ""
    return tarindex.clean_name(posixpath.normpath(posixpath.join(folder, info.linkname)))
