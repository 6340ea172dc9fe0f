"""``dist db``: look after the database of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.output import human_size
from distore.errors import DataLoss, InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.metadata.rebuild import Rebuilt

SUMMARY: Final = "check, describe or rebuild the database of the store"
EXAMPLES: Final = ("dist db info", "dist db check", "dist db rebuild --dry-run", "dist db rebuild")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("info", "check", "rebuild"),
        help="info: its format, size and rows. check: is it whole, and does it fit the blobs? rebuild: a"
        " new one of what the damaged one and the blobs still tell; the old one is kept beside it",
    )
    parser.add_argument("--quick", action="store_true", help="check: leave out what takes long")
    parser.add_argument("--dry-run", action="store_true", help="check, rebuild: only report; change nothing")
    parser.add_argument(
        "--force", action="store_true", help="rebuild: also when it is whole, newer, or another program's"
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    for flag, actions in (("quick", ("check",)), ("dry_run", ("check", "rebuild")), ("force", ("rebuild",))):
        if getattr(args, flag) and args.action not in actions:
            raise InvalidArgument(f"db {args.action}: takes no --{flag.replace('_', '-')}")
    {"info": _info, "check": _check, "rebuild": _rebuild}[args.action](args, app, out)


def _info(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.metadata.dbinfo import describe

    info = describe(app.content)
    if info is None:
        out.note(f"dist: store {app.content.root}: has no database yet, and needs none so far")
        return
    log = f" and {human_size(info.log_size)} of log" if info.log_size else ""
    out.record(
        f"{info.path}: format {info.version}, {human_size(info.size)}{log}",
        event="database",
        path=info.path,
        version=info.version,
        size=info.size,
        log_size=info.log_size,
    )
    for table, rows in info.rows.items():
        out.record(f"{table}: {rows} rows", event="table", table=table, rows=rows)


def _check(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.metadata.dbinfo import problems

    left = 0
    for problem in problems(app.content, quick=args.quick, dry_run=args.dry_run):
        what = "" if problem.action == "none" else f" [{problem.action}]"
        out.record(
            f"{problem.kind}: {problem.subject}: {problem.detail}{what}",
            event="problem",
            kind=problem.kind,
            subject=problem.subject,
            detail=problem.detail,
            action=problem.action,
        )
        left += not problem.resolved
    if left:
        raise DataLoss(f"store {app.content.root}: {left} problem{'' if left == 1 else 's'} left")


def _rebuild(args: argparse.Namespace, app: App, out: Output) -> None:
    # Not by app.content: a store with such a database does not open.
    import time

    from distore.content.rules import check_namespace
    from distore.metadata.rebuild import rebuild

    check_namespace(app.config.namespace)
    rebuilt = rebuild(app.config.root, now=time.time(), dry_run=args.dry_run, force=args.force)
    if not rebuilt.done:
        out.note("dist: the database is whole; nothing to do (--force makes a new one all the same)")
        return
    _report(rebuilt, out, dry_run=args.dry_run)


def _report(rebuilt: Rebuilt, out: Output, *, dry_run: bool) -> None:
    salvaged, told = rebuilt.salvaged, rebuilt.told
    for table, rows, whole in salvaged.tables():
        text = f"{table}: {rows} rows{'' if whole else ', and perhaps not all'}"
        out.record(text, event="table", table=table, rows=rows, complete=whole)
    would = "would be " if dry_run else ""
    for table in salvaged.unknown:
        out.note(f"dist: table {table}: not known here; {would}left behind")
    out.record(
        f"{would}added from the blobs: {told.labels} labels, {told.names} names; held: {told.held} blobs",
        event="summary",
        dry_run=dry_run,
        kept=rebuilt.kept,
        version=salvaged.version,
        problem=salvaged.wrong,
        refused=salvaged.refused,
        labels=told.labels,
        names=told.names,
        held=told.held,
        lease=told.lease,
    )
    if told.lease:
        out.note(
            f"dist: names may have been lost: lease {told.lease} keeps {told.held} blobs that nothing else"
            f" keeps; give them names (dist images), then dist leases rm {told.lease}"
        )
    if rebuilt.kept and not dry_run:
        out.note(f"dist: the old database is {rebuilt.kept}")
