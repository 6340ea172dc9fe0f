"""``dist images``: the names in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "list or forget the names of images in the store"
EXAMPLES: Final = ("dist images", "dist images rm redis:7")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="ls", choices=("ls", "rm"), help="what to do (default: ls)"
    )
    parser.add_argument("image", nargs="*", help="rm: which")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    """``rm`` forgets names; the content stays."""
    from distore.oci.reference import Reference

    if args.action == "rm":
        if not args.image:
            raise InvalidArgument("images rm: which?")
        for text in args.image:
            name = str(Reference.parse(text))
            app.images.delete(name)
            out.record(name, name=name)
        return
    if args.image:
        raise InvalidArgument("images ls: takes no names")
    for image in app.images.list():
        out.record(
            f"{image.name} {image.target.digest}",
            name=image.name,
            target=image.target.to_json(),
            created=image.created,
            updated=image.updated,
        )
