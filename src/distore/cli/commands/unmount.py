"""``dist unmount``: end what ``dist mount`` began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "end what dist mount began"
EXAMPLES: Final = ("dist unmount /mnt", "dist unmount /mnt/a /mnt/b")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="+", help="where an image is mounted, or was before a restart")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.imagemounts import unmount_image
    from distore.errors import DistoreError

    for target in args.folder:
        try:
            unmount_image(app, out, target=target)
        except DistoreError as error:
            if len(args.folder) == 1:
                raise
            out.error(error)
