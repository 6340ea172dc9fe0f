"""``dist export``: images of the store as one archive, or into a layout."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.transfer.exporter import ExportOptions, LayoutFolder
    from distore.transfer.progress import Event
    from distore.transfer.tarout import Out

SUMMARY: Final = "write images of the store into one archive or layout"
EXAMPLES: Final = (
    "dist export images.tar redis:8 registry.example/team/app:1",
    "dist export - redis | ssh build.example dist import -",
    "dist export --platform linux/arm64 --format docker app.tar registry.example/team/app:1",
    "dist export --exclude-inventory there.txt update.tar registry.example/team/app:2",
    "dist images -q | dist export oci:folder -",
)
STANDARD: Final = "-"
_LAYOUT: Final = "oci:"
_OTHERS: Final = ("oci-archive:", "docker-archive:", "docker://", "store:", "dir:")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", help="a tar FILE, oci:DIR or an existing folder for a layout, - for stdout")
    parser.add_argument(
        "image", nargs="+", help="an image of the store, or a digest; - reads them from standard input"
    )
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="P",
        help="which image of an index, such as linux/arm64; may be given again (default: all in the store)",
    )
    parser.add_argument("--all-platforms", action="store_true", help="every image that is in the store")
    parser.add_argument(
        "--require-all", action="store_true", help="fail when the store lacks a platform of an index"
    )
    parser.add_argument(
        "--no-referrers", action="store_true", help="without signatures, attestations and SBOMs"
    )
    parser.add_argument(
        "--format",
        choices=("oci", "docker"),
        default="oci",
        help="oci: a layout, which docker load reads, too; docker: as docker save, layers unpacked",
    )
    parser.add_argument(
        "--exclude-inventory",
        metavar="FILE",
        help="leave out the blobs in this list, which dist inventory wrote on the other side",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    """The names of a layout or archive are those of the store; what has none gets none."""
    from distore.cli.progress import show
    from distore.transfer.exporter import export

    options = _options(args)
    target = _target(args, app, out)
    roots: list[str] = []
    images = list(_images(args, app))  # before anything is made for what is not there
    with (
        app.leased("export") as content,
        closing(export(content, images, target, options=options)) as events,
    ):
        finished = show(_noting(events, roots), out, quiet=args.quiet, clock=time.monotonic)
    if finished is not None and not out.as_json and args.out != STANDARD:
        for root in roots:
            out.line(root)


def _noting(events: Iterable[Event], roots: list[str]) -> Iterator[Event]:
    from distore.transfer.progress import Resolved

    for event in events:
        if isinstance(event, Resolved):
            roots.append(event.descriptor.digest)
        yield event


def _images(args: argparse.Namespace, app: App) -> Iterator[tuple[str | None, Descriptor]]:
    for text in flags.words(args.image):
        reference = flags.image(text)
        nameless = reference.digest is not None and text == reference.digest
        yield None if nameless else str(reference), app.copier.root_of(reference)


def _options(args: argparse.Namespace) -> ExportOptions:
    from distore.api.transfers import this_platform
    from distore.transfer.exportplan import ExportOptions
    from distore.transfer.inventory import MAX_INVENTORY_SIZE, parse_inventory

    platforms, docker = flags.chosen_platforms(args), args.format == "docker"
    if docker and (args.all_platforms or len(args.platform) > 1):
        raise InvalidArgument("--format docker: holds one platform of an image; choose one with --platform")
    if docker and args.exclude_inventory:
        raise InvalidArgument("--format docker: cannot leave out blobs; use --format oci")
    exclude: frozenset[Digest] = frozenset()
    if path := args.exclude_inventory:
        data = flags.read_file(path, limit=MAX_INVENTORY_SIZE)
        exclude = parse_inventory(data, subject=flags.file_name(path))
    return ExportOptions(
        host=this_platform(),
        platforms=platforms or None,
        require_all=args.require_all,
        referrers=not args.no_referrers,
        exclude=exclude,
        docker=docker,
    )


def _target(args: argparse.Namespace, app: App, out: Output) -> Out | LayoutFolder:
    from distore.transfer.tarout import TarFile, TarStream

    if args.out == STANDARD:
        if out.as_json:
            raise InvalidArgument("--json: standard output is the archive; name a FILE")
        if out.stdout.isatty():
            raise InvalidArgument("standard output is a terminal; redirect it, or name a FILE")
        return TarStream(out.stdout.buffer)
    folder = args.out.removeprefix(_LAYOUT)
    if args.out.startswith(_OTHERS) or not folder or "\0" in folder:
        raise InvalidArgument(f"{args.out[:80]!a}: want a FILE, oci:DIR, or - for standard output")
    if args.out.startswith(_LAYOUT) or folder.endswith("/") or os.path.isdir(folder):
        return _layout(args, app, folder)
    return TarFile(args.out, overwrite=args.force)


def _layout(args: argparse.Namespace, app: App, folder: str) -> LayoutFolder:
    from distore.transfer.exportlayout import LayoutFolder

    if args.format == "docker":
        raise InvalidArgument("--format docker: want a FILE or -, not a folder")
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise FailedPrecondition(f"oci:{folder}: not a folder")
    return LayoutFolder(folder, store=app.open_store(folder))
