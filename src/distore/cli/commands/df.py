"""``dist df``: what the store needs on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "show what images, and all else in the store, need on the disk"
EXAMPLES: Final = (
    "dist df",
    "dist df --json | jq -r 'select(.kind == \"reclaimable\") | .size'",
)
_WIDTHS: Final = (40, 8, 8)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "For each image of the namespace the bytes that are there: all, those that another image needs too"
        " (shared), and those that would go with it (unique). Then the whole store, every file counted once:"
        " blobs, ingests, quarantine, snapshots, the database; the repositories of dist serve, which are a"
        " part of blobs; and what dist gc would remove (reclaimable), a part of blobs, ingests and snapshots."
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="only the whole store, not each image")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.commands.list import note_missing
    from distore.cli.output import row

    note_missing(args, app.content.root, out)
    if not args.quiet:
        _images(app, out)
        out.header("")
    out.header(row(("STORE", "COUNT", "SIZE"), _WIDTHS))
    _totals(app, out)


def _images(app: App, out: Output) -> None:
    from distore.cli.imageviews import usage_header, usage_line
    from distore.metadata.diskusage import ImageUsages

    usage_header(out)
    usages = ImageUsages(app.metadata, report=lambda name, error: out.error(error, subject=f"image {name}"))
    for image in app.images.list():
        if (found := usages.of(image)) is not None:
            usage_line(image.name, found, out, kind="image")


def _totals(app: App, out: Output) -> None:
    from distore.metadata.diskusage import totals

    found = totals(app.content)
    for kind in ("blobs", "ingests", "quarantine", "repositories", "snapshots", "database"):
        amount = getattr(found, kind)
        _line(kind, amount.count, amount.size, out)
    collector = app.collector
    count = sum(each.kind in ("content", "ingest", "snapshot") for each in collector.collect(dry_run=True))
    _line("reclaimable", count, collector.summary.freed, out)


def _line(kind: str, count: int, size: int, out: Output) -> None:
    from distore.cli.output import human_size, row

    out.record(row((kind, str(count), human_size(size)), _WIDTHS), kind=kind, count=count, size=size)
