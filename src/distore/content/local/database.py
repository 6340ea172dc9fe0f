"""Database: ``dist.db``, opened on first use, shared by any number of processes and threads.

Importing this module imports no sqlite3; a verb that never needs the database never loads it.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.content.local.databasefile import Use, check_version, gate
from distore.content.local.readers import Reader, Readers
from distore.content.local.schema import SCHEMA_VERSION, make, migrate, version_of
from distore.errors import (
    DataLoss,
    DiskFull,
    DistoreError,
    FailedPrecondition,
    ReadOnly,
    Unavailable,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")

_BUSY_TIMEOUT: Final = 60.0  # seconds that one process waits for another's transaction
_PAGE: Final = 500  # rows that a listing reads at a time


class Database:
    """One file. Thread-safe; makes nothing before the first change.

    Args:
        ensure_folder: Makes the folder of ``path``.
    """

    def __init__(self, path: str, *, ensure_folder: Callable[[], None]) -> None:
        self.path = path
        self._subject = f"store database {path}"
        self._ensure_folder = ensure_folder
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._use: Use | None = None
        self._is_durable = True
        self._readers = Readers(self._reader)

    def read(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """As ``query``, but of the last transaction that has ended, and beside everybody: it waits neither
        for another thread's transaction nor for the disk."""
        try:
            return self._readers.query(statement, arguments)
        except Exception:
            with translated(self._subject), self._mapping():
                raise

    def version(self) -> int:
        """Another number after any change by anybody; waits for nobody. 0 while there is no database."""
        return self._mapped(self._readers.version)

    def query(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """All rows; none while there is no database. For answers that are short."""
        if not self._guard.acquire(blocking=False):  # another thread's transaction is not ours to see
            return self.read(statement, *arguments)
        try:
            connection = self._open(make=False)
            if connection is None:
                return []
            return self._mapped(lambda: connection.execute(statement, arguments).fetchall())
        finally:
            self._guard.release()

    def stream(self, statement: str, *arguments: object) -> Iterator[tuple[object, ...]]:
        """Rows as they are asked for, as of the moment of the first; memory does not grow."""
        reader = self._mapped(self._reader)
        if reader is None:
            return
        try:
            cursor = self._mapped(lambda: reader.connection.execute(statement, arguments))
            while rows := self._mapped(lambda: cursor.fetchmany(_PAGE)):
                yield from rows
        finally:
            reader.close()

    def change(self, statement: str, *arguments: object) -> int:
        """Do it in a transaction of its own, durably; the number of rows it touched."""
        with self.transaction() as connection:
            return self._mapped(lambda: connection.execute(statement, arguments).rowcount)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside; one within another is part of it.

        What the block did is on the disk when it has ended, and undone when it raised.

        Args:
            durable: Whether it must survive a power cut; what comes before a durable one does, too.
        Raises:
            Unavailable: Others kept it for longer than a minute.
            DiskFull, ReadOnly, DataLoss: Nothing was changed.
        """
        with self._guard:
            connection = self._open(make=True)
            assert connection is not None
            if connection.in_transaction:
                with self._mapping():
                    yield connection
                return
            with self._mapping():
                self._set_durable(connection, durable)
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    _roll_back(connection)
                    raise

    def settle(self) -> None:
        """Make what is to be read now the whole truth: call it before removing what no row tells of.

        A process that is killed between the last two steps of a commit (the log, then its index) leaves
        one that nobody sees, and that the next recovery would bring to light; any write ends it.
        """
        if self.exists():
            with self.transaction(durable=False) as connection:
                end_unseen(connection)

    def exists(self) -> bool:
        """Whether there is a database at all."""
        return self._connection is not None or os.path.exists(self.path)

    def damage(self, *, quick: bool = False) -> str | None:
        """What SQLite's integrity check finds wrong, in one line; None when all is well.

        Args:
            quick: Pages and rows only; whether indexes agree with their tables is not asked.
        """
        try:
            found = self.query(f"PRAGMA {'quick_check' if quick else 'integrity_check'}(1)")
        except DistoreError as error:
            return str(error)
        if not found or found[0][0] == "ok":
            return None
        return f"{' '.join(str(found[0][0]).split())}; dist db rebuild saves what can be saved"

    def close(self) -> None:
        """Close the database if it was opened."""
        self._readers.close()
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                self._is_durable = True
            if self._use is not None:
                self._use.end()
                self._use = None

    def _reader(self) -> Reader | None:
        if self._connection is None and self._open(make=False) is None:  # else it needs nobody's leave
            return None
        use = Use(self.path)
        try:
            with gate(self.path):
                return Reader(_open_to_read(self.path), use)
        except BaseException:
            use.end()
            raise

    def _set_durable(self, connection: sqlite3.Connection, durable: bool) -> None:
        if durable != self._is_durable:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._is_durable = durable

    def _open(self, *, make: bool) -> sqlite3.Connection | None:
        with self._guard:
            if self._connection is None:
                if not make and not os.path.exists(self.path):
                    return None
                if make:
                    self._ensure_folder()
                    self._mapped(lambda: _make_missing(self.path))
                with gate(self.path):
                    self._connection, self._use = self._mapped(lambda: _connect(self.path, make=make))
            return self._connection

    @contextmanager
    def _mapping(self) -> Iterator[None]:
        import sqlite3

        try:
            yield
        except sqlite3.Error as error:
            raise _translate(error, self._subject) from error

    def _mapped(self, action: Callable[[], _T]) -> _T:
        with translated(self._subject), self._mapping():
            return action()


def end_unseen(connection: sqlite3.Connection) -> None:
    """``settle``, within a transaction: this pragma writes though nothing changes."""
    connection.execute(f"PRAGMA user_version = {version_of(connection)}")


def _connect(path: str, *, make: bool) -> tuple[sqlite3.Connection, Use]:
    """Within the gate, until the connection has a lock that says it is there."""
    check_version(path)  # again: it may have been replaced since the store was opened
    use = Use(path)
    try:
        return _open_to_write(path, make=make), use
    except BaseException:
        use.end()
        raise


def _open_to_write(path: str, *, make: bool) -> sqlite3.Connection:
    import sqlite3

    connection = None
    try:
        connection = _open_uri(path, "mode=rw")
        connection.execute("PRAGMA synchronous = FULL")
        _bring_up(connection)
    except sqlite3.OperationalError as error:
        if connection is not None:
            connection.close()
        if make or error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        return _open_read_only(path)
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def _bring_up(connection: sqlite3.Connection) -> None:
    """Migrate an older database; two processes may come here together."""
    if version_of(connection) >= SCHEMA_VERSION:
        connection.execute("SELECT 1 FROM settings LIMIT 1").fetchone()
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrate(connection)
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # SQLite may have done so itself, for want of space
        connection.execute("ROLLBACK")


def _open_read_only(path: str) -> sqlite3.Connection:
    """On a read-only file system: nobody can write it, so it needs no lock and no shared memory."""
    log = f"{path}-wal"
    if os.path.exists(log) and os.path.getsize(log):
        return _open_copy(path, log)
    connection = _open_uri(path, "mode=ro&immutable=1")
    if version_of(connection) >= SCHEMA_VERSION:
        return connection
    return _in_memory(connection)


def _open_copy(path: str, log: str) -> sqlite3.Connection:
    """With a log that cannot be worked in where it is: in memory, whatever is in the log too."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        there = os.path.join(folder, "dist.db")
        shutil.copyfile(log, f"{there}-wal")
        shutil.copyfile(path, there)
        return _in_memory(_open_uri(there, "mode=rw"))


def _in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    import sqlite3

    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        connection.backup(copy)
    finally:
        connection.close()
    migrate(copy)
    copy.execute("PRAGMA query_only = ON")
    return copy


def _open_to_read(path: str) -> sqlite3.Connection:
    import sqlite3

    try:
        connection = _open_uri(path, "mode=rw")
        version_of(connection)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        return _open_read_only(path)
    return connection


def _make_missing(path: str) -> None:
    if not os.path.exists(path):
        with gate(path, exclusive=True):
            if not os.path.exists(path):
                _make(path)


def _make(path: str) -> None:
    """Make the whole database aside and give it its name at once: whoever dies leaves nothing half.

    A log that has lost its database would be taken for one of the new file: it gets another name.
    """
    aside = f"{path}.new-{os.getpid()}-{threading.get_ident()}"
    for left in (aside, f"{aside}-journal", f"{aside}-wal", f"{aside}-shm"):
        if os.path.exists(left):  # by a process of that number that has died
            fsops.unlink(left)
    try:
        fill(aside)
        if os.path.exists(f"{path}-wal"):
            fsops.rename(f"{path}-wal", f"{path}.left-wal")
        if os.path.exists(f"{path}-shm"):
            fsops.unlink(f"{path}-shm")
        try:
            fsops.link(aside, path)
        except FileExistsError:
            return
        fsops.sync_directory(os.path.dirname(path))
    finally:
        if os.path.exists(aside):
            fsops.unlink(aside)


def fill(path: str, copy: Callable[[sqlite3.Connection], None] = lambda _connection: None) -> None:
    """Make a whole new database at ``path``, in WAL mode, with what ``copy`` puts into it."""
    connection = _open_uri(path, "mode=rwc")
    try:
        connection.execute("BEGIN IMMEDIATE")
        make(connection)
        copy(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


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
    extended = getattr(error, "sqlite_errorcode", None) or 0
    code = extended & 0xFF
    kind = classes.get(code, FailedPrecondition)
    if kind is DiskFull or extended == sqlite3.SQLITE_IOERR_SHMSIZE:  # no room for dist.db-shm
        return DiskFull(f"{subject}: the disk is full; dist prune ingests --older-than 0 frees some of it")
    if code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column")):
        kind = DataLoss  # our statements are right, so the tables are not
    if str(error).startswith("Could not decode to UTF-8"):
        kind = DataLoss  # by Python's module, without a code: nothing of ours is anything else
    if kind is DataLoss and code != sqlite3.SQLITE_IOERR:
        return kind(f"{subject}: {error}; dist db rebuild saves what can be saved")
    return kind(f"{subject}: {error}")
