"""Leases: the LeaseManager in the store's database, and those that end with their process."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore._internal import filelock, fsops
from distore._internal.oserrors import translated
from distore.content.local import ingests
from distore.content.rules import check_labels, check_ref
from distore.errors import (
    AlreadyExists,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ReadOnly,
    Unavailable,
)
from distore.leases import (
    CONTENT,
    EXPIRE,
    IMAGES,
    INGESTS,
    PURPOSE,
    SNAPSHOTS,
    Lease,
    LeaseOwner,
    Resource,
    parse_expire,
)
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from distore._internal.filelock import FileLock
    from distore._internal.filters import Adaptor
    from distore.content.local.database import Database

MAX_ID: Final = 1024  # bytes
_MAX_KEY: Final = 4096  # characters of a resource's key, and of a snapshotter's name
_MAX_WORD: Final = 20  # characters of a purpose within an id
_LATEST: Final = 250_000_000_000 * 1_000_000  # microseconds since the epoch, within the year 9892
_TRIES: Final = 8  # ids that may be taken by a strange chance
_COLUMNS: Final = "id, created, owned"
_GET: Final = f"SELECT {_COLUMNS} FROM leases WHERE namespace = ? AND id = ?"  # noqa: S608
_LIST: Final = f"SELECT {_COLUMNS} FROM leases WHERE namespace = ? ORDER BY id"  # noqa: S608
_LABELS: Final = "SELECT key, value FROM lease_labels WHERE namespace = ? AND id = ? ORDER BY key"
_ADD: Final = "INSERT OR IGNORE INTO leases (namespace, id, created, owned) VALUES (?, ?, ?, ?)"
_ADD_LABEL: Final = "INSERT INTO lease_labels (namespace, id, key, value) VALUES (?, ?, ?, ?)"
_HOLD: Final = "INSERT OR IGNORE INTO lease_resources (namespace, id, type, key) VALUES (?, ?, ?, ?)"
_LET_GO: Final = "DELETE FROM lease_resources WHERE namespace = ? AND id = ? AND type = ? AND key = ?"
_RESOURCES: Final = "SELECT type, key FROM lease_resources WHERE namespace = ? AND id = ? ORDER BY type, key"
_COUNT: Final = "SELECT count(*) FROM lease_resources WHERE namespace = ? AND id = ?"
_REMOVE: Final = (
    "DELETE FROM lease_resources WHERE namespace = ? AND id = ?",
    "DELETE FROM lease_labels WHERE namespace = ? AND id = ?",
    "DELETE FROM leases WHERE namespace = ? AND id = ?",
)


class Leases:
    """The leases of one namespace. Thread-safe.

    An owned lease has a file in ``folder`` that its process holds with flock, from before the row is
    written until it is gone: one whose lock nobody holds is dead, and stays so, as no id is taken twice.

    Args:
        folder: Where the locks are; made when missing.
        command: What the locks name as their owner's.
        now: Seconds since the epoch.
        sleep: Waits that many seconds.
        made: Told before a namespace may get its first lease.
        token: Gives a text that no two leases share.
    """

    def __init__(
        self,
        database: Database,
        *,
        folder: str,
        namespace: str,
        command: str,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        made: Callable[[], None] = lambda: None,
        token: Callable[[], str] = lambda: os.urandom(6).hex(),
    ) -> None:
        self._database = database
        self._folder = folder
        self._namespace = namespace
        self._command = command
        self._now = now
        self._sleep = sleep
        self._made = made
        self._token = token

    # LeaseManager

    def get(self, id: str, /) -> Lease:
        return self._lease(self._row(id))

    def create(self, id: str | None = None, /, *, labels: Mapping[str, str] | None = None) -> Lease:
        id = check_id(f"lease-{self._token()}" if id is None else id)
        _check_labels(id, labels or {})
        self._made()
        if not self._add(id, labels or {}, owned=False):
            raise AlreadyExists(f"lease {id}: exists already", subject=id)
        return self.get(id)

    def delete(self, id: str, /, *, force: bool = False) -> None:
        lease = self.get(id)  # NotFound, without making a database
        if lease.owner is not None and not force:
            raise FailedPrecondition(f"lease {id}: {_who(lease.owner)} works under it; wait, or force it")
        if not self._remove(id, durable=True):
            raise _not_found(id)
        if lease.is_dead:  # else it is that of its process, which removes it
            with translated(f"lease {id}"), suppress(FileNotFoundError):
                fsops.unlink(self._lock_path(id))

    def list(self, *filters: str) -> Iterator[Lease]:
        if not filters:
            return self._all(None)
        from distore._internal.filters import parse

        return self._all(parse(filters).match)  # here: a bad filter fails at the call

    def add(self, id: str, resource: Resource, /) -> None:
        check_resource(resource)
        self._row(id)
        with self._database.transaction() as connection:
            if not connection.execute(_GET, (self._namespace, id)).fetchone():
                raise _not_found(id)
            connection.execute(_HOLD, (self._namespace, id, resource.type, resource.key))

    def remove(self, id: str, resource: Resource, /) -> None:
        self._row(id)
        self._database.change(_LET_GO, self._namespace, id, resource.type, resource.key)

    def resources(self, id: str, /) -> Iterator[Resource]:
        self._row(id)  # here: NotFound comes at the call
        return (
            Resource(type=str(type), key=str(key))
            for type, key in self._database.stream(_RESOURCES, self._namespace, id)
        )

    # Beyond the contract

    def count(self, id: str, /) -> int:
        """How many resources a lease holds; 0 also when there is no such lease."""
        return sum(int(str(row[0])) for row in self._database.query(_COUNT, self._namespace, id))

    @contextmanager
    def held(self, purpose: str) -> Iterator[Lease]:
        """A lease that lasts as long as the block, and no longer than this process.

        Nothing of it is durable: a power cut ends the process, too. Should it not be possible to
        remove it at the end, it is dead all the same, and the next collection removes it.

        Args:
            purpose: What it is for, in a word.
        Raises:
            ReadOnly: The store takes no writes, or none of this user.
        """
        try:
            lease, lock = self._take(purpose)
        except ReadOnly:
            raise
        except PermissionDenied as error:  # whoever may only read has nothing that he could be holding
            raise ReadOnly(str(error)) from error
        try:
            yield lease
        finally:
            try:
                with suppress(DistoreError):
                    self._remove(lease.id, durable=False)
            finally:
                _end(lock)

    def is_live(self, namespace: str, id: str) -> bool:
        """Whether a lease of any namespace holds what it has: its process lives, its time is not over."""
        rows = self._database.query(_GET, namespace, id)
        if not rows:
            return False
        return not self._lease(rows[0], namespace).is_over(self._moment())

    def dead(self) -> Sequence[str]:
        """Ids of the leases that hold nothing any more."""
        now = self._moment()
        return [lease.id for lease in self._all(None) if lease.is_over(now)]

    def sweep_locks(self) -> None:
        """Remove the locks, of all namespaces, that no lease has and nobody holds: left by a crash."""
        rows = self._database.query("SELECT namespace, id FROM leases WHERE owned")
        known = {lock_name(str(namespace), str(id)) for namespace, id in rows}
        with translated(f"leases {self._folder}"):
            try:
                with os.scandir(self._folder) as entries:  # what is no file is none of ours
                    found = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
            except FileNotFoundError:
                return
            for name in found:
                if name not in known:
                    self._sweep(os.path.join(self._folder, name))

    def _sweep(self, path: str) -> None:
        if _owner(path) is not None:
            return
        lock = filelock.acquire(path, sleep=self._sleep)  # whoever is about to take it takes another
        if lock is not None:
            try:
                fsops.unlink(path)
            finally:
                lock.release()

    def _take(self, purpose: str) -> tuple[Lease, FileLock]:
        word = "".join(char if char.isascii() and char.isalnum() else "-" for char in purpose[:_MAX_WORD])
        with translated(f"leases {self._folder}"):
            fsops.ensure_directory(self._folder)
            self._made()
        for _ in range(_TRIES):
            id = f"dist-{word}-{os.getpid()}-{self._token()}"
            lock = self._lock(id)
            if lock is None:
                continue
            try:
                lock.write(ingests.owner_fields(self._command, self._moment()))
                if self._add(id, {PURPOSE: purpose}, owned=True):
                    return self.get(id), lock
            except BaseException:
                _end(lock)
                raise
            lock.release()  # of a dead lease, which keeps its file
        raise Unavailable(f"leases {self._folder}: found no id that is free; try again")

    def _lock(self, id: str) -> FileLock | None:
        with translated(f"lease {id}"):
            return filelock.acquire(self._lock_path(id), sleep=self._sleep)

    def _add(self, id: str, labels: Mapping[str, str], *, owned: bool) -> bool:
        """Make the record; whether the id was free."""
        created = round(self._now() * 1_000_000)
        with self._database.transaction(durable=not owned) as connection:
            if not connection.execute(_ADD, (self._namespace, id, created, owned)).rowcount:
                return False
            rows = [(self._namespace, id, *pair) for pair in labels.items()]
            connection.executemany(_ADD_LABEL, rows)
        return True

    def _remove(self, id: str, *, durable: bool) -> bool:
        """Remove the record and all that belongs to it; whether it was there."""
        with self._database.transaction(durable=durable) as connection:
            return remove_lease(connection, self._namespace, id)

    def _row(self, id: str) -> tuple[object, ...]:
        rows = self._database.query(_GET, self._namespace, id)
        if not rows:
            raise _not_found(id)
        return rows[0]

    def _all(self, match: Callable[[Adaptor], bool] | None) -> Iterator[Lease]:
        for row in self._database.stream(_LIST, self._namespace):
            lease = self._lease(row)
            if match is None or match(adaptor(lease)):
                yield lease

    def _lease(self, row: tuple[object, ...], namespace: str | None = None) -> Lease:
        id, created, owned = row
        namespace = namespace or self._namespace
        labels = self._database.query(_LABELS, namespace, id)
        with translated(f"lease {id}"):
            owner = _owner(os.path.join(self._folder, lock_name(namespace, str(id)))) if owned else None
        return Lease(
            id=str(id),
            created=_time(created),
            labels={str(key): str(value) for key, value in labels},
            owned=bool(owned),
            owner=owner,
        )

    def _lock_path(self, id: str) -> str:
        return os.path.join(self._folder, lock_name(self._namespace, id))

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def lock_name(namespace: str, id: str) -> str:
    """The file, within the folder of leases, that the process of an owned lease holds."""
    return Digest.of(f"{namespace}\0{id}".encode()).encoded


def remove_lease(connection: sqlite3.Connection, namespace: str, id: str) -> bool:
    """Remove a lease with labels and resources in the caller's transaction; whether it was there."""
    return [connection.execute(statement, (namespace, id)).rowcount for statement in _REMOVE][-1] > 0


def check_id(id: str) -> str:
    """``id`` itself when a lease may have it (containerd takes any).

    Raises:
        InvalidArgument: Empty, not printable, or over MAX_ID bytes.
    """
    if not id or not id.isprintable() or len(id.encode(errors="replace")) > MAX_ID:
        raise InvalidArgument(f"lease {id[:60]!a}: want a printable id of up to {MAX_ID} bytes")
    return id


def check_resource(resource: Resource) -> None:
    """Refuse what no lease can hold.

    Raises:
        InvalidArgument: Naming it.
    """
    kind, key = resource.type, resource.key
    if kind == CONTENT:
        Digest(key)
    elif kind == INGESTS:
        check_ref(key)
    elif kind != IMAGES and (not kind.startswith(SNAPSHOTS) or "/" in kind[len(SNAPSHOTS) :]):
        raise InvalidArgument(
            f"resource type {kind[:60]!a}: want {CONTENT}, {INGESTS}, {IMAGES} or {SNAPSHOTS}SNAPSHOTTER"
        )
    elif kind == SNAPSHOTS or not (key and key.isprintable() and kind.isprintable()):
        raise InvalidArgument(f"resource {kind[:60]} {key[:60]!a}: want a printable name")
    elif max(len(key), len(kind)) > _MAX_KEY:
        raise InvalidArgument(f"resource {kind[:60]} {key[:60]}: over {_MAX_KEY} characters")


def adaptor(lease: Lease) -> Adaptor:
    """What a filter sees of a lease (containerd core/metadata/adaptors.go): id, labels."""

    def field(path: tuple[str, ...]) -> str | None:
        if path == ("id",):
            return lease.id
        if path[0] == "labels" and len(path) > 1:
            return lease.labels.get(".".join(path[1:]))
        return None

    return field


def _check_labels(id: str, labels: Mapping[str, str]) -> None:
    check_labels(labels)
    if EXPIRE in labels and parse_expire(labels[EXPIRE]) is None:
        raise InvalidArgument(
            f"lease {id}: label {EXPIRE} {labels[EXPIRE][:60]!a}: want a time such as 2026-01-02T03:04:05Z"
        )


def _time(value: object) -> datetime:
    """What a record says; a damaged one must not keep anybody from listing or collecting."""
    microseconds = value if isinstance(value, int) and 0 <= value <= _LATEST else 0
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def _owner(path: str) -> LeaseOwner | None:
    """Who holds a lock; None: nobody."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # to open a pipe would wait for ever
            return LeaseOwner()
        fd = filelock.open_to_look(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        return LeaseOwner()  # it cannot be told, and a live one must not be taken for dead
    if fd is None:
        return None
    try:
        if not filelock.is_held(fd):
            return None
        found = ingests.owner_of(filelock.read_fields(fd))
    finally:
        os.close(fd)
    return LeaseOwner(pid=found.pid, host=found.host, command=found.command, since=found.since)


def _end(lock: FileLock) -> None:
    """Remove the file of a lock and let go; should the file stay, it says that the lease is dead."""
    try:
        with suppress(OSError):
            fsops.unlink(lock.path)
    finally:
        lock.release()


def _who(owner: LeaseOwner) -> str:
    return f"pid {owner.pid or '?'} on {owner.host or '?'} ({owner.command or '?'})"


def _not_found(id: str) -> NotFound:
    return NotFound(f"lease {id[:80]}: not found")
