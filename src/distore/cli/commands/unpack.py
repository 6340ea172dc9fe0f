"""``dist unpack``: the layers of images as snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import unpacked

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "unpack images of the store into snapshots"
EXAMPLES: Final = (
    "dist unpack redis:8",
    "dist unpack --platform linux/arm64 --snapshotter native redis:8",
    "dist unpack --json redis:8 | jq -r 'select(.event == \"unpacked\").chain_id'",
    "dist pull --unpack redis:8",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Each layer becomes a snapshot once, whoever else needs it; prints the chain id of the last one,"
        " its name. They stay as long as the image does. dist pull --unpack begins while layers still"
        " arrive."
    )
    parser.add_argument(
        "image", nargs="+", help="an image of the store, or the digest of a manifest or index"
    )
    unpacked.add_flags(parser)
    unpacked.add_sync(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.errors import DistoreError

    for text in args.image:
        try:
            with app.working("unpack") as metadata:
                done = unpacked.unpacked(app, metadata, text, args, out, quiet=args.quiet, always=True)
        except DistoreError as error:
            if len(args.image) == 1:
                raise
            out.error(error)
            continue
        if not out.as_json:
            out.line(done.image.chain_id)
