"""Graph: roots and references out of the tables and the ingest folders, many at a time.

The meaning of the labels is containerd's (docs/formats/store.md#garbage).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from distore._internal import filelock
from distore.content.local import ingests
from distore.content.local.paths import Paths
from distore.leases import EXPIRE, FLAT, SNAPSHOTS
from distore.metadata.leases import lock_name
from distore.metadata.nodes import (
    CONTENT,
    FLAT_IMAGE,
    FLAT_SNAPSHOT,
    IMAGE,
    INGEST,
    SNAPSHOT,
    Nodes,
    expiry,
    key_of,
)
from distore.metadata.repositorynodes import RepositoryNodes
from distore.metadata.snapshotnodes import SnapshotNodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from distore.content.local.database import Database
    from distore.content.local.paths import IngestPaths

    Row = tuple[object, ...]

ABANDONED_AFTER: Final = 24 * 3600.0  # seconds without a write, and nobody holds its lock
ROOT_LABEL: Final = "containerd.io/gc.root"
_REF: Final = "containerd.io/gc.ref."
_BREF: Final = "containerd.io/gc.bref."
_PAGE: Final = 1000  # rows read at a time
# Spelled as in schema.py, or the partial indexes do not serve.
_IS_REF: Final = "key >= 'containerd.io/gc.ref.' AND key < 'containerd.io/gc.ref/'"
_IS_BREF: Final = "key >= 'containerd.io/gc.bref.' AND key < 'containerd.io/gc.bref/'"
_IS_ROOT: Final = "key >= 'containerd.io/gc.root' AND key < 'containerd.io/gc.roou'"
_IS_EXPIRING: Final = "key >= 'containerd.io/gc.expire' AND key < 'containerd.io/gc.flat'"
_ANY_BREF: Final = (
    f"SELECT EXISTS (SELECT 1 FROM content_labels INDEXED BY content_brefs WHERE {_IS_BREF})"  # noqa: S608
    f" OR EXISTS (SELECT 1 FROM image_labels INDEXED BY image_brefs WHERE {_IS_BREF})"
    f" OR EXISTS (SELECT 1 FROM snapshot_labels INDEXED BY snapshot_brefs WHERE {_IS_BREF})"
)
_IMAGES: Final = (
    "SELECT namespace, name FROM images WHERE (namespace, name) > (?, ?) ORDER BY namespace, name LIMIT ?"
)
_ROOTS: Final = (
    "SELECT key, namespace, digest, value FROM content_labels"
    " WHERE {} AND (key, namespace, digest) > (?, ?, ?) ORDER BY key, namespace, digest LIMIT ?"
)
_SNAPSHOT_ROOTS: Final = (
    "SELECT key, namespace, snapshotter, name, value FROM snapshot_labels WHERE {} AND"
    " (key, namespace, snapshotter, name) > (?, ?, ?, ?)"
    " ORDER BY key, namespace, snapshotter, name LIMIT ?"
)
_LEASES: Final = (
    "SELECT namespace, id, owned,"
    " (SELECT value FROM lease_labels b WHERE b.namespace = a.namespace AND b.id = a.id AND key = ?),"
    " EXISTS (SELECT 1 FROM lease_labels b WHERE b.namespace = a.namespace AND b.id = a.id AND key = ?)"
    " FROM leases a"
)
_RESOURCES: Final = "SELECT type, key FROM lease_resources WHERE namespace = ? AND id = ?"
_HOLDERS: Final = (
    "SELECT a.id FROM leases a JOIN lease_resources b"
    " ON b.namespace = a.namespace AND b.id = a.id AND b.type = ? AND b.key = ? WHERE a.namespace = ?"
)


class Held(NamedTuple):
    """A lease that holds something."""

    namespace: str
    id: str
    flat: bool


class Graph:
    """The store as the collector sees it. Not thread-safe.

    Args:
        lease_is_live: Whether the process of a lease lives, and its time is not over.
        now: Seconds since the epoch; what expires is compared with it.
    """

    def __init__(
        self,
        database: Database,
        paths: Paths,
        *,
        lease_is_live: Callable[[str, str], bool],
        now: float,
    ) -> None:
        self.nodes = Nodes()
        self.snapshots = SnapshotNodes(database, self.nodes, paths.snapshots)
        self.repositories = RepositoryNodes(database, self.nodes, self.pages)
        self.database = database
        self.paths = paths
        self.now = now
        self._lease_is_live = lease_is_live
        self._live: dict[tuple[str, str], Held] = {}
        self.dead_leases: set[tuple[str, str]] = set()  # namespace and id
        self.expired_images: set[tuple[str, str]] = set()  # namespace and name

    # Roots

    def roots(self) -> Iterator[tuple[bytes, str]]:
        """Every root, and why it is one."""
        for held in self.new_leases():
            yield from ((node, f"lease {held.id}") for node in self.resources(held))
        yield from self._image_roots()
        yield from self._labelled_roots()
        yield from self._snapshot_roots()
        yield from self.repositories.roots()
        for namespace, paths in self.ingests():
            if (ref := ingests.note(paths.ref)) is not None and not is_abandoned(paths, self.now):
                yield self.nodes.other(INGEST, namespace, ref), "ingest"

    def new_leases(self) -> list[Held]:
        """Leases that hold something since the last call, or more than they did."""
        new, live = [], {}
        for namespace, id, owned, expires, flat in self.database.query(_LEASES, EXPIRE, FLAT):
            lease = (str(namespace), str(id))
            if owned and lease in self.dead_leases:
                continue  # its process does not come back
            if self._has_expired(expires) or not (lease in self._live or self._lease_is_live(*lease)):
                self.dead_leases.add(lease)
                continue
            self.dead_leases.discard(lease)
            live[lease] = held = Held(*lease, bool(flat))
            known = self._live.get(lease)
            if known is None or (known.flat and not held.flat):
                new.append(held)
        self._live = live
        return new

    def resources(self, held: Held) -> Iterator[bytes]:
        """What a lease holds."""
        for type, key in self.database.query(_RESOURCES, held.namespace, held.id):
            node = self.nodes.resource(held.namespace, str(type), str(key), flat=held.flat)
            if node is not None:
                yield node

    def held(self, namespace: str, type: str, key: str) -> Iterator[bytes]:
        """The forms in which live leases and repositories hold something now, full or flat."""
        yield from self.repositories.held(namespace, type, key)
        for row in self.database.query(_HOLDERS, type, key, namespace):
            lease = self._live.get((namespace, str(row[0])))
            if lease is not None:
                node = self.nodes.resource(namespace, type, key, flat=lease.flat)
                if node is not None:
                    yield node

    def _image_roots(self) -> Iterator[tuple[bytes, str]]:
        expiring = self.database.query(
            "SELECT namespace, name, value FROM image_labels WHERE key = ?", EXPIRE
        )
        self.expired_images = {(str(row[0]), str(row[1])) for row in expiring if self._has_expired(row[2])}
        for namespace, name in self.pages(_IMAGES, ("", ""), (0, 1)):
            image = (str(namespace), str(name))
            if image not in self.expired_images:
                yield self.nodes.other(IMAGE, *image), "image"

    def _labelled_roots(self) -> Iterator[tuple[bytes, str]]:
        for condition in (_IS_ROOT, _IS_EXPIRING):
            for row in self.pages(_ROOTS.format(condition), ("", "", ""), (0, 1, 2)):
                key, namespace, digest, value = map(str, row)
                node = self.nodes.content(namespace, digest)
                if node is not None and self._makes_root(key, value):
                    yield node, f"label {key}"

    def _snapshot_roots(self) -> Iterator[tuple[bytes, str]]:
        for condition in (_IS_ROOT, _IS_EXPIRING):
            statement = _SNAPSHOT_ROOTS.format(condition)
            for row in self.pages(statement, ("", "", "", ""), (0, 1, 2, 3)):
                key, namespace, snapshotter, name, value = map(str, row)
                if self._makes_root(key, value):
                    yield self.snapshots.node(namespace, snapshotter, name), f"label {key}"
        # What is mounted stays, with what it lies on: nothing is removed under a mount.
        yield from ((node, "mount") for node in self.snapshots.mounted())

    def _makes_root(self, key: str, value: str) -> bool:
        if key.startswith(ROOT_LABEL):
            return True
        moment = expiry(value) if key == EXPIRE else None
        return moment is not None and self.now < moment

    def _has_expired(self, value: object) -> bool:
        moment = expiry(value) if isinstance(value, str) else None
        return moment is not None and moment < self.now

    # References

    def refs(self, nodes: Sequence[bytes]) -> list[bytes]:
        """What nodes refer to."""
        return [child for _, child in self.edges(nodes)]

    def edges(self, nodes: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The references of nodes, as pairs of who refers and to what."""
        has_brefs = any(row[0] for row in self.database.query(_ANY_BREF))
        for kind, namespace, group in self.nodes.by_namespace(list(nodes)):
            if kind == CONTENT:
                yield from self._labelled(namespace, group, "content_labels", "digest")
            elif kind == IMAGE:
                yield from self._targets(namespace, group, flat=False)
                yield from self._labelled(namespace, group, "image_labels", "name")
            elif kind == FLAT_IMAGE:
                yield from self._targets(namespace, group, flat=True)
            elif kind == INGEST:
                yield from self._expected(namespace, group)
            elif kind in (SNAPSHOT, FLAT_SNAPSHOT):
                yield from self.snapshots.edges(namespace, group)
            if has_brefs and kind in (CONTENT, IMAGE, SNAPSHOT):
                yield from self._attached(namespace, group)

    def _labelled(
        self, namespace: str, group: list[bytes], table: str, column: str
    ) -> Iterator[tuple[bytes, bytes]]:
        by_key = {key_of(node): node for node in group}
        statement = (
            f"SELECT {column}, key, value FROM {table}"  # noqa: S608 - the names above
            f" WHERE namespace = ? AND {column} IN ({_marks(by_key)}) AND {_IS_REF}"
        )
        named, start = self.nodes.named, len(_REF)
        for owner, key, value in self.database.query(statement, namespace, *by_key):
            child = named(namespace, str(key)[start:], str(value))
            if child is not None:
                yield by_key[str(owner)], child

    def _targets(self, namespace: str, group: list[bytes], *, flat: bool) -> Iterator[tuple[bytes, bytes]]:
        by_key = {key_of(node): node for node in group}
        statement = f"SELECT name, digest FROM images WHERE namespace = ? AND name IN ({_marks(by_key)})"  # noqa: S608
        for name, digest in self.database.query(statement, namespace, *by_key):
            child = self.nodes.content(namespace, str(digest), flat=flat)
            if child is not None:
                yield by_key[str(name)], child

    def _expected(self, namespace: str, group: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        paths = Paths(self.paths.root, namespace=namespace)
        for node in group:
            expected = ingests.expected(paths.ingest(key_of(node)))
            child = self.nodes.content(namespace, expected) if expected else None
            if child is not None:
                yield node, child

    def _attached(self, namespace: str, group: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Who stays as long as one of the group does."""
        kept = set(group)
        keys = {_value_of(node) for node in group}
        for table, column in (("content_labels", "digest"), ("image_labels", "name")):
            statement = (
                f"SELECT {column}, key, value FROM {table}"  # noqa: S608 - the names above
                f" WHERE namespace = ? AND value IN ({_marks(keys)}) AND {_IS_BREF}"
            )
            for owner, key, value in self.database.query(statement, namespace, *keys):
                keeper = self.nodes.named(namespace, str(key).removeprefix(_BREF), str(value))
                child = self._node(table, namespace, str(owner))
                if keeper in kept and child is not None:
                    yield keeper, child
        yield from (pair for pair in self.snapshots.attached(namespace, keys) if pair[0] in kept)

    # What changed meanwhile

    def is_root(self, kind: str, namespace: str, key: str) -> bool:
        """Whether an image, a blob or a snapshot is a root by itself now.

        Args:
            kind: image, content or snapshots/NAME.
        """
        labels = self._labels(kind, namespace, key)
        if kind != "image":
            return any(self._makes_root(name, value) for name, value in labels)
        if any(name == EXPIRE and self._has_expired(value) for name, value in labels):
            return False
        there = "SELECT 1 FROM images WHERE namespace = ? AND name = ?"
        return bool(self.database.query(there, namespace, key))

    def keepers(self, kind: str, namespace: str, key: str) -> Iterator[bytes]:
        """What an image, a blob or a snapshot stays as long as, by its labels."""
        for name, value in self._labels(kind, namespace, key):
            if name.startswith(_BREF):
                node = self.nodes.named(namespace, name.removeprefix(_BREF), value)
                if node is not None:
                    yield node

    def forms(self, kind: str, namespace: str, key: str) -> list[bytes]:
        """The full and the flat node of an image, a blob or a snapshot; none for anything else."""
        if kind.startswith(SNAPSHOTS):
            return self.snapshots.forms(kind, namespace, key)
        if kind == "image":
            return [self.nodes.other(IMAGE, namespace, key, flat=flat) for flat in (False, True)]
        if kind != "content":
            return []
        found = (self.nodes.content(namespace, key, flat=flat) for flat in (False, True))
        return [node for node in found if node is not None]

    def _labels(self, kind: str, namespace: str, key: str) -> list[tuple[str, str]]:
        if kind.startswith(SNAPSHOTS):
            return self.snapshots.labels(kind, namespace, key)
        column = "digest" if kind == "content" else "name"
        statement = f"SELECT key, value FROM {kind}_labels WHERE namespace = ? AND {column} = ?"  # noqa: S608
        return [(str(name), str(value)) for name, value in self.database.query(statement, namespace, key)]

    def _node(self, table: str, namespace: str, key: str) -> bytes | None:
        if table == "content_labels":
            return self.nodes.content(namespace, key)
        return self.nodes.other(IMAGE, namespace, key)

    # Folders and tables

    def ingests(self) -> Iterator[tuple[str, IngestPaths]]:
        """Every ingest of every namespace."""
        for paths in self.paths.all_ingest_folders():
            if os.path.exists(paths.data):
                yield paths.owning_namespace(), paths

    def pages(self, statement: str, first: tuple[str, ...], key: tuple[int, ...]) -> Iterator[Row]:
        """Rows in short reads, each from the last one's key on; no read stays open between them."""
        last: tuple[object, ...] = first
        while rows := self.database.query(statement, *last, _PAGE):
            yield from rows
            last = tuple(rows[-1][column] for column in key)


def is_abandoned(paths: IngestPaths, now: float) -> bool:
    """Whether nobody has written to an ingest for a day, and nobody holds it."""
    try:
        written = os.stat(paths.data, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return False
    if now - written < ABANDONED_AFTER:
        return False
    status = ingests.status(paths)
    return status is not None and status.owner is None and now - status.updated.timestamp() >= ABANDONED_AFTER


def lease_lock(paths: Paths, namespace: str, id: str) -> str:
    """The file that the process of an owned lease holds locked."""
    return os.path.join(paths.leases, lock_name(namespace, id))


def lock_fields(path: str) -> dict[str, str]:
    """What a lock file says of who holds it; empty when it is not there."""
    fd = filelock.open_to_look(path)
    if fd is None:
        return {}
    try:
        return filelock.read_fields(fd)
    finally:
        os.close(fd)


def _value_of(node: bytes) -> str:
    """What a label that names the node has as its value."""
    key = key_of(node)
    return key.partition("/")[2] if node[:1] == SNAPSHOT else key


def _marks(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)
