"""``dist cp``: files out of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.imagefiles import OpenImages, add_platform, with_path

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.unpack.fileaccess import LayerFiles

SUMMARY: Final = "copy a file or a folder out of an image"
EXAMPLES: Final = (
    "dist cp redis:8:/usr/local/bin/redis-server .",
    "dist cp redis:8:/etc ./etc-of-redis",
    "dist cp redis:8:/etc/. ./etc       # what is in it",
    "dist cp redis:8:/etc - | tar tv",
)
_TAR: Final = "-"
_BATCH: Final = 256 * 1024  # bytes; a header alone would be a system call of its own


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Copies with modes and times, as root with owners, too; a folder with all that is in it. It reads"
        " the layers: nothing is unpacked. Nothing is written outside of DEST, whatever links the image has."
    )
    parser.add_argument("source", metavar="IMAGE:/PATH", help="what to copy; PATH/. is what is in a folder")
    parser.add_argument(
        "dest",
        metavar="DEST",
        help="a folder to copy into, a new name, or - for a tar file on standard output",
    )
    parser.add_argument(
        "-L", "--follow-link", action="store_true", help="copy what a link leads to, not the link"
    )
    parser.add_argument("-f", "--force", action="store_true", help="write over what is there")
    add_platform(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    image, path = with_path(args.source)
    files = OpenImages(app, out, args.platform).of(image)
    if args.dest == _TAR:
        _write_tar(files, path, out, follow=args.follow_link)
        return
    from distore.cli.output import inert
    from distore.unpack.filecopy import copy_out
    from distore.unpack.rights import own_options

    made, left_out = copy_out(
        files, path, args.dest, own_options(), follow=args.follow_link, force=args.force
    )
    if left_out:
        out.note(f"dist: {inert(made)}: without {left_out} devices and attributes that need more rights")
    if out.as_json:
        out.record("", source=args.source, destination=made, left_out=left_out)


def _write_tar(files: LayerFiles, path: str, out: Output, *, follow: bool) -> None:
    from distore.unpack.filecopy import tar_stream

    top = files.tree.stat(path, follow=follow)
    sink = out.stdout.buffer
    batch = bytearray()
    for chunk in tar_stream(files, top, "" if path.endswith("/.") else top.name):
        batch += memoryview(chunk)
        if len(batch) >= _BATCH:
            sink.write(batch)
            batch.clear()
    sink.write(batch)
    sink.flush()
