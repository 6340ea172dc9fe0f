"""Snapshots: the records of one namespace and driver in the store's database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

from distore.content.rules import check_labels, updated_labels
from distore.errors import AlreadyExists, DataLoss, FailedPrecondition
from distore.leases import SNAPSHOTS
from distore.snapshots.records import (
    Record,
    adaptor,
    check_active,
    check_committed,
    check_key,
    not_found,
)
from distore.snapshots.snapshotter import Info, Kind, Usage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from distore._internal.filters import Adaptor
    from distore.content.local.database import Database
    from distore.content.local.visibility import Visibility

_LATEST: Final = 250_000_000_000 * 1_000_000  # microseconds since the epoch, within the year 9892
_MINE: Final = "namespace = ? AND snapshotter = ?"
_COLUMNS: Final = "key, id, kind, parent, created, updated, inodes, size"
_GET: Final = f"SELECT {_COLUMNS} FROM snapshots WHERE {_MINE} AND key = ?"  # noqa: S608
_LIST: Final = (  # a row for each label, and one for a snapshot without
    "SELECT s.key, id, kind, parent, created, updated, inodes, size, l.key, l.value"
    " FROM snapshots AS s LEFT JOIN snapshot_labels AS l"
    " ON l.namespace = s.namespace AND l.snapshotter = s.snapshotter AND l.name = s.key"
    " WHERE s.namespace = ? AND s.snapshotter = ? ORDER BY s.key"
)
_CHAIN: Final = """
WITH RECURSIVE chain (depth, id, parent, kind) AS (
    SELECT 0, id, parent, kind FROM snapshots WHERE namespace = ?1 AND snapshotter = ?2 AND key = ?3
    UNION ALL
    SELECT depth + 1, s.id, s.parent, s.kind FROM chain JOIN snapshots AS s
    ON s.namespace = ?1 AND s.snapshotter = ?2 AND s.key = chain.parent WHERE depth < 10000
) SELECT id, parent, kind FROM chain ORDER BY depth
"""
_LABELS: Final = f"SELECT key, value FROM snapshot_labels WHERE {_MINE} AND name = ? ORDER BY key"  # noqa: S608
_CHILD: Final = "SELECT key FROM snapshots WHERE parent = ? AND snapshotter = ? AND namespace = ? LIMIT 1"
_ADD: Final = (
    "INSERT INTO snapshots (namespace, snapshotter, key, id, kind, parent, created, updated)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_COMMIT: Final = (
    "UPDATE snapshots SET key = ?, kind = 'committed', parent = ?, created = ?, updated = ?,"  # noqa: S608
    f" inodes = ?, size = ? WHERE {_MINE} AND key = ?"
)
_TOUCH: Final = f"UPDATE snapshots SET updated = ? WHERE {_MINE} AND key = ?"  # noqa: S608
_REMOVE: Final = f"DELETE FROM snapshots WHERE {_MINE} AND key = ?"  # noqa: S608
_REMOVE_LABELS: Final = f"DELETE FROM snapshot_labels WHERE {_MINE} AND name = ?"  # noqa: S608
_ADD_LABEL: Final = (
    "INSERT INTO snapshot_labels (namespace, snapshotter, name, key, value) VALUES (?, ?, ?, ?, ?)"
)
_HOLD: Final = (
    "INSERT OR IGNORE INTO lease_resources (namespace, id, type, key)"
    " SELECT namespace, id, ?, ? FROM leases WHERE namespace = ? AND id = ?"
)
_LAST_ID: Final = "SELECT max(id) FROM snapshots WHERE snapshotter = ?"


class SnapshotRecords:
    """``Records`` of one namespace and driver. Thread-safe.

    Args:
        visibility: Of the content of that namespace; its lease holds what is used.
        now: Seconds since the epoch.
    """

    def __init__(
        self, database: Database, visibility: Visibility, *, snapshotter: str, now: Callable[[], float]
    ) -> None:
        self._database = database
        self._visibility = visibility
        self._snapshotter = snapshotter
        self._now = now
        self._mine = (visibility.namespace, snapshotter)
        self._held: set[str] = set()
        self._guard = threading.Lock()

    def get(self, key: str, /) -> Record:
        self._hold(key)
        return self._record(key)

    def chain(self, name: str, /) -> Sequence[int]:
        self._hold(name)
        rows = self._database.query(_CHAIN, *self._mine, name)
        if not rows:
            raise not_found(name)
        check_committed(self._record(name).info)
        if rows[-1][1] is not None or any(row[2] != Kind.COMMITTED for row in rows):
            raise DataLoss(f"snapshot {name}: the record of a parent is lost; remove it and unpack again")
        return [_number(row[0]) for row in rows]

    def check_new(self, key: str, parent: str | None, /) -> Sequence[int]:
        check_key(key)
        self._visibility.make_namespace()
        self._hold(*filter(None, (key, parent)))
        if self._database.query(_GET, *self._mine, key):
            raise _taken(key)
        return self.chain(parent) if parent is not None else ()

    def next_id(self) -> int:
        rows = self._database.query(_LAST_ID, self._snapshotter)
        return (_number(rows[0][0]) if rows else 0) + 1

    def add(
        self, key: str, /, *, id: int, kind: Kind, parent: str | None, labels: Mapping[str, str]
    ) -> Record:
        check_labels(labels)
        now = self._moment()
        with self._database.transaction() as connection:
            self._visibility.check_lease()
            if connection.execute(_GET, (*self._mine, key)).fetchone():
                raise _taken(key)
            if parent is not None:
                check_committed(self._record(parent).info)
            connection.execute(_ADD, (*self._mine, key, id, kind, parent, now, now))
            self._write_labels(connection, key, labels)
            return self._record(key)

    def commit(
        self, name: str, key: str, /, *, parent: str | None, labels: Mapping[str, str], usage: Usage
    ) -> None:
        now = self._moment()
        with self._database.transaction() as connection:
            self._visibility.check_lease()
            lies_on = self._committable(name, key, parent)
            connection.execute(_REMOVE_LABELS, (*self._mine, key))
            values = (name, lies_on, now, now, usage.inodes, usage.size)
            connection.execute(_COMMIT, (*values, *self._mine, key))
            self._write_labels(connection, name, labels)

    def check_commit(
        self, name: str, key: str, /, *, parent: str | None, labels: Mapping[str, str]
    ) -> Record:
        check_key(name)
        check_labels(labels)
        self._hold(*filter(None, (name, key, parent)))
        self._committable(name, key, parent)
        return self._record(key)

    def remove(self, key: str, /) -> Record:
        self._record(key)  # NotFound, without making a database
        with self._database.transaction() as connection:
            record = self._record(key)
            self._refuse_parent(connection, key)
            connection.execute(_REMOVE_LABELS, (*self._mine, key))
            connection.execute(_REMOVE, (*self._mine, key))
        with self._guard:
            self._held.discard(key)
        return record

    def update(self, info: Info, /, *fieldpaths: str) -> Info:
        key = info.name
        self._hold(key)
        self._record(key)
        with self._database.transaction() as connection:
            old = self._record(key).info
            labels = updated_labels(old.labels, info.labels, fieldpaths)
            check_labels(labels)
            connection.execute(_REMOVE_LABELS, (*self._mine, key))
            self._write_labels(connection, key, labels)
            connection.execute(_TOUCH, (self._moment(), *self._mine, key))
            return self._record(key).info

    def walk(self, *filters: str) -> Iterator[Info]:
        if not filters:
            return self._all(None)
        from distore._internal.filters import parse

        return self._all(parse(filters).match)  # here: a bad filter fails at the call

    def has(self, id: int, /) -> bool:
        self._database.settle()  # files are removed on the strength of the answer
        statement = "SELECT 1 FROM snapshots WHERE snapshotter = ? AND id = ?"
        return bool(self._database.query(statement, self._snapshotter, id))

    def ids(self) -> set[int]:
        rows = self._database.query("SELECT id FROM snapshots WHERE snapshotter = ?", self._snapshotter)
        return {_number(row[0]) for row in rows}

    def _committable(self, name: str, key: str, parent: str | None) -> str | None:
        """Refuse a commit that cannot be; what the snapshot lies upon then."""
        info = self._record(key).info
        check_active(info)
        if self._database.query(_GET, *self._mine, name):
            raise _taken(name)
        if parent is None or parent == info.parent:
            return info.parent
        if info.parent is not None:
            raise FailedPrecondition(f"snapshot {key}: lies on {info.parent} already, not on {parent}")
        check_committed(self._record(parent).info)
        return parent

    def _refuse_parent(self, connection: sqlite3.Connection, key: str) -> None:
        row = connection.execute(_CHILD, (key, self._snapshotter, self._visibility.namespace)).fetchone()
        if row:
            raise FailedPrecondition(f"snapshot {key}: snapshot {row[0]} lies on it; remove that first")

    def _hold(self, *keys: str) -> None:
        """As ``Visibility.hold``: not durable, as a power cut ends the lease of a process, too."""
        lease = self._visibility.lease
        if lease is None:
            return
        with self._guard:
            new = [key for key in keys if key not in self._held]
        if not new:
            return
        kind, namespace = f"{SNAPSHOTS}{self._snapshotter}", self._visibility.namespace
        with self._database.transaction(durable=False) as connection:
            self._visibility.check_lease()
            connection.executemany(_HOLD, [(kind, key, namespace, lease) for key in new])
        with self._guard:
            self._held.update(new)

    def _record(self, key: str) -> Record:
        rows = self._database.query(_GET, *self._mine, key)
        if not rows:
            raise not_found(key)
        pairs = self._database.query(_LABELS, *self._mine, key)
        return _parsed(rows[0], {str(name): str(value) for name, value in pairs})

    def _all(self, match: Callable[[Adaptor], bool] | None) -> Iterator[Info]:
        rows = self._database.stream(_LIST, *self._mine)
        for _, group in groupby(rows, key=lambda row: row[0]):
            first, *more = group
            pairs = sorted((str(key), str(value)) for *_, key, value in (first, *more) if key is not None)
            info = _parsed(first[:-2], dict(pairs)).info
            if match is None or match(adaptor(info)):
                yield info

    def _write_labels(self, connection: sqlite3.Connection, key: str, labels: Mapping[str, str]) -> None:
        rows = [(*self._mine, key, name, value) for name, value in labels.items() if value]
        connection.executemany(_ADD_LABEL, rows)

    def _moment(self) -> int:
        return round(self._now() * 1_000_000)


def _parsed(row: tuple[object, ...], labels: Mapping[str, str]) -> Record:
    key, id, kind, parent, created, updated, inodes, size = row
    try:
        known = Kind(str(kind))
    except ValueError as error:
        raise DataLoss(f"snapshot {key}: its record is damaged; dist db rebuild repairs it") from error
    counted = inodes is not None and size is not None
    return Record(
        id=_number(id),
        info=Info(
            name=str(key),
            kind=known,
            parent=None if parent is None else str(parent),
            created=_time(created),
            updated=_time(updated),
            labels=labels,
        ),
        usage=Usage(inodes=_number(inodes), size=_number(size)) if counted else None,
    )


def _time(value: object) -> datetime:
    microseconds = min(_number(value), _LATEST)
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def _number(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _taken(key: str) -> AlreadyExists:
    return AlreadyExists(f"snapshot {key}: exists already", subject=key)
