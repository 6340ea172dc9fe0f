"""Unpack: images of a store into snapshots, also while their layers still arrive."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from distore._internal.pool import gather
from distore.content.store import Manager
from distore.errors import NotFound
from distore.images.children import is_elsewhere
from distore.transfer.pace import Stop
from distore.transfer.progress import Finished, Planned, Resolved, Unpacked, Unpacking
from distore.transfer.storesink import add_labels
from distore.unpack.layer import LayerRead
from distore.unpack.layers import check_platform, find_manifest, image_layers, with_config
from distore.unpack.rootfs import write_rootfs
from distore.unpack.unpacker import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from distore.diff.entry import ApplyOptions
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import Manifest
    from distore.oci.platform import Platform
    from distore.transfer.progress import Event
    from distore.unpack.layer import LayerDone
    from distore.unpack.layers import Blobs, ImageLayers
    from distore.unpack.unpacker import Place

GC_SNAPSHOT: Final = "containerd.io/gc.ref.snapshot."  # label of a config, followed by the snapshotter
# Measured on 2 cores: two layers at once keep them busy, more only fight for memory.
WORKERS: Final = 2
_LOOK: Final = 0.2  # seconds after which a worker that waits for a config looks again


class UnpackStore(Manager, Protocol):
    """What labels need of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackOptions:
    """How to unpack.

    Args:
        platforms: Which images of an index.
        chosen: Somebody named them: an image that is no index has to be for the platform, too.
        snapshotter: ``overlayfs`` or ``native``; None: the best that there is.
        sync: Whether a snapshot is committed only once its files are on the device. If not, those that
            a restart of the machine found are unpacked again.
        workers: Layers at once.
    """

    platforms: tuple[Platform, ...]
    chosen: bool = False
    snapshotter: str | None = None
    sync: bool = True
    workers: int = WORKERS


class ImagesUnpack:
    """The images of one root on their way into snapshots; ``work`` in any number of threads does it,
    beside a pull that tells of each blob that ``arrived``.

    Args:
        subject: What messages call the root.
    """

    def __init__(self, place: Place, store: UnpackStore, options: UnpackOptions, *, subject: str) -> None:
        self._place = place
        self._store = store
        self._subject = subject
        self._options = options
        self._changed = threading.Condition()
        self._root: Digest | None = None
        self._arrived: set[Digest] = set()
        self._found: list[tuple[Descriptor, Manifest]] = []
        self._images: dict[Digest, ImageLayers] = {}  # by their manifest
        self._unpackers: dict[Digest, Unpacker] = {}

    @property
    def workers(self) -> int:
        """Threads that ``work`` is for."""
        return self._options.workers

    def begin(self, root: Descriptor) -> int:
        """Find the images, whose manifests are in the store; the bytes of their layers.

        Raises:
            NotFound: Nothing for a platform, or a layer that no pull brings is not in the store.
            FailedPrecondition: An artifact.
        """
        found, self._root = {}, root.digest
        for platform in self._options.platforms:
            manifest, document = find_manifest(self._place.content, root, platform, subject=self._subject)
            found[manifest.digest] = (manifest, document)
        self._found = list(found.values())
        for _, document in self._found:
            for layer in filter(is_elsewhere, document.layers):
                self._look_up(layer)
        return sum(layer.size for _, document in self._found for layer in document.layers)

    def arrived(self, digest: Digest) -> None:
        """A blob is in the store."""
        with self._changed:
            self._arrived.add(digest)
            for unpacker in self._unpackers.values():
                unpacker.arrived(digest)
            self._changed.notify_all()

    def all_arrived(self) -> None:
        """No more blobs arrive.

        Raises:
            NotFound: Some did not; names one.
        """
        for _, document in self._found:
            for blob in (document.config, *document.layers):
                if blob.digest not in self._arrived:
                    self._look_up(blob)

    def _look_up(self, blob: Descriptor) -> None:
        """One that may be there, though nobody told of it: a layer that only its own URLs have, or one
        that the same image has as a document."""
        try:
            self._place.content.info(blob.digest)
        except NotFound as error:
            where = f", only to be had from {blob.urls[0][:200]!a}" if blob.urls else ""
            raise NotFound(
                f"{self._subject}: layer {blob.digest} is not in the store{where}; dist pull without --unpack"
                " brings what there is"
            ) from error
        self.arrived(blob.digest)

    def missing(self) -> int:
        """Bytes of layers, as they are stored, that are to be unpacked; every config has arrived."""
        return sum(self._unpacker(*found).missing for found in self._found)

    def work(self, emit: Callable[[Event], None]) -> None:
        """One worker, until all images are unpacked; see ``Unpacker.work``."""

        def tell(news: LayerRead | LayerDone, /) -> None:
            emit(_event(news))

        for manifest, document in self._found:
            self._unpacker(manifest, document).work(tell)

    def finish(self) -> dict[Digest, ImageLayers]:
        """Have the collector keep the snapshots as long as the configs; the images by their manifests."""
        name = self._place.snapshotter.name
        for image in self._images.values():
            add_labels(self._store, image.config_digest, {GC_SNAPSHOT + name: image.chain_id})
        return self._images

    def close(self) -> None:
        """Remove what is not whole; workers should have ended."""
        for unpacker in self._unpackers.values():
            unpacker.close()

    def _unpacker(self, manifest: Descriptor, document: Manifest) -> Unpacker:
        """That of an image, once its config has arrived."""
        while True:
            self._place.check()
            with self._changed:
                known = self._unpackers.get(manifest.digest)
                if known is not None:
                    return known
                if document.config.digest in self._arrived:
                    return self._begun(manifest, document)
                self._changed.wait(_LOOK)

    def _begun(self, manifest: Descriptor, document: Manifest) -> Unpacker:
        image = with_config(self._place.content, manifest, document, subject=self._subject)
        if self._options.chosen and manifest.digest == self._root:  # else the index has said what it is for
            for platform in self._options.platforms:
                check_platform(image, platform, subject=self._subject)
        unpacker = Unpacker(self._place, image)
        for digest in self._arrived:
            unpacker.arrived(digest)
        self._images[manifest.digest] = image
        self._unpackers[manifest.digest] = unpacker
        return unpacker


def unpack(
    place: Place,
    store: UnpackStore,
    root: Descriptor,
    options: UnpackOptions,
    *,
    name: str,
    stop: Stop,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, dict[Digest, ImageLayers]]:
    """Have the images for all platforms of ``options`` as snapshots; yields what happens, and returns the
    images by their manifests. Closing the iterator stops at once.

    Raises:
        NotFound: Nothing for a platform, or a layer is not in the store; says what to do.
        DataLoss: A layer is not what its config promises; no snapshot was made of it.
        DistoreError: As ``Unpacker.work``.
    """
    started = clock()
    yield Resolved(name=name, descriptor=root)
    images = [
        image_layers(place.content, root, platform, subject=f"image {name}", chosen=options.chosen)
        for platform in options.platforms
    ]
    run = ImagesUnpack(place, store, options, subject=f"image {name}")
    run.begin(root)
    blobs = {layer.digest: layer.size for image in images for layer in image.layers}
    for digest in (*(image.config_digest for image in images), *blobs):
        run.arrived(digest)
    size = sum(blobs.values())
    yield Planned(blobs=len(blobs), size=size, missing_blobs=0, missing=0, unpack=run.missing())
    try:
        yield from gather(run.work, workers=run.workers, stop=stop.set)
    finally:
        run.close()
    found = run.finish()
    yield Finished(name=name, descriptor=root, size=size, moved=0, seconds=clock() - started)
    return found


def rootfs(
    content: Blobs,
    root: Descriptor,
    platform: Platform,
    folder: str,
    options: ApplyOptions,
    *,
    name: str,
    chosen: bool = False,
    stop: Stop | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, None]:
    """Write the files of an image into a plain folder; yields what happens. See ``write_rootfs``."""
    started = clock()
    yield Resolved(name=name, descriptor=root)
    image = image_layers(content, root, platform, subject=f"image {name}", chosen=chosen)
    size = sum(layer.size for layer in image.layers)
    yield Planned(blobs=len(image.layers), size=size, missing_blobs=0, missing=0, unpack=size)
    ended = stop or Stop()

    def work(emit: Callable[[Event], None]) -> None:
        write_rootfs(content, image, folder, options, tell=lambda news: emit(_event(news)), check=ended.check)

    yield from gather(work, workers=1, stop=ended.set)
    yield Finished(name=name, descriptor=root, size=size, moved=0, seconds=clock() - started)


def _event(news: LayerRead | LayerDone) -> Event:
    if isinstance(news, LayerRead):
        return Unpacking(digest=news.layer.digest, offset=news.offset, size=news.layer.size)
    return Unpacked(
        digest=news.layer.digest,
        chain_id=news.chain_id,
        size=news.layer.size,
        plain=news.size,
        how=news.how,
        left_out=news.left_out,
    )
