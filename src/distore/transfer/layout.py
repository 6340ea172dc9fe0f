"""Image layouts (image-spec, image-layout.md) as ends of a copy: index.json over a store's blobs."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from distore._internal import filelock, fsops
from distore._internal.oserrors import translated
from distore.errors import (
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
)
from distore.transfer import ociindex
from distore.transfer.ociindex import ImageIndex
from distore.transfer.storesink import StoreSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.content.store import Provider, Reader
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.transfer.storesink import SinkStore

# Hidden, and gone when nobody holds it: other programs see a plain layout.
_LOCK: Final = ".index.json.lock"
_INGESTS: Final = "ingest"  # where a store at the layout's folder keeps what is not committed
_TRIES: Final = 8


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
        index = read_index(self._root, subject)
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


class LayoutSink(StoreSink):
    """A Pusher into a layout, which is made when it is missing.

    Bytes of a push that broke off stay below ``ingest/`` of the folder and are resumed by the
    next one. Any number of processes may write one layout.

    Args:
        root: Its folder.
        tag: What the image is called there; None: it gets no name.
        store: Keeps the layout's blobs. It gets no labels, so that nothing of ours stays there.
    """

    def __init__(self, root: str, tag: str | None, *, store: SinkStore) -> None:
        super().__init__(store, name=_name(root, tag))
        self._root = root
        self._tag = tag

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        """Write ``oci-layout`` and the image's entry of ``index.json``, durably and at once."""
        self.push(descriptor, provider)
        subject = f"oci:{self._root}"
        with translated(subject):
            fsops.ensure_directory(self._root)
        with translated(subject), index_lock(self._root):
            index = read_index(self._root, subject) or ImageIndex.empty()
            data = index.with_image(descriptor, self._tag).to_bytes(subject=subject)
            if read_file(self._root, ociindex.LAYOUT_FILE, ociindex.MAX_LAYOUT_SIZE, subject) is None:
                replace_file(self._root, ociindex.LAYOUT_FILE, ociindex.LAYOUT)
            replace_file(self._root, ociindex.INDEX_FILE, data)
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


def _name(root: str, tag: str | None) -> str:
    return f"oci:{root}" + (f":{tag}" if tag else "")


def read_index(root: str, subject: str) -> ImageIndex | None:
    layout = read_file(root, ociindex.LAYOUT_FILE, ociindex.MAX_LAYOUT_SIZE, subject)
    if layout is not None:  # many folders are used as layouts without the file
        ociindex.check_layout(layout, subject=subject)
    data = read_file(root, ociindex.INDEX_FILE, ociindex.MAX_INDEX_SIZE, subject)
    return None if data is None else ImageIndex.parse(data, subject=subject)


def read_file(root: str, name: str, limit: int, subject: str) -> bytes | None:
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


def replace_file(root: str, name: str, data: bytes) -> None:
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
def index_lock(root: str) -> Iterator[None]:
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
