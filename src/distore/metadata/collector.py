"""Collector: finds what nothing reaches, and removes it while others go on working.

One pass marks in short reads, then sweeps in short transactions. What gains a reference meanwhile is
noted by the triggers of ``gc_touched`` and taken in at the start of each of those transactions, so that
what is removed in one is unreachable at that moment.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from distore._internal import filelock, fsops
from distore._internal.oserrors import translated
from distore.content.local import ingests
from distore.content.local.database import end_unseen
from distore.content.local.schema import TRIGGERS
from distore.errors import DataLoss, DistoreError, Unavailable
from distore.gc import Mark, batches
from distore.leases import SNAPSHOTS
from distore.metadata.collected import Collected
from distore.metadata.graph import Graph, lock_fields
from distore.metadata.repositorysweep import sweep_repositories
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from distore._internal.filelock import FileLock
    from distore.content.local.store import LocalStore
    from distore.metadata.collected import Removed
    from distore.metadata.explain import Explanation, SnapshotExplanation
    from distore.metadata.schedule import Schedule

_ROOTS_AT_ONCE: Final = 5000  # roots taken in before their references are scanned
_TOUCHED: Final = "SELECT seq, namespace, kind, key FROM gc_touched WHERE seq > ? ORDER BY seq LIMIT ?"
_COUNT_TRIGGERS: Final = (
    "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%!_touched!_%' ESCAPE '!'"
)
_TOUCHED_AT_ONCE: Final = 200  # rows
_MOST_IN_TRANSACTION: Final = 2000  # nodes scanned while everybody else waits
_LATER: Final = 1 << 63  # nanoseconds since the epoch: after everything
_TICKS: Final = 30  # looks at the file system's clock
_TICK: Final = 0.001  # seconds between them


class Collector:
    """The garbage collector of a store, all namespaces of it.

    Args:
        lease_is_live: Whether a lease (namespace, id) holds anything: its process lives, its time is
            not over.
        now: Seconds since the epoch.
        monotonic: Seconds, for how long a transaction takes.
    """

    def __init__(
        self,
        store: LocalStore,
        *,
        lease_is_live: Callable[[str, str], bool],
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._lease_is_live = lease_is_live
        self._now = now
        self._monotonic = monotonic
        self.summary = Collected()

    def collect(self, *, dry_run: bool = False, older_than: float = 0.0) -> Iterator[Removed]:
        """Remove what nothing reaches, and give each of it once it is gone; ``summary`` is filled meanwhile.

        No image, no repository, no live lease, no ingest under way, no label and no mount leads to it.
        Repositories are swept first. A blob or a snapshot that is younger than the call stays in any case:
        its program may be about to name it.

        Args:
            dry_run: Only say what would go; changes nothing and holds nothing.
            older_than: Seconds that a blob's file, or a snapshot, must at least have.
        Raises:
            Unavailable: Another collector runs; names it.
        """
        from distore.metadata.leftovers import Leftovers
        from distore.metadata.snapshotsweep import SnapshotSweep
        from distore.metadata.sweep import Sweep

        self.summary = Collected()
        if not self._store.exists() and not self._store.database.exists():
            return
        with self._pass(dry_run=dry_run, older_than=older_than, sweep=True) as run:
            yield from self._counted(iter(run.swept))
            yield from self._counted(Leftovers(run).remove())
            yield from self._counted(Sweep(run).remove())
            yield from self._counted(SnapshotSweep(run).remove())
        if not dry_run:
            self._note_pass()

    def discard(self, digests: Iterable[Digest]) -> None:
        """Remove those of ``digests`` that the store's namespace has and nothing reaches.

        Those of a lease that still lives stay, and all of them while another collector runs: the next
        pass takes them.
        """
        from distore.metadata.sweep import Sweep

        self.summary = Collected()
        if not self._store.exists():
            return
        try:
            with self._pass(dry_run=False, older_than=0.0) as run:
                for _ in Sweep(run, only=self._store.namespace).remove_these(digests):
                    pass
        except Unavailable:
            return

    def explain(self, digests: Iterable[Digest]) -> Iterator[Explanation]:
        """Why each of ``digests`` is kept in each namespace that has it, or that nothing keeps it.

        Raises:
            NotFound: No namespace has it; the others have been explained.
        """
        from distore.metadata.explain import explain

        return explain(self._store, self._graph(), digests)

    def explain_snapshots(self, names: Iterable[str]) -> Iterator[SnapshotExplanation]:
        """The same of snapshots, by SNAPSHOTTER/KEY."""
        from distore.metadata.explain import explain_snapshots

        return explain_snapshots(self._store, self._graph(), names)

    def schedule(self, words: Iterable[str] = ()) -> Schedule:
        """When passes run by themselves, after it was changed by ``words`` (``schedule.parse``), if any.

        Raises:
            InvalidArgument: A bad word; nothing changed.
        """
        from distore.metadata import schedule

        old = schedule.load(self._store.database)
        new = schedule.parse(old, words)
        if new != old:
            schedule.save(self._store.database, new)
        return new

    def note_deletions(self, count: int = 1) -> bool:
        """Count deletions of what may have kept content; whether a pass is due by now."""
        from distore.metadata import schedule

        schedule.note_deletion(self._store.database, self._now(), count=count)
        return schedule.due(self._store.database, self._now())

    def _graph(self) -> Graph:
        return Graph(
            self._store.database, self._store.paths, lease_is_live=self._lease_is_live, now=self._now()
        )

    @contextmanager
    def _pass(self, *, dry_run: bool, older_than: float, sweep: bool = False) -> Iterator[Pass]:
        run = Pass(self._store, self._graph(), dry_run=dry_run, monotonic=self._monotonic)
        run.summary = self.summary
        with run.begun(older_than):
            began = self._monotonic()
            if sweep:
                sweep_repositories(run)
            run.mark_all()
            self.summary.mark_ms = round((self._monotonic() - began) * 1000)
            yield run
            self.summary.sweep_ms = round((self._monotonic() - began) * 1000) - self.summary.mark_ms

    def _note_pass(self) -> None:
        from distore.metadata import schedule

        took = (self.summary.mark_ms + self.summary.sweep_ms) / 1000
        schedule.note_pass(self._store.database, self._now(), took=took)

    def _counted(self, removed: Iterator[Removed]) -> Iterator[Removed]:
        for each in removed:
            if each.kind == "content":
                self.summary.removed += 1
            elif each.kind == "snapshot":
                self.summary.snapshots += 1
            else:
                self.summary.records += 1
            self.summary.freed += each.freed
            yield each


class Pass:
    """One pass: its mark, and transactions in which the mark is complete."""

    def __init__(
        self, store: LocalStore, graph: Graph, *, dry_run: bool, monotonic: Callable[[], float]
    ) -> None:
        self.store = store
        self.graph = graph
        self.dry_run = dry_run
        self.monotonic = monotonic
        self.summary = Collected()
        self.cutoff = 0  # nanoseconds: blobs whose file changed since are left alone
        self.spares_young = False  # there are such already
        self.young_from = _LATER  # microseconds: snapshots made since are left alone
        self.mark = Mark(graph.refs)
        self.swept: list[Removed] = []
        self._seq = 0
        self._began = round(graph.now * 1_000_000)  # what the row of gc_run says while it is this one's

    @contextmanager
    def begun(self, older_than: float) -> Iterator[None]:
        """Be the only collector, and have what gains references noted, until the block ends."""
        age = round(older_than * 1e9)
        self.spares_young = age > 0
        if self.dry_run:
            # Whatever is seen is older than the call, or nearly: nothing was written to tell the time by.
            self.cutoff = round(self.graph.now * 1e9) - age if age else _LATER
            self.young_from = self._began - age // 1000 if age else _LATER
            yield
            return
        lock = self._lock()
        try:
            self.cutoff = self._file_time(lock) - age
            self.young_from = self._began - age // 1000
            self._note_touched(True)
            try:
                yield
            except BaseException:
                with suppress(DistoreError):  # it must not hide the first; the next pass clears as well
                    self._note_touched(False)
                raise
            self._note_touched(False)
        finally:
            lock.release()

    def mark_all(self) -> None:
        """Reach everything from the roots of now."""
        for some in batches(self.graph.roots(), _ROOTS_AT_ONCE):
            self.mark.add(node for node, _ in some)
            self.mark.run()
        if self.young_from != _LATER:
            self.mark.add(self.graph.snapshots.young(self.young_from))
            self.mark.run()
        if self.spares_young:
            from distore.metadata.sweep import Sweep

            for young in batches(Sweep(self).young(), _ROOTS_AT_ONCE):
                self.mark.add(young)
                self.mark.run()
        self.pause(0.0)

    def is_reached(self, kind: str, namespace: str, key: str) -> bool:
        """Whether an image, a blob or a snapshot is marked, be it flat."""
        return any(node in self.mark.reached for node in self.graph.forms(kind, namespace, key))

    @contextmanager
    def settled(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction in which everything that is reachable is marked. Keep it short.

        Args:
            durable: Only what others rely on being gone for good needs it; what a power cut brings
                back, the next pass removes again.
        """
        while True:
            self._take_in()
            with self.store.database.transaction(durable=durable) as connection:
                self._check_alone(connection)
                if self._take_in(most=_MOST_IN_TRANSACTION):
                    end_unseen(connection)  # of a commit that no trigger's note tells of
                    yield connection
                    return
            self.pause(0.0)

    def pause(self, busy: float) -> None:
        """Let others write for as long as they had to wait; SQLite's lock is not fair."""
        self.store.sleep(max(busy, 0.001))

    def _take_in(self, most: int | None = None) -> bool:
        """Mark what has become reachable; with ``most``, whether that was all."""
        while True:
            for held in self.graph.new_leases():
                self.mark.add(self.graph.resources(held))
            rows = self.store.database.query(_TOUCHED, self._seq, _TOUCHED_AT_ONCE)
            for row in dict.fromkeys((str(kind), str(space), str(key)) for _, space, kind, key in rows):
                self._touched(*row)
            if rows:
                self._seq = int(str(rows[-1][0]))
            done = self.mark.run(most)
            if most is not None:
                return done and len(rows) < _TOUCHED_AT_ONCE
            if len(rows) < _TOUCHED_AT_ONCE:
                return True

    def _touched(self, kind: str, namespace: str, key: str) -> None:
        graph, mark = self.graph, self.mark
        mark.add(graph.held(namespace, kind, key))
        forms = graph.forms(kind, namespace, key)
        if not forms:
            return
        mark.revisit(forms)
        full = forms[0]
        if full in mark.reached:
            return
        is_kept = any(node in mark.reached for node in graph.keepers(kind, namespace, key))
        if is_kept or graph.is_root(kind, namespace, key) or self._is_young(kind, namespace, key):
            mark.add((full,))

    def _is_young(self, kind: str, namespace: str, key: str) -> bool:
        """Whether it stays because it is new: what it names stays with it."""
        if kind.startswith(SNAPSHOTS):
            return self.graph.snapshots.is_young(kind, namespace, key, self.young_from)
        try:
            there = os.stat(self.store.paths.blob(Digest(key))) if kind == "content" else None
        except FileNotFoundError:
            return False
        return there is not None and there.st_ctime_ns >= self.cutoff

    def _note_touched(self, begin: bool) -> None:
        """Have the triggers note what gains references; what a dead collector left goes first."""
        with self.store.database.transaction(durable=False) as connection:
            if not begin and not self._is_running(connection):
                return  # the notes are those of another one
            connection.execute("DELETE FROM gc_run")
            connection.execute("DELETE FROM gc_touched")
            if begin:
                self._check_triggers(connection)
                connection.execute("INSERT INTO gc_run VALUES (?)", (self._began,))

    def _check_triggers(self, connection: sqlite3.Connection) -> None:
        """Without one of them something that is needed could go unnoticed."""
        if connection.execute(_COUNT_TRIGGERS).fetchone() != (TRIGGERS,):
            raise DataLoss(
                f"store database {self.store.database.path}: triggers are missing; dist db rebuild --force"
                " makes them again"
            )

    def _check_alone(self, connection: sqlite3.Connection) -> None:
        """Somebody may have removed the file of the lock; another collector then took the notes away."""
        if not self._is_running(connection):
            raise Unavailable(
                f"store {self.store.root}: another collector began, for {self.store.paths.collecting} was"
                " removed; try again later"
            )

    def _is_running(self, connection: sqlite3.Connection) -> bool:
        return connection.execute("SELECT started FROM gc_run").fetchall() == [(self._began,)]

    def _lock(self) -> FileLock:
        path = self.store.paths.collecting
        with translated(f"store {self.store.root}"):
            fsops.ensure_directory(self.store.root)
            lock = filelock.acquire(path, sleep=self.store.sleep)
        if lock is None:
            raise Unavailable(f"store {self.store.root}: {_who(path)} collects its garbage; try again later")
        return lock

    def _file_time(self, lock: FileLock) -> int:
        """A moment of the file system's clock, in nanoseconds, that what was written before this call
        is before, and what is written from now on is not."""
        first = self._stamp(lock)
        for _ in range(_TICKS):  # a coarse clock stands still for milliseconds
            moment = self._stamp(lock)
            if moment > first:
                return moment
            self.store.sleep(_TICK)
        return first

    def _stamp(self, lock: FileLock) -> int:
        now = ingests.from_timestamp(self.graph.now)
        lock.write(ingests.owner_fields("dist gc", now))
        with translated(f"store {self.store.root}"):
            return os.stat(lock.path).st_mtime_ns


def _who(path: str) -> str:
    owner = ingests.owner_of(lock_fields(path))
    return f"pid {owner.pid or '?'} on {owner.host or '?'} ({owner.command or '?'})"
