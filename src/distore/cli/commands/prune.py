"""``dist prune``: remove what nobody needs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.cli.commands.active import fields
from distore.cli.flags import duration
from distore.cli.output import human_size, printable

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "remove what nobody needs: abandoned ingests"
EXAMPLES: Final = ("dist prune ingests --older-than 24h", "dist prune ingests --older-than 0 --dry-run")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["ingests"], help="ingests: those that nobody writes any more")
    parser.add_argument(
        "--older-than",
        type=duration,
        default=24 * 3600.0,
        metavar="D",
        help="only what nobody wrote to for so long (default: 24h)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.content.blobs import prune_ingests

    count = size = 0
    pruned = prune_ingests(
        app.content, older_than=args.older_than, now=datetime.now(UTC), dry_run=args.dry_run
    )
    for status in pruned:
        count, size = count + 1, size + status.offset
        out.record(printable(status.ref), **fields(status))
    verb = "would drop" if args.dry_run else "dropped"
    out.note(f"dist: {verb} {count} ingest{'' if count == 1 else 's'}, {human_size(size)}")
