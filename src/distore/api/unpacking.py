"""Unpacking: how it is asked for from Python."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from distore.api.transfers import TransferKeywords, chosen_platforms, copy_options, this_platform
from distore.transfer.copy import root_of
from distore.transfer.pace import Stop
from distore.unpack.place import place_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Unpack

    from distore.api.interrupt import Interrupt
    from distore.api.settings import Path
    from distore.api.transfers import Platforms
    from distore.content.local.store import LocalStore
    from distore.metadata.db import Metadata
    from distore.oci.platform import Platform
    from distore.oci.reference import Reference
    from distore.transfer.copy import CopyOptions
    from distore.transfer.progress import Event
    from distore.transfer.unpack import UnpackOptions
    from distore.unpack.unpacker import Place


class PullKeywords(TransferKeywords, total=False):
    """Keywords of a pull."""

    unpack: bool
    snapshotter: str | None


def pull_options(
    *, unpack: bool = False, snapshotter: str | None = None, **options: Unpack[TransferKeywords]
) -> CopyOptions:
    """What the keywords of a pull mean; ``Store.pull`` says it.

    Raises:
        InvalidArgument: A bad platform, or a number out of range.
    """
    found = copy_options(this_platform(), **options)
    if not unpack:
        return found
    return replace(found, unpack=unpack_options(options.get("platforms"), snapshotter=snapshotter))


def unpack_options(platforms: Platforms = None, *, snapshotter: str | None = None) -> UnpackOptions:
    """What the keywords mean; without a choice this machine's platform.

    Raises:
        InvalidArgument: A bad platform.
    """
    from distore.transfer.unpack import UnpackOptions

    chosen = chosen_platforms(platforms)
    return UnpackOptions(platforms=chosen or (this_platform(),), chosen=bool(chosen), snapshotter=snapshotter)


def place(metadata: Metadata, content: LocalStore, options: UnpackOptions, *, stop: Stop) -> Place:
    """Where images are unpacked to, under the lease of ``content``; ``stop`` ends it."""
    return place_of(
        metadata.over(content),
        snapshotter=options.snapshotter,
        sync=options.sync,
        check=stop.check,
        sleep=stop.sleep,
    )


def unpack_image(
    metadata: Metadata, image: Reference, options: UnpackOptions, *, interrupt: Interrupt
) -> Generator[Event, None, None]:
    """See ``Store.unpack``."""
    from distore.transfer.unpack import unpack

    stop = Stop()
    with interrupt.breaking(stop.set), metadata.leased("unpack") as content:
        root = root_of(metadata.images, content, image)
        where = place(metadata, content, options, stop=stop)
        yield from unpack(where, content, root, options, name=str(image), stop=stop)


def write_rootfs(
    metadata: Metadata,
    image: Reference,
    folder: Path,
    platform: str | Platform | None,
    *,
    same_owner: bool,
    interrupt: Interrupt,
) -> Generator[Event, None, None]:
    """See ``Store.rootfs``."""
    from distore.transfer.unpack import rootfs
    from distore.unpack.rights import own_options

    stop, options = Stop(), own_options()
    (chosen,) = chosen_platforms(platform) or (this_platform(),)
    with interrupt.breaking(stop.set), metadata.leased("rootfs") as content:
        yield from rootfs(
            content,
            root_of(metadata.images, content, image),
            chosen,
            os.fspath(folder),
            replace(options, as_root=options.as_root and same_owner),
            name=str(image),
            chosen=platform is not None,
            stop=stop,
        )
