"""Namespaces: which there are in a store, their labels, and what they share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.content.local.paths import DEFAULT_NAMESPACE, Paths
from distore.content.local.visibility import ISOLATED, SHARED, SHARING_POLICY
from distore.content.rules import check_labels, check_namespace
from distore.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.content.local.database import Database

POLICIES: Final = (SHARED, ISOLATED)
# What a namespace is made of, as messages call it. The default one is left out, so that the index
# over the content of all others serves.
_PARTS: Final = (
    ("blob", "blobs", "content"),
    ("image", "images", "images"),
    ("lease", "leases", "leases"),
    ("snapshot", "snapshots", "snapshots"),
    ("repository", "repositories", "repositories"),
)
_MADE: Final = "SELECT name FROM namespaces"
_ADD: Final = "INSERT OR IGNORE INTO namespaces (name, created) VALUES (?, ?)"
_REMOVE: Final = "DELETE FROM namespaces WHERE name = ?"
_LABELS: Final = "SELECT key, value FROM namespace_labels WHERE namespace = ? ORDER BY key"
_SET_LABEL: Final = "INSERT OR REPLACE INTO namespace_labels (namespace, key, value) VALUES (?, ?, ?)"
_REMOVE_LABEL: Final = "DELETE FROM namespace_labels WHERE namespace = ? AND key = ?"
_REMOVE_LABELS: Final = "DELETE FROM namespace_labels WHERE namespace = ?"
_POLICY: Final = "SELECT value FROM settings WHERE key = ?"
_SET_POLICY: Final = "INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)"


class Namespaces:
    """All namespaces of one store. Thread-safe. One comes into being when it is first used, or is
    made; the default one is always there.

    Args:
        mark: Says that there are others than the default one, before the first of them is made.
        now: Seconds since the epoch.
    """

    def __init__(self, database: Database, *, mark: Callable[[], None], now: Callable[[], float]) -> None:
        self._database = database
        self._mark = mark
        self._now = now

    def list(self) -> Sequence[str]:
        """The names, in order."""
        names = {DEFAULT_NAMESPACE, *self._ingesting()}
        names.update(str(row[0]) for row in self._database.query(_MADE))
        for *_, table in _PARTS:
            names.update(self._having(table))
        return sorted(names)

    def create(self, name: str, /, *, labels: Mapping[str, str] | None = None) -> None:
        """Make a namespace; using it would do, too.

        Raises:
            AlreadyExists: It is there.
            InvalidArgument: A name or label that it may not have.
        """
        check_namespace(name)
        check_labels(labels or {})
        self._mark()
        with self._database.transaction() as connection:
            if self._is_there(name):
                raise AlreadyExists(f"namespace {name}: exists already", subject=name)
            connection.execute(_ADD, (name, round(self._now() * 1_000_000)))
            rows = [(name, key, value) for key, value in (labels or {}).items() if value]
            connection.executemany(_SET_LABEL, rows)

    def labels(self, name: str, /) -> dict[str, str]:
        """Its labels.

        Raises:
            NotFound: No such namespace.
        """
        self._want(name)
        return {str(key): str(value) for key, value in self._database.query(_LABELS, name)}

    def set_label(self, name: str, key: str, value: str, /) -> None:
        """Give a namespace a label, or take it away with an empty value.

        Raises:
            NotFound: No such namespace.
            InvalidArgument: A label that it may not have.
        """
        check_labels({key: value})
        self._want(name)
        with self._database.transaction() as connection:
            self._want(name)
            if value:
                connection.execute(_ADD, (name, round(self._now() * 1_000_000)))
                connection.execute(_SET_LABEL, (name, key, value))
            else:
                connection.execute(_REMOVE_LABEL, (name, key))

    def delete(self, name: str, /) -> None:
        """Remove a namespace that has nothing, with its labels.

        Raises:
            NotFound: No such namespace.
            FailedPrecondition: It has something; says what. Or it is the default one.
        """
        if name == DEFAULT_NAMESPACE:
            raise FailedPrecondition(f"namespace {name}: is always there")
        self._want(name)
        with self._database.transaction() as connection:
            if found := self._contents(name):
                raise FailedPrecondition(f"namespace {name}: has {', '.join(found)}; only an empty one goes")
            connection.execute(_REMOVE_LABELS, (name,))
            if not connection.execute(_REMOVE, (name,)).rowcount:
                raise _not_found(name)  # what it had is gone, and it with that

    def policy(self) -> str:
        """``shared``: what one has another may have without its bytes; or ``isolated``."""
        rows = self._database.query(_POLICY, SHARING_POLICY)
        return ISOLATED if rows and rows[0][0] == ISOLATED else SHARED

    def set_policy(self, policy: str, /) -> None:
        """Decide for the whole store, from now on; what a namespace has it keeps.

        Raises:
            InvalidArgument: Neither of POLICIES.
        """
        if policy not in POLICIES:
            raise InvalidArgument(f"policy {policy[:60]!a}: want {' or '.join(POLICIES)}")
        if policy != self.policy():  # else there need be no database
            self._database.change(_SET_POLICY, SHARING_POLICY, policy)

    def _want(self, name: str) -> None:
        if not self._is_there(name):
            raise _not_found(name)

    def _is_there(self, name: str) -> bool:
        return (
            name == DEFAULT_NAMESPACE
            or bool(self._database.query(f"{_MADE} WHERE name = ?", name))
            or any(self._database.query(_any(table), name, DEFAULT_NAMESPACE) for *_, table in _PARTS)
            or name in self._ingesting()
        )

    def _contents(self, name: str) -> Sequence[str]:
        """What a namespace has, in words, such as ``2 blobs``."""
        found = [(self._count(table, name), one, many) for one, many, table in _PARTS]
        found.append((self._ingesting().count(name), "ingest", "ingests"))
        return [f"{number} {one if number == 1 else many}" for number, one, many in found if number]

    def _count(self, table: str, name: str) -> int:
        return int(str(self._database.query(_any(table, "count(*)"), name, DEFAULT_NAMESPACE)[0][0]))

    def _having(self, table: str) -> Sequence[str]:
        """Every name that a table has, by one look at the index for each."""
        names = []
        # The table is one of those above.
        following = f"SELECT min(namespace) FROM {table} WHERE namespace > ? AND namespace <> ?"  # noqa: S608
        last = ""
        while (rows := self._database.query(following, last, DEFAULT_NAMESPACE)) and rows[0][0] is not None:
            last = str(rows[0][0])
            names.append(last)
        return names

    def _ingesting(self) -> Sequence[str]:
        """The namespaces of all ingests but the default one's, once for each."""
        paths = Paths(os.path.dirname(self._database.path))
        if not os.path.exists(paths.namespaces):
            return []
        found = (each.owning_namespace() for each in paths.all_ingest_folders() if os.path.exists(each.data))
        return [name for name in found if name != DEFAULT_NAMESPACE]


def _any(table: str, what: str = "1") -> str:
    limit = " LIMIT 1" if what == "1" else ""
    # The table is one of _PARTS.
    return f"SELECT {what} FROM {table} WHERE namespace = ? AND namespace <> ?{limit}"  # noqa: S608


def _not_found(name: str) -> NotFound:
    return NotFound(f"namespace {name[:80]}: not found")
