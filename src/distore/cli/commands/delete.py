"""``dist delete``: remove blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.flags import each_digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.digest import Digest

SUMMARY: Final = "remove blobs"
EXAMPLES: Final = ("dist list -q | xargs dist delete", "dist list -q sha256:01 | dist delete -")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("digest", nargs="+", help="a digest; - reads them from standard input, one a line")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    removed = 0

    def remove(digest: Digest) -> None:
        nonlocal removed
        app.content.delete(digest)
        removed += 1
        out.record(digest, digest=digest)

    each_digest(args.digest, out, remove)
    if app.content.database.exists():  # else nobody has set a schedule
        app.note_deletions(removed)
