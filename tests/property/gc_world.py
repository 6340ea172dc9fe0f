"""A slow, plain definition of what a collector keeps, and stores made and read as plain values."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from distore.oci import mediatypes
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from distore.content.local.store import LocalStore

Node = tuple[str, str, str]  # kind (flat ones with a !), namespace, key
Labels = dict[str, str]
NOW = 1_767_323_045.0
SPACES = ("default", "other")
DATA = {str(Digest.of(bytes([65 + n]) * (n + 1))): bytes([65 + n]) * (n + 1) for n in range(6)}
DIGESTS = tuple(DATA)
NAMES = ("one", "two", "three")
LEASES = ("l1", "l2", "dead")
PAST = datetime.fromtimestamp(NOW - 60, UTC).isoformat()
FUTURE = datetime.fromtimestamp(NOW + 60, UTC).isoformat().replace("+00:00", "Z")


@dataclass
class World:
    """A store: which blobs have a file, who sees them, and all records."""

    files: set[str] = field(default_factory=set)
    rows: set[tuple[str, str]] = field(default_factory=set)  # namespace, digest
    content_labels: dict[tuple[str, str], Labels] = field(default_factory=dict)
    images: dict[tuple[str, str], str] = field(default_factory=dict)
    image_labels: dict[tuple[str, str], Labels] = field(default_factory=dict)
    leases: dict[tuple[str, str], Labels] = field(default_factory=dict)
    resources: dict[tuple[str, str], set[tuple[str, str]]] = field(default_factory=dict)

    def seen(self) -> set[tuple[str, str]]:
        """Who sees what, of what has bytes."""
        anywhere = {digest for _, digest in self.rows}
        orphans = {("default", digest) for digest in self.files - anywhere}
        return {pair for pair in self.rows if pair[1] in self.files} | orphans

    def kept(self) -> set[Node]:
        """The fixed point, by going over everything again and again."""
        kept = set(self._roots())
        while True:
            more = {child for node in kept for child in self._refs(node)} - kept
            more |= {owner for owner, keeper in self._brefs() if keeper in kept} - kept
            if not more:
                return kept
            kept |= more

    def reachable(self) -> set[tuple[str, str]]:
        """Namespace and digest of the blobs among them."""
        return {(space, key) for kind, space, key in self.kept() if kind in ("content", "content!")}

    def expired_images(self) -> set[tuple[str, str]]:
        return {
            image
            for image in self.images
            if _over(self.image_labels.get(image, {}).get("containerd.io/gc.expire"))
        }

    def live_leases(self) -> set[tuple[str, str]]:
        return {
            (space, id)
            for (space, id), labels in self.leases.items()
            if id != "dead" and not _over(labels.get("containerd.io/gc.expire"))
        }

    def _roots(self) -> list[Node]:
        roots: list[Node] = []
        for lease in self.live_leases():
            flat = "!" if "containerd.io/gc.flat" in self.leases[lease] else ""
            for type, key in self.resources.get(lease, set()):
                if type == "content":
                    roots.append((f"content{flat}", lease[0], key))
                elif type == "images":
                    roots.append((f"image{flat}", lease[0], key))
                else:
                    snapshotter = type.removeprefix("snapshots/")
                    roots.append((f"snapshot{flat}", lease[0], f"{snapshotter}/{key}"))
        roots += [("image", *image) for image in self.images.keys() - self.expired_images()]
        for (space, digest), labels in self.content_labels.items():
            for key, value in labels.items():
                if key.startswith("containerd.io/gc.root") or (
                    key.endswith("/gc.expire") and value == FUTURE
                ):
                    roots.append(("content", space, digest))
        return roots

    def _refs(self, node: Node) -> list[Node]:
        kind, space, key = node
        if kind == "image!":
            return [("content!", space, self.images[space, key])] if (space, key) in self.images else []
        found: list[Node] = []
        labels: Labels = {}
        if kind == "image":
            labels = self.image_labels.get((space, key), {})
            found = [("content", space, self.images[space, key])] if (space, key) in self.images else []
        elif kind == "content":
            labels = self.content_labels.get((space, key), {})
        return found + [
            target for name, value in labels.items() for target in _named(space, name, "ref", value)
        ]

    def _brefs(self) -> list[tuple[Node, Node]]:
        tables = (("content", self.content_labels), ("image", self.image_labels))
        return [
            ((kind, *owner), keeper)
            for kind, table in tables
            for owner, labels in table.items()
            for name, value in labels.items()
            for keeper in _named(owner[0], name, "bref", value)
        ]


def _named(space: str, key: str, sort: str, value: str) -> list[Node]:
    start = f"containerd.io/gc.{sort}."
    if not key.startswith(start):
        return []
    what = key.removeprefix(start)
    for kind in ("content", "image"):
        if what == kind or what.startswith((f"{kind}.", f"{kind}/")):
            return [(kind, space, value)]
    if what.startswith("snapshot."):
        return [("snapshot", space, f"{what.removeprefix('snapshot.').split('/')[0]}/{value}")]
    return []


def _over(value: str | None) -> bool:
    return value == PAST


SPACE = st.sampled_from(SPACES)
DIGEST = st.sampled_from(DIGESTS)
NAME = st.sampled_from(NAMES)
LABEL = st.one_of(
    st.tuples(
        st.sampled_from(
            [
                "containerd.io/gc.ref.content",
                "containerd.io/gc.ref.content.m.0",
                "containerd.io/gc.ref.content/l",
                "containerd.io/gc.ref.contents",  # not one
                "containerd.io/gc.bref.content",
                "containerd.io/gc.bref.content.x",
            ]
        ),
        DIGEST,
    ),
    st.tuples(
        st.sampled_from(
            [
                "containerd.io/gc.ref.image.x",
                "containerd.io/gc.bref.image",
                "containerd.io/gc.ref.snapshot.overlayfs/x",
                "containerd.io/gc.bref.snapshot.overlayfs",
                "containerd.io/gc.bref.container",
            ]
        ),
        NAME,
    ),
    st.tuples(st.just("containerd.io/gc.expire"), st.sampled_from([PAST, FUTURE, "soon"])),
    st.sampled_from([("containerd.io/gc.root", ""), ("containerd.io/gc.root.x", "1"), ("a", "b")]),
)
LABELS = st.lists(LABEL, max_size=2).map(dict)
RESOURCE = st.one_of(
    st.tuples(st.just("content"), DIGEST),
    st.tuples(st.just("images"), NAME),
    st.tuples(st.just("snapshots/overlayfs"), NAME),
)
LEASE_LABELS = st.dictionaries(
    st.just("containerd.io/gc.expire"), st.sampled_from([PAST, FUTURE, "soon"]), max_size=1
).flatmap(lambda labels: st.sampled_from([labels, labels, {**labels, "containerd.io/gc.flat": ""}]))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any store, with few things so that they meet."""
    world = World()
    world.files = draw(st.sets(DIGEST, min_size=2))
    world.rows = draw(st.sets(st.tuples(SPACE, DIGEST), max_size=6))
    world.content_labels = draw(st.dictionaries(st.tuples(SPACE, DIGEST), LABELS, max_size=7))
    world.images = draw(st.dictionaries(st.tuples(SPACE, NAME), DIGEST, max_size=3))
    world.image_labels = {image: draw(LABELS) for image in world.images}
    world.leases = draw(st.dictionaries(st.tuples(SPACE, st.sampled_from(LEASES)), LEASE_LABELS, max_size=3))
    world.resources = {lease: draw(st.sets(RESOURCE, max_size=2)) for lease in world.leases}
    return world


def lay(world: World, store: LocalStore) -> None:
    """Make the store that ``world`` tells of."""
    Path(store.paths.blobs, "sha256").mkdir(parents=True)
    Path(store.paths.namespaces).touch()
    for digest in world.files:
        Path(store.paths.blob(Digest(digest))).write_bytes(DATA[digest])
    with store.database.transaction(durable=False) as connection:
        do = connection.execute
        for space, digest in world.rows:
            do("INSERT INTO content (namespace, digest) VALUES (?, ?)", (space, digest))
        for (space, digest), labels in world.content_labels.items():
            for pair in labels.items():
                do("INSERT INTO content_labels VALUES (?, ?, ?, ?)", (space, digest, *pair))
        for (space, name), digest in world.images.items():
            row = (space, name, mediatypes.OCI_MANIFEST, digest, 1, None, 1, 1)
            do("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        for (space, name), labels in world.image_labels.items():
            for pair in labels.items():
                do("INSERT INTO image_labels VALUES (?, ?, ?, ?)", (space, name, *pair))
        for (space, id), labels in world.leases.items():
            do("INSERT INTO leases VALUES (?, ?, 1, ?)", (space, id, id == "dead"))
            for pair in labels.items():
                do("INSERT INTO lease_labels VALUES (?, ?, ?, ?)", (space, id, *pair))
            for resource in world.resources[space, id]:
                do("INSERT INTO lease_resources VALUES (?, ?, ?, ?)", (space, id, *resource))


def read(store: LocalStore) -> World:
    """What the store is now."""
    query = store.database.query
    world = World(files={f"sha256:{name}" for name in os.listdir(Path(store.paths.blobs, "sha256"))})
    world.rows = {(str(a), str(b)) for a, b in query("SELECT namespace, digest FROM content")}
    for space, digest, key, value in query("SELECT * FROM content_labels"):
        world.content_labels.setdefault((str(space), str(digest)), {})[str(key)] = str(value)
    for space, name, digest in query("SELECT namespace, name, digest FROM images"):
        world.images[str(space), str(name)] = str(digest)
    for space, name, key, value in query("SELECT * FROM image_labels"):
        world.image_labels.setdefault((str(space), str(name)), {})[str(key)] = str(value)
    for space, id in query("SELECT namespace, id FROM leases"):
        world.leases[str(space), str(id)] = {}
    for space, id, key, value in query("SELECT * FROM lease_labels"):
        world.leases.setdefault((str(space), str(id)), {})[str(key)] = str(value)
    for space, id, type, key in query("SELECT * FROM lease_resources"):
        world.resources.setdefault((str(space), str(id)), set()).add((str(type), str(key)))
    return world


def is_live(_namespace: str, id: str) -> bool:
    """The leases of a world that have a process, or need none."""
    return id != "dead"
