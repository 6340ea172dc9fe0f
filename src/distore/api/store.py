"""Store: a local store with its images, as a Python program uses it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, contextmanager
from copy import copy as _shallow
from typing import TYPE_CHECKING, Self

from distore.api.archives import (
    Mutation,
    convert_image,
    export_images,
    import_images,
    mutate_image,
)
from distore.api.images import Images
from distore.api.interrupt import Interrupt
from distore.api.registry import Registry
from distore.api.transfers import copy_options, default_platform, held, transfer
from distore.api.unpacking import pull_options, unpack_image, unpack_options, write_rootfs
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.transfer.endname import EndName, Kind

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import BinaryIO, Unpack

    from distore.api.archives import ConvertKeywords, ExportKeywords, ImportKeywords, MutateKeywords
    from distore.api.files import ImageFiles
    from distore.api.rootfs import CommitKeywords
    from distore.api.serving import Served, ServeKeywords
    from distore.api.settings import Path
    from distore.api.transfers import CopyKeywords, Platforms, TransferKeywords
    from distore.api.unpacking import PullKeywords
    from distore.images.image import Image
    from distore.metadata.collected import Collected, Removed
    from distore.metadata.explain import Explanation
    from distore.metadata.leases import Leases
    from distore.metadata.namespaces import Namespaces
    from distore.oci.platform import Platform
    from distore.snapshots.snapshotter import Snapshotter
    from distore.transfer.copy import CopyOptions
    from distore.transfer.progress import Event


class Store:
    """Blobs and images in a folder, shared by any number of processes. Safe to share between
    threads; leaving the ``with`` block closes what was opened.

    Every transfer is an iterator of events, the last of which is ``Finished``; nothing happens
    before the first is asked for. Closing the iterator stops the transfer at once and keeps what
    came, for the next try. Keywords of transfers:

    - ``platforms``: which images of an index, such as ``"linux/arm64"`` or several of them
    - ``all_platforms``: every image of an index
    - ``referrers``: also signatures, attestations and SBOMs about the images
    - ``concurrency``: connections at once, 1 to 64 (6)
    - ``limit_rate``: bytes a second for all of them together, or None

    Args:
        root: The store's folder; it appears with the first blob.
        registry: How registries are reached; None: without credentials.
        command: What locks and leases of this store name as their owner.
        namespace: Whose blobs, images and leases these are; bytes are shared by all.
    Raises:
        FailedPrecondition: ``root`` is a file.
        UnsupportedStore: Made by a newer version.
        InvalidArgument: A bad name for a namespace.
    """

    def __init__(
        self,
        root: Path = ".content",
        *,
        registry: Registry | None = None,
        command: str = "python",
        namespace: str = "default",
    ) -> None:
        self._command = command
        self._bind(LocalStore(os.fspath(root), command=command, namespace=namespace))
        self._registry = registry or Registry()
        self._resolvers = self._registry.resolvers(self.content.root)
        self._interrupt = Interrupt()

    def _bind(self, content: LocalStore) -> None:
        self.content = content
        self._metadata = Metadata(content, command=self._command)
        self.images = Images(self._metadata)

    @property
    def leases(self) -> Leases:
        """What keeps content from the collector beside images."""
        return self._metadata.leases

    @property
    def namespaces(self) -> Namespaces:
        """All namespaces of the store."""
        return self._metadata.namespaces

    def namespace(self, name: str) -> Self:
        """The same store as another namespace sees it; close the first one only.

        Raises:
            InvalidArgument: A bad name.
        """
        view = _shallow(self)
        view._bind(self.content.view(namespace=name))
        return view

    @contextmanager
    def lease(self, purpose: str = "python") -> Iterator[Self]:
        """The same store under a lease: everything that is looked up, read or brought through it stays
        until the block ends, whatever a collector does meanwhile. It ends with the process, too.

        Args:
            purpose: What for, in a word, for ``dist leases``.
        """
        with self._metadata.leased(purpose) as content:
            view = _shallow(self)
            view._bind(content)
            yield view

    def pull(
        self, reference: str | Reference, **options: Unpack[PullKeywords]
    ) -> Generator[Event, None, None]:
        """Bring an image from a registry into the store; without a choice the one for this machine.

        More keywords: ``unpack`` (into snapshots, while layers still arrive: the chosen platforms, or
        this machine's) and ``snapshotter``, as ``unpack`` has it.

        Raises:
            NotFound: The image, or a chosen platform, is not there.
            DiskFull: There is less room than bytes are missing; nothing was fetched.
            DistoreError: What came is kept for the next try.
        """
        named = _named(reference)
        ends = EndName(kind=Kind.REGISTRY, reference=named), EndName(kind=Kind.STORE, reference=named)
        return self._transfer(*ends, pull_options(**options))

    def unpack(
        self,
        image: str | Reference,
        *,
        platforms: Platforms = None,
        snapshotter: str | None = None,
    ) -> Generator[Event, None, None]:
        """Unpack an image into snapshots, each layer once; those that are there stay as they are.

        Args:
            platforms: Which images of an index; None: the one for this machine.
            snapshotter: ``"overlayfs"``, ``"native"``, or None for the best that there is.
        Raises:
            NotFound: The image is not there, or not all of its layers are.
            DataLoss: A layer is not what the image's config promises; nothing was made of it.
        """
        return unpack_image(
            self._metadata,
            held(image),
            unpack_options(platforms, snapshotter=snapshotter),
            interrupt=self._interrupt,
        )

    def rootfs(
        self,
        image: str | Reference,
        folder: Path,
        *,
        platform: str | Platform | None = None,
        same_owner: bool = True,
    ) -> Generator[Event, None, None]:
        """Write the files of an image into a plain folder, which is new or empty.

        Args:
            same_owner: Keep owners, which takes root; otherwise all belongs to whoever runs this.
        Raises:
            NotFound: The image is not there, or not all of its layers are.
            FailedPrecondition: The folder is not empty.
            DataLoss: A layer is not what the image's config promises; the folder is empty again.
        """
        return write_rootfs(
            self._metadata,
            held(image),
            folder,
            platform,
            same_owner=same_owner,
            interrupt=self._interrupt,
        )

    def files(self, image: str | Reference, *, platform: str | Platform | None = None) -> ImageFiles:
        """A read-only look at the files of an image, out of its layers: nothing is unpacked.

        Args:
            platform: Which image of an index; None: the one for this machine.
        Raises:
            NotFound: The image is not there, or not all of its layers are.
            FailedPrecondition: It is an artifact.
        """
        from distore.api.rootfs import image_files

        return image_files(self._metadata, held(image), platform)

    def serve(self, **options: Unpack[ServeKeywords]) -> AbstractContextManager[Served]:
        """Be an OCI registry while the block runs, in threads of this process.
        Keywords: ``host`` (127.0.0.1), ``port`` (0: a free one, which ``Served`` tells), ``tls`` (an
        SSLContext), ``settings`` (the tables of docs/serve.md, without those about the server), ``note``.

        Raises:
            Unimplemented, Unavailable: aiohttp is not installed; it cannot listen there.
        """
        from distore.api.serving import serve_store

        return serve_store(self._metadata, self._registry, **options)

    def commit_rootfs(self, source: Path, name: str | Reference, **options: Unpack[CommitKeywords]) -> Image:
        """Make an image, under ``name``, of a folder with a root filesystem, a bundle of ``dist bundle``, or
        a snapshot (``"snapshot:KEY"``): what differs from the image below becomes one more layer.

        Keywords: ``base`` (the image below; a bundle and a snapshot know theirs, a folder without one
        becomes a single layer), ``platform``, ``message`` (for the history), ``compression`` ("gzip", "zstd",
        None for none; as the base has it), ``level``, ``source_date_epoch`` (seconds: same files, same
        image), ``checksum`` (read every file), ``force`` (take the name from another image). ``mutate``
        changes what it runs.

        Raises:
            NotFound, FailedPrecondition: No such source; it does not lie on the base; a file changed
                while it was read. Nothing was made.
            AlreadyExists: The name is taken.
        """
        from distore.api.rootfs import commit_rootfs

        return commit_rootfs(self._metadata, source, _named(name), interrupt=self._interrupt, **options)

    def snapshots(self, name: str | None = None) -> Snapshotter:
        """The snapshots of the store's namespace.

        Args:
            name: ``"overlayfs"``, ``"native"``, or None for the best that there is.
        Raises:
            InvalidArgument: No such snapshotter.
        """
        return self._metadata.snapshotter(name)

    def push(
        self,
        reference: str | Reference,
        image: str | Reference | None = None,
        **options: Unpack[TransferKeywords],
    ) -> Generator[Event, None, None]:
        """Send an image of the store to a registry; without a choice all of it.

        Args:
            image: A name or a digest in the store; None: the image of the same name.
        Raises:
            NotFound: The image, or a part of it, is not in the store.
            DistoreError: As the registry; what arrived may stay there for the next try.
        """
        named = _named(reference)
        source = named if image is None else held(image)
        ends = EndName(kind=Kind.STORE, reference=source), EndName(kind=Kind.REGISTRY, reference=named)
        return self._transfer(*ends, copy_options(None, **options))

    def copy(
        self, source: str, destination: str, **options: Unpack[CopyKeywords]
    ) -> Generator[Event, None, None]:
        """As ``distore.copy``; ``store:REF`` is an image of this store."""
        ends = EndName.parse(source), EndName.parse(destination)
        return self._transfer(*ends, copy_options(default_platform(ends[1]), **options))

    def export(
        self, out: Path | BinaryIO, *images: str | Reference, **options: Unpack[ExportKeywords]
    ) -> Generator[Event, None, None]:
        """Write images into one archive, an OCI layout in a tar file; the same bytes for the same images.

        Keywords: ``platforms`` (else all that are there), ``require_all`` (fail when an index is
        sparse), ``referrers`` (True), ``docker`` (what ``docker save`` writes), ``exclude`` (digests of
        blobs that the far side has), ``overwrite``.

        Args:
            out: The file, which appears whole or not at all, or a stream.
        Raises:
            NotFound: An image is not there, or a wanted part of it.
            AlreadyExists: The file is there, and ``overwrite`` is not set.
            DataLoss: A blob is damaged.
        """
        return export_images(self._metadata, out, [held(image) for image in images], **options)

    def import_archive(
        self, source: Path | BinaryIO, **options: Unpack[ImportKeywords]
    ) -> Generator[Event, None, None]:
        """Take in all images of an archive or a layout, each wholly or not at all.

        Keywords: ``name`` of the only image, ``base_name`` (repository of images that have a tag
        alone), ``digests`` (name nameless ones), ``platforms``, ``referrers`` (True).

        Args:
            source: A file, a folder, or a stream, which is read once.
        Raises:
            FailedPrecondition, InvalidArgument, DataLoss: What is wrong with the first bad image; the
                others are there.
        """
        return import_images(self._metadata, source, **options)

    def convert(
        self, image: str | Reference, name: str | Reference, **options: Unpack[ConvertKeywords]
    ) -> Generator[Event, None, None]:
        """Make the same image with other compression or media types, under ``name``.

        Keywords: ``compression`` ("gzip", "zstd" or "uncompressed"), ``media_types`` ("oci" or
        "docker"), ``platforms``, ``level``, ``force`` (also what has that compression).

        Raises:
            NotFound: The image is not there.
            DataLoss: A layer is not what its config says.
        """
        return convert_image(self._metadata, held(image), _named(name), **options)

    def mutate(
        self, image: str | Reference, name: str | Reference, **options: Unpack[MutateKeywords]
    ) -> Image:
        """Make another image of one, under ``name``.

        Keywords, in the order in which they are done: ``rebase`` (old base, new base), ``append``
        (tar files or folders), ``flatten``, ``env`` (None removes one), ``labels`` ("" removes one),
        ``entrypoint``, ``cmd``, ``user``, ``workdir``, ``annotations``, ``index_annotations``; and
        ``platforms``: the images of an index that are meant.

        Raises:
            NotFound: The image is not there.
            FailedPrecondition: It is not built on the old base.
        """
        return mutate_image(self._metadata, held(image), _named(name), Mutation(**options))

    def gc(self, *, dry_run: bool = False, older_than: float = 0.0) -> Collected:
        """Remove what no image, no live lease and no label keeps, in all namespaces.

        Args:
            dry_run: Only count what would go.
            older_than: Seconds that a blob must have been there at least.
        Raises:
            Unavailable: Another collector runs.
        """
        collector = self._metadata.collector
        for _ in collector.collect(dry_run=dry_run, older_than=older_than):
            pass
        return collector.summary

    def garbage(self) -> Generator[Removed, None, None]:
        """What ``gc`` would remove now."""
        yield from self._metadata.collector.collect(dry_run=True)

    def explain(self, digest: str) -> list[Explanation]:
        """What keeps a blob, in each namespace that has it.

        Raises:
            NotFound: None has it.
        """
        return list(self._metadata.collector.explain([Digest(digest)]))

    def free_space(self) -> int | None:
        """Bytes that may still be written where the store lies, or None when nobody tells."""
        return self.content.free_space()

    def interruptible(self, interrupt: Interrupt) -> Self:
        """The same Store; its transfers end with Cancelled when another thread sets ``interrupt``."""
        view = _shallow(self)
        view._interrupt = interrupt
        return view

    def close(self) -> None:
        """Close what was opened; transfers should have ended."""
        self._resolvers.close()
        self.content.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _transfer(
        self, source: EndName, destination: EndName, options: CopyOptions
    ) -> Generator[Event, None, None]:
        return transfer(
            source,
            destination,
            options,
            resolvers=self._resolvers,
            interrupt=self._interrupt,
            command=self._command,
            metadata=self._metadata,
        )


def _named(given: str | Reference) -> Reference:
    return given if isinstance(given, Reference) else Reference.parse(given)
