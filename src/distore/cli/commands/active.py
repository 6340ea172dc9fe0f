"""``dist active``: the ingests that have not been committed."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from distore.cli.commands.list import note_missing
from distore.cli.flags import duration
from distore.cli.output import human_age, human_size, printable, row

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.content.store import Status

SUMMARY: Final = "list the ingests that have not been committed"
EXAMPLES: Final = (
    "watch -n0.2 dist active",
    "dist active --watch",
    "dist active --follow docker.io/library/redis@sha256:010c454d55e5",
    "dist active --json | jq -r 'select(.owner == null).ref'",
)
_CLEAR: Final = "\x1b[H\x1b[J"  # cursor home, erase below (ECMA-48)
_MIN_REF_WIDTH: Final = 24
# So many are sorted and aligned; what comes behind them streams, so that memory stays flat.
_SORTED: Final = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the refs")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FILTER",
        help="only refs it matches, such as ref~=redis",
    )
    parser.add_argument("--watch", action="store_true", help="show the table again and again until Ctrl-C")
    parser.add_argument(
        "--interval", type=duration, default=0.2, metavar="D", help="time between two looks (default: 200ms)"
    )
    parser.add_argument("--follow", metavar="REF", help="report one ingest until it ends, then its digest")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    if args.follow is not None:
        _follow(args.follow, app, out)
        return
    note_missing(args, app.content.root, out)
    if not args.watch:
        _show(args, app, out, "")
        return
    import time

    while True:
        _show(args, app, out, _CLEAR if out.stdout.isatty() else "")
        out.flush()
        time.sleep(args.interval)


def fields(status: Status) -> dict[str, object]:
    """An ingest's fields under --json; stable."""
    owner = status.owner
    return {
        "ref": status.ref,
        "offset": status.offset,
        "total": status.total,
        "expected": status.expected,
        "started": status.started,
        "updated": status.updated,
        "owner": owner
        and {"pid": owner.pid, "host": owner.host, "command": owner.command, "since": owner.since},
    }


def _show(args: argparse.Namespace, app: App, out: Output, before: str) -> None:
    statuses = app.content.statuses(*args.filter)
    first = sorted(islice(statuses, _SORTED), key=lambda status: status.ref)
    width = max([_MIN_REF_WIDTH, *(len(printable(status.ref)) for status in first)])
    if not args.quiet:
        out.header(before + row(("REF", "SIZE", "AGE"), (width, 9)))
    now = datetime.now(UTC)
    for status in chain(first, statuses):
        age = human_age((now - status.started).total_seconds())
        cells = (printable(status.ref), human_size(status.offset), age)
        out.record(printable(status.ref) if args.quiet else row(cells, (width, 9)), **fields(status))


def _follow(ref: str, app: App, out: Output) -> None:
    store = app.content
    last = store.status(ref)  # NotFound names it

    def progress(status: Status) -> None:
        nonlocal last
        if status.offset != last.offset:
            last = status
            out.record(progress_line(status), event="progress", **fields(status))
            out.flush()

    digest = store.follow(ref, on_progress=progress)
    if digest is not None:
        out.record(digest, event="committed", ref=ref, digest=digest)
        return
    kept = f"{human_size(last.offset)} kept"
    out.record(f"{printable(ref)}: nobody writes it; {kept}", event="idle", **fields(last))


def progress_line(status: Status) -> str:
    """How far an ingest is, for people."""
    if status.total is None:
        return f"{printable(status.ref)}  {human_size(status.offset)}"
    share = 100 * status.offset // status.total
    return f"{printable(status.ref)}  {human_size(status.offset)} of {human_size(status.total)}  {share} %"
