"""OCI archives, image layouts in one tar file, as ends of a copy."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition, NotFound
from distore.transfer import ociindex
from distore.transfer.ociindex import ImageIndex
from distore.transfer.pouring import pour_verified
from distore.transfer.tarindex import TarArchive
from distore.transfer.tarwriter import TarWriter, header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore.content.store import Provider, Reader
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest

DOCKER_FILE: Final = "manifest.json"  # of archives of `docker save`


class OciArchiveOrigin:
    """An Origin: one image of an archive, which may be compressed with gzip.

    Args:
        tag: Name of the image; None: the only one.
    Raises:
        NotFound, FailedPrecondition, ResourceExhausted, DataLoss, Unimplemented, DiskFull: As
            TarArchive.
    """

    def __init__(self, path: str, tag: str | None) -> None:
        self._subject = f"oci-archive:{path}"
        self._tag = tag
        self.name = self._subject + (f":{tag}" if tag else "")
        self._tar = TarArchive(path, subject=self._subject)

    def resolve(self) -> Descriptor:
        index = read_index(self._tar, subject=self._subject)
        if index is None:
            other = self._tar.find(DOCKER_FILE) is not None
            hint = "; it is of docker save: read it as docker-archive:" if other else ""
            raise FailedPrecondition(
                f"{self._subject}: no image layout in it ({ociindex.INDEX_FILE} is missing){hint}"
            )
        return index.select(self._tag, subject=self._subject)

    def reader(self, digest: Digest, /) -> Reader:
        member = self._tar.find(blob_name(digest))
        if member is None:
            raise NotFound(f"{self._subject}: {digest} is not in it")
        return self._tar.reader(member)

    def close(self) -> None:
        self._tar.close()

    def __enter__(self) -> OciArchiveOrigin:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class OciArchiveSink:
    """A Pusher into a new archive of one image. ``tag`` completes it and gives the file its name;
    leaving the ``with`` block before leaves nothing.

    The same pushes in the same order make the same bytes.

    Args:
        path: The file.
        tag: What the image is called in it; None: it gets no name.
        overwrite: Replace a file that is there.
    Raises:
        AlreadyExists, FailedPrecondition, NotFound: As TarWriter.
    """

    parallel: int | None = 1

    def __init__(self, path: str, tag: str | None, *, overwrite: bool = False) -> None:
        self._subject = f"oci-archive:{path}"
        self._tag = tag
        self.name = self._subject + (f":{tag}" if tag else "")
        self._guard = threading.RLock()
        self._there: set[Digest] = set()
        self._tar = TarWriter(path, overwrite=overwrite, subject=self._subject)

    def exists(self, descriptor: Descriptor, /) -> bool:
        return descriptor.digest in self._there

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _offset: None,
    ) -> str:
        name = blob_name(descriptor.digest)
        with self._guard:
            if self.exists(descriptor):
                return "present"
            with self._tar.member(len(header(name, descriptor.size))) as member:
                pour_verified(provider, descriptor, member.write, on_progress=on_progress)
                member.name = name
            self._there.add(descriptor.digest)
        return "pushed"

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        """Complete the archive; nothing can be pushed afterwards."""
        with self._guard:
            self.push(descriptor, provider)
            index = ImageIndex.empty().with_image(descriptor, self._tag)
            self._tar.add(ociindex.INDEX_FILE, index.to_bytes(subject=self._subject))
            self._tar.add(ociindex.LAYOUT_FILE, ociindex.LAYOUT)
            self._tar.finish()

    def close(self) -> None:
        """Give up what ``tag`` did not complete; a second call does nothing."""
        with self._guard:
            self._tar.close()

    def __enter__(self) -> OciArchiveSink:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def blob_name(digest: Digest) -> str:
    """Where a blob lies in an image layout (image-spec, image-layout.md, "Blobs")."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def read_index(tar: TarArchive, *, subject: str) -> ImageIndex | None:
    """The index of the layout in an archive, None when there is none.

    Raises:
        FailedPrecondition: It cannot be read.
        ResourceExhausted: It is too large.
    """
    data = tar.read(ociindex.INDEX_FILE, limit=ociindex.MAX_INDEX_SIZE)
    if data is None:
        return None
    layout = tar.read(ociindex.LAYOUT_FILE, limit=ociindex.MAX_LAYOUT_SIZE)
    if layout is not None:  # as for folders: many go without it
        ociindex.check_layout(layout, subject=subject)
    return ImageIndex.parse(data, subject=subject)
