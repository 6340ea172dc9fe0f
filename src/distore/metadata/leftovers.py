"""Leftovers: expired images, leases that hold nothing any more, abandoned ingests, rows without an owner."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore._internal import filelock
from distore._internal.oserrors import translated
from distore.content.local import ingests
from distore.gc import batches
from distore.metadata.collected import Removed
from distore.metadata.graph import ABANDONED_AFTER, is_abandoned
from distore.metadata.leases import Leases, remove_lease
from distore.metadata.nodes import INGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.content.local.paths import IngestPaths
    from distore.metadata.collector import Pass

_AT_ONCE: Final = 100  # records removed in one transaction
_OWNERS: Final = (  # whose rows, by which columns, belong to whom
    ("lease_labels", "leases", "id"),
    ("lease_resources", "leases", "id"),
    ("image_labels", "images", "name"),
)


class Leftovers:
    """What a pass removes beside blobs. It goes first: a name goes before what it stands for."""

    def __init__(self, run: Pass) -> None:
        self._run = run
        self._store = run.store

    def remove(self) -> Iterator[Removed]:
        """All of it, as it goes."""
        yield from self._expired_images()
        yield from self._dead_leases()
        yield from self._abandoned_ingests()
        if not self._run.dry_run:
            self._orphans()
            self._lock_files()

    def _expired_images(self) -> Iterator[Removed]:
        graph = self._run.graph
        white = [each for each in graph.expired_images if not self._run.is_reached("image", *each)]
        for some in batches(sorted(white), _AT_ONCE):
            gone = some if self._run.dry_run else self._drop_images(some)
            yield from (Removed(kind="image", namespace=space, key=name) for space, name in gone)

    def _drop_images(self, some: list[tuple[str, str]]) -> list[tuple[str, str]]:
        with self._run.settled(durable=True) as connection:
            gone = [
                each
                for each in some
                if not self._run.is_reached("image", *each) and not self._run.graph.is_root("image", *each)
            ]
            connection.executemany("DELETE FROM image_labels WHERE namespace = ? AND name = ?", gone)
            connection.executemany("DELETE FROM images WHERE namespace = ? AND name = ?", gone)
        self._run.pause(0.0)
        return gone

    def _dead_leases(self) -> Iterator[Removed]:
        for namespace, id in sorted(self._run.graph.dead_leases):
            if self._run.dry_run or self._drop_lease(namespace, id):
                yield Removed(kind="lease", namespace=namespace, key=id)

    def _drop_lease(self, namespace: str, id: str) -> bool:
        with self._run.settled() as connection:
            if (namespace, id) not in self._run.graph.dead_leases:
                return False  # its time was prolonged
            found = remove_lease(connection, namespace, id)
        self._run.pause(0.0)
        return found

    def _abandoned_ingests(self) -> Iterator[Removed]:
        for namespace, paths in list(self._run.graph.ingests()):
            ref = ingests.note(paths.ref)
            if ref is None or not is_abandoned(paths, self._run.graph.now) or self._is_held(namespace, ref):
                continue
            try:
                size = os.stat(paths.data).st_size
            except FileNotFoundError:  # ended meanwhile
                continue
            with translated(f"ingest {ref!r}"):
                if self._run.dry_run or self._drop_ingest(namespace, ref, paths):
                    yield Removed(kind="ingest", namespace=namespace, key=ref, freed=size)

    def _is_held(self, namespace: str, ref: str) -> bool:
        return self._run.graph.nodes.other(INGEST, namespace, ref) in self._run.mark.reached

    def _drop_ingest(self, namespace: str, ref: str, paths: IngestPaths) -> bool:
        with self._run.settled():  # a lease may hold it by now
            if self._is_held(namespace, ref):
                return False
            try:
                lock = filelock.acquire(paths.lock, sleep=lambda _seconds: None)
            except FileNotFoundError:
                return False
            if lock is None:
                return False
            try:
                if self._run.graph.now - os.stat(paths.data).st_mtime < ABANDONED_AFTER:
                    return False  # somebody has taken it up and let go of it again
                ingests.discard(paths)
            except FileNotFoundError:
                return False
            finally:
                lock.release()
        return True

    def _orphans(self) -> None:
        for table, owners, column in _OWNERS:
            orphaned = (
                f"FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {owners}"  # noqa: S608 - the names above
                f" WHERE {owners}.namespace = {table}.namespace AND {owners}.{column} = {table}.{column})"
            )
            if self._store.database.query(f"SELECT 1 {orphaned} LIMIT 1"):
                self._store.database.change(f"DELETE {orphaned}")

    def _lock_files(self) -> None:
        """Locks of processes that died before they had, or after they had dropped, the lease's row."""
        store = self._store
        leases = Leases(
            store.database,
            folder=store.paths.leases,
            namespace=store.namespace,
            command="dist gc",
            now=store.now,
            sleep=store.sleep,
        )
        leases.sweep_locks()
