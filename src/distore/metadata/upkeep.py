"""Upkeep: what a server over a store removes from it, in turn with others that do the same."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from distore._internal import filelock
from distore._internal.oserrors import translated
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.metadata.db import Metadata
    from distore.metadata.repositorysweep import Unlinked

LOCK: Final = "housekeeping.lock"
_DROPPED: Final = "SELECT digest FROM repository_dropped WHERE namespace = ? ORDER BY digest LIMIT ?"
_FORGET: Final = "DELETE FROM repository_dropped WHERE namespace = ? AND digest = ?"
_MOST: Final = 50_000  # digests looked at in one pass


class Upkeep:
    """Of the namespace of ``metadata``."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._content = metadata.content

    @contextmanager
    def turn(self, within: float) -> Iterator[bool]:
        """Whether it is this process's turn, while the block runs: nobody else is at it, nor was within so
        many seconds. Its own start counts, if it got the turn.

        Raises:
            DistoreError: The lock cannot be taken.
        """
        if not self._content.exists():
            yield False
            return
        path = os.path.join(self._content.root, LOCK)
        with translated(f"lock {path}"):
            lock = filelock.acquire(path, sleep=time.sleep)
        if lock is None:
            yield False
            return
        try:
            with translated(f"lock {path}"):
                told = _told(path)
            now = self._metadata.now()
            ours = told is None or not 0 <= now - told < within
            if ours:
                lock.write({"pid": str(os.getpid()), "began": repr(now)})
            yield ours
        finally:
            lock.release()

    def sweep(self, *, grace: float, dry_run: bool = False) -> Iterator[Unlinked]:
        """As ``sweep_unlinked``, in this namespace."""
        from distore.metadata.repositorysweep import sweep_unlinked

        if self._content.database.exists():
            yield from sweep_unlinked(
                self._content.database,
                grace=grace,
                now=self._metadata.now,
                pause=lambda: None,
                dry_run=dry_run,
                namespace=self._content.namespace,
            )

    def collect(self) -> None:
        """Remove all that nothing reaches."""
        self._metadata.collect()

    def space(self) -> tuple[int, int] | None:
        """Bytes of the file system that are free for this user, and all of them; None: nobody can tell."""
        try:
            there = os.statvfs(self._content.root)
        except OSError:  # nothing was stored yet
            return None
        return (there.f_bavail * there.f_frsize, there.f_blocks * there.f_frsize) if there.f_blocks else None

    def collect_dropped(self) -> int:
        """Remove those blobs that repositories offered once, and nothing reaches now; how many.

        What never was in a repository is left to ``dist gc``.
        """
        database, space = self._content.database, self._content.namespace
        if not database.exists():
            return 0
        rows = database.query(_DROPPED, space, _MOST)
        digests = [Digest(str(row[0])) for row in rows]
        if not digests:
            return 0
        self._metadata.discard(digests)
        repositories = self._metadata.repositories
        gone, done = 0, []
        for digest in digests:
            there = os.path.exists(self._content.paths.blob(digest))
            gone += not there
            if not there or repositories.owners(digest):
                done.append((space, digest))
        if done:
            with database.transaction(durable=False) as connection:
                connection.executemany(_FORGET, done)
        return gone


def _told(path: str) -> float | None:
    """When the last turn began; None: nobody can tell."""
    fd = filelock.open_to_look(path)
    if fd is None:
        return None
    try:
        return float(filelock.read_fields(fd).get("began", ""))
    except ValueError:
        return None
    finally:
        os.close(fd)
