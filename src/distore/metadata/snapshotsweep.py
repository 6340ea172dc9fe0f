"""Sweep of snapshots that nothing reaches: the record first, children before parents, then the files."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from distore._internal.oserrors import translated
from distore.gc import batches
from distore.leases import SNAPSHOTS
from distore.metadata.collected import Removed
from distore.snapshots import filetree
from distore.snapshots.folders import Folders

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from distore.metadata.collector import Pass

_MOST: Final = 100  # records removed in one transaction
_ALL: Final = (
    "SELECT namespace, snapshotter, key, id, parent, size FROM snapshots"
    " WHERE (namespace, snapshotter, key) > (?, ?, ?) ORDER BY namespace, snapshotter, key LIMIT ?"
)
_ONE: Final = "SELECT id, created FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?"
_CHILD: Final = "SELECT 1 FROM snapshots WHERE namespace = ? AND snapshotter = ? AND parent = ? LIMIT 1"
_DROP_LABELS: Final = "DELETE FROM snapshot_labels WHERE namespace = ? AND snapshotter = ? AND name = ?"
_DROP: Final = "DELETE FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?"
_ORPHANS: Final = (
    "FROM snapshot_labels WHERE NOT EXISTS (SELECT 1 FROM snapshots AS s WHERE s.namespace ="
    " snapshot_labels.namespace AND s.snapshotter = snapshot_labels.snapshotter AND s.key = name)"
)
_IDS: Final = "SELECT id FROM snapshots WHERE snapshotter = ?"
_IS_KNOWN: Final = "SELECT 1 FROM snapshots WHERE snapshotter = ? AND id = ?"


class _Found(NamedTuple):
    """A snapshot that nothing reaches; ``size`` None: nobody has counted."""

    namespace: str
    snapshotter: str
    key: str
    id: int
    parent: str | None
    size: int | None

    @property
    def triple(self) -> tuple[str, str, str]:
        return self.namespace, self.snapshotter, self.key

    @property
    def above(self) -> tuple[str, str, str]:
        """The triple of its parent; no snapshot's when it has none."""
        return self.namespace, self.snapshotter, self.parent or ""


class SnapshotSweep:
    """The part of a pass that is about snapshots."""

    def __init__(self, run: Pass) -> None:
        self._run = run
        self._database = run.store.database
        self._root = run.store.paths.snapshots

    def remove(self) -> Iterator[Removed]:
        """Every snapshot that nothing reaches, as it goes, and what crashes have left of others."""
        for some in batches(_children_first(list(self._unreached())), _MOST):
            if self._run.dry_run:
                yield from (_removed(each, self._size(each)) for each in some)
                continue
            gone = self._drop(some)
            yield from self._without_files(gone)
            self._run.pause(0.0)
        if not self._run.dry_run:
            if self._database.query(f"SELECT 1 {_ORPHANS} LIMIT 1"):
                self._database.change(f"DELETE {_ORPHANS}")
            self._strays()

    def _unreached(self) -> Iterator[_Found]:
        for row in self._run.graph.pages(_ALL, ("", "", ""), (0, 1, 2)):
            namespace, snapshotter, key, id, parent, size = row
            found = _Found(
                str(namespace),
                str(snapshotter),
                str(key),
                _number(id),
                None if parent is None else str(parent),
                None if size is None else _number(size),
            )
            if not self._is_reached(found):
                yield found

    def _is_reached(self, one: _Found) -> bool:
        return self._run.is_reached(f"{SNAPSHOTS}{one.snapshotter}", one.namespace, one.key)

    def _drop(self, some: list[_Found]) -> list[_Found]:
        """Remove records; of those that are mounted by now none. Durably: else a power cut would bring
        one back whose files are gone."""
        used = {name: self._folders(name).used() for name in {each.snapshotter for each in some}}
        idle = [each for each in some if each.id not in used[each.snapshotter]]
        with self._run.settled(durable=True) as connection:
            return [each for each in idle if self._dropped(connection, each)]

    def _dropped(self, connection: sqlite3.Connection, one: _Found) -> bool:
        """Within a settled transaction: as of now nothing gains a reference."""
        row = connection.execute(_ONE, one.triple).fetchone()
        if row is None or row[0] != one.id or row[1] >= self._run.young_from or self._is_reached(one):
            return False
        if connection.execute(_CHILD, one.triple).fetchone():
            return False
        connection.execute(_DROP_LABELS, one.triple)
        connection.execute(_DROP, one.triple)
        return True

    def _without_files(self, gone: list[_Found]) -> Iterator[Removed]:
        """Remove their files, when the records are gone for good."""
        used = {name: self._folders(name).used() for name in {each.snapshotter for each in gone}}
        for each in gone:
            with translated(f"snapshot {each.key}"):
                freed = self._folders(each.snapshotter).remove(
                    each.id, used=used[each.snapshotter], is_known=partial(self._is_known, each.snapshotter)
                )
            yield _removed(each, freed)

    def _size(self, one: _Found) -> int:
        if one.size is not None:
            return one.size
        try:
            return filetree.usage(self._folders(one.snapshotter).files(one.id)).size
        except OSError:
            return 0

    def _strays(self) -> None:
        """Files that no record tells of."""
        try:
            with os.scandir(self._root) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return
        for name in names:
            with translated(f"snapshots {os.path.join(self._root, name)}"):
                self._run.summary.freed += self._folders(name).sweep(
                    partial(self._ids, name), partial(self._is_known, name)
                )

    def _ids(self, snapshotter: str) -> set[int]:
        return {_number(row[0]) for row in self._database.query(_IDS, snapshotter)}

    def _is_known(self, snapshotter: str, id: int) -> bool:
        self._database.settle()
        return bool(self._database.query(_IS_KNOWN, snapshotter, id))

    def _folders(self, snapshotter: str) -> Folders:
        return Folders(os.path.join(self._root, snapshotter))


def _children_first(found: list[_Found]) -> list[_Found]:
    """In an order in which each comes after all that lie on it."""
    left = {each.triple: 0 for each in found}  # how many that lie on it have not come
    by_triple = {each.triple: each for each in found}
    for each in found:
        if (above := each.above) in left:
            left[above] += 1
    ready = [each for each in found if not left[each.triple]]
    for each in ready:  # which grows
        parent = by_triple.get(each.above)
        if parent is not None:
            left[parent.triple] -= 1
            if not left[parent.triple]:
                ready.append(parent)
    return ready


def _removed(one: _Found, freed: int) -> Removed:
    return Removed(kind="snapshot", namespace=one.namespace, key=f"{one.snapshotter}/{one.key}", freed=freed)


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1
