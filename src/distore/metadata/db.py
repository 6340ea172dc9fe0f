"""Metadata: all that a store knows beyond its blobs, as one namespace sees it."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from distore.content.local.visibility import mark_namespaces
from distore.errors import DistoreError, ReadOnly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distore.content.local.store import LocalStore
    from distore.metadata.collector import Collector
    from distore.metadata.images import Images
    from distore.metadata.leases import Leases
    from distore.metadata.namespaces import Namespaces
    from distore.metadata.repositories import StoredRepositories
    from distore.metadata.repositorysweep import Unlinked
    from distore.oci.digest import Digest
    from distore.snapshots.snapshotter import Snapshotter


class Metadata:
    """The parts beside ``content``, each made when it is first asked for.

    Args:
        command: What leases name as their owner.
        now: Seconds since the epoch.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        content: LocalStore,
        *,
        command: str,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.content = content
        self._command = command
        self.now = now
        self._sleep = sleep
        self._repositories: StoredRepositories | None = None

    @property
    def images(self) -> Images:
        """The names."""
        from distore.metadata.images import Images

        return Images(
            self.content.database,
            namespace=self.content.namespace,
            now=self.now,
            made=self.content.visibility.make_namespace,
        )

    @property
    def leases(self) -> Leases:
        """The leases."""
        from distore.metadata.leases import Leases

        return Leases(
            self.content.database,
            folder=self.content.paths.leases,
            namespace=self.content.namespace,
            command=self._command,
            now=self.now,
            sleep=self._sleep,
            made=self.content.visibility.make_namespace,
        )

    def snapshotter(self, name: str | None = None, *, sync: bool = True) -> Snapshotter:
        """The snapshots of one driver; see ``open_snapshotter``."""
        from distore.metadata.snapshotters import open_snapshotter

        return open_snapshotter(self, name, sync=sync)

    @property
    def namespaces(self) -> Namespaces:
        """All namespaces of the store."""
        from distore.metadata.namespaces import Namespaces

        return Namespaces(
            self.content.database, mark=lambda: mark_namespaces(self.content.paths), now=self.now
        )

    @property
    def repositories(self) -> StoredRepositories:
        """What the repositories of a registry offer; the same object each time, until ``close``."""
        if self._repositories is None:
            from distore.metadata.repositories import StoredRepositories

            self._repositories = StoredRepositories(self.content, leases=self.leases, now=self.now)
        return self._repositories

    @property
    def collector(self) -> Collector:
        """The garbage collector, which looks at all namespaces."""
        from distore.metadata.collector import Collector

        return Collector(self.content, lease_is_live=self.leases.is_live, now=self.now)

    @contextmanager
    def leased(self, purpose: str) -> Iterator[LocalStore]:
        """``content``, of which everything that is used stays until the block ends.

        A store that takes no writes has no collector either: nothing is held there.

        Args:
            purpose: What the lease is for, in a word, for ``dist leases``.
        Raises:
            FailedPrecondition: At the end of the block, too: the lease was removed by force, so that
                what was found there, and named since, may be gone.
        """
        if self.content.visibility.lease is not None:  # the one that is held goes on
            yield self.content
            return
        with ExitStack() as stack:
            try:
                lease = stack.enter_context(self.leases.held(purpose))
            except ReadOnly:
                yield self.content
                return
            view = self.content.view(lease=lease.id)
            yield view
            view.visibility.check_lease()
        self._note_mutation()

    def repository_sweep(self, *, grace: float = 3600.0, dry_run: bool = False) -> Iterator[Unlinked]:
        """Have the namespace's repositories offer no more what no manifest of theirs came to name within
        ``grace`` seconds; see ``sweep_unlinked``."""
        from distore.metadata.repositorysweep import sweep_unlinked

        return sweep_unlinked(
            self.content.database,
            grace=grace,
            now=self.now,
            pause=lambda: self._sleep(0.001),
            dry_run=dry_run,
            namespace=self.content.namespace,
        )

    def close(self) -> None:
        """End what lasts as long as the process does; the content store stays open."""
        if self._repositories is not None:
            self._repositories.close()
            self._repositories = None

    def over(self, content: LocalStore) -> Metadata:
        """The same over another view of ``content``: one with a lease, or of another namespace."""
        return Metadata(content, command=self._command, now=self.now, sleep=self._sleep)

    def collect(self) -> None:
        """Remove what nothing reaches; returns when it is gone."""
        for _ in self.collector.collect():
            pass

    def note_deletions(self, count: int) -> None:
        """Count deletions of what may have kept content, and collect when a pass is due by them.

        What is done does not fail by that: another collector at work is as good, and what no room or
        no permission keeps from going goes with a later pass.
        """
        with suppress(DistoreError):
            if count and self.collector.note_deletions(count):
                self.collect()

    def _note_mutation(self) -> None:
        """Count a piece of work that has brought content, and collect, in the same way."""
        from distore.metadata import schedule

        with suppress(DistoreError):
            schedule.note_mutation(self.content.database, self.now())
            if schedule.due(self.content.database, self.now()):
                self.collect()

    def discard(self, digests: Iterable[Digest]) -> None:
        """Remove those of ``digests`` that nothing reaches."""
        self.collector.discard(digests)
