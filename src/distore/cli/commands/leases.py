"""``dist leases``: what is kept from the collector while work goes on, and by whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import DistoreError, InvalidArgument, NotFound

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from distore.app import App
    from distore.cli.output import Output
    from distore.leases import Lease, LeaseOwner, Resource

SUMMARY: Final = "show, make or end leases, which keep things from the collector"
EXAMPLES: Final = (
    "dist leases",
    "id=$(dist leases create --expires 1h --label job=nightly)",
    "dist leases add work sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa",
    "dist leases add work --type images redis:8",
    "dist leases resources work",
    "dist leases rm --dead; dist gc",
)
DEFAULT_EXPIRY: Final = 24 * 3600.0  # seconds
_MIN_ID_WIDTH: Final = 24
_WIDTHS: Final = (10, 12, 20, 9)  # age, expiry, owner, resources
_TYPE_WIDTH: Final = 10


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        default="ls",
        choices=("ls", "create", "rm", "add", "remove", "resources"),
        help="what to do (default: ls)",
    )
    parser.add_argument("id", nargs="?", help="which lease; rm: - reads them from standard input, one a line")
    parser.add_argument("more", nargs="*", help="rm: further leases; add, remove: digests, refs of ingests")
    parser.add_argument("-q", "--quiet", action="store_true", help="ls: print only the ids")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FILTER",
        help="ls: only what it matches, such as labels.job==nightly",
    )
    parser.add_argument("--id", dest="wanted", metavar="ID", help="create: its id (default: one is made up)")
    parser.add_argument(
        "--expires", type=flags.duration, metavar="D", help="create: it ends after so long (default: 24h)"
    )
    parser.add_argument("--no-expiry", action="store_true", help="create: it stays until dist leases rm")
    parser.add_argument(
        "--flat", action="store_true", help="create: it keeps what is added, not what that refers to"
    )
    parser.add_argument(
        "--label", action="append", default=[], type=flags.label, metavar="K=V", help="create: a label"
    )
    parser.add_argument(
        "--type",
        metavar="TYPE",
        help="add, remove: content, ingests, images or snapshots/NAME (default: content for a digest,"
        " else ingests)",
    )
    parser.add_argument("--force", action="store_true", help="rm: although its process works under it")
    parser.add_argument("--dead", action="store_true", help="rm: all whose process or time is gone")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    actions = {"ls": _show, "create": _create, "rm": _end, "resources": _resources}
    actions.get(args.action, _change)(args, app, out)


def fields(lease: Lease, resources: int) -> dict[str, object]:
    """A lease's fields under --json; stable."""
    return {
        "id": lease.id,
        "created": lease.created,
        "expires": lease.expires,
        "labels": dict(lease.labels),
        "owned": lease.owned,
        "owner": lease.owner and _owner_fields(lease.owner),
        "resources": resources,
    }


def _owner_fields(owner: LeaseOwner) -> dict[str, object]:
    return {"pid": owner.pid, "host": owner.host, "command": owner.command, "since": owner.since}


def _show(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.commands.list import note_missing
    from distore.cli.output import human_age, printable, row
    from distore.leases import PURPOSE

    if args.id:
        raise InvalidArgument("leases ls: takes no ids; dist leases resources ID shows what one holds")
    note_missing(args, app.content.root, out)
    leases = app.leases
    found = list(leases.list(*args.filter))
    widths = (max([_MIN_ID_WIDTH, *(len(lease.id) for lease in found)]), *_WIDTHS)
    if not args.quiet:
        out.header(row(("ID", "AGE", "EXPIRES", "OWNER", "RESOURCES", "PURPOSE"), widths))
    now = datetime.now(UTC)
    for lease in found:
        count = leases.count(lease.id)
        id = printable(lease.id)
        cells = (
            id,
            human_age((now - lease.created).total_seconds()),
            _expiry(lease, now),
            printable(_owner(lease)),
            str(count),
            printable(lease.labels.get(PURPOSE, "")),
        )
        out.record(id if args.quiet else row(cells, widths), **fields(lease, count))


def _expiry(lease: Lease, now: datetime) -> str:
    from distore.cli.output import human_age

    if lease.expires is None:
        return "-"
    left = (lease.expires - now).total_seconds()
    return f"in {human_age(left)}" if left >= 1 else "over"


def _owner(lease: Lease) -> str:
    if not lease.owned:
        return "-"
    if lease.owner is None:
        return "dead"
    return f"{lease.owner.pid or '?'} ({lease.owner.command or '?'})"


def _create(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.output import timestamp
    from distore.leases import EXPIRE, FLAT

    if args.id:
        raise InvalidArgument("leases create: takes no words; --id names the lease")
    if args.no_expiry and args.expires is not None:
        raise InvalidArgument("--expires and --no-expiry: want one of them")
    labels = dict(args.label)
    seconds = DEFAULT_EXPIRY if args.expires is None else args.expires
    if not args.no_expiry and EXPIRE not in labels:
        labels[EXPIRE] = timestamp(datetime.now(UTC) + timedelta(seconds=seconds))
    if args.flat:
        labels.setdefault(FLAT, "true")
    lease = app.leases.create(args.wanted, labels=labels)
    out.record(lease.id, **fields(lease, 0))


def _end(args: argparse.Namespace, app: App, out: Output) -> None:
    given = [word for word in (args.id, *args.more) if word]
    if bool(given) == args.dead:
        raise InvalidArgument("leases rm: want the ids to end, or --dead; dist leases lists them")
    from distore.cli.output import printable

    leases, ended = app.leases, 0
    for id in leases.dead() if args.dead else flags.words(given):
        try:
            leases.delete(id, force=args.force)
        except DistoreError as error:
            if not (args.dead and isinstance(error, NotFound)):  # else a collector was quicker
                out.error(error)
        else:
            ended += 1
            out.record(printable(id), id=id)
    app.note_deletions(ended)
    if args.dead:
        leases.sweep_locks()


def _change(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.output import printable

    if not args.id or not args.more:
        raise InvalidArgument(f"leases {args.action}: want a lease, and digests or refs")
    leases = app.leases
    act = leases.add if args.action == "add" else leases.remove
    for resource in _given(args.more, args.type, out):
        try:
            act(args.id, resource)
        except DistoreError as error:
            out.error(error)
            continue
        out.record(
            f"{resource.type} {printable(resource.key)}", id=args.id, type=resource.type, key=resource.key
        )


def _given(words: list[str], kind: str | None, out: Output) -> Iterable[Resource]:
    """The resources that were named; a bad one is reported."""
    from distore.leases import CONTENT, IMAGES, INGESTS, Resource
    from distore.oci.digest import HEX_LENGTHS, Digest
    from distore.oci.reference import Reference

    for word in flags.words(words):
        of = kind or (CONTENT if word.partition(":")[0] in HEX_LENGTHS else INGESTS)
        try:
            if of == CONTENT:
                key: str = Digest(word)
            else:
                key = str(Reference.parse(word)) if of == IMAGES else word
        except DistoreError as error:
            out.error(error)
        else:
            yield Resource(type=of, key=key)


def _resources(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.output import printable, row

    if not args.id or args.more:
        raise InvalidArgument("leases resources: want one lease")
    found = app.leases.resources(args.id)
    out.header(row(("TYPE", "KEY"), (_TYPE_WIDTH,)))
    for resource in found:
        cells = (resource.type, printable(resource.key))
        out.record(row(cells, (_TYPE_WIDTH,)), type=resource.type, key=resource.key)
