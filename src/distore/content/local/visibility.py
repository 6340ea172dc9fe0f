"""Visibility: which blobs a namespace sees, and the lease that holds what is used.

Bytes are shared by all namespaces; a row of ``content`` makes a blob visible in one. A blob that no
namespace has a row of belongs to the default one, so that a store without other namespaces needs no
database: the file ``namespaces`` says that there may be others.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.content.local.paths import DEFAULT_NAMESPACE
from distore.errors import FailedPrecondition, InvalidArgument, Unavailable
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from distore.content.local.database import Database
    from distore.content.local.paths import Paths

ISOLATED: Final = "isolated"
SHARED: Final = "shared"
SHARING_POLICY: Final = "content_sharing_policy"  # the key in settings (containerd's name for it)
SHAREABLE: Final = "containerd.io/namespace.shareable"  # label of a namespace that shares all the same
_ADMIT: Final = "INSERT OR IGNORE INTO content (digest, namespace) VALUES (?, ?)"
_HOLD: Final = (
    "INSERT OR IGNORE INTO lease_resources (namespace, id, type, key)"
    " SELECT namespace, id, 'content', ? FROM leases WHERE namespace = ? AND id = ?"
)
_IS_LEASED: Final = "SELECT 1 FROM leases WHERE namespace = ? AND id = ?"
_ADD_LABEL: Final = "INSERT OR IGNORE INTO content_labels VALUES (?, ?, ?, ?)"
# Whoever sees a blob: nobody, when it has no row, is the default namespace.
_SHAREABLE_OWNER: Final = (
    "SELECT 1 FROM namespace_labels WHERE key = ? AND value = 'true' AND namespace IN"
    " (SELECT namespace FROM content WHERE digest = ? UNION SELECT ? WHERE NOT EXISTS"
    " (SELECT 1 FROM content WHERE digest = ?))"
)


class Visibility:
    """The blobs of one namespace.

    Args:
        lease: Id of the lease that holds what is used; None: nothing is held.
    """

    def __init__(
        self,
        database: Database,
        paths: Paths,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        lease: str | None = None,
    ) -> None:
        self._database = database
        self._paths = paths
        self.namespace = namespace
        self.lease = lease
        self._held: set[Digest] = set()
        self._guard = threading.Lock()

    @property
    def is_default(self) -> bool:
        """Whether it is the namespace that sees what nobody else does."""
        return self.namespace == DEFAULT_NAMESPACE

    def is_everything(self) -> bool:
        """Whether it sees every blob there is."""
        return self.is_default and not os.path.exists(self._paths.namespaces)

    def sees(self, digest: Digest) -> bool:
        """Whether the blob, which has a file, is one of the namespace."""
        if self.is_everything():
            return True
        rows = self._database.query("SELECT namespace FROM content WHERE digest = ?", digest)
        return (self.namespace,) in rows or (self.is_default and not rows)

    def digests(self) -> Iterator[Digest]:
        """What a namespace that is not the default one has rows of."""
        # The second condition lets the partial index serve.
        statement = "SELECT digest FROM content WHERE namespace = ? AND namespace <> ?"
        for row in self._database.stream(statement, self.namespace, DEFAULT_NAMESPACE):
            with suppress(InvalidArgument):  # a row that nobody here has written
                yield Digest(str(row[0]))

    def is_shared(self, digest: Digest) -> bool:
        """Whether the namespace may have a blob of another one without bringing its bytes."""
        rows = self._database.query("SELECT value FROM settings WHERE key = ?", SHARING_POLICY)
        if not rows or rows[0][0] != ISOLATED:
            return True
        return bool(self._database.query(_SHAREABLE_OWNER, SHAREABLE, digest, DEFAULT_NAMESPACE, digest))

    def hold(self, digests: Iterable[Digest]) -> None:
        """Have the lease hold blobs, before anybody looks whether they are there.

        Not durable: a power cut ends the lease of a process, too.

        Raises:
            FailedPrecondition: The lease has been removed.
        """
        if self.lease is None:
            return
        with self._guard:
            new = [digest for digest in digests if digest not in self._held]
        if not new:
            return
        with self._database.transaction(durable=False) as connection:
            self.check_lease()
            connection.executemany(_HOLD, [(digest, self.namespace, self.lease) for digest in new])
        with self._guard:
            self._held.update(new)

    def check_lease(self) -> None:
        """Make sure that the lease, if there is one, still holds what it was to hold.

        Raises:
            FailedPrecondition: It has been removed.
        """
        if self.lease is not None and not self._database.query(_IS_LEASED, self.namespace, self.lease):
            raise FailedPrecondition(f"lease {self.lease}: removed while it was in use; try again")

    def publish(self, digest: Digest, labels: Mapping[str, str], move: Callable[[], None]) -> None:
        """Give a blob its name by ``move``, its labels and its place in the namespace, as one.

        A collector, which deletes within transactions alone, never meets the blob without them.
        """
        self.hold((digest,))
        if not labels and self.is_everything():
            move()
            if not self.is_everything():  # looked at behind the move: docs/formats/store.md#namespaces
                self._admit_moved(digest)
            return
        self.make_namespace()
        if not self.is_default:
            # First, for the default one takes a file that nobody has a row of for its own.
            with self._database.transaction(durable=False):
                self._admit(digest)
        with self._database.transaction() as connection:
            if not self.is_everything():
                self._admit(digest)
            move()
            rows = [(self.namespace, digest, *pair) for pair in labels.items()]
            connection.executemany(_ADD_LABEL, rows)

    def share(self, digest: Digest) -> bool:
        """Have a blob of another namespace without bringing its bytes; whether it was still there."""
        self.make_namespace()
        with self._database.transaction():
            if not os.path.exists(self._paths.blob(digest)):
                return False
            self._admit(digest)
        return True

    def _admit_moved(self, digest: Digest) -> None:
        """Put a blob that was moved as the first other namespace came up where it belongs."""
        with self._database.transaction():
            if not os.path.exists(self._paths.blob(digest)):  # the other one had it, too, and deleted it
                raise Unavailable(f"content {digest}: deleted by another namespace meanwhile; try again")
            self._admit(digest)

    def _admit(self, digest: Digest) -> None:
        with self._database.transaction() as connection:
            known = connection.execute("SELECT 1 FROM content WHERE digest = ? LIMIT 1", (digest,)).fetchone()
            if not known and not self.is_default and os.path.exists(self._paths.blob(digest)):
                connection.execute(_ADMIT, (digest, DEFAULT_NAMESPACE))  # whose it was without a row
            connection.execute(_ADMIT, (digest, self.namespace))

    def make_namespace(self) -> None:
        """Note that there is a namespace beside the default one, before it gets its first row."""
        if self.is_default or os.path.exists(self._paths.namespaces):
            return
        mark_namespaces(self._paths)

    def forget(self, digest: Digest, unlink: Callable[[], None]) -> None:
        """Take a blob from the namespace, and its file by ``unlink`` when nobody else sees it."""
        if not self._database.exists():
            unlink()
            return
        with self._database.transaction() as connection:
            mine = (digest, self.namespace)
            connection.execute("DELETE FROM content_labels WHERE digest = ? AND namespace = ?", mine)
            connection.execute("DELETE FROM content WHERE digest = ? AND namespace = ?", mine)
            if not connection.execute("SELECT 1 FROM content WHERE digest = ? LIMIT 1", (digest,)).fetchone():
                connection.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
                unlink()


def mark_namespaces(paths: Paths) -> None:
    """Say, durably, that not every blob is everybody's."""
    with translated(f"store {paths.root}"):
        fsops.ensure_directory(paths.root)
        os.close(fsops.open_file(paths.namespaces))
        fsops.sync_directory(paths.root)
