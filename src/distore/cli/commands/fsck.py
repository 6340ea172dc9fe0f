"""``dist fsck``: verify every blob, quarantine or repair the damaged ones."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.commands.list import note_missing
from distore.cli.output import human_size
from distore.errors import DataLoss, InvalidArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "verify every blob, quarantine or repair the damaged ones"
EXAMPLES: Final = (
    "dist fsck",
    "dist fsck --dry-run --json",
    "dist fsck --repair --from /mnt/backup/.content",
    "dist fsck --repair --from http://mirror.example:5000/library/redis",
    "dist fsck --older-than 7d --rate 50M",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only report; change nothing")
    parser.add_argument("--quick", action="store_true", help="check the tree only; read no blob")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="fetch bad and quarantined blobs again: from --from, then from the registries in their labels",
    )
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        metavar="DIR|URL",
        help="a store or OCI layout, or http(s)://HOST/REPOSITORY, that has right copies",
    )
    parser.add_argument(
        "--older-than",
        type=flags.duration,
        metavar="D",
        help="pass over blobs that were found right within this time, such as 7d",
    )
    parser.add_argument(
        "--rate", type=flags.size, metavar="BYTES", help="read so many bytes a second at most"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads that verify (default: one a core)")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    if args.sources and not args.repair:
        raise InvalidArgument("--from: only with --repair")
    if args.workers is not None and args.workers < 1:
        raise InvalidArgument(f"--workers {args.workers}: want 1 or more")
    if args.rate == 0:
        raise InvalidArgument("--rate 0: want 1 or more bytes a second")
    note_missing(args, app.content.root, out)
    check = app.check(
        dry_run=args.dry_run,
        quick=args.quick,
        older_than=args.older_than,
        rate=args.rate,
        workers=args.workers,
        suppliers=app.suppliers(args.sources) if args.repair else None,
    )
    with flags.ticker(lambda: _progress(check.summary.blobs, check.summary.verified_bytes)):
        for problem in check.run():
            fields: Mapping[str, object] = {
                "event": "problem",
                "kind": problem.kind,
                "subject": problem.subject,
                "detail": problem.detail,
                "action": problem.action,
            }
            what = "" if problem.action == "none" else f" [{problem.action}]"
            out.record(f"{problem.kind}: {problem.subject}: {problem.detail}{what}", **fields)
    summary = check.summary
    for note in summary.notes:
        out.note(f"dist: {note}")
    out.record(
        f"{summary.blobs} blobs, {summary.verified} verified ({human_size(summary.verified_bytes)}),"
        f" {summary.skipped} skipped; {summary.problems} problems, {summary.repaired} mended,"
        f" {summary.quarantined} quarantined",
        event="summary",
        blobs=summary.blobs,
        verified=summary.verified,
        verified_bytes=summary.verified_bytes,
        skipped=summary.skipped,
        problems=summary.problems,
        mended=summary.repaired,
        quarantined=summary.quarantined,
        unresolved=summary.unresolved,
    )
    if summary.unresolved:
        plural = "" if summary.unresolved == 1 else "s"
        raise DataLoss(f"store {app.content.root}: {summary.unresolved} problem{plural} left{_advice(args)}")


def _advice(args: argparse.Namespace) -> str:
    if args.repair:
        return "; see above"
    return "; dist fsck --repair fetches damaged blobs again"


def _progress(blobs: int, size: int) -> None:
    sys.stderr.write(f"\r\x1b[K{blobs} blobs, {human_size(size)} verified")
    sys.stderr.flush()
