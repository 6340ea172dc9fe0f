"""LocalStore: blobs and ingests on a local file system, shared by any number of processes."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from distore._internal import filelock, fsops
from distore._internal.oserrors import translated
from distore.content.local import ingests
from distore.content.local.labels import Records, check_version
from distore.content.local.paths import Paths
from distore.content.local.reader import LocalReader
from distore.content.rules import (
    check_labels,
    check_ref,
    info_adaptor,
    status_adaptor,
    updated_labels,
)
from distore.content.store import Info, Status
from distore.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from distore._internal.filelock import FileLock
    from distore._internal.filters import Adaptor
    from distore.content.local.paths import IngestPaths
    from distore.content.local.writer import LocalWriter
    from distore.oci.digest import Digest

_FOLLOW_PAUSES = (0.02, 0.05, 0.1, 0.2)  # seconds between looks at a running ingest; the last repeats


class LocalStore:
    """A Store and Follower on the tree of docs/formats/store.md.

    Opening makes nothing: the tree appears with the first ingest. Thread-safe.

    Args:
        root: The store's folder; it may be missing.
        command: What locks held by this store name as their owner, such as ``dist ingest``.
        now: Seconds since the epoch.
        sleep: Waits that many seconds.
    Raises:
        FailedPrecondition: ``root`` is a file or a dangling link.
        UnsupportedStore: Made by a newer version.
    """

    def __init__(
        self,
        root: str,
        *,
        command: str = "python",
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.root = os.path.abspath(root)
        self.paths = Paths(self.root)
        self._command = command
        self.now = now
        self.sleep = sleep
        self._check_root()
        self.records = Records(self.paths.database, ensure_folder=self._ensure_root)

    # Provider

    def reader(self, digest: Digest, /) -> LocalReader:
        path = self.paths.blob(digest)
        with translated(f"content {digest}"):
            try:
                # Not blocking: in a folder of somebody else a pipe may have that name.
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                return LocalReader(digest, os.open(path, flags))
            except FileNotFoundError as error:
                raise NotFound(f"content {digest}: not found") from error

    # Ingester

    def writer(self, ref: str, /, *, total: int | None = None, expected: Digest | None = None) -> LocalWriter:
        return self._open_writer(ref, total=total, expected=expected)

    def replacing_writer(self, ref: str, expected: Digest, /) -> LocalWriter:
        """A writer whose commit takes the place of a damaged blob; nothing else needs it."""
        return self._open_writer(ref, total=None, expected=expected, replace=True)

    # Manager

    def info(self, digest: Digest, /) -> Info:
        with translated(f"content {digest}"):
            return self._info(digest, self._stat(digest), labels=True)

    def update(self, info: Info, /, *fieldpaths: str) -> Info:
        digest = info.digest
        self._stat(digest)  # NotFound

        def change(old: Mapping[str, str]) -> Mapping[str, str]:
            labels = updated_labels(old, info.labels, fieldpaths)
            check_labels(labels)
            return labels

        self.records.change_labels(digest, change, updated=round(self.now() * 1_000_000))
        return self.info(digest)

    def walk(self, *filters: str) -> Iterator[Info]:
        if not filters:
            return self._walk(None, labels=self.records.has_any())
        from distore._internal.filters import parse

        match = parse(filters).match  # here: a bad filter fails at the call
        return self._walk(match, labels=self.records.has_any())

    def delete(self, digest: Digest, /) -> None:
        path = self.paths.blob(digest)
        with translated(f"content {digest}"):
            self._stat(digest)
            self.records.remove(digest)
            fsops.unlink(path)
            fsops.sync_directory(os.path.dirname(path))

    # IngestManager

    def status(self, ref: str, /) -> Status:
        check_ref(ref)
        with translated(f"ingest {ref!r}"):
            status = ingests.status(self.paths.ingest(ref))
        if status is None:
            raise NotFound(f"ingest {ref!r}: not found")
        return status

    def statuses(self, *filters: str) -> Iterator[Status]:
        if not filters:
            return self._statuses(None)
        from distore._internal.filters import parse

        return self._statuses(parse(filters).match)

    def abort(self, ref: str, /) -> None:
        check_ref(ref)
        paths = self.paths.ingest(ref)
        with translated(f"ingest {ref!r}"):
            if not os.path.isdir(paths.folder):
                raise NotFound(f"ingest {ref!r}: not found")
            lock = self._lock(ref, paths)
            try:
                found = os.path.exists(paths.data) or os.path.exists(paths.ref)
                ingests.discard(paths)
            finally:
                lock.release()
        if not found:
            raise NotFound(f"ingest {ref!r}: not found")

    # Follower

    def follow(
        self,
        ref: str,
        /,
        *,
        on_progress: Callable[[Status], None] | None = None,
        timeout: float | None = None,
    ) -> Digest | None:
        check_ref(ref)
        paths = self.paths.ingest(ref)
        with translated(f"ingest {ref!r}"):
            fd = filelock.open_to_look(paths.lock)
        if fd is None:
            return None
        try:
            return self._watch(ref, paths, fd, on_progress, timeout)
        finally:
            os.close(fd)

    # Beyond the contract

    def path(self, digest: Digest, /) -> str:
        """Absolute path of a committed blob; read-only, and not to be changed.

        Raises:
            NotFound: No such blob.
        """
        self._stat(digest)
        return self.paths.blob(digest)

    def digests(self) -> Iterator[Digest]:
        """Every committed digest, in no fixed order, without looking at the files."""
        with translated(f"store {self.root}"):
            for digest, _ in self.paths.blob_entries():
                yield digest

    def files(self) -> Iterator[Info]:
        """``walk`` without the database: no labels, and ``updated`` is ``created``."""
        return self._walk(None, labels=False)

    def join_labels(self, digests: Iterable[Digest], added: Mapping[str, str]) -> None:
        """Add values to labels that are lists with commas; see ``Records.join_labels``."""
        self.records.join_labels(digests, added)

    def free_space(self) -> int | None:
        """Bytes that this user may still write where the store lies, or None when nobody tells."""
        folder = self.root
        while not os.path.isdir(folder) and folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
        try:
            there = os.statvfs(folder)
        except OSError:
            return None
        return there.f_bavail * there.f_frsize if there.f_blocks else None

    def exists(self) -> bool:
        """Whether there is a store (or an OCI layout) at the root already."""
        return os.path.isdir(self.paths.blobs) or os.path.isdir(self.paths.ingests)

    def close(self) -> None:
        """Close what was opened; the store opens it again when it is used again."""
        self.records.close()

    def _check_root(self) -> None:
        with translated(f"store {self.root}"):
            try:
                root = os.stat(self.root)
            except FileNotFoundError as error:
                if os.path.islink(self.root):
                    target = os.readlink(self.root)
                    raise FailedPrecondition(
                        f"store {self.root}: a link to {target!r}, which does not exist;"
                        " make that folder or remove the link"
                    ) from error
                return
            except NotADirectoryError as error:
                raise FailedPrecondition(f"store {self.root}: its parent is not a folder") from error
            if not stat.S_ISDIR(root.st_mode):
                raise FailedPrecondition(f"store {self.root}: not a folder; name another with --root")
            check_version(self.paths.database)

    def _ensure_root(self) -> None:
        with translated(f"store {self.root}"):
            fsops.ensure_directory(self.root)

    def _stat(self, digest: Digest) -> os.stat_result:
        with translated(f"content {digest}"):
            try:
                return os.stat(self.paths.blob(digest), follow_symlinks=False)
            except FileNotFoundError as error:
                raise NotFound(f"content {digest}: not found") from error

    def _info(self, digest: Digest, there: os.stat_result, *, labels: bool) -> Info:
        created = ingests.from_timestamp(there.st_mtime)
        changed = self.records.updated(digest) if labels else None
        return Info(
            digest=digest,
            size=there.st_size,
            created=created,
            updated=created if changed is None else ingests.from_timestamp(changed / 1_000_000),
            labels=self.records.labels(digest) if labels else {},
        )

    def _walk(self, match: Callable[[Adaptor], bool] | None, *, labels: bool) -> Iterator[Info]:
        with translated(f"store {self.root}"):
            for digest, entry in self.paths.blob_entries():
                try:
                    info = self._info(digest, entry.stat(follow_symlinks=False), labels=labels)
                except FileNotFoundError:  # deleted since the folder was read
                    continue
                if match is None or match(info_adaptor(info)):
                    yield info

    def _statuses(self, match: Callable[[Adaptor], bool] | None) -> Iterator[Status]:
        with translated(f"store {self.root}"):
            for paths in self.paths.ingest_folders():
                status = ingests.status(paths)
                if status is not None and (match is None or match(status_adaptor(status))):
                    yield status

    def _watch(
        self,
        ref: str,
        paths: IngestPaths,
        fd: int,
        on_progress: Callable[[Status], None] | None,
        timeout: float | None,
    ) -> Digest | None:
        """The lock file outlives its name while we hold it open, and says how the ingest ended."""
        waited, look = 0.0, 0
        while filelock.is_held(fd):
            if timeout is not None and waited >= timeout:
                owner = ingests.owner_of(filelock.read_fields(fd))
                raise DeadlineExceeded(
                    f"{ingests.locked(ref, owner, ingests.from_timestamp(self.now()))}; waited {timeout:g} s"
                )
            if on_progress:
                on_progress(self._followed(ref, paths, fd))
            pause = _FOLLOW_PAUSES[min(look, len(_FOLLOW_PAUSES) - 1)]
            self.sleep(pause)
            waited, look = waited + pause, look + 1
        return ingests.result_of(filelock.read_fields(fd))

    def _followed(self, ref: str, paths: IngestPaths, fd: int) -> Status:
        """Of an ingest whose lock is held; before its first byte and after its last one, too, or whoever
        follows could not give up beside an owner that was stopped there."""
        with translated(f"ingest {ref!r}"):
            status = ingests.status(paths)
            if status is not None:
                return status
            owner = ingests.owner_of(filelock.read_fields(fd))
        since = owner.since or ingests.from_timestamp(self.now())
        return Status(ref, 0, None, None, started=since, updated=since, owner=owner)

    def _lock(self, ref: str, paths: IngestPaths) -> FileLock:
        """Hold the ingest, its folder made when missing."""
        while True:
            try:
                lock = filelock.acquire(paths.lock, sleep=self.sleep)
            except FileNotFoundError:
                fsops.ensure_directory(self.paths.ingests)
                # Somebody else was quicker, or has just removed the empty folder above.
                try:
                    fsops.make_directory(paths.folder)
                except (FileExistsError, FileNotFoundError):
                    continue
                continue
            if lock is None:
                now = ingests.from_timestamp(self.now())
                raise ingests.locked(ref, ingests.owner(paths), now)
            return lock

    def _open_writer(
        self, ref: str, *, total: int | None, expected: Digest | None, replace: bool = False
    ) -> LocalWriter:
        check_ref(ref)
        if total is not None and total < 0:
            raise InvalidArgument(f"ingest {ref!r}: total {total} is negative")
        with translated(f"ingest {ref!r}"):
            if not replace:
                self._refuse_known(expected)
            paths = self.paths.ingest(ref)
            lock = self._lock(ref, paths)
            try:
                if not replace:
                    self._refuse_known(expected, paths)  # committed while we waited for the lock
                return self._writer(ref, paths, lock, total=total, expected=expected, replace=replace)
            except BaseException:
                lock.release()
                raise

    def _refuse_known(self, expected: Digest | None, paths: IngestPaths | None = None) -> None:
        if expected is None or not os.path.exists(self.paths.blob(expected)):
            return
        if paths is not None:
            ingests.discard(paths)
        raise AlreadyExists(f"content {expected} already exists", subject=expected)

    def _writer(
        self,
        ref: str,
        paths: IngestPaths,
        lock: FileLock,
        *,
        total: int | None,
        expected: Digest | None,
        replace: bool,
    ) -> LocalWriter:
        from distore.content.local.writer import LocalWriter

        now = ingests.from_timestamp(self.now())
        lock.write(ingests.owner_fields(self._command, now))
        if not os.path.exists(paths.data):  # new: the data file comes last and makes it an ingest
            for leftover in (paths.frontier, paths.total, paths.expected):
                if os.path.exists(leftover):
                    fsops.unlink(leftover)
            fsops.put_text(paths.ref, ref)
            fsops.put_text(paths.started, ingests.time_text(now))
        fsops.put_text(paths.updated, ingests.time_text(now))
        if total is not None:
            fsops.put_text(paths.total, str(total))
        if expected is not None:
            fsops.put_text(paths.expected, expected)
        return LocalWriter(
            ref,
            paths=paths,
            store=self.paths,
            records=self.records,
            lock=lock,
            expected=expected or ingests.expected(paths),
            total=total or ingests.total(paths),
            replace=replace,
        )
