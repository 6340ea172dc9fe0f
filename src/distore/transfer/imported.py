"""What an import reads: an archive or a layout, and the store behind it."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from distore._internal.oserrors import translated
from distore.content.blobs import read_blob
from distore.content.slices import BytesReader, SliceReader
from distore.errors import FailedPrecondition, NotFound, ResourceExhausted
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.remotes.mismatch import wrong_digest, wrong_size
from distore.transfer.archive import blob_name
from distore.transfer.tarindex import TarArchive

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Reader
    from distore.errors import DistoreError
    from distore.oci.descriptor import Descriptor
    from distore.transfer.storesink import SinkStore
    from distore.transfer.tarindex import Member

MAX_READ: Final = 1024 * 1024 * 1024  # bytes of documents, each as often as it is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of an archive or a layout: ``size`` in bytes, ``digest`` of its bytes where that is
    known, and how to open it. ``place`` is the same for the same file, by whatever name it was found."""

    size: int
    place: object
    digest: Digest | None = None
    open: Callable[[], Reader] = field(repr=False)


class Contents(Protocol):
    """An archive or a layout. Safe to share between threads."""

    @property
    def failure(self) -> DistoreError | None:
        """Why the end of it is missing; None when all is there."""
        ...

    def read(self, name: str, /, *, limit: int) -> bytes | None:
        """A whole small file, None when it is missing.

        Raises:
            ResourceExhausted: It has more than ``limit`` bytes.
        """
        ...

    def find(self, name: str, /) -> Part | None:
        """A file by its name; links are followed within the archive."""
        ...

    def blob(self, digest: Digest, /) -> Part | None:
        """A blob of the layout.

        Raises:
            DistoreError: It is there and is not what its name says, as far as that is known.
        """
        ...

    def close(self) -> None:
        """Release it; a second call does nothing."""
        ...


def whole(part: Part | None, name: str, *, limit: int, subject: str) -> bytes | None:
    """All of a small file, None when there is none.

    Raises:
        ResourceExhausted: It has more than ``limit`` bytes.
    """
    if part is None:
        return None
    if part.size > limit:
        raise ResourceExhausted(f"{subject}: {name[:80]!a} has {part.size} bytes, the limit is {limit}")
    with part.open() as reader:
        return reader.read_at(part.size, 0)


class TarContents:
    """Contents of a plain tar file, by an index of its members.

    Raises:
        DistoreError: As TarArchive.
    """

    failure: DistoreError | None = None

    def __init__(self, path: str, *, subject: str) -> None:
        self._tar = TarArchive(path, subject=subject)

    def read(self, name: str, /, *, limit: int) -> bytes | None:
        return self._tar.read(name, limit=limit)

    def find(self, name: str, /) -> Part | None:
        member = self._tar.find(name)
        return None if member is None else self._part(member, None)

    def blob(self, digest: Digest, /) -> Part | None:
        member = self._tar.find(blob_name(digest))
        return None if member is None else self._part(member, digest)

    def close(self) -> None:
        self._tar.close()

    def _part(self, member: Member, digest: Digest | None) -> Part:
        return Part(
            size=member.size, place=member.offset, digest=digest, open=lambda: self._tar.reader(member)
        )


class FolderContents:
    """Contents of an image layout in a folder."""

    failure: DistoreError | None = None

    def __init__(self, path: str, *, subject: str) -> None:
        self._path = path
        self._subject = subject

    def read(self, name: str, /, *, limit: int) -> bytes | None:
        return whole(self.find(name), name, limit=limit, subject=self._subject)

    def find(self, name: str, /) -> Part | None:
        """A regular file; links are not followed, for they may lead anywhere."""
        return self._part(name, follow=False)

    def blob(self, digest: Digest, /) -> Part | None:
        """As Contents. ``blobs`` may be a link to a folder that layouts share: what is there is
        what its name says, or refused."""
        return self._part(blob_name(digest), follow=True)

    def close(self) -> None:
        """Nothing is held."""

    def _part(self, name: str, *, follow: bool) -> Part | None:
        fd = self._open(name, follow=follow)
        if fd is None:
            return None
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        place = (found.st_dev, found.st_ino)
        return Part(size=found.st_size, place=place, open=lambda: self._reader(name, found.st_size, follow))

    def _open(self, name: str, *, follow: bool) -> int | None:
        """Open a regular file; ``follow`` links to folders on the way to it."""
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            return None
        *folders, _ = name.split("/")
        with translated(f"{self._subject}: {name[:80]!a}"):
            for depth in range(0 if follow else len(folders)):
                if os.path.islink(os.path.join(self._path, *folders[: depth + 1])):
                    raise self._is_none(name)
            try:
                # Not blocking: a fifo would wait for ever.
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                fd = os.open(os.path.join(self._path, name), flags)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a socket
                    raise self._is_none(name) from error
                raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise self._is_none(name)
        return fd

    def _is_none(self, name: str) -> FailedPrecondition:
        return FailedPrecondition(f"{self._subject}: {name[:80]!a} is not a regular file, or behind a link")

    def _reader(self, name: str, size: int, follow: bool) -> Reader:
        fd = self._open(name, follow=follow)
        if fd is None:
            raise NotFound(f"{self._subject}: {name[:80]!a} has gone")
        try:
            return SliceReader(fd, start=0, size=size, subject=self._subject)
        finally:
            os.close(fd)


class Supply:
    """A Provider of what is imported; what the archive lacks comes from the store.

    Args:
        subject: What messages call the archive.
    """

    def __init__(self, contents: Contents, store: SinkStore, *, subject: str) -> None:
        self._contents = contents
        self._store = store
        self._subject = subject
        self._added: dict[Digest, Part] = {}
        self._room = MAX_READ

    def add(self, digest: Digest, part: Part) -> None:
        """Have a blob that the layout does not name so."""
        self._added.setdefault(digest, part)

    def add_bytes(self, data: bytes, digest: Digest) -> None:
        """Have a blob that is in no file."""
        subject = f"{self._subject}: {digest}"
        part = Part(
            size=len(data), place=digest, digest=digest, open=lambda: BytesReader(data, subject=subject)
        )
        self.add(digest, part)

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob, None when it is nowhere.

        Raises:
            DistoreError: It is damaged.
        """
        part = self._part(digest)
        if part is not None:
            return part.size
        try:
            return self._store.info(digest).size
        except NotFound:
            return None

    def reader(self, digest: Digest, /) -> Reader:
        part = self._part(digest)
        if part is not None:
            return part.open()
        try:
            return self._store.reader(digest)
        except NotFound as error:
            raise self.absent(digest) from error

    def document(self, descriptor: Descriptor, /) -> bytes:
        """As Documents.

        Raises:
            ResourceExhausted: MAX_READ were read: documents name each other again and again.
        """
        digest = descriptor.digest
        self._room -= descriptor.size
        if self._room < 0:
            raise ResourceExhausted(f"{self._subject}: over {MAX_READ} bytes of manifests to read")
        part = self._part(digest)
        if part is None:
            try:
                return read_blob(self._store, digest, max_size=MAX_MANIFEST_SIZE)
            except NotFound as error:
                raise self.absent(digest) from error
        subject = f"{self._subject}: {digest}"
        if part.size > MAX_MANIFEST_SIZE:
            raise ResourceExhausted(
                f"{subject}: a manifest of {part.size} bytes, the limit is {MAX_MANIFEST_SIZE}"
            )
        if part.size != descriptor.size:
            raise wrong_size(subject, expected=descriptor.size, actual=part.size)
        with part.open() as reader:
            data = reader.read_at(part.size, 0)
        actual = Digest.of(data, algorithm=digest.algorithm)
        if actual != digest:
            raise wrong_digest(subject, expected=digest, actual=actual)
        return data

    def absent(self, digest: Digest, named_by: str = "") -> NotFound:
        """The error for what is nowhere."""
        because = f", which manifest {named_by} names," if named_by else ""
        return NotFound(f"{self._subject}: {digest}{because} is neither in it nor in the store")

    def _part(self, digest: Digest) -> Part | None:
        return self._added.get(digest) or self._contents.blob(digest)
