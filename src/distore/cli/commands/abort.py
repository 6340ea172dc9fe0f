"""``dist abort``: drop ingests that nobody writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.flags import words
from distore.cli.output import printable
from distore.errors import DistoreError

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "drop ingests that nobody writes"
EXAMPLES: Final = (
    "dist abort docker.io/library/redis@sha256:010c454d55e5",
    "dist active -q | dist abort -",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ref", nargs="+", help="an ingest; - reads them from standard input, one a line")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    for ref in words(args.ref):
        try:
            app.content.abort(ref)
        except DistoreError as error:
            out.error(error)
        else:
            out.record(printable(ref), ref=ref)
