"""ImageFiles: the files of an image of the store, for Python, without unpacking them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci.digest import Digest
from distore.unpack.fileaccess import LayerFiles
from distore.unpack.filetree import FileKind
from distore.unpack.layers import image_layers
from distore.unpack.listingfiles import ListingFiles

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from distore.content.local.store import LocalStore
    from distore.oci.descriptor import Descriptor
    from distore.oci.platform import Platform
    from distore.unpack.filetree import FileInfo
    from distore.unpack.layers import ImageLayers

_LISTINGS: Final = "listings"  # below the root of the store (docs/formats/store.md#listings)


class ImageFiles:
    """A read-only look at the files of an image for one platform: what unpacking it would make.

    Paths are as within the image: ``/etc/passwd``, or ``etc/passwd``. Links are followed there, and
    lead nowhere else. All layers are read for their names when it is made, unless the store has kept
    these from an earlier time; a file is read when it is opened, and takes unpacking its layer as far
    as the file. Safe to share between threads; there is nothing to close.

    >>> files = store.files("redis:8")  # doctest: +SKIP
    >>> with files.open("/etc/os-release") as file:  # doctest: +SKIP
    ...     text = file.read()
    """

    def __init__(self, files: LayerFiles) -> None:
        self._files = files

    @property
    def image(self) -> ImageLayers:
        """Manifest, config and layers of the image."""
        return self._files.image

    def stat(self, path: str, *, follow: bool = True) -> FileInfo:
        """What is told of a file.

        Args:
            follow: Also a symbolic link that the last part is.
        Raises:
            NotFound: Nothing is there.
            FailedPrecondition: A part on the way is no folder, or links lead in a circle.
        """
        return self._files.tree.stat(path, follow=follow)

    def exists(self, path: str) -> bool:
        """Whether a path leads to anything."""
        return self._files.tree.exists(path)

    def is_folder(self, path: str) -> bool:
        """Whether a path leads to a folder."""
        return self.exists(path) and self.stat(path).kind is FileKind.FOLDER

    def listdir(self, path: str = "/") -> list[str]:
        """The names in a folder, in order.

        Raises:
            NotFound, FailedPrecondition: It is not there; it is no folder.
        """
        return self._files.tree.listdir(path)

    def scandir(self, path: str = "/") -> Iterator[FileInfo]:
        """What is in a folder, in the order of the names; no link is followed.

        Raises:
            NotFound, FailedPrecondition: As ``listdir``.
        """
        return self._files.tree.scandir(path)

    def walk(self, path: str = "/") -> Iterator[FileInfo]:
        """A path and all below it, each folder before what is in it; no link below is followed.

        Raises:
            NotFound, FailedPrecondition: As ``stat``.
        """
        return self._files.tree.walk(path)

    def readlink(self, path: str) -> str:
        """Where a symbolic link leads, as it is written.

        Raises:
            NotFound: Nothing is there.
            FailedPrecondition: It is no link.
        """
        return self._files.tree.readlink(path)

    def real(self, path: str) -> str:
        """The path without links.

        Raises:
            NotFound, FailedPrecondition: As ``stat``.
        """
        return self._files.tree.real(path)

    def open(self, path: str) -> io.BufferedIOBase:
        """A regular file for reading bytes. It can seek; going back in a file of more than 4 MiB
        means to unpack its layer again.

        Raises:
            NotFound: It is not there.
            FailedPrecondition: It is something else.
            DataLoss: (also while it is read) The layer is damaged.
        """
        return self._files.open(path)

    def read(self, path: str) -> bytes:
        """All bytes of a regular file.

        Raises:
            NotFound, FailedPrecondition, DataLoss: As ``open``.
        """
        return self._files.read(path)


def layer_files(
    content: LocalStore,
    root: Descriptor,
    platform: Platform,
    *,
    subject: str,
    chosen: bool = False,
    watch: Callable[[int], None] = lambda _layers: None,
) -> LayerFiles:
    """The files of the image for a platform below ``root``.

    Args:
        subject: What messages call the image.
        chosen: As for ``image_layers``.
        watch: Told how many layers are to be read for their names, if any, before they are.
    Raises:
        NotFound: Nothing for the platform, or objects are missing; names them.
        FailedPrecondition: An artifact, no image.
        DataLoss: A layer is damaged.
    """
    image = image_layers(content, root, platform, subject=subject, chosen=chosen)
    return LayerFiles(content, image, kept=listing_files(content), subject=subject, watch=watch)


def listing_files(content: LocalStore) -> ListingFiles:
    """Where a store keeps what it knows of the names in its layers."""

    def is_kept(algorithm: str, encoded: str) -> bool:
        try:
            digest = Digest(f"{algorithm}:{encoded}")
        except InvalidArgument:
            return False
        return os.path.exists(content.paths.blob(digest))

    return ListingFiles(os.path.join(content.root, _LISTINGS), is_kept=is_kept)
