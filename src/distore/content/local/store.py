"""LocalStore: blobs and ingests on a local file system, shared by any number of processes."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from distore._internal import filelock, fsops
from distore._internal.oserrors import translated
from distore.content.local import ingests, rootfolder
from distore.content.local.database import Database
from distore.content.local.following import peek, watch
from distore.content.local.labels import Records
from distore.content.local.paths import DEFAULT_NAMESPACE, Paths
from distore.content.local.reader import LocalReader
from distore.content.local.visibility import Visibility
from distore.content.rules import (
    check_labels,
    check_namespace,
    check_ref,
    info_adaptor,
    status_adaptor,
    updated_labels,
)
from distore.content.store import Info, Status
from distore.errors import AlreadyExists, InvalidArgument, NotFound
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from distore._internal.filelock import FileLock
    from distore._internal.filters import Adaptor
    from distore.content.local.paths import IngestPaths
    from distore.content.local.writer import LocalWriter


class LocalStore:
    """A Store and Follower on the tree of docs/formats/store.md.

    Opening makes nothing: the tree appears with the first ingest. Thread-safe.

    Args:
        root: The store's folder; it may be missing.
        namespace: Whose blobs and ingests these are; bytes are shared by all namespaces.
        command: What locks held by this store name as their owner, such as ``dist ingest``.
        now: Seconds since the epoch.
        sleep: Waits that many seconds.
    Raises:
        FailedPrecondition: ``root`` is a file or a dangling link.
        UnsupportedStore: Made by a newer version.
        InvalidArgument: A bad name for a namespace.
    """

    def __init__(
        self,
        root: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        command: str = "python",
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.root = os.path.abspath(root)
        self.paths = Paths(self.root)
        self.database = Database(self.paths.database, ensure_folder=self._ensure_root)
        self._command = command
        self.now = now
        self.sleep = sleep
        rootfolder.check(self.root, self.paths)
        self._bind(namespace, lease=None)

    def view(self, *, namespace: str | None = None, lease: str | None = None) -> LocalStore:
        """The same store as another namespace sees it, or with a lease that holds what is used:
        every blob that is looked up, read, promised or committed through the view.

        Args:
            namespace: None: the same one.
            lease: Id of a lease of that namespace; None: nothing is held.
        """
        view = LocalStore.__new__(LocalStore)
        vars(view).update(vars(self))
        view._bind(namespace or self.namespace, lease)
        return view

    def _bind(self, namespace: str, lease: str | None) -> None:
        self.namespace = check_namespace(namespace)
        self.paths = Paths(self.root, namespace=namespace)
        self.visibility = Visibility(self.database, self.paths, namespace=namespace, lease=lease)
        self.records = Records(self.database, namespace=namespace, is_there=self._is_there)

    # Provider

    def reader(self, digest: Digest, /) -> LocalReader:
        self.visibility.hold((digest,))
        if not self.visibility.sees(digest):
            raise NotFound(f"content {digest}: not found")
        return self.file_reader(digest)

    def file_reader(self, digest: Digest, /) -> LocalReader:
        """As ``reader``, whichever namespace sees the blob: for fsck."""
        with translated(f"content {digest}"):
            try:
                # Not blocking: in a folder of somebody else a pipe may have that name.
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                return LocalReader(digest, os.open(self.paths.blob(digest), flags))
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
        self.visibility.hold((digest,))
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

        def unlink() -> None:
            fsops.unlink(path)
            fsops.sync_directory(os.path.dirname(path))

        with translated(f"content {digest}"):
            self._stat(digest)
            self.visibility.forget(digest, unlink)

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
        paths = self.paths.ingest(check_ref(ref))
        return watch(ref, paths, now=self.now, sleep=self.sleep, report=on_progress, timeout=timeout)

    # Beyond the contract

    def peek(self, ref: str, /) -> int | None:
        """The bytes of an ingest that somebody may be writing, as an open file for the caller to close."""
        return peek(ref, self.paths.ingest(check_ref(ref)))

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
            if self.visibility.is_everything():
                for digest, _ in self.paths.blob_entries():
                    yield digest
                return
        for info in self._walk(None, labels=False):
            yield info.digest

    def files(self) -> Iterator[Info]:
        """``walk`` without the database: no labels, and ``updated`` is ``created``."""
        return self._walk(None, labels=False)

    def join_labels(self, digests: Iterable[Digest], added: Mapping[str, str]) -> None:
        """Add values to labels that are lists with commas; see ``Records.join_labels``."""
        self.records.join_labels(digests, added)

    def free_space(self) -> int | None:
        """Bytes that this user may still write where the store lies, or None when nobody tells."""
        return rootfolder.free_space(self.root)

    def exists(self) -> bool:
        """Whether there is a store (or an OCI layout) at the root already."""
        return os.path.isdir(self.paths.blobs) or os.path.isdir(self.paths.ingests)

    def close(self) -> None:
        """Close what was opened; the store opens it again when it is used again."""
        self.database.close()

    def _ensure_root(self) -> None:
        with translated(f"store {self.root}"):
            fsops.ensure_directory(self.root)

    def _stat(self, digest: Digest) -> os.stat_result:
        with translated(f"content {digest}"):
            try:
                there = os.stat(self.paths.blob(digest), follow_symlinks=False)
            except FileNotFoundError as error:
                raise NotFound(f"content {digest}: not found") from error
        if not self.visibility.sees(digest):
            raise NotFound(f"content {digest}: not found")
        return there

    def _is_there(self, digest: Digest) -> bool:
        return os.path.exists(self.paths.blob(digest)) and self.visibility.sees(digest)

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
            for digest, there in self._files():
                info = self._info(digest, there, labels=labels)
                if match is None or match(info_adaptor(info)):
                    yield info

    def _files(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """The files of the blobs that the namespace sees."""
        if not self.visibility.is_default:
            for digest in self.visibility.digests():
                with suppress(FileNotFoundError):  # a row that a crash left, or deleted since
                    yield digest, os.stat(self.paths.blob(digest), follow_symlinks=False)
            return
        everything = self.visibility.is_everything()
        for digest, entry in self.paths.blob_entries():
            if everything or self.visibility.sees(digest):
                with suppress(FileNotFoundError):  # deleted since the folder was read
                    yield digest, entry.stat(follow_symlinks=False)

    def _statuses(self, match: Callable[[Adaptor], bool] | None) -> Iterator[Status]:
        with translated(f"store {self.root}"):
            for paths in self.paths.ingest_folders():
                status = ingests.status(paths)
                if status is not None and (match is None or match(status_adaptor(status))):
                    yield status

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
                except FileNotFoundError:
                    continue
                except FileExistsError:
                    if os.path.islink(paths.folder):  # to nowhere: it would be missing and there for ever
                        raise
                continue
            if lock is None:
                now = ingests.from_timestamp(self.now())
                raise ingests.locked(ref, ingests.owner(paths), now)
            return lock

    def _open_writer(
        self, ref: str, *, total: int | None, expected: Digest | None, replace: bool = False
    ) -> LocalWriter:
        check_ref(ref)
        self.visibility.make_namespace()
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
        if expected is None:
            return
        self.visibility.hold((expected,))
        if not os.path.exists(self.paths.blob(expected)):
            return
        seen = self.visibility.sees(expected)
        if not seen and not (self.visibility.is_shared(expected) and self.visibility.share(expected)):
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
            if self.namespace != DEFAULT_NAMESPACE:
                fsops.put_text(paths.namespace, self.namespace)
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
            visibility=self.visibility,
            lock=lock,
            expected=expected or ingests.expected(paths),
            total=total or ingests.total(paths),
            replace=replace,
        )
