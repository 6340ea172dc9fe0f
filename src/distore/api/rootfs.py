"""Files of images, as they are asked for from Python: looked at, and made images of."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict

from distore.api.files import ImageFiles, layer_files
from distore.api.transfers import chosen_platforms, held, this_platform
from distore.api.unpacking import place, unpack_options
from distore.diff.compare import CompareOptions
from distore.diff.ownership import as_roots, same_owner
from distore.errors import AlreadyExists, NotFound
from distore.transfer.commit_rootfs import LIKE_BASE, CommitOptions
from distore.transfer.copy import root_of
from distore.transfer.pace import Stop
from distore.unpack.rights import own_options

if TYPE_CHECKING:
    from distore.api.interrupt import Interrupt
    from distore.api.settings import Path
    from distore.images.image import Image
    from distore.metadata.db import Metadata
    from distore.oci.platform import Platform
    from distore.oci.reference import Reference
    from distore.transfer.rootbase import Ground
    from distore.transfer.rootsource import RootSource


class CommitKeywords(TypedDict, total=False):
    """Keywords of ``Store.commit_rootfs``, which says what they mean."""

    base: str | Reference | None
    platform: str | Platform | None
    message: str | None
    compression: str | None
    level: int | None
    source_date_epoch: int | None
    checksum: bool
    force: bool


def image_files(metadata: Metadata, image: Reference, platform: str | Platform | None) -> ImageFiles:
    """See ``Store.files``."""
    root = root_of(metadata.images, metadata.content, image)
    chosen, subject = platform is not None, f"image {image}"
    return ImageFiles(layer_files(metadata.content, root, _one(platform), subject=subject, chosen=chosen))


def commit_rootfs(
    metadata: Metadata,
    source: Path,
    name: Reference,
    *,
    base: str | Reference | None = None,
    platform: str | Platform | None = None,
    message: str | None = None,
    compression: str | None = LIKE_BASE,
    level: int | None = None,
    source_date_epoch: int | None = None,
    checksum: bool = False,
    force: bool = False,
    interrupt: Interrupt,
) -> Image:
    """See ``Store.commit_rootfs``."""
    from distore.transfer.rootbase import commit_source
    from distore.transfer.rootsource import RootSource

    if not force:
        _check_free(metadata, name)
    where, stop = RootSource.parse(os.fspath(source)), Stop()
    own = same_owner if own_options().as_root else as_roots(os.geteuid(), os.getegid())
    made = int(time.time()) if source_date_epoch is None else source_date_epoch
    options = CommitOptions(
        compare=CompareOptions(
            checksum=checksum, source_date_epoch=source_date_epoch, owner=own, lower_owner=own
        ),
        created=datetime.fromtimestamp(made, UTC).isoformat().replace("+00:00", "Z"),
        message=message,
        compression=compression,
        level=level,
        check=stop.check,
    )
    with interrupt.breaking(stop.set), metadata.leased("commit-rootfs") as content:
        below = None if base is None else held(base)
        ground = _ground(metadata.over(content), where, below, _one(platform), stop)
        done = commit_source(content, where, ground, options, root=content.root)
        return metadata.images.put(str(name), done.root)


def _one(platform: str | Platform | None) -> Platform:
    (chosen,) = chosen_platforms(platform) or (this_platform(),)
    return chosen


def _check_free(metadata: Metadata, name: Reference) -> None:
    try:
        metadata.images.get(str(name))
    except NotFound:
        return
    raise AlreadyExists(f"image {name}: exists already", subject=str(name))


def _ground(
    metadata: Metadata, source: RootSource, base: Reference | None, platform: Platform, stop: Stop
) -> Ground:
    """The base, unpacked where the files of a folder are compared with it."""
    from distore.transfer.rootbase import Ground
    from distore.transfer.unpack import unpack
    from distore.unpack.layers import image_layers

    content = metadata.content
    options = replace(unpack_options(platform, snapshotter=source.snapshotter), chosen=False)
    where = place(metadata, content, options, stop=stop)
    found = None
    if base is not None:
        root = root_of(metadata.images, content, base)
        found = image_layers(content, root, platform, subject=f"image {base}")
        if source.folder is not None:
            for _ in unpack(where, content, root, options, name=str(base), stop=stop):
                pass
    return Ground(images=metadata.images, snapshotter=where.snapshotter, platform=platform, base=found)
