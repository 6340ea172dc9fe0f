"""Sweep: blobs that nothing reaches, and rows of blobs that are no more."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.content.local.paths import DEFAULT_NAMESPACE
from distore.gc import batches
from distore.metadata.collected import Removed
from distore.metadata.documents import documents
from distore.metadata.nodes import CONTENT, FLAT_CONTENT, raw
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from distore.metadata.collector import Pass

_FILES_AT_ONCE: Final = 500  # looked at between two batches
_MOST: Final = 100  # blobs removed in one transaction
_LONGEST: Final = 0.02  # seconds that one takes, about
_SEEN_BY: Final = "SELECT namespace, updated FROM content WHERE digest = ?"
_DROP_LABELS: Final = "DELETE FROM content_labels WHERE namespace = ? AND digest = ?"
_DROP_ROW: Final = "DELETE FROM content WHERE namespace = ? AND digest = ?"
_DROP_BLOB: Final = "DELETE FROM blobs WHERE digest = ?"
_DROP_DROPPED: Final = "DELETE FROM repository_dropped WHERE namespace = ? AND digest = ?"
_LABELLED: Final = (
    "SELECT DISTINCT namespace, digest FROM content_labels WHERE (namespace, digest) > (?, ?)"
    " ORDER BY namespace, digest LIMIT ?"
)
_SEEN: Final = (
    "SELECT digest, namespace FROM content WHERE (digest, namespace) > (?, ?)"
    " ORDER BY digest, namespace LIMIT ?"
)
_VERIFIED: Final = "SELECT digest FROM blobs WHERE digest > ? ORDER BY digest LIMIT ?"


class Sweep:
    """The second half of a pass.

    Args:
        only: The namespace that blobs are taken from; None: all.
    """

    def __init__(self, run: Pass, *, only: str | None = None) -> None:
        self._run = run
        self._paths = run.store.paths
        self._only = only

    def remove(self) -> Iterator[Removed]:
        """Every blob that nothing reaches, as it goes, and at last the rows without a file.

        A document goes before what it names: whoever holds one and finds it there has all of it.
        """
        if not self._run.dry_run:
            for some in batches(documents(self._run), _MOST):
                yield from self.remove_these(some)
            self._run.summary.kept = 0  # those are not met again
        for some in batches(self._unreached(), _MOST):
            yield from self.remove_these(some)
        if not self._run.dry_run:
            for some in batches(self._without_file(), _MOST):
                yield from self.remove_these(some)
            for rows in batches(self._stray_labels(), _MOST):
                self._drop_labels(rows)

    def remove_these(self, digests: Iterable[Digest]) -> Iterator[Removed]:
        """Those of ``digests`` that nothing reaches."""
        left = deque(digests)
        if self._run.dry_run:
            for digest in left:
                yield from self._would_go(digest)
            return
        while left:
            began = self._run.monotonic()
            removed: list[Removed] = []
            with self._run.settled() as connection:
                began = self._run.monotonic()
                for _ in range(min(_MOST, len(left))):
                    removed += self._remove(connection, left.popleft())
                    if self._run.monotonic() - began > _LONGEST:
                        break
            busy = self._run.monotonic() - began
            self._sync(removed)
            yield from removed
            self._run.pause(busy)

    def _remove(self, connection: sqlite3.Connection, digest: Digest) -> list[Removed]:
        """Within a settled transaction: as of now nothing gains a reference, and nobody deletes.

        The file goes before the transaction ends. A crash in between leaves rows without a file,
        which the next pass takes; the other way round it would leave a blob that everybody lost.
        """
        path = self._paths.blob(digest)
        with translated(f"content {digest}"):
            there = _stat(path)
        rows = dict(connection.execute(_SEEN_BY, (digest,)).fetchall())
        if there is None and any(self._is_new(updated) for updated in rows.values()):
            return []
        seen = list(rows) or [DEFAULT_NAMESPACE]
        if there is not None and there.st_ctime_ns >= self._run.cutoff:
            self._spare(seen, digest)
            return []
        gone = [space for space in seen if self._may_go(space, digest)]
        if not gone:
            return []
        connection.executemany(_DROP_LABELS, [(space, digest) for space in gone])
        connection.executemany(_DROP_ROW, [(space, digest) for space in gone])
        connection.executemany(_DROP_DROPPED, [(space, digest) for space in gone])
        freed = 0
        if len(gone) == len(seen):
            connection.execute(_DROP_BLOB, (digest,))
            if there is not None:
                freed = there.st_size
                self._run.summary.kept -= 1
                with translated(f"content {digest}"), suppress(FileNotFoundError):
                    fsops.unlink(path)
        return [] if there is None else _removed(gone, digest, freed)

    def _spare(self, seen: list[str], digest: Digest) -> None:
        """What stays because its file was touched since (by a backup that links it, say) stays whole."""
        mark, head = self._run.mark, self._run.graph.nodes.head
        mark.add(head(CONTENT, space) + bytes.fromhex(digest.encoded) for space in seen)
        mark.run()

    def _may_go(self, namespace: str, digest: Digest) -> bool:
        if self._only is not None and namespace != self._only:
            return False
        return not self._run.is_reached("content", namespace, digest)

    def _is_new(self, updated: object) -> bool:
        return isinstance(updated, int) and updated * 1000 >= self._run.cutoff

    def _sync(self, removed: list[Removed]) -> None:
        """After the transaction: nobody waits for the device, and a name that comes back is garbage."""
        for folder in {os.path.dirname(self._paths.blob(Digest(each.key))) for each in removed}:
            with translated(f"store {self._run.store.root}"):
                fsops.sync_directory(folder)

    def _unreached(self) -> Iterator[Digest]:
        """Blobs with a file old enough that some namespace could do without, as far as is known."""
        with translated(f"store {self._run.store.root}"):
            for some in batches(self._paths.blob_entries(), _FILES_AT_ONCE):
                seen = self._namespaces([digest for digest, _ in some])
                for digest, entry in some:
                    self._run.summary.kept += 1
                    spaces = seen.get(digest, (DEFAULT_NAMESPACE,))
                    if all(self._is_marked(space, digest) for space in spaces):
                        continue
                    with suppress(FileNotFoundError):
                        if entry.stat(follow_symlinks=False).st_ctime_ns < self._run.cutoff:
                            yield digest

    def _is_marked(self, namespace: str, digest: Digest) -> bool:
        reached, nodes = self._run.mark.reached, self._run.graph.nodes
        value = bytes.fromhex(digest.encoded)
        return (
            nodes.head(CONTENT, namespace) + value in reached
            or nodes.head(FLAT_CONTENT, namespace) + value in reached
        )

    def young(self) -> Iterator[bytes]:
        """Blobs too young to go, which therefore keep what they name."""
        with translated(f"store {self._run.store.root}"):
            for some in batches(self._paths.blob_entries(), _FILES_AT_ONCE):
                seen = self._namespaces([digest for digest, _ in some])
                for digest, entry in some:
                    with suppress(FileNotFoundError):
                        if entry.stat(follow_symlinks=False).st_ctime_ns >= self._run.cutoff:
                            for space in seen.get(digest, (DEFAULT_NAMESPACE,)):
                                yield self._run.graph.nodes.head(CONTENT, space) + bytes.fromhex(
                                    digest.encoded
                                )

    def _namespaces(self, digests: list[Digest]) -> dict[str, tuple[str, ...]]:
        if not os.path.exists(self._paths.namespaces):
            return {}
        marks = ", ".join("?" for _ in digests)
        statement = f"SELECT digest, namespace FROM content WHERE digest IN ({marks})"  # noqa: S608
        found: dict[str, tuple[str, ...]] = {}
        for digest, namespace in self._run.store.database.query(statement, *digests):
            found[str(digest)] = (*found.get(str(digest), ()), str(namespace))
        return found

    def _would_go(self, digest: Digest) -> Iterator[Removed]:
        seen = self._namespaces([digest]).get(digest, (DEFAULT_NAMESPACE,))
        gone = [space for space in seen if self._may_go(space, digest)]
        there = _stat(self._paths.blob(digest))
        if gone and there is not None:
            last = len(gone) == len(seen)
            self._run.summary.kept -= last
            yield from _removed(gone, digest, there.st_size if last else 0)

    def _without_file(self) -> Iterator[Digest]:
        """Of what has rows and no file, what somebody may still need keeps them: a blob in quarantine
        comes back by a repair, and its labels hold what it names."""
        pages = self._run.graph.pages
        for row in pages(_SEEN, ("", ""), (0, 1)):
            yield from self._missing(row[0])
        for row in pages(_LABELLED, ("", ""), (0, 1)):
            yield from self._missing(row[1])
        for row in pages(_VERIFIED, ("",), (0,)):
            yield from self._missing(row[0])

    def _missing(self, text: object) -> Iterator[Digest]:
        if raw(str(text)) is None:
            return  # no digest, so nobody meets it
        digest = Digest(str(text))
        if not os.path.lexists(self._paths.blob(digest)):
            yield digest

    def _stray_labels(self) -> Iterator[tuple[str, Digest]]:
        """Labels of a blob in a namespace that does not see it."""
        for space, text in self._run.graph.pages(_LABELLED, ("", ""), (0, 1)):
            if raw(str(text)) is None:
                continue
            namespace, digest = str(space), Digest(str(text))
            rows = self._run.store.database.query(_SEEN_BY, digest)
            if not _sees(namespace, [row[0] for row in rows]) and not self._is_marked(namespace, digest):
                yield namespace, digest

    def _drop_labels(self, strays: list[tuple[str, Digest]]) -> None:
        with self._run.settled() as connection:
            for namespace, digest in strays:
                rows = connection.execute(_SEEN_BY, (digest,)).fetchall()
                if _sees(namespace, [row[0] for row in rows]) or not self._may_go(namespace, digest):
                    continue
                connection.execute(_DROP_LABELS, (namespace, digest))


def _sees(namespace: str, rows: list[object]) -> bool:
    return namespace in rows or (namespace == DEFAULT_NAMESPACE and not rows)


def _removed(gone: list[str], digest: Digest, freed: int) -> list[Removed]:
    """The bytes are counted once, with the last namespace."""
    return [
        Removed(kind="content", namespace=space, key=digest, freed=freed if number == len(gone) else 0)
        for number, space in enumerate(gone, 1)
    ]


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
