"""``dist snapshots``: what layers were unpacked to, and what lies on it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import DistoreError, InvalidArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from distore.app import App
    from distore.cli.output import Output
    from distore.mount import Mount
    from distore.snapshots.snapshotter import Info, Snapshotter, Usage

SUMMARY: Final = "list, describe, label or remove snapshots, which hold unpacked layers"
EXAMPLES: Final = (
    "dist snapshots",
    "dist snapshots ls --filter kind==active",
    "dist snapshots tree",
    "dist snapshots usage sha256:5c4213be9af9a24ee2a1e0d01cbfd5f3c9a2b1c8bb1a9d3d0f3b6f1a4f2c9d11",
    "dist snapshots mounts work /mnt | sh",
    "dist snapshots rm work",
)
_MIN_NAME_WIDTH: Final = 24
_WIDTHS: Final = (9, 9, 10, 12)  # kind, driver, size, age
_INDENT: Final = "  "


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A snapshot is what one layer, or a container, changes of a file system. Committed ones are named,"
        " usually by the chain id of their layers, and never change; active ones and views have a key."
    )
    parser.add_argument(
        "action",
        nargs="?",
        default="ls",
        choices=("ls", "tree", "info", "usage", "mounts", "label", "rm", "cleanup"),
        help="what to do (default: ls)",
    )
    parser.add_argument(
        "key",
        nargs="*",
        help="which: keys or names; - reads them from standard input, one a line. label: one, and labels"
        " KEY=VALUE, where KEY= removes one. mounts: one, and the folder to show it at",
    )
    parser.add_argument(
        "--snapshotter",
        metavar="NAME",
        help="whose: overlayfs or native (default: $DIST_SNAPSHOTTER, $CONTAINERD_SNAPSHOTTER; ls, tree and"
        " cleanup: all; else overlayfs where the file system takes it)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="ls: print only keys and names")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FILTER",
        help="ls: only what it matches, such as kind==active, parent==NAME or labels.a==b",
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    actions = {"ls": _list, "tree": _tree, "mounts": _mounts, "label": _label, "cleanup": _cleanup}
    actions.get(args.action, _each)(args, app, out)


def fields(snapshots: Snapshotter, info: Info, usage: Usage | None = None) -> dict[str, object]:
    """A snapshot's fields under --json; stable."""
    found: dict[str, object] = {
        "snapshotter": snapshots.name,
        "name": info.name,
        "kind": str(info.kind),
        "parent": info.parent,
        "created": info.created,
        "updated": info.updated,
        "labels": dict(info.labels),
    }
    return found if usage is None else {**found, "inodes": usage.inodes, "size": usage.size}


def _chosen(args: argparse.Namespace, app: App) -> list[Snapshotter]:
    """The one that was asked for, or all."""
    from distore.metadata.snapshotters import DRIVERS

    name = flags.snapshotter(args.snapshotter)
    return [app.metadata.snapshotter(each) for each in ([name] if name is not None else DRIVERS)]


def _one(args: argparse.Namespace, app: App) -> Snapshotter:
    return app.metadata.snapshotter(flags.snapshotter(args.snapshotter))


def _refuse_keys(args: argparse.Namespace) -> None:
    if args.key:
        raise InvalidArgument(f"snapshots {args.action}: takes no keys; dist snapshots info KEY shows one")


def _list(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.commands.list import note_missing
    from distore.cli.output import human_age, human_size, printable, row

    _refuse_keys(args)
    note_missing(args, app.content.root, out)
    found = [(snapshots, info) for snapshots in _chosen(args, app) for info in snapshots.walk(*args.filter)]
    widths = (max([_MIN_NAME_WIDTH, *(len(info.name) for _, info in found)]), *_WIDTHS)
    if not args.quiet:
        out.header(row(("NAME", "KIND", "DRIVER", "SIZE", "AGE", "PARENT"), widths))
    now = datetime.now(UTC)
    for snapshots, info in found:
        usage = None if args.quiet and not out.as_json else _usage(snapshots, info.name)
        name = printable(info.name)
        cells = (
            name,
            str(info.kind),
            snapshots.name,
            "-" if usage is None else human_size(usage.size),
            human_age((now - info.created).total_seconds()),
            printable(info.parent or "-"),
        )
        out.record(name if args.quiet else row(cells, widths), **fields(snapshots, info, usage))


def _usage(snapshots: Snapshotter, key: str) -> Usage | None:
    """None when it is gone meanwhile, or its files cannot be read."""
    try:
        return snapshots.usage(key)
    except DistoreError:
        return None


def _tree(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.output import printable

    _refuse_keys(args)
    for snapshots in _chosen(args, app):
        for depth, info in _nested(list(snapshots.walk())):
            kind = "" if info.kind == "committed" else f" ({info.kind})"
            text = f"{_INDENT * depth}{printable(info.name)}{kind}"
            out.record(text, depth=depth, **fields(snapshots, info))


def _nested(found: list[Info]) -> Iterator[tuple[int, Info]]:
    """Each behind its parent, and how many it lies on; without recursion: layers may be many."""
    names = {info.name for info in found}
    above: dict[str | None, list[Info]] = {}
    for info in found:  # one whose parent is not there stands for itself
        above.setdefault(info.parent if info.parent in names else None, []).append(info)
    waiting = [(0, info) for info in reversed(above.get(None, []))]
    while waiting:
        depth, info = waiting.pop()
        yield depth, info
        waiting += [(depth + 1, child) for child in reversed(above.get(info.name, []))]


def _each(args: argparse.Namespace, app: App, out: Output) -> None:
    """``info``, ``usage`` and ``rm``: one after the other, whatever becomes of those before."""
    if not args.key:
        raise InvalidArgument(f"snapshots {args.action}: want keys or names; dist snapshots lists them")
    snapshots = _one(args, app)
    act: Callable[[Snapshotter, str, Output], None]
    act = {"info": _info, "usage": _show_usage, "rm": _remove}[args.action]
    done = 0
    for key in flags.words(args.key):
        try:
            act(snapshots, key, out)
        except DistoreError as error:
            out.error(error)
        else:
            done += 1
    if args.action == "rm":
        app.note_deletions(done)


def _info(snapshots: Snapshotter, key: str, out: Output) -> None:
    from distore.cli.output import human_size, printable, timestamp

    info, usage = snapshots.stat(key), snapshots.usage(key)
    lines = [
        f"name         {printable(info.name)}",
        f"snapshotter  {snapshots.name}",
        f"kind         {info.kind}",
        f"parent       {printable(info.parent or '-')}",
        f"size         {usage.size} ({human_size(usage.size)}), {usage.inodes} files and folders",
        f"created      {timestamp(info.created)}",
        f"updated      {timestamp(info.updated)}",
        *(f"label        {printable(key)}={printable(value)}" for key, value in info.labels.items()),
    ]
    out.record("\n".join(lines), **fields(snapshots, info, usage))


def _show_usage(snapshots: Snapshotter, key: str, out: Output) -> None:
    from distore.cli.output import human_size, printable

    usage = snapshots.usage(key)
    text = f"{printable(key)}  {human_size(usage.size)}  {usage.inodes}"
    out.record(text, snapshotter=snapshots.name, name=key, inodes=usage.inodes, size=usage.size)


def _remove(snapshots: Snapshotter, key: str, out: Output) -> None:
    from distore.cli.output import printable

    snapshots.remove(key)
    out.record(printable(key), snapshotter=snapshots.name, name=key)


def _mounts(args: argparse.Namespace, app: App, out: Output) -> None:
    """As commands of mount(8), which a shell may run."""
    if not 1 <= len(args.key) <= 2:
        raise InvalidArgument("snapshots mounts: want a key, and the folder to show it at")
    target = args.key[1] if len(args.key) == 2 else ""
    for one in _one(args, app).mounts(args.key[0]):
        out.record(
            _command(one, target),
            type=one.type,
            source=one.source,
            target=target or None,
            options=list(one.options),
        )


def _command(one: Mount, target: str) -> str:
    import shlex

    options = ",".join(one.options)
    words = ["mount", "-t", one.type, "-o", options, one.source, *([target] if target else [])]
    return " ".join(shlex.quote(word) for word in words)


def _label(args: argparse.Namespace, app: App, out: Output) -> None:
    from dataclasses import replace

    from distore.cli.output import printable

    if not args.key:
        raise InvalidArgument("snapshots label: want a key or name, and labels KEY=VALUE")
    key, *words = args.key
    changes = dict(flags.label(word) for word in words)
    snapshots = _one(args, app)
    info = snapshots.stat(key)
    if changes:
        paths = (f"labels.{name}" for name in changes)
        info = snapshots.update(replace(info, labels={**info.labels, **changes}), *paths)
    shown = " ".join(f"{printable(name)}={printable(value)}" for name, value in info.labels.items())
    out.record(f"{printable(key)} {shown}".rstrip(), **fields(snapshots, info))


def _cleanup(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.output import human_size

    _refuse_keys(args)
    for snapshots in _chosen(args, app):
        freed = snapshots.cleanup()
        out.record(f"{snapshots.name}  {human_size(freed)}", snapshotter=snapshots.name, freed=freed)
