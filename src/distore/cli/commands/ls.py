"""``dist ls``: the files of an image, or the blobs in the store as ``dist list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.commands import list as blobs
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "list the files of an image; without one the blobs in the store"
EXAMPLES: Final = (
    "dist ls redis:8:/etc",
    "dist ls -l redis:8:/usr/bin/env",
    "dist ls -R --json redis:8 | jq -r 'select(.mode[0:1] == \"4\").path'",
    "dist ls -q sha256:01    # as dist list",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Lists what is in an image of the store, from its layers: nothing is unpacked. Words that are the"
        " beginning of a digest, or none, list blobs as dist list does; IMAGE:/ names any image."
    )
    parser.add_argument(
        "what", nargs="*", metavar="IMAGE[:/PATH]", help="an image of the store, and where in it"
    )
    parser.add_argument("-l", "--long", action="store_true", help="also mode, owner, size and time")
    parser.add_argument("-R", "--recursive", action="store_true", help="the paths of all that is below")
    parser.add_argument(
        "--platform",
        metavar="P",
        help="which image of an index, such as linux/arm64 (default: this machine's)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="of blobs: print only the digests")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FILTER",
        help="of blobs: only what it matches (containerd filter syntax); several: what one of them matches",
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    images = [word for word in args.what if _is_image(word)]
    of_files = args.long or args.recursive or args.platform is not None
    if not images and not of_files:
        args.prefix = args.what
        blobs.run(args, app, out)
        return
    if len(images) < len(args.what) or not images:
        other = next((word for word in args.what if word not in images), None)
        raise InvalidArgument(
            "ls: -l, -R and --platform want an image"
            if other is None
            else f"ls: {other[:80]!a} is the beginning of a digest; {other[:80]}:/ is the image of that name"
        )
    if args.quiet or args.filter:
        raise InvalidArgument("ls: -q and --filter are for blobs, not for the files of an image")
    from distore.cli.filelist import list_files

    list_files(args, app, out)


def _is_image(word: str) -> bool:
    """Whether a word is no beginning of a digest."""
    if ":/" in word:
        return True
    try:
        blobs.forms(word)
    except InvalidArgument:
        return True
    return False
