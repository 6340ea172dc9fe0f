"""``dist info``: everything the store knows about blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.commands.list import fields
from distore.cli.flags import each_digest
from distore.cli.output import human_size, printable, timestamp

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.digest import Digest

SUMMARY: Final = "show everything the store knows about blobs"
EXAMPLES: Final = ("dist list -q | dist info -", "dist list -q | dist info --json -")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("digest", nargs="+", help="a digest; - reads them from standard input, one a line")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    def show(digest: Digest) -> None:
        info = app.content.info(digest)
        lines = [
            f"digest   {info.digest}",
            f"size     {info.size} ({human_size(info.size)})",
            f"created  {timestamp(info.created)}",
            f"updated  {timestamp(info.updated)}",
            *(f"label    {printable(key)}={printable(value)}" for key, value in info.labels.items()),
        ]
        out.record("\n".join(lines), **fields(info))

    each_digest(args.digest, out, show)
