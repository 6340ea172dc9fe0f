"""The image that a snapshot was made of, and a commit of either kind of source."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distore.errors import DistoreError, FailedPrecondition, NotFound
from distore.transfer.commit_rootfs import check_outside, commit_rootfs
from distore.transfer.rootsource import folder_trees, snapshot_trees
from distore.unpack.layers import image_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.images.image import ImageStore
    from distore.oci.platform import Platform
    from distore.snapshots.snapshotter import Snapshotter
    from distore.transfer.commit_rootfs import CommitOptions, Committed
    from distore.transfer.rootsource import RootSource, Trees
    from distore.transfer.storesink import SinkStore
    from distore.unpack.layers import ImageLayers


def _token() -> str:
    return os.urandom(6).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a source lies on.

    Args:
        images: Among which the base of a snapshot is looked for.
        platform: Which image of an index is meant, and what a new one without base is for.
        base: The image that lies below, unpacked by ``snapshotter`` for a folder; None: that of the
            snapshot, or none.
    """

    images: ImageStore
    snapshotter: Snapshotter
    platform: Platform
    base: ImageLayers | None = None


def commit_source(
    store: SinkStore,
    source: RootSource,
    ground: Ground,
    options: CommitOptions,
    *,
    root: str,
    token: Callable[[], str] = _token,
) -> Committed:
    """Store the image that a folder or a snapshot is, as ``commit_rootfs``.

    Args:
        store: Under a lease, as ``ground.snapshotter`` is.
        root: The store's folder, which must not be in the source.
        token: Gives a text that no two calls share.
    Raises:
        NotFound: No such snapshot, or no image lies below it; says what to do.
        FailedPrecondition: The snapshot does not lie on the base.
        DistoreError: As ``commit_rootfs``.
    """
    if source.folder is not None:
        check_outside(root, source.folder)
        base = ground.base
    else:
        base = _base_below(store, source, ground)
    with _trees(source, base, ground.snapshotter, token) as trees:
        manifest = None if base is None else base.manifest
        return commit_rootfs(store, trees, manifest, ground.platform, options)


@contextmanager
def _trees(
    source: RootSource, base: ImageLayers | None, snapshotter: Snapshotter, token: Callable[[], str]
) -> Iterator[Trees]:
    if source.folder is None:
        with snapshot_trees(snapshotter, source.key, subject=source.text, token=token) as trees:
            yield trees
        return
    parent = None if base is None else str(base.chain_id)
    with folder_trees(source.folder, snapshotter, parent, subject=source.text, token=token) as trees:
        yield trees


def _base_below(store: SinkStore, source: RootSource, ground: Ground) -> ImageLayers | None:
    base, platform = ground.base, ground.platform
    parent = ground.snapshotter.stat(source.key).parent
    if base is not None:
        if parent != base.chain_id:
            raise FailedPrecondition(
                f"{source.text}: lies on {parent or 'nothing'}, not on the layers of {base.manifest.digest}"
            )
        return base
    if parent is None:
        return None
    for image in ground.images.list():
        try:
            found = image_layers(store, image.target, platform, subject=f"image {image.name}")
        except DistoreError:  # an artifact, another platform, or not all there
            continue
        if found.chain_id == parent:
            return found
    raise NotFound(
        f"{source.text}: no image for {platform} has the layers that it lies on, {parent}; name one with"
        " --from, or another --platform"
    )
