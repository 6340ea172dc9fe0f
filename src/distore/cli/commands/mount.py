"""``dist mount``: the files of an image at a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import unpacked

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "show the files of an image at a folder"
EXAMPLES: Final = (
    "dist mount redis:8 /mnt",
    "dist mount --rw redis:8 /mnt   # what is written goes with dist unmount",
    "dist unmount /mnt",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Unpacks the image as far as it is not, and mounts it: read-only, without devices and setuid. Needs"
        " root; dist rootfs, dist ls, dist cat and dist cp do not."
    )
    parser.add_argument("image", help="an image of the store, or the digest of a manifest or index")
    parser.add_argument("folder", help="an empty one, or one to make")
    parser.add_argument("--rw", action="store_true", help="may be written to; dist unmount drops that")
    unpacked.add_flags(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.imagemounts import mount_image

    mount_image(args, app, out, text=args.image, target=args.folder)
