"""Image layouts (image-spec, image-layout.md) as ends of a copy: index.json over a store's blobs."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from distore._internal import filelock, fsops
from distore._internal.oserrors import translated
from distore.content.blobs import open_writer
from distore.content.store import Follower, Store
from distore.errors import (
    AlreadyExists,
    DigestMismatch,
    FailedPrecondition,
    Locked,
    NotFound,
    ResourceExhausted,
)
from distore.oci.digest import Digest
from distore.remotes.mismatch import wrong_digest
from distore.remotes.refkey import ref_key
from distore.transfer import ociindex
from distore.transfer.ociindex import ImageIndex
from distore.transfer.pouring import check_size, pour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distore.content.store import Provider, Reader, Writer
    from distore.oci.descriptor import Descriptor

# Hidden, and gone when nobody holds it: other programs see a plain layout.
_LOCK: Final = ".index.json.lock"
_INGESTS: Final = "ingest"  # where a store at the layout's folder keeps what is not committed
_TRIES: Final = 8


class LayoutStore(Store, Follower, Protocol):
    """The blobs of a layout: a store opened at its folder."""


class LayoutOrigin:
    """An Origin: one image of a layout.

    Args:
        root: Its folder.
        tag: Name of the image; None: the only one.
        store: Has the layout's blobs.
    """

    def __init__(self, root: str, tag: str | None, *, store: Provider) -> None:
        self._root = root
        self._tag = tag
        self._store = store
        self.name = _name(root, tag)

    def resolve(self) -> Descriptor:
        subject = f"oci:{self._root}"
        index = _read_index(self._root, subject)
        if index is None:
            raise NotFound(f"{subject}: no image layout there ({ociindex.INDEX_FILE} is missing)")
        return index.select(self._tag, subject=subject)

    def reader(self, digest: Digest, /) -> Reader:
        return self._store.reader(digest)

    def close(self) -> None:
        """The store is its owner's to close."""

    def __enter__(self) -> LayoutOrigin:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class LayoutSink:
    """A Pusher into a layout, which is made when it is missing.

    Bytes of a push that broke off stay below ``ingest/`` of the folder and are resumed by the
    next one. Any number of processes may write one layout.

    Args:
        root: Its folder.
        tag: What the image is called there; None: it gets no name.
        store: Keeps the layout's blobs. It gets no labels, so that nothing of ours stays there.
    """

    parallel: int | None = None

    def __init__(self, root: str, tag: str | None, *, store: LayoutStore) -> None:
        self._root = root
        self._tag = tag
        self._store = store
        self.name = _name(root, tag)

    def exists(self, descriptor: Descriptor, /) -> bool:
        try:
            return self._store.info(descriptor.digest).size == descriptor.size
        except NotFound:
            return False

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _offset: None,
    ) -> str:
        if self.exists(descriptor):
            return "present"
        ref = ref_key(descriptor.media_type, descriptor.digest)
        with provider.reader(descriptor.digest) as reader:
            check_size(reader, descriptor)
            while True:
                try:
                    with self._writer(ref, descriptor) as writer:
                        resumed = _resume(writer, descriptor)
                        pour(reader, writer.write, offset=writer.offset, subject=ref, on_progress=on_progress)
                        writer.commit(size=descriptor.size, expected=descriptor.digest)
                    return "pushed"
                except AlreadyExists:
                    return "present"
                except DigestMismatch as error:
                    # None of these bytes can be told right from wrong.
                    self._abort(ref)
                    if not resumed:
                        actual = Digest(error.actual)
                        raise wrong_digest(
                            f"content {descriptor.digest}", expected=descriptor.digest, actual=actual
                        ) from error

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        """Write ``oci-layout`` and the image's entry of ``index.json``, durably and at once."""
        self.push(descriptor, provider)
        subject = f"oci:{self._root}"
        with translated(subject):
            fsops.ensure_directory(self._root)
        with translated(subject), _locked(self._root):
            index = _read_index(self._root, subject) or ImageIndex.empty()
            data = index.with_image(descriptor, self._tag).to_bytes(subject=subject)
            if _read(self._root, ociindex.LAYOUT_FILE, ociindex.MAX_LAYOUT_SIZE, subject) is None:
                _replace(self._root, ociindex.LAYOUT_FILE, ociindex.LAYOUT)
            _replace(self._root, ociindex.INDEX_FILE, data)
        self.close()

    def close(self) -> None:
        """Remove ``ingest/`` unless something is kept there."""
        try:
            fsops.remove_directory(os.path.join(self._root, _INGESTS))
        except OSError:  # in use, kept for a resume, or never made
            return

    def __enter__(self) -> LayoutSink:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _writer(self, ref: str, descriptor: Descriptor) -> Writer:
        expected: Digest | None = descriptor.digest
        for trial in range(1, _TRIES + 1):
            try:
                return open_writer(
                    self._store, ref, total=descriptor.size, expected=expected, on_locked="follow"
                )
            except AlreadyExists:
                if self.exists(descriptor):
                    raise
                # A file of that name with another size is damage. Verified bytes take its place
                # at the commit; a writer that does not know the digest beforehand comes so far.
                expected = None
            except NotFound:
                # Another process has just removed the empty ingest/ (see close).
                if trial == _TRIES:
                    raise
        raise FailedPrecondition(f"{self.name}: {descriptor.digest} is damaged there; remove it")

    def _abort(self, ref: str) -> None:
        try:
            self._store.abort(ref)
        except (NotFound, Locked):  # somebody took it up or ended it since
            return


def _name(root: str, tag: str | None) -> str:
    return f"oci:{root}" + (f":{tag}" if tag else "")


def _resume(writer: Writer, descriptor: Descriptor) -> bool:
    """Whether some of its bytes are kept; too many are dropped."""
    if writer.offset > descriptor.size:
        writer.truncate()
    return writer.offset > 0


def _read_index(root: str, subject: str) -> ImageIndex | None:
    layout = _read(root, ociindex.LAYOUT_FILE, ociindex.MAX_LAYOUT_SIZE, subject)
    if layout is not None:  # many folders are used as layouts without the file
        ociindex.check_layout(layout, subject=subject)
    data = _read(root, ociindex.INDEX_FILE, ociindex.MAX_INDEX_SIZE, subject)
    return None if data is None else ImageIndex.parse(data, subject=subject)


def _read(root: str, name: str, limit: int, subject: str) -> bytes | None:
    """A whole small file of the layout, None when it is missing."""
    with translated(f"{subject}: {name}"):
        try:
            # Not blocking: a fifo of that name would wait for ever.
            fd = os.open(os.path.join(root, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with os.fdopen(fd, "rb") as file:
            there = os.fstat(fd)
            if not stat.S_ISREG(there.st_mode):
                raise FailedPrecondition(f"{subject}: {name} is not a regular file")
            if there.st_size > limit:
                raise ResourceExhausted(f"{subject}: {name} has {there.st_size} bytes, the limit is {limit}")
            return file.read(limit)


def _replace(root: str, name: str, data: bytes) -> None:
    """Put a whole file in place of another, durably; the caller holds the lock."""
    path = os.path.join(root, name)
    temporary = os.path.join(root, f".{name}.tmp")  # one name: a crash leaves one file at most
    fd = fsops.open_file(temporary)
    try:
        fsops.truncate(fd, 0)
        fsops.write(fd, data, 0)
        fsops.sync_file(fd)
    finally:
        os.close(fd)
    fsops.rename(temporary, path)
    fsops.sync_directory(root)


@contextmanager
def _locked(root: str) -> Iterator[None]:
    """Wait for the lock of the layout's index and hold it; its file goes with it."""
    path = os.path.join(root, _LOCK)
    while True:
        fd = fsops.open_file(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if filelock.is_named(fd, path):  # else its last holder removed it while we waited
                try:
                    yield
                finally:
                    with suppress(FileNotFoundError):  # somebody tidied up
                        fsops.unlink(path)
                return
        finally:
            os.close(fd)
