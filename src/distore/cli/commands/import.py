"""``dist import``: images of an archive or a layout into the store."""
# ruff: noqa: N999 - the verb is called so, and nobody imports the module by a statement

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.output import printable
from distore.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from distore.app import App
    from distore.cli.output import Output
    from distore.errors import DistoreError
    from distore.images.select import Selection
    from distore.oci.digest import Digest
    from distore.transfer.importer import ImportOptions
    from distore.transfer.progress import Event, Finished

SUMMARY: Final = "bring the images of an archive or a layout into the store"
EXAMPLES: Final = (
    "dist import app.tar",
    "docker save redis:8 | dist import -",
    "dist import --base-name registry.example/team/app layout/",
    "dist import --platform linux/arm64 --name app:1 app.tar.zst",
)

CONCURRENCY: Final = 2  # each blob is hashed beside its writing


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        help="an OCI archive or one of docker save, plain or compressed; the folder of a layout; - is"
        " standard input",
    )
    parser.add_argument(
        "--name", action="append", default=[], metavar="REF", help="what the only image in it is called"
    )
    parser.add_argument("--base-name", metavar="REPO", help="the repository of images that have only a tag")
    parser.add_argument(
        "--digests", action="store_true", help="call images that have no name by their digest"
    )
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="P",
        help="which image of an index, such as linux/arm64; may be given again (default: all that are there)",
    )
    parser.add_argument("--all-platforms", action="store_true", help="every image of an index that is there")
    parser.add_argument(
        "--no-referrers", action="store_true", help="without signatures and the like that come beside images"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument(
        "--concurrency",
        type=flags.count,
        default=CONCURRENCY,
        metavar="N",
        help=f"blobs at once (default: {CONCURRENCY}); of a stream it is always one",
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.progress import show
    from distore.transfer.importer import import_archive

    options = _options(args)
    if not args.source or "\0" in args.source:
        raise InvalidArgument("import: want a FILE, the folder of a layout, or - for standard input")
    if args.source == "-" and sys.stdin.isatty():
        raise InvalidArgument("import -: standard input is a terminal; pipe an archive into it")
    if args.source != "-" and not os.path.lexists(args.source):  # before a store is made for it
        raise NotFound(f"{printable(args.source)}: no such file or directory")
    source = flags.standard_input() if args.source == "-" else args.source
    finished: list[Finished] = []
    notes = out if args.quiet and not out.as_json else None
    errors: list[DistoreError] = []
    left: list[Digest] = []

    try:
        with app.leased("import") as content:
            events = import_archive(
                source,
                store=content,
                images=app.images,
                options=options,
                on_error=errors.append,
                discard=left.extend,
            )
            show(_watched(events, finished, notes), out, quiet=args.quiet, clock=time.monotonic)
    finally:
        if left:  # after the lease, which would keep it
            app.discard(left)
    for each in finished if not out.as_json else ():
        out.line(f"{each.name} {each.descriptor.digest}")
    for error in errors:
        out.error(error)


def _watched(
    events: Generator[Event, None, None], finished: list[Finished], notes: Output | None
) -> Generator[Event, None, None]:
    """The same events; ``notes`` tells what does not come, which is more than progress."""
    from distore.transfer.progress import Finished, Noted

    with closing(events):
        for event in events:
            if isinstance(event, Finished):
                finished.append(event)
            elif isinstance(event, Noted) and notes is not None:
                notes.note(f"dist: {event.text}")
            yield event


def _options(args: argparse.Namespace) -> ImportOptions:
    from distore.oci.reference import Reference
    from distore.transfer.importer import ImportOptions

    if args.name and (args.base_name or args.digests):
        raise InvalidArgument("--name and --base-name or --digests: want one of them")
    return ImportOptions(
        names=tuple(Reference.parse(text) for text in args.name),
        base_name=Reference.parse_name(args.base_name) if args.base_name else None,
        digests=args.digests,
        selection=_selection(args),
        referrers=not args.no_referrers,
        workers=args.concurrency,
    )


def _selection(args: argparse.Namespace) -> Selection:
    from distore.images.select import ALL, Selection

    platforms = flags.chosen_platforms(args)
    return Selection(platforms=platforms, attestations=not args.no_referrers) if platforms else ALL
