"""Keeping: single blobs that this process holds against the collector, for as long as it handles them."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError, Unavailable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from distore.metadata.groupcommit import GroupCommit
    from distore.metadata.leases import Leases
    from distore.oci.digest import Digest

_HOLD: Final = (
    "INSERT OR IGNORE INTO lease_resources (namespace, id, type, key)"
    " SELECT namespace, id, 'content', ? FROM leases WHERE namespace = ? AND id = ?"
)
_IS_THERE: Final = "SELECT 1 FROM leases WHERE namespace = ? AND id = ?"
_LET_GO: Final = "DELETE FROM lease_resources WHERE namespace = ? AND id = ? AND type = 'content' AND key = ?"
_TRIES: Final = 3  # leases that somebody may remove by force


class Keeping:
    """One lease of the process, made when it is first needed; ends with ``close``. Thread-safe."""

    def __init__(self, leases: Leases, commit: GroupCommit, *, namespace: str, purpose: str) -> None:
        self._leases = leases
        self._commit = commit
        self._namespace = namespace
        self._purpose = purpose
        self._guard = threading.Lock()
        self._making = threading.Lock()
        self._counts: dict[Digest, int] = {}
        self._lease: str | None = None
        self._end = ExitStack()

    @contextmanager
    def kept(self, digest: Digest) -> Iterator[None]:
        """Within the block no collector removes the blob.

        Raises:
            ReadOnly: The store takes no writes.
        """
        with self._guard:  # counted first: a row that is on its way out is looked at again
            self._counts[digest] = self._counts.get(digest, 0) + 1
        try:
            self._hold(digest)
            yield
        finally:
            with self._guard:
                self._counts[digest] -= 1
                last = not self._counts[digest]
                if last:
                    del self._counts[digest]
            if last and self._lease is not None:
                self._commit.soon(lambda connection: self._let_go(connection, digest))

    def close(self) -> None:
        """End the lease."""
        with self._making:
            self._lease = None
            self._end.close()

    def _hold(self, digest: Digest) -> None:
        for _ in range(_TRIES):
            lease = self._lease_id()
            held = partial(self._add, lease=lease, digests=(digest,))
            if self._commit.do(held, durable=False):
                return
            self._drop(lease)
        raise Unavailable(f"content {digest}: the lease that keeps it is removed again and again; try again")

    def _add(self, connection: sqlite3.Connection, *, lease: str, digests: tuple[Digest, ...]) -> bool:
        if connection.execute(_IS_THERE, (self._namespace, lease)).fetchone() is None:
            return False
        connection.executemany(_HOLD, [(digest, self._namespace, lease) for digest in digests])
        return True

    def _let_go(self, connection: sqlite3.Connection, digest: Digest) -> None:
        with self._guard:
            if digest in self._counts:  # somebody else has come meanwhile
                return
        connection.execute(_LET_GO, (self._namespace, self._lease, digest))

    def _lease_id(self) -> str:
        lease = self._lease
        if lease is not None:
            return lease
        with self._making:
            if self._lease is None:
                new = self._end.enter_context(self._leases.held(self._purpose))
                with self._guard:
                    held = tuple(self._counts)
                self._commit.do(partial(self._add, lease=new.id, digests=held), durable=False)
                self._lease = new.id
            return self._lease

    def _drop(self, lease: str) -> None:
        """Somebody has removed it."""
        with self._making:
            if self._lease == lease:
                self._lease = None
                with suppress(DistoreError):
                    self._end.close()
