"""``dist diff``: what files two images do not have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.imagefiles import OpenImages, add_platform
from distore.cli.output import human_size, printable

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.unpack.filediff import FileChange
    from distore.unpack.filetree import FileInfo

SUMMARY: Final = "show which files differ between two images, and their sizes"
EXAMPLES: Final = (
    "dist diff redis:7 redis:8",
    "dist diff --json redis:7 redis:8 | jq -r 'select(.change == \"A\").path'",
)
_NOTHING: Final = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prints A (added), C (changed) or D (deleted), the path, and the sizes in bytes of files before and"
        " after. Layers that both images have cost nothing; bytes are only compared where mode, owner, size,"
        " time and attributes are the same. A folder's time is not compared."
    )
    parser.add_argument("before", metavar="IMAGE1", help="an image of the store")
    parser.add_argument("after", metavar="IMAGE2", help="another one")
    add_platform(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.unpack.filediff import file_changes

    images = OpenImages(app, out, args.platform)
    counts = dict.fromkeys("ACD", 0)
    grown = 0
    for each in file_changes(images.of(args.before), images.of(args.after)):
        counts[each.change] += 1
        old, new = _bytes(each.before), _bytes(each.after)
        grown += (new or 0) - (old or 0)
        out.record(_line(each, old, new), change=each.change.value, path=each.path, before=old, after=new)
    added, changed, deleted = counts.values()
    sign = "-" if grown < 0 else "+"
    out.note(f"dist: {added} added, {changed} changed, {deleted} deleted, {sign}{human_size(abs(grown))}")


def _bytes(info: FileInfo | None) -> int | None:
    """The size of a file; None when it is not there, or no file."""
    from distore.unpack.filetree import FileKind

    return info.size if info is not None and info.kind is FileKind.FILE else None


def _line(change: FileChange, old: int | None, new: int | None) -> str:
    text = f"{change.change} {printable(change.path)}"
    if old is None and new is None:
        return text
    sizes = [_NOTHING if size is None else str(size) for size in (old, new)]
    return f"{text}  {' -> '.join(sizes)}"
