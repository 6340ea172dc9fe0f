"""Intake: what is in a tar file that comes once goes into the store while it comes."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.content.blobs import open_writer
from distore.content.slices import BytesReader
from distore.diff.frames import HEAD, compression_of
from distore.errors import (
    AlreadyExists,
    DataLoss,
    DigestMismatch,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.remotes.mismatch import wrong_digest, wrong_size
from distore.remotes.refkey import ref_key
from distore.transfer.archive import DOCKER_FILE
from distore.transfer.imported import FolderContents, Part, TarContents, whole
from distore.transfer.ociindex import INDEX_FILE, LAYOUT_FILE, MAX_INDEX_SIZE, MAX_LAYOUT_SIZE
from distore.transfer.progress import Done, Moved, Started
from distore.transfer.scratch import FILE, drop, open_scratch
from distore.transfer.space import check_space
from distore.transfer.tarstream import TarStream
from distore.transfer.unpacking import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import BinaryIO

    from distore.content.store import Reader, Writer
    from distore.transfer.imported import Contents
    from distore.transfer.progress import Event
    from distore.transfer.storesink import SinkStore

_CHUNK: Final = 1024 * 1024  # bytes
_SMALL: Final = 64 * 1024  # bytes; what is smaller stays in memory until it is known what it is
_KEPT: Final = 32 * 1024 * 1024  # bytes of all that is small
_AFTER: Final = 64 * 1024 * 1024  # bytes behind the end that are read, so that the sender can end well
_TELL: Final = 0.2  # seconds between two events of a blob
_LINKS: Final = 8  # links that follow each other
_WHOLE: Final = {  # files that say what is in the archive, and bytes they may have
    INDEX_FILE: MAX_INDEX_SIZE,
    LAYOUT_FILE: MAX_LAYOUT_SIZE,
    DOCKER_FILE: MAX_MANIFEST_SIZE,
}


@dataclass(slots=True, kw_only=True)
class _Open:
    """The file that is coming, and where its bytes go: into ``data``, ``writer``, or nowhere."""

    name: str
    size: int
    digest: Digest | None
    data: bytearray | None = None
    writer: Writer | None = None
    done: int = 0
    told: float = 0.0


class Intake:
    """A Taker, and then Contents. Blobs are verified when they are whole; what is small, or says
    what is in the archive, stays in memory.

    Args:
        subject: What messages call the archive.
        brought: Gets the digest of every blob that is new in the store.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: SinkStore,
        *,
        subject: str,
        brought: Callable[[Digest], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._subject = subject
        self._brought = brought
        self._clock = clock
        self._files: dict[str, Part] = {}
        self._links: dict[str, str] = {}
        self._blobs: dict[Digest, Part] = {}
        self._bad: dict[Digest, DistoreError] = {}
        self._kept = 0
        self._open: _Open | None = None
        self._events: list[Event] = []
        self.failure: DistoreError | None = None

    def drink(self, source: BinaryIO) -> Iterator[Event]:
        """Read all of ``source``, plain or compressed; yields what happens.

        An archive that breaks off leaves ``failure`` and what came until then.

        Raises:
            FailedPrecondition, ResourceExhausted, Unimplemented: As TarStream and Unpacker.
            DiskFull: There is no room for a blob.
        """
        tar = TarStream(self, subject=self._subject)
        unpacker = Unpacker(tar.feed, subject=self._subject)
        after = 0
        try:
            while not tar.ended and (data := self._read(source)):
                unpacker.feed(data)
                yield from self._told()
            if not tar.ended:
                unpacker.finish()
            tar.finish()
            # Nothing is unpacked any more: little may stand for much.
            while tar.ended and after < _AFTER and (data := self._read(source)):
                after += len(data)
            if not tar.ended:
                self.failure = DataLoss(f"{self._subject}: truncated: the mark of its end is missing")
        except DataLoss as error:
            self.failure = error
        finally:
            self._give_up()
        yield from self._told()

    # Taker

    def begin(self, name: str, size: int, /) -> None:
        digest = _digest(name)
        self._links.pop(name, None)
        self._open = opened = _Open(name=name, size=size, digest=digest)
        if digest is not None and not self._is_wanted(digest, size):
            return
        limit = _WHOLE.get(name)
        if limit is not None and size > limit:
            self._files[name] = Part(size=size, place=name, open=self._refuse)
        elif limit is not None or (size <= _SMALL and self._kept + size <= _KEPT):
            self._kept += size
            opened.data = bytearray()
        elif digest is None and size <= _SMALL:
            raise ResourceExhausted(
                f"{self._subject}: over {_KEPT} bytes of small files: not the archive of an image"
            )
        else:
            opened.writer = self._writer(digest, size)
            if digest is not None and opened.writer is not None:
                self._tell(Started(digest=digest, media_type=mediatypes.OCTET_STREAM, size=size, offset=0))

    def take(self, data: bytes | memoryview, /) -> None:
        opened = self._opened()
        opened.done += len(data)
        if opened.data is not None:
            opened.data += data
        elif opened.writer is not None:
            # Bytes that cannot change are still being hashed while the next ones are read.
            opened.writer.write(bytes(data))
            self._move(opened)

    def end(self) -> None:
        opened = self._opened()
        self._open = None
        if opened.data is not None:
            data = bytes(opened.data)
            part = Part(
                size=opened.size, place=opened.name, open=lambda: BytesReader(data, subject=self._subject)
            )
            self._add(opened, part)
        elif opened.writer is not None:
            with opened.writer as writer:
                self._commit(opened, writer)

    def link(self, name: str, target: str | None, /) -> None:
        self._files.pop(name, None)
        self._links.pop(name, None)
        if target is not None:
            self._links[name] = target

    # Contents

    def read(self, name: str, /, *, limit: int) -> bytes | None:
        return whole(self.find(name), name, limit=limit, subject=self._subject)

    def find(self, name: str, /) -> Part | None:
        for _ in range(_LINKS):
            if name not in self._links:
                digest = _digest(name)
                return self._files.get(name) if digest is None else self.blob(digest)
            name = self._links[name]
        raise FailedPrecondition(f"{self._subject}: links that lead to each other")

    def blob(self, digest: Digest, /) -> Part | None:
        if digest in self._bad:
            raise self._bad[digest]
        return self._blobs.get(digest)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _read(self, source: BinaryIO) -> bytes:
        with translated(self._subject):
            return source.read(_CHUNK) or b""

    def _is_wanted(self, digest: Digest, size: int) -> bool:
        """Whether the bytes of a blob are needed: not when they came before, or are in the store."""
        old = self._blobs.get(digest)
        if old is not None:
            if old.size != size:
                self._bad[digest] = FailedPrecondition(
                    f"{self._subject}: holds {digest} twice, with other sizes"
                )
            return False
        try:
            there = self._store.info(digest).size
        except NotFound:
            return digest not in self._bad
        self._keep_stored(digest, there)
        if there != size:
            self._bad[digest] = wrong_size(f"{self._subject}: {digest}", expected=there, actual=size)
        return False

    def _writer(self, digest: Digest | None, size: int) -> Writer | None:
        check_space(self._store, size, subject=self._subject)
        try:
            if digest is not None:
                ref = ref_key(mediatypes.OCTET_STREAM, digest)
                writer: Writer = open_writer(
                    self._store, ref, total=size, expected=digest, on_locked="follow"
                )
            else:
                writer = open_scratch(self._store, FILE, total=size)
        except AlreadyExists:
            if digest is not None:
                self._keep_stored(digest, size)
            return None
        if writer.offset:  # what another try left; this one begins anew
            writer.truncate()
        return writer

    def _commit(self, opened: _Open, writer: Writer) -> None:
        digest = opened.digest
        try:
            actual = writer.commit(size=opened.size, expected=digest)
        except AlreadyExists as error:
            actual = Digest(error.subject or "")
        except DigestMismatch as error:
            drop(self._store, writer.ref)
            if digest is None:
                raise
            other = Digest(error.actual)
            self._bad[digest] = wrong_digest(
                f"{self._subject}: {opened.name[:80]!a}", expected=digest, actual=other
            )
            return
        else:
            self._brought(actual)
        opened.digest = actual
        self._add(opened, self._stored(actual, opened.size))
        self._tell(Done(digest=actual, media_type=mediatypes.OCTET_STREAM, size=opened.size, how="copied"))

    def _add(self, opened: _Open, part: Part) -> None:
        named = _digest(opened.name)
        if named is None:
            self._files[opened.name] = part
        else:
            self._blobs[named] = part

    def _stored(self, digest: Digest, size: int) -> Part:
        def reader() -> Reader:
            return self._store.reader(digest)

        return Part(size=size, place=digest, digest=digest, open=reader)

    def _keep_stored(self, digest: Digest, size: int) -> None:
        self._blobs[digest] = self._stored(digest, size)

    def _refuse(self) -> Reader:
        raise ResourceExhausted(f"{self._subject}: a file that is too large was not kept")

    def _move(self, opened: _Open) -> None:
        now = self._clock()
        if opened.digest is not None and now - opened.told >= _TELL:
            opened.told = now
            self._tell(Moved(digest=opened.digest, offset=opened.done, size=opened.size))

    def _tell(self, event: Event) -> None:
        self._events.append(event)

    def _told(self) -> Iterator[Event]:
        events, self._events = self._events, []
        return iter(events)

    def _opened(self) -> _Open:
        if self._open is None:
            raise FailedPrecondition(f"{self._subject}: no file is open")
        return self._open

    def _give_up(self) -> None:
        """Drop the file that did not come to its end."""
        opened, self._open = self._open, None
        if opened is not None and opened.writer is not None:
            opened.writer.close()
            drop(self._store, opened.writer.ref)


def _digest(name: str) -> Digest | None:
    """The digest that the name of a blob of a layout tells."""
    folder, _, rest = name.partition("/")
    if folder != "blobs":
        return None
    try:
        return Digest(rest.replace("/", ":", 1))
    except InvalidArgument:
        return None


def open_contents(
    source: str | BinaryIO, intake: Intake, *, subject: str
) -> Generator[Event, None, Contents]:
    """What is in a folder or a plain tar file, to be read at any place; all else comes once, into
    ``intake``.

    Raises:
        DistoreError: As FolderContents, TarContents and ``Intake.drink``.
    """
    if not isinstance(source, str):
        yield from intake.drink(source)
        return intake
    with translated(subject):
        kind = os.stat(source).st_mode
    if stat.S_ISDIR(kind):
        return FolderContents(source, subject=subject)
    with translated(subject):
        file = open(source, "rb", buffering=0)  # noqa: SIM115 - its errors are not those of the block
    with file:
        if stat.S_ISREG(kind) and compression_of(os.pread(file.fileno(), HEAD, 0)) is None:
            try:
                return TarContents(source, subject=subject)
            except (DataLoss, FailedPrecondition):
                pass  # a stream brings what is whole in it, and says what is not
        yield from intake.drink(file)
        return intake
