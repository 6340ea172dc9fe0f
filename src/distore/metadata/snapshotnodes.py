"""Snapshots as the collector sees them: roots and references out of their tables, and mounts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.leases import SNAPSHOTS
from distore.metadata.nodes import FLAT_SNAPSHOT, SNAPSHOT, key_of, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distore.content.local.database import Database
    from distore.metadata.nodes import Nodes

_PARENTS: Final = "SELECT key, parent FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key IN ({})"
_REFS: Final = (
    "SELECT name, key, value FROM snapshot_labels WHERE namespace = ? AND snapshotter = ? AND name IN ({})"
    " AND key >= 'containerd.io/gc.ref.' AND key < 'containerd.io/gc.ref/'"
)
_BREFS: Final = (
    "SELECT snapshotter, name, key, value FROM snapshot_labels WHERE namespace = ? AND value IN ({})"
    " AND key >= 'containerd.io/gc.bref.' AND key < 'containerd.io/gc.bref/'"
)
_LABELS: Final = "SELECT key, value FROM snapshot_labels WHERE namespace = ? AND snapshotter = ? AND name = ?"
_BY_ID: Final = "SELECT namespace, key FROM snapshots WHERE snapshotter = ? AND id = ?"
_VIEWS: Final = (
    "SELECT key FROM snapshots WHERE parent = ? AND snapshotter = ? AND namespace = ? AND kind = 'view'"
)
_NEXT: Final = "SELECT min(snapshotter) FROM snapshots WHERE snapshotter > ?"
_YOUNG: Final = "SELECT namespace, snapshotter, key FROM snapshots WHERE created >= ?"
_IS_YOUNG: Final = (
    "SELECT 1 FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ? AND created >= ?"
)
_START: Final = len("containerd.io/gc.ref.")
_BACK_START: Final = len("containerd.io/gc.bref.")


class SnapshotNodes:
    """Not thread-safe.

    Args:
        folder: ROOT/snapshots.
    """

    def __init__(self, database: Database, nodes: Nodes, folder: str) -> None:
        self._database = database
        self._nodes = nodes
        self._folder = folder

    def node(self, namespace: str, snapshotter: str, key: str, *, flat: bool = False) -> bytes:
        """The node of a snapshot."""
        return self._nodes.other(SNAPSHOT, namespace, f"{snapshotter}/{key}", flat=flat)

    def forms(self, kind: str, namespace: str, key: str) -> list[bytes]:
        """The full and the flat node; ``kind`` is that of a lease's resource."""
        snapshotter = kind.removeprefix(SNAPSHOTS)
        return [self.node(namespace, snapshotter, key, flat=flat) for flat in (False, True)]

    def edges(self, namespace: str, group: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """References of snapshots, all flat or none: to their parents, and by labels unless they are
        flat."""
        for snapshotter, nodes in _by_snapshotter(group).items():
            marks = ", ".join("?" * len(nodes))
            rows = self._database.query(_PARENTS.format(marks), namespace, snapshotter, *nodes)
            for key, parent in rows:
                if parent is not None:
                    node = nodes[str(key)]
                    flat = kind_of(node) == FLAT_SNAPSHOT
                    yield node, self.node(namespace, snapshotter, str(parent), flat=flat)
            full = {key: node for key, node in nodes.items() if kind_of(node) == SNAPSHOT}
            marks = ", ".join("?" * len(full))
            rows = self._database.query(_REFS.format(marks), namespace, snapshotter, *full) if full else []
            for name, label, value in rows:
                child = self._nodes.named(namespace, str(label)[_START:], str(value))
                if child is not None:
                    yield full[str(name)], child

    def attached(self, namespace: str, keys: set[str]) -> Iterator[tuple[bytes, bytes]]:
        """Snapshots that stay as long as what one of ``keys`` names does: pairs of that and them."""
        marks = ", ".join("?" * len(keys))
        for snapshotter, name, label, value in self._database.query(_BREFS.format(marks), namespace, *keys):
            keeper = self._nodes.named(namespace, str(label)[_BACK_START:], str(value))
            if keeper is not None:
                yield keeper, self.node(namespace, str(snapshotter), str(name))

    def labels(self, kind: str, namespace: str, key: str) -> list[tuple[str, str]]:
        """Of one snapshot."""
        rows = self._database.query(_LABELS, namespace, kind.removeprefix(SNAPSHOTS), key)
        return [(str(name), str(value)) for name, value in rows]

    def snapshotters(self) -> list[str]:
        """The drivers that have snapshots."""
        names: list[str] = []
        while (rows := self._database.query(_NEXT, names[-1] if names else "")) and rows[0][0] is not None:
            names.append(str(rows[0][0]))
        return names

    def young(self, since: int) -> Iterator[bytes]:
        """Those that were made or committed since, in microseconds since the epoch."""
        for namespace, snapshotter, key in self._database.query(_YOUNG, since):
            yield self.node(str(namespace), str(snapshotter), str(key))

    def is_young(self, kind: str, namespace: str, key: str, since: int) -> bool:
        """Whether one is of those."""
        mine = (namespace, kind.removeprefix(SNAPSHOTS), key)
        return bool(self._database.query(_IS_YOUNG, *mine, since))

    def mounted(self) -> Iterator[bytes]:
        """Those that somebody has mounted, or has as a layer of what is; and views of them."""
        from distore.snapshots.inuse import mounted

        for snapshotter in self.snapshotters():
            for id in mounted(os.path.join(self._folder, snapshotter)):
                for row in self._database.query(_BY_ID, snapshotter, id):
                    namespace, key = str(row[0]), str(row[1])
                    yield self.node(namespace, snapshotter, key)
                    for view in self._database.query(_VIEWS, key, snapshotter, namespace):
                        yield self.node(namespace, snapshotter, str(view[0]))


def _by_snapshotter(group: Iterable[bytes]) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for node in group:
        snapshotter, _, key = key_of(node).partition("/")
        found.setdefault(snapshotter, {})[key] = node
    return found
