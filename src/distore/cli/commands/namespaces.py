"""``dist namespaces``: which there are, their labels, and what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import DistoreError, InvalidArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "list, make, label or remove namespaces, and say what they share"
EXAMPLES: Final = (
    "dist namespaces",
    "dist namespaces create team owner=ann",
    "dist namespaces label team owner=",
    "dist namespaces policy isolated",
    "dist namespaces rm team",
)
_MIN_NAME_WIDTH: Final = 16


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        default="ls",
        choices=("ls", "create", "rm", "label", "policy"),
        help="what to do (default: ls)",
    )
    parser.add_argument(
        "name",
        nargs="?",
        help="which; rm: - reads them from standard input, one a line. policy: shared, where one may have"
        " what another has without bringing its bytes, or isolated; left out, it is shown",
    )
    parser.add_argument(
        "more",
        nargs="*",
        metavar="KEY=VALUE",
        help="create, label: labels; KEY= removes one. rm: further names",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="ls: print only the names")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    """``rm`` removes empty ones alone."""
    {"ls": _show, "create": _create, "rm": _remove, "label": _label, "policy": _policy}[args.action](
        args, app, out
    )


def _show(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.commands.list import note_missing
    from distore.cli.output import printable, row

    if args.name:
        raise InvalidArgument("namespaces ls: takes no names; dist namespaces label NAME shows one")
    note_missing(args, app.content.root, out)
    names = app.namespaces.list()
    widths = (max([_MIN_NAME_WIDTH, *map(len, names)]),)
    if not args.quiet:
        out.header(row(("NAME", "LABELS"), widths))
    for name in names:
        labels = app.namespaces.labels(name)
        cells = (printable(name), _text(labels))
        out.record(printable(name) if args.quiet else row(cells, widths), name=name, labels=labels)


def _text(labels: Mapping[str, str]) -> str:
    from distore.cli.output import printable

    return " ".join(f"{printable(key)}={printable(value)}" for key, value in labels.items())


def _create(args: argparse.Namespace, app: App, out: Output) -> None:
    name = _name(args)
    app.namespaces.create(name, labels=dict(map(flags.label, args.more)))
    out.record(name, name=name, labels=app.namespaces.labels(name))


def _label(args: argparse.Namespace, app: App, out: Output) -> None:
    name = _name(args)
    for key, value in map(flags.label, args.more):
        app.namespaces.set_label(name, key, value)
    labels = app.namespaces.labels(name)
    out.record(f"{name} {_text(labels)}".rstrip(), name=name, labels=labels)


def _remove(args: argparse.Namespace, app: App, out: Output) -> None:
    for name in flags.words([_name(args), *args.more]):
        try:
            app.namespaces.delete(name)
        except DistoreError as error:
            out.error(error)
        else:
            out.record(name, name=name)


def _policy(args: argparse.Namespace, app: App, out: Output) -> None:
    if args.more:
        raise InvalidArgument("namespaces policy: want one word at most")
    if args.name:
        app.namespaces.set_policy(args.name)
    policy = app.namespaces.policy()
    out.record(policy, policy=policy)


def _name(args: argparse.Namespace) -> str:
    if not args.name:
        raise InvalidArgument(f"namespaces {args.action}: want a name; dist namespaces lists them")
    return str(args.name)
