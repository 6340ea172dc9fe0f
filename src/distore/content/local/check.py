"""fsck: is every blob what its name says, and is the tree as docs/formats/store.md draws it?

A damaged blob is moved into quarantine, or replaced once a supplier has given the right bytes:
fetched and verified first, then swapped, so that nothing right is ever taken away.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore._internal import pool
from distore._internal.oserrors import translated
from distore.content.local import repair, rowcheck, tree
from distore.content.local.hashing import CHUNK
from distore.content.local.problem import Problem, file_of
from distore.errors import DataLoss, DistoreError, NotFound
from distore.oci.digest import Digest, Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from distore.content.local.store import LocalStore
    from distore.content.store import Provider

    Suppliers = Callable[[Digest, Mapping[str, str]], Iterable[Provider]]

_STAMPS: Final = 1000  # blobs found right that are noted in one transaction
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What to check and what to do about it.

    Args:
        dry_run: Report only; nothing in the store changes.
        quick: Structure only; no blob is read.
        older_than: Skip blobs found right (or committed) within that many seconds; None: all.
        rate: Bytes to read a second at most, over all workers; None: no limit.
        workers: Threads that verify; None: one a core.
        suppliers: With a digest and its labels, where the right bytes may be had, best first;
            None: no repair.
    """

    dry_run: bool = False
    quick: bool = False
    older_than: float | None = None
    rate: int | None = None
    workers: int | None = None
    suppliers: Suppliers | None = None


@dataclass(slots=True, kw_only=True)
class Summary:
    """Counts so far; it grows while the check runs. ``verified_bytes`` in bytes."""

    blobs: int = 0
    verified: int = 0
    verified_bytes: int = 0
    skipped: int = 0
    problems: int = 0
    repaired: int = 0
    quarantined: int = 0
    unresolved: int = 0
    notes: list[str] = field(default_factory=list)


class Check:
    """One run over one store. ``summary`` may be read from another thread at any time."""

    def __init__(
        self,
        store: LocalStore,
        options: CheckOptions,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._options = options
        self._now = now
        self._budget = _Budget(options.rate, monotonic, sleep)
        self._guard = threading.Lock()
        self._stamps: list[Digest] = []
        self._stamping = not (options.dry_run or options.quick)
        self._spaces = threading.local()
        self.summary = Summary()

    def run(self) -> Iterator[Problem]:
        """Every problem as it is found, with what was done about it.

        Raises:
            PermissionDenied, DataLoss: The tree itself cannot be read.
        """
        with translated(f"store {self._store.root}"):
            for problem in self._problems():
                self.summary.problems += 1
                self.summary.repaired += problem.action in ("repaired", "fixed", "removed")
                self.summary.quarantined += problem.action == "quarantined"
                self.summary.unresolved += not problem.resolved
                yield problem
        self._stamp(everything=True)

    def _problems(self) -> Iterator[Problem]:
        yield from tree.strays(self._store.paths)
        yield from tree.ingests(self._store.paths, dry_run=self._options.dry_run, sleep=self._store.sleep)
        damage = self._store.records.damage(quick=self._options.quick)
        if damage:
            yield Problem(kind="database", subject=self._store.paths.database, detail=damage)
        workers = self._options.workers or os.cpu_count() or 1
        blobs = (digest for digest, _ in self._store.paths.blob_entries())
        for digest, found in pool.map_unordered(self._look, blobs, workers=workers):
            yield self._settle(digest, found)
        if self._options.suppliers is not None:
            yield from repair.missing(self._store, self._options.suppliers, dry_run=self._options.dry_run)
        if not damage:
            dry_run = self._options.dry_run
            yield from rowcheck.problems(self._store.database, self._store.paths, dry_run=dry_run)

    def _look(self, digest: Digest) -> tuple[Digest, Problem | None] | None:
        """In a worker: the problem with one blob, or None."""
        try:
            problem = self._verify(digest)
        except NotFound:  # deleted since the folder was read
            return None
        return (digest, problem) if problem else None

    def _verify(self, digest: Digest) -> Problem | None:
        try:
            reader = self._store.file_reader(digest)
        except NotFound:
            raise
        except DistoreError as error:
            return Problem(kind="unreadable", subject=digest, detail=str(error))
        with reader:
            there = os.fstat(reader.fileno())
            self._count(blobs=1)
            if self._options.quick or self._is_fresh(digest, there):
                self._count(skipped=1)
            else:
                try:
                    actual = self._hash(digest, reader.fileno())
                except OSError as error:
                    detail = f"cannot be read: {os.strerror(error.errno or 0).lower()}"
                    return Problem(kind="damaged", subject=digest, detail=detail, file=file_of(there))
                if actual != digest:
                    detail = f"its {there.st_size} bytes are those of {actual}"
                    return Problem(kind="damaged", subject=digest, detail=detail, file=file_of(there))
                self._count(verified=1, verified_bytes=there.st_size)
                self._stamp(digest)
            if there.st_mode & 0o222:
                mode = f"mode {there.st_mode & 0o7777:04o}, want 0444"
                return Problem(kind="writable", subject=digest, detail=mode, file=file_of(there))
        return None

    def _hash(self, digest: Digest, fd: int) -> Digest:
        space = getattr(self._spaces, "space", None)
        if space is None:
            space = self._spaces.space = memoryview(bytearray(CHUNK))
        verifier, offset = Verifier(digest), 0
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while size := os.preadv(fd, [space], offset):
            verifier.update(space[:size])
            offset += size
            self._budget.spend(size)
        return verifier.actual()

    def _is_fresh(self, digest: Digest, there: os.stat_result) -> bool:
        if self._options.older_than is None:
            return False
        verified = (self._store.records.verified(digest) or 0) / _MICROSECONDS
        return max(verified, there.st_mtime) > self._now() - self._options.older_than

    def _settle(self, digest: Digest, problem: Problem | None) -> Problem:
        assert problem is not None
        if self._options.dry_run or problem.kind == "unreadable":
            return problem
        if problem.kind == "writable":
            return repair.make_read_only(self._store, digest, problem)
        return repair.damaged(self._store, digest, problem, self._options.suppliers)

    def _count(self, *, blobs: int = 0, skipped: int = 0, verified: int = 0, verified_bytes: int = 0) -> None:
        with self._guard:
            self.summary.blobs += blobs
            self.summary.skipped += skipped
            self.summary.verified += verified
            self.summary.verified_bytes += verified_bytes

    def _stamp(self, digest: Digest | None = None, *, everything: bool = False) -> None:
        """Note what was found right, so that --older-than can pass it over next time."""
        with self._guard:
            if digest is not None:
                self._stamps.append(digest)
            if not self._stamping or not self._stamps or (len(self._stamps) < _STAMPS and not everything):
                return
            stamps, self._stamps = self._stamps, []
        try:
            self._store.records.set_verified(stamps, round(self._now() * _MICROSECONDS))
        except DataLoss:
            self._stamping = False  # the database is among the problems already
        except DistoreError as error:
            self._stamping = False
            self.summary.notes.append(f"what was verified is not noted for --older-than: {error}")


class _Budget:
    """Bytes a second over all workers."""

    def __init__(
        self, rate: int | None, monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._rate, self._monotonic, self._sleep = rate, monotonic, sleep
        self._guard = threading.Lock()
        self._free_at = monotonic()

    def spend(self, size: int) -> None:
        if self._rate is None:
            return
        with self._guard:
            now = self._monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            wait = self._free_at - now
        if wait > 0:
            self._sleep(wait)
