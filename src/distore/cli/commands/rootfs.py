"""``dist rootfs``: the files of an image in a plain folder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from distore.app import App
    from distore.cli.output import Output
    from distore.diff.entry import ApplyOptions
    from distore.transfer.progress import Event

SUMMARY: Final = "write the files of an image into a folder"
EXAMPLES: Final = (
    "dist rootfs redis:8 ./rootfs",
    "dist rootfs --no-same-owner --platform linux/arm64 redis:8 ./rootfs",
    "dist rootfs --uid-map 0:100000:65536 --gid-map 0:100000:65536 redis:8 ./rootfs",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The folder is yours: no store knows of it, nothing is shared with others. Without root everything"
        " in it belongs to you, and devices are left out."
    )
    parser.add_argument("image", help="an image of the store, or the digest of a manifest or index")
    parser.add_argument("folder", help="an empty one, or one to make")
    parser.add_argument("--platform", metavar="P", help="which image of an index (default: this machine's)")
    parser.add_argument(
        "--no-same-owner", action="store_true", help="all files belong to whoever runs this, as without root"
    )
    for what in ("uid", "gid"):
        parser.add_argument(
            f"--{what}-map",
            action="append",
            default=[],
            metavar="ID:HOST:COUNT",
            help=f"COUNT {what}s of the image from ID on become those from HOST on; may be given again",
        )
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    import os

    from distore.cli import unpacked
    from distore.cli.output import printable
    from distore.cli.progress import show
    from distore.transfer.copy import root_of
    from distore.transfer.unpack import rootfs

    options = _options(args)
    with app.working("rootfs") as metadata:
        root = root_of(metadata.images, metadata.content, flags.image(args.image))
        platform = unpacked.platform(args.platform)

        def events() -> Generator[Event, None, None]:
            chosen = args.platform is not None
            content, name = metadata.content, args.image
            yield from rootfs(content, root, platform, args.folder, options, name=name, chosen=chosen)

        show(events(), out, quiet=args.quiet, clock=time.monotonic)
    if not out.as_json:
        out.line(printable(os.path.realpath(args.folder)))


def _options(args: argparse.Namespace) -> ApplyOptions:
    from dataclasses import replace

    from distore.errors import InvalidArgument, PermissionDenied
    from distore.unpack.rights import own_options

    options = own_options()
    maps = bool(args.uid_map or args.gid_map)
    if args.no_same_owner:
        if maps:
            raise InvalidArgument("rootfs: --no-same-owner and maps of ids: want one of them")
        return replace(options, as_root=False)
    if not maps:
        return options
    if not options.as_root:
        raise PermissionDenied("rootfs: maps of ids need root; without it everything belongs to you")
    return _mapped(args, options)


def _mapped(args: argparse.Namespace, options: ApplyOptions) -> ApplyOptions:
    from dataclasses import replace

    from distore.diff.idmap import IdMap

    uids, gids = (IdMap.parse(",".join(given)) if given else None for given in (args.uid_map, args.gid_map))
    return replace(options, uid_map=uids, gid_map=gids)
