"""Labels and times of blobs, in SQLite: ``dist.db``, absent until something must be kept there.

Importing this module imports no sqlite3; a verb that never needs a label never loads it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeVar

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.content.store import MAX_LABEL_SIZE
from distore.errors import (
    DataLoss,
    DiskFull,
    DistoreError,
    FailedPrecondition,
    ReadOnly,
    Unavailable,
    UnsupportedStore,
)
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    # Each statement is done once for every row of arguments.
    _Statements = Sequence[tuple[str, Sequence[tuple[object, ...]]]]

_T = TypeVar("_T")

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x64697374  # "dist", at byte 68 of the file (sqlite.org/fileformat.html)
_BUSY_TIMEOUT: Final = 30.0  # seconds that one process waits for another's transaction
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS content (
    digest   TEXT PRIMARY KEY,
    updated  INTEGER,          -- microseconds since the epoch, UTC; NULL: the blob's own time
    verified INTEGER           -- the same: when fsck last found the bytes right
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS content_labels (
    digest TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (digest, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
    name       TEXT PRIMARY KEY,  -- a whole reference
    media_type TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    created    INTEGER NOT NULL,  -- microseconds since the epoch, UTC
    updated    INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
_SET_UPDATED: Final = (
    "INSERT INTO content (digest, updated) VALUES (?, ?)"
    " ON CONFLICT (digest) DO UPDATE SET updated = excluded.updated"
)
_SET_VERIFIED: Final = (
    "INSERT INTO content (digest, verified) VALUES (?, ?)"
    " ON CONFLICT (digest) DO UPDATE SET verified = excluded.verified"
)
_LABELS: Final = "SELECT key, value FROM content_labels WHERE digest = ? ORDER BY key"
_ADD_LABEL: Final = "INSERT OR IGNORE INTO content_labels VALUES (?, ?, ?)"
_ANY: Final = (
    "SELECT EXISTS (SELECT 1 FROM content_labels) OR EXISTS (SELECT 1 FROM content WHERE updated IS NOT NULL)"
)
_FORGET: Final = ("DELETE FROM content_labels WHERE digest = ?", "DELETE FROM content WHERE digest = ?")


def check_version(path: str) -> None:
    """Refuse a database that is not ours or is newer, from its header alone.

    Raises:
        UnsupportedStore: Made by a newer version.
        FailedPrecondition: Not a database of distore.
    """
    try:
        with open(path, "rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    if not header:
        return  # made by a process that has not written its first page yet
    version, application = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
    if not header.startswith(b"SQLite format 3\0"):
        raise FailedPrecondition(
            f"store database {path}: not an SQLite file; move it away to go on without labels"
        )
    if version > SCHEMA_VERSION:
        raise UnsupportedStore(
            f"store database {path}: made by a newer version of distore (format {version},"
            f" this one knows {SCHEMA_VERSION}); upgrade distore"
        )
    if version and application != APPLICATION_ID:
        raise FailedPrecondition(f"store database {path}: belongs to another program")


class Records:
    """What the store remembers about blobs beyond their bytes. Thread-safe; opens on first use."""

    def __init__(self, path: str, *, ensure_folder: Callable[[], None]) -> None:
        self._path = path
        self._ensure_folder = ensure_folder
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def labels(self, digest: Digest) -> dict[str, str]:
        """Labels of a blob; empty when it has none."""
        rows = self._read(_LABELS, digest)
        return {str(key): str(value) for key, value in rows}

    def updated(self, digest: Digest) -> int | None:
        """When labels last changed, in microseconds since the epoch; None when never."""
        return self._moment("SELECT updated FROM content WHERE digest = ?", digest)

    def verified(self, digest: Digest) -> int | None:
        """When fsck last found the blob right, in microseconds since the epoch; None when never."""
        return self._moment("SELECT verified FROM content WHERE digest = ?", digest)

    def set_labels(self, digest: Digest, labels: Mapping[str, str]) -> None:
        """Set labels of a new blob; those it has already stay, for two may commit it at once."""
        rows = [(digest, *pair) for pair in labels.items()]
        self._write(lambda connection: _execute(connection, [(_ADD_LABEL, rows)]))

    def change_labels(
        self, digest: Digest, change: Callable[[Mapping[str, str]], Mapping[str, str]], *, updated: int
    ) -> None:
        """Replace all labels of a blob by ``change`` of them; nobody else changes them meanwhile."""

        def work(connection: sqlite3.Connection) -> None:
            labels = change(dict(connection.execute(_LABELS, (digest,)).fetchall()))
            _execute(connection, _replacing(digest, labels, updated))

        self._write(work)

    def join_labels(self, digests: Iterable[Digest], added: Mapping[str, str]) -> None:
        """Add values to labels that are lists with commas, on many blobs in one transaction; what a
        list has already stays as it is, and so does one that would become too long."""

        def work(connection: sqlite3.Connection) -> None:
            rows = []
            for digest in digests:
                labels = dict(connection.execute(_LABELS, (digest,)).fetchall())
                for key, value in added.items():
                    known = labels.get(key, "").split(",") if key in labels else []
                    joined = ",".join([*known, value])
                    if value not in known and len(key.encode()) + len(joined.encode()) <= MAX_LABEL_SIZE:
                        rows.append((digest, key, joined))
            _execute(connection, [("INSERT OR REPLACE INTO content_labels VALUES (?, ?, ?)", rows)])

        self._write(work)

    def has_any(self) -> bool:
        """Whether there is a label or a change of labels at all."""
        return any(row[0] for row in self._read(_ANY))

    def set_verified(self, digests: Iterable[Digest], when: int) -> None:
        """Note that these blobs were found right at ``when``, microseconds since the epoch."""
        rows = [(digest, when) for digest in digests]
        self._write(lambda connection: _execute(connection, [(_SET_VERIFIED, rows)]))

    def remove(self, digest: Digest) -> None:
        """Forget a blob."""
        if self._open(make=False) is not None:
            statements: _Statements = [(statement, [(digest,)]) for statement in _FORGET]
            self._write(lambda connection: _execute(connection, statements))

    def query(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """Rows of one of the other tables; none while there is no database, or an older one."""
        with self._guard:
            connection = self._open(make=False)
            if connection is None or _version(connection) < SCHEMA_VERSION:
                return []
            return self._mapped(lambda: connection.execute(statement, arguments).fetchall())

    def change(self, statement: str, *arguments: object) -> int:
        """Change one of the other tables, durably; the number of rows it touched."""
        touched: list[int] = []
        self._write(lambda connection: touched.append(connection.execute(statement, arguments).rowcount))
        return touched[0]

    def damage(self) -> str | None:
        """What SQLite's integrity check finds wrong, in one line; None when all is well."""
        try:
            connection = self._open(make=False)
            if connection is None:
                return None
            found = self._mapped(lambda: connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
        except DistoreError as error:
            return str(error)
        return None if found == "ok" else str(found)

    def close(self) -> None:
        """Close the database if it was opened."""
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _moment(self, query: str, digest: Digest) -> int | None:
        rows = self._read(query, digest)
        return rows[0][0] if rows and isinstance(rows[0][0], int) else None

    def _read(self, query: str, *arguments: object) -> list[tuple[object, ...]]:
        with self._guard:
            connection = self._open(make=False)
            if connection is None:
                return []
            return self._mapped(lambda: connection.execute(query, arguments).fetchall())

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do ``work`` in one transaction that is on the disk when this returns."""
        with self._guard:
            connection = self._open(make=True)
            assert connection is not None
            if _version(connection) < SCHEMA_VERSION:
                self._mapped(lambda: connection.executescript(_SCHEMA))

            def transaction() -> None:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    work(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise

            self._mapped(transaction)

    def _open(self, *, make: bool) -> sqlite3.Connection | None:
        with self._guard:
            if self._connection is None:
                import os

                if not make and not os.path.exists(self._path):
                    return None
                if make:
                    self._ensure_folder()
                self._connection = self._mapped(lambda: _connect(self._path, make=make))
            return self._connection

    def _mapped(self, action: Callable[[], _T]) -> _T:
        import sqlite3

        try:
            with translated(f"store database {self._path}"):
                return action()
        except sqlite3.Error as error:
            raise _translate(error, f"store database {self._path}") from error


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _replacing(digest: Digest, labels: Mapping[str, str], updated: int) -> _Statements:
    return [
        ("DELETE FROM content_labels WHERE digest = ?", [(digest,)]),
        ("INSERT INTO content_labels VALUES (?, ?, ?)", [(digest, *pair) for pair in labels.items()]),
        (_SET_UPDATED, [(digest, updated)]),
    ]


def _execute(connection: sqlite3.Connection, statements: _Statements) -> None:
    for statement, rows in statements:
        connection.executemany(statement, rows)


def _connect(path: str, *, make: bool) -> sqlite3.Connection:
    import os
    import sqlite3

    if make and not os.path.exists(path):
        _make(path)
    try:
        connection = _open_uri(path, "mode=rw")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("SELECT 1 FROM content LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        if make or error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        # A read-only file system: nobody can write it, so it needs no lock and no shared memory.
        return _open_uri(path, "mode=ro&immutable=1")
    return connection


def _make(path: str) -> None:
    """Make the whole database aside and give it its name at once.

    Processes that make it together would otherwise meet half of it, and the change to WAL mode
    does not wait for anybody.
    """
    import os

    aside = f"{path}.new-{os.getpid()}-{threading.get_ident()}"
    try:
        connection = _open_uri(aside, "mode=rwc")
        try:
            connection.executescript(_SCHEMA)
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        try:
            fsops.link(aside, path)
        except FileExistsError:
            return
        fsops.sync_directory(os.path.dirname(path))
    finally:
        if os.path.exists(aside):
            fsops.unlink(aside)


def _open_uri(path: str, options: str) -> sqlite3.Connection:
    import sqlite3
    from urllib.parse import quote

    return sqlite3.connect(
        f"file:{quote(path)}?{options}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )


def _translate(error: sqlite3.Error, subject: str) -> DistoreError:
    import sqlite3

    classes = {
        sqlite3.SQLITE_BUSY: Unavailable,
        sqlite3.SQLITE_LOCKED: Unavailable,
        sqlite3.SQLITE_FULL: DiskFull,
        sqlite3.SQLITE_READONLY: ReadOnly,
        sqlite3.SQLITE_CANTOPEN: ReadOnly,
        sqlite3.SQLITE_CORRUPT: DataLoss,
        sqlite3.SQLITE_NOTADB: DataLoss,
        sqlite3.SQLITE_IOERR: DataLoss,
    }
    code = getattr(error, "sqlite_errorcode", None)
    kind = classes.get((code or 0) & 0xFF, FailedPrecondition)
    return kind(f"{subject}: {error}")
