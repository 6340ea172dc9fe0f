"""Why a blob is kept: a shortest way from a root to it, or that there is none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.content.blobs import read_blob
from distore.content.local.ingests import owner_of
from distore.content.local.paths import DEFAULT_NAMESPACE
from distore.errors import DistoreError, NotFound
from distore.gc import shortest_paths
from distore.leases import SNAPSHOTS
from distore.metadata.graph import lease_lock, lock_fields
from distore.metadata.nodes import CONTENT, FLAT_CONTENT, FLAT_IMAGE, IMAGE, INGEST, key_of, kind_of
from distore.metadata.repositoryway import way_to
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE, Index, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from distore.content.local.store import LocalStore
    from distore.metadata.graph import Graph
    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Manifest

_REFERRING: Final = (
    "SELECT digest FROM content_labels WHERE namespace = ? AND value = ?"
    " AND key >= 'containerd.io/gc.ref.' AND key < 'containerd.io/gc.ref/' ORDER BY digest LIMIT 3"
)
_SEEN_BY: Final = "SELECT namespace FROM content WHERE digest = ? ORDER BY namespace"
_HAVE_SNAPSHOT: Final = "SELECT namespace FROM snapshots WHERE snapshotter = ? AND key = ? ORDER BY namespace"
_LEASE: Final = "lease "
_REPOSITORY: Final = "repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing on the way: ``kind`` is image, repository, tag, lease, label, ingest, mount, snapshot,
    index, manifest, config, layer or content."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Of a blob in a namespace. ``path`` leads from what keeps it to the blob; without one nothing
    does, and ``referring`` are some that name it, which nothing keeps either."""

    digest: Digest
    namespace: str
    path: tuple[Step, ...] = ()
    referring: tuple[Step, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether something leads to it."""
        return bool(self.path)

    def __str__(self) -> str:
        where = "" if self.namespace == DEFAULT_NAMESPACE else f"namespace {self.namespace}: "
        if self.path:
            return f"{where}kept: {' -> '.join(map(str, self.path))}"
        if self.referring:
            who = ", ".join(map(str, self.referring))
            return f"{where}not kept: content {self.digest}: named by {who}, which nothing keeps either"
        return (
            f"{where}not kept: content {self.digest}: no image, repository, lease or label leads to it;"
            f" an image of that target (dist images), a lease (dist leases add)"
            f" or a label of a kept document would keep it"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotExplanation:
    """Of a snapshot (SNAPSHOTTER/KEY) in a namespace; ``path`` as ``Explanation`` has it."""

    snapshot: str
    namespace: str
    path: tuple[Step, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether something leads to it."""
        return bool(self.path)

    def __str__(self) -> str:
        where = "" if self.namespace == DEFAULT_NAMESPACE else f"namespace {self.namespace}: "
        if self.path:
            return f"{where}kept: {' -> '.join(map(str, self.path))}"
        return (
            f"{where}not kept: snapshot {self.snapshot}: no image, lease, label, mount or other snapshot"
            " leads to it; a label containerd.io/gc.root (dist snapshots label) would keep it"
        )


def explain(store: LocalStore, graph: Graph, digests: Iterable[Digest]) -> Iterator[Explanation]:
    """See ``Collector.explain``."""
    asked = list(dict.fromkeys(digests))
    spaces = {digest: _namespaces(store, digest) for digest in asked}
    wanted: dict[bytes, tuple[str, str]] = {}
    for digest in asked:
        for space in spaces[digest]:
            wanted |= dict.fromkeys(graph.forms("content", space, digest), (digest, space))
    shortest, reasons = _shortest(graph, wanted)
    for digest in asked:
        for space in spaces[digest]:
            yield _explanation(
                store.view(namespace=space), graph, digest, shortest.get((digest, space)), reasons
            )
    missing = [digest for digest in asked if not spaces[digest]]
    if missing:
        raise NotFound(f"content {missing[0]}: not found")


def explain_snapshots(store: LocalStore, graph: Graph, names: Iterable[str]) -> Iterator[SnapshotExplanation]:
    """See ``Collector.explain_snapshots``."""
    asked = list(dict.fromkeys(names))
    wanted: dict[bytes, tuple[str, str]] = {}
    for name in asked:
        snapshotter, _, key = name.partition("/")
        for (space,) in store.database.query(_HAVE_SNAPSHOT, snapshotter, key):
            forms = graph.forms(f"{SNAPSHOTS}{snapshotter}", str(space), key)
            wanted |= dict.fromkeys(forms, (name, str(space)))
    shortest, reasons = _shortest(graph, wanted)
    for name, space in dict.fromkeys(wanted.values()):
        view = store.view(namespace=space)
        path = shortest.get((name, space))
        steps = () if path is None else tuple(_steps(view, graph, path, reasons))
        yield SnapshotExplanation(snapshot=name, namespace=space, path=steps)
    missing = [name for name in asked if name not in {name for name, _ in wanted.values()}]
    if missing:
        raise NotFound(f"snapshot {missing[0][:200]}: not found")


def _shortest(
    graph: Graph, wanted: Mapping[bytes, tuple[str, str]]
) -> tuple[dict[tuple[str, str], list[bytes]], dict[bytes, str]]:
    """A shortest path to each of what the nodes stand for, and why the roots are such."""
    reasons: dict[bytes, str] = {}

    def roots() -> Iterator[bytes]:
        for node, reason in graph.roots():
            if reason != "image":  # an image says so itself
                reasons.setdefault(node, reason)
            yield node

    paths = shortest_paths(roots(), graph.edges, wanted, count=len(wanted)) if wanted else {}
    shortest: dict[tuple[str, str], list[bytes]] = {}
    for node, path in paths.items():
        known = shortest.get(wanted[node])
        if known is None or len(path) < len(known):
            shortest[wanted[node]] = path
    return shortest, reasons


def _namespaces(store: LocalStore, digest: Digest) -> list[str]:
    if not os.path.exists(store.paths.blob(digest)):
        return []
    return [str(row[0]) for row in store.database.query(_SEEN_BY, digest)] or [DEFAULT_NAMESPACE]


def _explanation(
    store: LocalStore, graph: Graph, digest: Digest, path: list[bytes] | None, reasons: dict[bytes, str]
) -> Explanation:
    space = store.namespace
    if path is None:
        rows = store.database.query(_REFERRING, space, digest)
        names = [Digest(str(row[0])) for row in rows]
        referring = tuple(Step(kind=_word_of(store, name), name=name) for name in names)
        return Explanation(digest=digest, namespace=space, referring=referring)
    return Explanation(digest=digest, namespace=space, path=tuple(_steps(store, graph, path, reasons)))


def _steps(store: LocalStore, graph: Graph, path: list[bytes], reasons: Mapping[bytes, str]) -> list[Step]:
    """A path in words."""
    steps = _first_steps(store, graph, path[0], reasons.get(path[0]))
    parent: Manifest | Index | None = None
    for manifest in _offered_by(store, steps, path[0]):
        parent = _document(store, Digest(manifest))
        steps.append(Step(kind=_word(manifest, parent, None), name=manifest))
    for node in path:
        name = key_of(node)
        if kind_of(node) not in (CONTENT, FLAT_CONTENT):
            if kind_of(node) != INGEST:
                steps.append(
                    Step(kind="image" if kind_of(node) in (IMAGE, FLAT_IMAGE) else "snapshot", name=name)
                )
            continue
        document = _document(store, Digest(name))
        steps.append(Step(kind=_word(name, document, parent), name=name))
        parent = document
    return steps


def _first_steps(store: LocalStore, graph: Graph, root: bytes, reason: str | None) -> list[Step]:
    """What makes the first one of a path a root, unless it is an image."""
    if reason is None:
        return []
    if reason == "mount":
        return [Step(kind="mount", name=key_of(root))]
    if reason == "ingest":
        return [Step(kind="ingest", name=key_of(root))]
    kind, _, name = reason.partition(" ")
    if reason.startswith(_LEASE):
        owner = owner_of(lock_fields(lease_lock(store.paths, store.namespace, name)))
        who = f" of pid {owner.pid} ({owner.command or '?'})" if owner.pid else ""
        steps = [Step(kind=kind, name=name + who)]
        if kind_of(root) == INGEST:
            steps.append(Step(kind="ingest", name=key_of(root)))
        return steps
    return [Step(kind=kind, name=name)]


def _offered_by(store: LocalStore, steps: list[Step], root: bytes) -> list[str]:
    """The manifests of a repository that lead to what it offers; adds the tag that does."""
    if not steps or steps[0].kind != _REPOSITORY:
        return []
    tag, way = way_to(store.database, store.namespace, steps[0].name, key_of(root))
    if tag is not None:
        steps.append(Step(kind="tag", name=tag))
    return way


def _document(store: LocalStore, digest: Digest) -> Manifest | Index | None:
    try:
        if store.info(digest).size > MAX_MANIFEST_SIZE:
            return None
        data = read_blob(store, digest, max_size=MAX_MANIFEST_SIZE)
        return parse_manifest(data, media_type=None, subject=digest)
    except DistoreError:
        return None  # a layer, or not there


def _word_of(store: LocalStore, digest: Digest) -> str:
    return _word(digest, _document(store, digest), None)


def _word(digest: str, document: Manifest | Index | None, parent: Manifest | Index | None) -> str:
    if document is not None:
        return "index" if isinstance(document, Index) else "manifest"
    for child in _children(parent):
        if child.digest == digest:
            if mediatypes.is_layer(child.media_type):
                return "layer"
            return "config" if mediatypes.is_config(child.media_type) else "content"
    return "content"


def _children(document: Manifest | Index | None) -> tuple[Descriptor, ...]:
    if document is None or isinstance(document, Index):
        return document.manifests if document is not None else ()
    return (document.config, *document.layers)
