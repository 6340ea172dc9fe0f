"""``dist cat``: a file of an image to standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.imagefiles import OpenImages, add_platform, with_path

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "write files of an image to standard output"
EXAMPLES: Final = (
    "dist cat redis:8:/etc/os-release",
    "dist cat --platform linux/arm64 redis:8:/usr/local/bin/redis-server | file -",
)
_CHUNK: Final = 1024 * 1024  # bytes


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="+", metavar="IMAGE:/PATH", help="a file of an image of the store")
    add_platform(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    """All of them are looked for before the first byte is written."""
    images = OpenImages(app, out, args.platform)
    found = []
    for image, path in [with_path(word) for word in args.file]:
        files = images.of(image)
        found.append((files, files.regular(path)))
    sink = out.stdout.buffer
    space = memoryview(bytearray(_CHUNK))
    for files, info in found:
        with files.open(info.path) as file:
            while size := file.readinto(space):
                sink.write(space[:size])
    sink.flush()
