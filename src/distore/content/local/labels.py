"""Records: labels and times of the blobs of one namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.content.local.paths import DEFAULT_NAMESPACE
from distore.content.store import MAX_LABEL_SIZE
from distore.errors import NotFound

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping

    from distore.content.local.database import Database
    from distore.oci.digest import Digest

_SET_UPDATED: Final = (
    "INSERT INTO content (digest, namespace, updated) VALUES (?, ?, ?)"
    " ON CONFLICT (digest, namespace) DO UPDATE SET updated = excluded.updated"
)
_SET_VERIFIED: Final = (
    "INSERT INTO blobs (digest, verified) VALUES (?, ?)"
    " ON CONFLICT (digest) DO UPDATE SET verified = excluded.verified"
)
_LABELS: Final = "SELECT key, value FROM content_labels WHERE namespace = ? AND digest = ? ORDER BY key"
_REMOVE: Final = "DELETE FROM content_labels WHERE namespace = ? AND digest = ?"
_PUT: Final = "INSERT OR REPLACE INTO content_labels VALUES (?, ?, ?, ?)"
_ANY: Final = (
    "SELECT EXISTS (SELECT 1 FROM content_labels WHERE namespace = ?)"
    " OR EXISTS (SELECT 1 FROM content WHERE updated IS NOT NULL)"
)
_NAMESPACES: Final = "SELECT namespace FROM content WHERE digest = ?"


class Records:
    """What the store remembers about blobs beyond their bytes. Thread-safe.

    Args:
        is_there: Whether a blob has a file; asked within transactions, beside which no collector
            removes one.
    """

    def __init__(self, database: Database, *, namespace: str, is_there: Callable[[Digest], bool]) -> None:
        self._database = database
        self._namespace = namespace
        self._is_there = is_there

    def labels(self, digest: Digest) -> dict[str, str]:
        """Labels of a blob; empty when it has none."""
        return self._labels_in(self._namespace, digest)

    def labels_anywhere(self, digest: Digest) -> dict[str, str]:
        """Labels of a blob in all namespaces together, for those who look for another copy of it."""
        labels: dict[str, str] = {}
        rows = self._database.query(_NAMESPACES, digest)
        for namespace in {DEFAULT_NAMESPACE, *(str(row[0]) for row in rows)}:
            labels |= self._labels_in(namespace, digest)
        return labels

    def updated(self, digest: Digest) -> int | None:
        """When labels last changed, in microseconds since the epoch; None when never."""
        statement = "SELECT updated FROM content WHERE digest = ? AND namespace = ?"
        return self._moment(statement, digest, self._namespace)

    def verified(self, digest: Digest) -> int | None:
        """When fsck last found the blob right, in microseconds since the epoch; None when never."""
        return self._moment("SELECT verified FROM blobs WHERE digest = ?", digest)

    def change_labels(
        self, digest: Digest, change: Callable[[Mapping[str, str]], Mapping[str, str]], *, updated: int
    ) -> None:
        """Replace all labels of a blob by ``change`` of them; nobody else changes them meanwhile.

        Raises:
            NotFound: The blob has been deleted.
        """
        with self._database.transaction() as connection:
            if not self._is_there(digest):
                raise NotFound(f"content {digest}: not found")
            old = self._labels(connection, digest)
            labels = change(old)
            for key in old.keys() - labels.keys():
                connection.execute(f"{_REMOVE} AND key = ?", (self._namespace, digest, key))
            rows = [
                (self._namespace, digest, key, value)
                for key, value in labels.items()
                if old.get(key) != value
            ]
            connection.executemany(_PUT, rows)
            connection.execute(_SET_UPDATED, (digest, self._namespace, updated))

    def join_labels(self, digests: Iterable[Digest], added: Mapping[str, str]) -> None:
        """Add values to labels that are lists with commas, on many blobs in one transaction; what a
        list has already stays as it is, and so does one that would become too long."""
        with self._database.transaction() as connection:
            rows = []
            for digest in digests:
                if not self._is_there(digest):
                    continue
                labels = self._labels(connection, digest)
                for key, value in added.items():
                    known = labels.get(key, "").split(",") if key in labels else []
                    joined = ",".join([*known, value])
                    if value not in known and len(key.encode()) + len(joined.encode()) <= MAX_LABEL_SIZE:
                        rows.append((self._namespace, digest, key, joined))
            connection.executemany(_PUT, rows)

    def has_any(self) -> bool:
        """Whether there is a label or a change of labels at all."""
        return any(row[0] for row in self._database.query(_ANY, self._namespace))

    def set_verified(self, digests: Iterable[Digest], when: int) -> None:
        """Note that these blobs were found right at ``when``, microseconds since the epoch."""
        with self._database.transaction() as connection:
            connection.executemany(_SET_VERIFIED, [(digest, when) for digest in digests])

    def damage(self, *, quick: bool = False) -> str | None:
        """What is wrong with the database, in one line; None when all is well."""
        return self._database.damage(quick=quick)

    def _labels_in(self, namespace: str, digest: Digest) -> dict[str, str]:
        return {str(key): str(value) for key, value in self._database.query(_LABELS, namespace, digest)}

    def _labels(self, connection: sqlite3.Connection, digest: Digest) -> dict[str, str]:
        return dict(connection.execute(_LABELS, (self._namespace, digest)).fetchall())

    def _moment(self, query: str, *arguments: object) -> int | None:
        rows = self._database.query(query, *arguments)
        return rows[0][0] if rows and isinstance(rows[0][0], int) else None
