"""An image of the store as snapshots, for the verbs that need its files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from distore.cli import flags
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from distore.app import App
    from distore.cli.output import Output
    from distore.metadata.db import Metadata
    from distore.oci.digest import Digest
    from distore.oci.platform import Platform
    from distore.snapshots.snapshotter import Snapshotter
    from distore.transfer.progress import Event
    from distore.unpack.layers import ImageLayers


class UnpackedImage(NamedTuple):
    """An image whose layers are committed snapshots; the uppermost is named ``image.chain_id``."""

    name: str
    image: ImageLayers
    snapshotter: Snapshotter


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Which image of an index, and into which snapshots."""
    parser.add_argument("--platform", metavar="P", help="which image of an index (default: this machine's)")
    parser.add_argument(
        "--snapshotter",
        metavar="NAME",
        help="overlayfs or native (default: $DIST_SNAPSHOTTER, $CONTAINERD_SNAPSHOTTER, the best there is)",
    )


def add_sync(parser: argparse.ArgumentParser) -> None:
    """Whether to wait for the device."""
    parser.add_argument(
        "--no-sync",
        action="store_true",
        help="do not wait until the files are on the device: faster; what is so unpacked does not outlive a"
        " restart of the machine",
    )


def platform(text: str | None) -> Platform:
    """The one that ``--platform`` names, or this machine's."""
    from distore.api.transfers import chosen_platforms, this_platform

    return chosen_platforms(text)[0] if text else this_platform()


def unpacked(
    app: App,
    metadata: Metadata,
    text: str,
    args: argparse.Namespace,
    out: Output,
    *,
    quiet: bool,
    always: bool = False,
) -> UnpackedImage:
    """Unpack an image as far as it is not; tells people how it goes.

    Args:
        metadata: Of ``app.working``: its lease holds what is found and made.
        text: The image, as people name it.
        args: What ``add_flags`` parsed.
        quiet: Show nothing.
        always: Tell even that there was nothing to do.
    Raises:
        NotFound: No such image, nothing for the platform, or layers are missing; says what to do.
        DataLoss: A layer is not what its config promises.
    """
    from distore.cli.progress import show
    from distore.transfer.copy import root_of
    from distore.transfer.pace import Stop
    from distore.transfer.unpack import UnpackOptions, unpack

    if not text:
        raise InvalidArgument("image '': want a name")
    root = root_of(metadata.images, metadata.content, flags.image(text))
    options = UnpackOptions(
        platforms=(platform(args.platform),),
        chosen=args.platform is not None,
        snapshotter=flags.snapshotter(args.snapshotter),
        sync=not getattr(args, "no_sync", False),
    )
    stop = Stop()
    place = app.place(metadata.content, options, stop=stop)
    found: dict[Digest, ImageLayers] = {}

    def events() -> Generator[Event, None, None]:
        found.update((yield from unpack(place, metadata.content, root, options, name=text, stop=stop)))

    shown = events() if always and out.as_json else _needed(events(), always=always)
    show(shown, out, quiet=quiet, clock=time.monotonic)
    (image,) = found.values()
    return UnpackedImage(name=text, image=image, snapshotter=place.snapshotter)


def _needed(events: Generator[Event, None, None], *, always: bool) -> Generator[Event, None, None]:
    """No events when there is nothing to unpack: nobody asked for that. With ``always`` only no plan,
    which would tell of bytes to move."""
    from distore.transfer.progress import Planned

    first: list[Event] = []
    for event in events:
        if not isinstance(event, Planned):
            first.append(event)
        elif event.unpack:
            yield from (*first, event)
            yield from events
            return
    if always:
        yield from first
