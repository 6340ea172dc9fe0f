"""``dist convert``: an image of the store with other compression, media types or platforms."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.transfer.convertplan import ConvertOptions

SUMMARY: Final = "make an image with other compression, media types or platforms"
EXAMPLES: Final = (
    "dist convert --compression zstd redis:8 redis:8-zstd",
    "dist convert --oci --compression gzip registry.example/team/app:1 registry.example/team/app:1-oci",
    "dist convert --platform linux/amd64 --platform linux/arm64 redis:8 registry.example/mirror/redis:8",
)
_NONE: Final = "none"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=flags.image, help="an image of the store; dist images lists them")
    parser.add_argument("name", type=flags.image, help="the name of the new one, which may be the same")
    parser.add_argument(
        "--compression",
        choices=("gzip", "zstd", _NONE),
        help="of all layers (default: each keeps what it has)",
    )
    types = parser.add_mutually_exclusive_group()
    types.add_argument("--oci", action="store_true", help="OCI media types; zstd needs them")
    types.add_argument("--docker", action="store_true", help="Docker's media types, for old programs")
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="P",
        help="only these images of an index, such as linux/arm64 (default: all that are in the store)",
    )
    parser.add_argument(
        "--all-platforms", action="store_true", help="every image of an index; fail when one is not here"
    )
    parser.add_argument(
        "--level", type=flags.count, metavar="N", help="gzip: 1 to 9 (default: 6); zstd: 1 to 19 (default: 3)"
    )
    parser.add_argument("--force", action="store_true", help="also compress again what has that compression")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.progress import show
    from distore.transfer.convert import convert

    options = _options(args)
    root = app.copier.root_of(args.source)  # before anything is made for what is not there
    with app.leased("convert") as content:
        events = convert(content, root, name=str(args.name), images=app.images, options=options)
        finished = show(events, out, quiet=args.quiet, clock=time.monotonic)
    if finished is not None and not out.as_json:
        out.line(finished.descriptor.digest)


def _options(args: argparse.Namespace) -> ConvertOptions:
    from distore.errors import InvalidArgument
    from distore.images.select import ALL, Selection
    from distore.transfer.convertplan import UNCOMPRESSED, ConvertOptions

    platforms = flags.chosen_platforms(args)
    if args.name.digest is not None:
        raise InvalidArgument(f"{args.name}: the digest is not known yet; leave it out")
    return ConvertOptions(
        compression=UNCOMPRESSED if args.compression == _NONE else args.compression,
        media_types="oci" if args.oci else "docker" if args.docker else None,
        selection=Selection(platforms=platforms, attestations=True) if platforms else ALL,
        partial=not args.all_platforms,
        level=args.level,
        force=args.force,
    )
