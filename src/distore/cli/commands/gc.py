"""``dist gc``: remove what nothing needs, or say why something is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.flags import duration
from distore.cli.output import human_size, printable
from distore.errors import DistoreError, InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.metadata.collected import Collected, Removed

SUMMARY: Final = "remove the blobs and snapshots that no image, repository, lease or label needs"
EXAMPLES: Final = (
    "dist gc --dry-run",
    "dist gc --older-than 24h",
    "dist gc --explain sha256:f14bec85a67d92c9fda4f3d14aa57bd4d62b95158b8af1fa5da3e1db78b91d0c",
    "dist gc --explain overlayfs/work",
    "dist gc --schedule deletion_threshold=10 schedule_delay=1m",
)
_SNAPSHOTTERS: Final = ("overlayfs/", "native/")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Looks at all namespaces. A blob is kept by the name of an image, a repository of dist serve, a live"
        " lease, a label containerd.io/gc.root, or a document that is kept. In a store that was filled with"
        " dist ingest or dist fetch nothing names the blobs: there dist gc removes them all. A repository"
        " lets go of what was pushed an hour ago and no manifest came to name. Snapshots are kept in the"
        " same way as blobs, and while they are mounted."
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument(
        "--older-than",
        type=duration,
        default=0.0,
        metavar="D",
        help="only blobs and snapshots that have been there for so long (default: 0)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the digests")
    parser.add_argument(
        "--explain",
        nargs="+",
        metavar="DIGEST",
        help="say what keeps these, digests or snapshots by SNAPSHOTTER/NAME; removes nothing",
    )
    parser.add_argument(
        "--schedule",
        nargs="*",
        metavar="NAME=VALUE",
        help="show or set when deletions lead to a collection by themselves (off at first, and best left"
        " so where nothing names the blobs): deletion_threshold, mutation_threshold, pause_threshold,"
        " schedule_delay, startup_delay as containerd has them; on; off",
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    if args.explain and args.schedule is not None:
        raise InvalidArgument("--explain and --schedule: want one of them")
    if args.explain:
        _explain(args.explain, app, out)
    elif args.schedule is not None:
        _schedule(args.schedule, app, out)
    else:
        _collect(args, app, out)


def _collect(args: argparse.Namespace, app: App, out: Output) -> None:
    if not args.dry_run:
        from distore.cli.runs import before_collecting

        before_collecting(app, out)
    collector = app.collector
    for each in collector.collect(dry_run=args.dry_run, older_than=args.older_than):
        _show(each, args, out)
    if not args.quiet:
        out.note(f"dist: {_summary(collector.summary, dry_run=args.dry_run)}")


def _show(each: Removed, args: argparse.Namespace, out: Output) -> None:
    fields = {"kind": each.kind, "namespace": each.namespace, "key": each.key, "freed": each.freed}
    if each.kind == "content" or out.as_json:
        out.record(each.key, **fields)
    elif not args.quiet:
        verb = "would remove" if args.dry_run else "removed"
        out.note(f"dist: {verb} {_NAMES[each.kind]} {printable(each.key)}")


_NAMES: Final = {
    "image": "expired image",
    "lease": "dead lease",
    "ingest": "abandoned ingest",
    "snapshot": "snapshot",
    "offer": "offer",
}


def _summary(summary: Collected, *, dry_run: bool) -> str:
    verb = "would remove" if dry_run else "removed"
    blobs = f"{summary.removed} blob{'' if summary.removed == 1 else 's'}"
    seconds = (summary.mark_ms + summary.sweep_ms) / 1000
    if summary.snapshots:
        blobs += f" and {summary.snapshots} snapshot{'' if summary.snapshots == 1 else 's'}"
    return f"{verb} {blobs}, {human_size(summary.freed)}; kept {summary.kept}; {seconds:.1f} s"


def _explain(words: list[str], app: App, out: Output) -> None:
    from distore.cli.flags import words as each_word
    from distore.oci.digest import Digest

    digests, snapshots = [], []
    for word in each_word(words):
        if word.startswith(_SNAPSHOTTERS):
            snapshots.append(word)
            continue
        try:
            digests.append(Digest(word))
        except DistoreError as error:
            out.error(error)
    try:
        for found in app.collector.explain(digests):
            out.record(
                printable(str(found)),
                digest=found.digest,
                namespace=found.namespace,
                kept=found.is_kept,
                path=[{"kind": step.kind, "name": step.name} for step in found.path],
                referring=[{"kind": step.kind, "name": step.name} for step in found.referring],
            )
    except DistoreError as error:
        out.error(error)
    try:
        for one in app.collector.explain_snapshots(snapshots):
            out.record(
                printable(str(one)),
                snapshot=one.snapshot,
                namespace=one.namespace,
                kept=one.is_kept,
                path=[{"kind": step.kind, "name": step.name} for step in one.path],
            )
    except DistoreError as error:
        out.error(error)


def _schedule(words: list[str], app: App, out: Output) -> None:
    schedule = app.collector.schedule(words)
    texts = schedule.texts()
    lines = [
        f"schedule {'on' if schedule.enabled else 'off'}",
        *(f"{key}={text}" for key, text in texts.items()),
    ]
    if out.as_json:
        out.record("", enabled=schedule.enabled, **texts)
        return
    for line in lines:
        out.line(line)
