"""Upkeep: what a server over a store removes from it, in turn with others that do the same."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from distore._internal import filelock
from distore._internal.oserrors import translated
from distore.content.local.paths import DEFAULT_NAMESPACE
from distore.errors import DistoreError
from distore.gc import batches
from distore.metadata import grace as graces
from distore.metadata.nodes import raw
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distore.metadata.db import Metadata
    from distore.metadata.repositorysweep import Unlinked

LOCK: Final = "housekeeping.lock"  # of the default namespace; those of the others have a name in it
_DROPPED: Final = (
    "SELECT digest FROM repository_dropped WHERE namespace = ? AND digest > ? ORDER BY digest LIMIT ?"
)
_IS_OFFERED: Final = "SELECT 1 FROM repository_blobs WHERE namespace = ? AND digest = ? LIMIT 1"
_FORGET: Final = "DELETE FROM repository_dropped WHERE namespace = ? AND digest = ?"
_MOST: Final = 50_000  # digests looked at in one pass of the collector
_AT_ONCE: Final = 200  # digests forgotten in one transaction


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
        space = self._content.namespace
        name = LOCK if space == DEFAULT_NAMESPACE else f"housekeeping-{space}.lock"
        path = os.path.join(self._content.root, name)
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

    def promise(self, grace: float) -> None:
        """Have every sweep of the store heed ``grace``, in seconds; call it now and then."""
        with suppress(DistoreError):  # a store that takes no writes is not swept either
            graces.promise(self._content.database, grace, now=self._metadata.now())

    def promised(self) -> float:
        """The longest grace that anybody promised."""
        return graces.promised(self._content.database, now=self._metadata.now())

    def sweep(self, *, grace: float, dry_run: bool = False) -> Iterator[Unlinked]:
        """As ``Metadata.repository_sweep``; nothing where there is no database."""
        if self._content.database.exists():
            yield from self._metadata.repository_sweep(grace=grace, dry_run=dry_run)

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
        gone, last = 0, ""
        while rows := database.query(_DROPPED, space, last, _MOST):
            texts = [str(row[0]) for row in rows]
            last = texts[-1]
            digests = [Digest(text) for text in texts if raw(text) is not None]
            there = [digest for digest in digests if self._has_file(digest)]
            self._metadata.discard(there)
            gone += sum(not self._has_file(digest) for digest in there)
            for some in batches(texts, _AT_ONCE):
                self._forget(some)
        return gone

    def _forget(self, texts: Iterable[str]) -> None:
        """Look no more at those that are gone, or offered again: they come back when they are dropped."""
        space = self._content.namespace
        with self._content.database.transaction(durable=False) as connection:
            for text in texts:
                offered = connection.execute(_IS_OFFERED, (space, text)).fetchone() is not None
                if offered or raw(text) is None or not self._has_file(Digest(text)):
                    connection.execute(_FORGET, (space, text))  # else something needs it still

    def _has_file(self, digest: Digest) -> bool:
        return os.path.exists(self._content.paths.blob(digest))


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
