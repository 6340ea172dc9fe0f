"""``dist inventory``: the digests that this side has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "list the digests that are here, for dist export on another side to leave out"
EXAMPLES: Final = (
    "dist inventory > there.txt",
    "dist inventory redis:8",
    "ssh build.example dist inventory | dist export --exclude-inventory - update.tar redis:8",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "image", nargs="*", help="only what is here of these, and what refers to them (default: every blob)"
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.commands.list import note_missing
    from distore.cli.flags import image, words
    from distore.transfer.inventory import HEADER, inventory_of

    note_missing(args, app.content.root, out)
    if args.image:
        roots = [app.copier.root_of(image(text)) for text in words(args.image)]
        found = inventory_of(app.content, roots)
    else:
        found = sorted((info.digest, info.size) for info in app.content.walk())
    out.header(HEADER)
    for digest, size in found:
        out.record(digest, digest=digest, size=size)
