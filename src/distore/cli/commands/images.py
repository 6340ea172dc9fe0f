"""``dist images``: the names in the store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError, InvalidArgument, NotFound

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "list or forget the names of images in the store"
EXAMPLES: Final = ("dist images", "dist images rm redis:7", "dist images -q | dist images rm -")
_MIN_NAME_WIDTH: Final = 24
_DIGEST_WIDTH: Final = 71  # sha256


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="ls", choices=("ls", "rm"), help="what to do (default: ls)"
    )
    parser.add_argument("image", nargs="*", help="rm: which; - reads them from standard input, one a line")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the names")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    """``rm`` forgets names; the content stays."""
    if args.action == "rm":
        _forget(args, app, out)
    elif args.image:
        raise InvalidArgument("images ls: takes no names")
    else:
        _show(args, app, out)


def _forget(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.flags import words
    from distore.oci.reference import Reference

    if not args.image:
        raise InvalidArgument("images rm: want the names to forget; dist images lists them")
    is_there = app.content.exists()  # else the first change would make a store
    for text in words(args.image):
        try:
            name = str(Reference.parse(text))
            if not is_there:
                raise NotFound(f"image {name}: not in the store")
            app.images.delete(name)
        except DistoreError as error:
            out.error(error)
        else:
            out.record(name, name=name)


def _show(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.commands.list import note_missing
    from distore.cli.output import human_age, printable, row

    note_missing(args, app.content.root, out)
    images = list(app.images.list())
    widths = (max([_MIN_NAME_WIDTH, *(len(printable(image.name)) for image in images)]), _DIGEST_WIDTH)
    if not args.quiet:
        out.header(row(("IMAGE", "DIGEST", "AGE"), widths))
    now = datetime.now(UTC)
    for image in images:
        name = printable(image.name)
        age = human_age((now - image.updated).total_seconds())
        out.record(
            name if args.quiet else row((name, image.target.digest, age), widths),
            name=image.name,
            target=image.target.to_json(),
            created=image.created,
            updated=image.updated,
        )
