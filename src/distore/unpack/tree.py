"""Trees: images unpacked into folders, one for each chain id (docs/formats/store.md#trees)."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from distore._internal import filelock, fsops
from distore._internal.oserrors import translate, translated
from distore.diff.apply import apply
from distore.diff.compression import BlobInput, Decompressed
from distore.diff.safepath import Root
from distore.errors import DataLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.content.store import Provider
    from distore.diff.entry import ApplyOptions
    from distore.oci.digest import Digest
    from distore.unpack.layers import ImageLayers

_PARTIAL: Final = ".partial"  # what is being made or removed; counts for nothing
_LOCK: Final = ".lock"
_MODE: Final = 0o700  # of the folder above: nobody else gets at setuid files of images
_ROOT_MODE: Final = 0o755  # of a tree whose layers do not tell
_PAUSE: Final = 0.1  # seconds between two tries to get a lock


class Trees:
    """The unpacked images of a store.

    Args:
        folder: Where they are; it is made with the first one.
        sleep: Waits that many seconds.
    """

    def __init__(self, folder: str, *, sleep: Callable[[float], None]) -> None:
        self.folder = folder
        self._sleep = sleep

    def path(self, chain: Digest) -> str:
        """The folder of a tree, whether it is there or not."""
        return os.path.join(self.folder, chain.encoded)

    @contextmanager
    def locked(self, chain: Digest) -> Iterator[None]:
        """Nobody else makes or removes the tree within the block; waits for those who do."""
        subject = f"tree {chain}"
        with translated(subject):
            fsops.ensure_directory(os.path.dirname(self.folder))
            with suppress(FileExistsError):
                os.mkdir(self.folder, _MODE)
        while True:
            try:
                lock = filelock.acquire(self.path(chain) + _LOCK, sleep=self._sleep)
            except OSError as error:
                raise translate(error, subject) from error
            if lock is not None:
                break
            self._sleep(_PAUSE)
        try:
            yield
        finally:
            with suppress(OSError):  # while it is held: whoever waits looks up the name again
                fsops.unlink(lock.path)
            lock.release()

    def make(
        self,
        content: Provider,
        image: ImageLayers,
        options: ApplyOptions,
        *,
        note: Callable[[int], None] = lambda _number: None,
    ) -> str:
        """The tree of an image, unpacked unless it is there; durable. Hold ``locked``.

        Args:
            note: Told the number of each layer, from 1, before it is unpacked.
        Raises:
            DataLoss: A layer is not what the config promises; the tree is not made.
            NotFound: A layer is not there.
            DistoreError: As ``apply``.
        """
        path = self.path(image.chain_id)
        if os.path.isdir(path):
            return path
        partial = path + _PARTIAL
        self._clear(image.chain_id)
        with translated(f"tree {image.chain_id}"):
            os.mkdir(partial, _ROOT_MODE)
            os.chmod(partial, _ROOT_MODE)  # whatever the umask
        try:
            for number in range(len(image.layers)):
                note(number + 1)
                _apply(content, image, number, partial, options)
            with translated(f"tree {image.chain_id}"):
                _sync_all(partial)
                fsops.rename(partial, path)
                fsops.sync_directory(self.folder)
        except BaseException:
            self._clear(image.chain_id)
            raise
        return path

    def remove(self, chain: Digest) -> None:
        """Remove a tree; nothing when it is not there. Hold ``locked``."""
        with translated(f"tree {chain}"):
            self._clear(chain)
            with suppress(FileNotFoundError):
                fsops.rename(self.path(chain), self.path(chain) + _PARTIAL)
        self._clear(chain)

    def _clear(self, chain: Digest) -> None:
        with translated(f"tree {chain}"), Root(self.folder, unlock=True) as root:
            root.remove(os.fsencode(chain.encoded + _PARTIAL))


def _apply(content: Provider, image: ImageLayers, number: int, folder: str, options: ApplyOptions) -> None:
    layer, wanted = image.layers[number], image.diff_ids[number]
    subject = f"layer {layer.digest}"
    with content.reader(layer.digest) as reader:
        plain = Decompressed(BlobInput(reader), subject=subject, limit=options.max_size)
        applied = apply(plain, folder, options, subject=subject, algorithm=wanted.algorithm)
    if applied.diff_id != wanted:
        raise DataLoss(f"{subject}: unpacks to {applied.diff_id}, the image's config promises {wanted}")


def _sync_all(path: str) -> None:
    """Return once everything on the file system is on the device: one call for all the files."""
    call = ctypes.CDLL(None, use_errno=True).syncfs
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while call(fd):
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))
    finally:
        os.close(fd)
