"""What blobs tell of a store's records: labels of documents, names of images; and a lease on what
nothing names any more, so that no collector takes what a lost record has kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.content.local.paths import DEFAULT_NAMESPACE
from distore.errors import DistoreError
from distore.images.gclabels import GC_REF_CONTENT, gc_labels, referrer_labels
from distore.leases import PURPOSE
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE, Index, parse_manifest
from distore.oci.reference import Reference

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping

    from distore.content.local.paths import Paths
    from distore.oci.manifest import Manifest

_FULL_NAME: Final = "io.containerd.image.name"
_REF_NAME: Final = "org.opencontainers.image.ref.name"
_PEEK: Final = 64  # bytes; a document's first one is a brace, perhaps behind spaces
_IS_REF: Final = f"key >= '{GC_REF_CONTENT}' AND key < '{GC_REF_CONTENT}0'"  # exact, or followed by . or /
_SEEN_BY: Final = "SELECT namespace FROM content WHERE digest = ?"
_HAS_LABELS: Final = f"SELECT 1 FROM content_labels WHERE namespace = ? AND digest = ? AND {_IS_REF} LIMIT 1"  # noqa: S608
# What was pushed to a registry is about an image there alone: who pushed it must not add to another.
_ABOUT_THERE: Final = "SELECT 1 FROM temp.about WHERE namespace = ? AND digest = ?"
_ABOUT: Final = """
CREATE TEMP TABLE about (namespace TEXT, digest TEXT, PRIMARY KEY (namespace, digest)) WITHOUT ROWID;
INSERT OR IGNORE INTO temp.about SELECT namespace, digest FROM repository_manifests WHERE subject IS NOT NULL;
"""
_ADD_LABEL: Final = "INSERT OR IGNORE INTO content_labels VALUES (?, ?, ?, ?)"
_ADD_IMAGE: Final = "INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_LOOSE: Final = """
INSERT INTO lease_resources SELECT s.namespace, ?, 'content', s.digest FROM temp.seen AS s
WHERE NOT EXISTS (SELECT 1 FROM temp.kept AS k WHERE k.namespace = s.namespace AND k.digest = s.digest)
"""
_SNAPSHOTS: Final = (
    "INSERT INTO lease_resources SELECT namespace, ?, 'snapshots/' || snapshotter, key FROM snapshots"
)
# What must be there beside what is, as a push makes both at once.
_REPOSITORIES: Final = (
    "INSERT OR IGNORE INTO repository_blobs SELECT namespace, repository, digest, size, :now"
    " FROM repository_manifests",
    "INSERT OR IGNORE INTO repositories SELECT DISTINCT namespace, repository, 'pushed', :now"
    " FROM repository_blobs",
)
_PUSHED: Final = """
CREATE TEMP TABLE pushed (digest TEXT, namespace TEXT, repository TEXT,
    PRIMARY KEY (digest, namespace, repository)) WITHOUT ROWID;
INSERT INTO temp.pushed SELECT digest, namespace, repository FROM repository_manifests;
"""
_LINK: Final = (
    "INSERT OR IGNORE INTO repository_links SELECT namespace, repository, digest, ?, ? FROM temp.pushed"
    " WHERE digest = ?"
)
_OFFER: Final = (
    "INSERT OR IGNORE INTO repository_blobs SELECT namespace, repository, ?, ?, ? FROM temp.pushed"
    " WHERE digest = ?"
)
_SEEN: Final = f"""
CREATE TEMP TABLE seen (namespace TEXT, digest TEXT, PRIMARY KEY (namespace, digest)) WITHOUT ROWID;
CREATE TEMP TABLE kept (namespace TEXT, digest TEXT, PRIMARY KEY (namespace, digest)) WITHOUT ROWID;
INSERT INTO temp.seen SELECT c.namespace, p.digest FROM temp.present AS p JOIN content AS c USING (digest);
INSERT INTO temp.seen SELECT '{DEFAULT_NAMESPACE}', digest FROM temp.present
    WHERE digest NOT IN (SELECT digest FROM content);
INSERT OR IGNORE INTO temp.kept SELECT namespace, value FROM content_labels WHERE {_IS_REF};
INSERT OR IGNORE INTO temp.kept SELECT namespace, digest FROM images;
"""  # noqa: S608


@dataclass(slots=True, kw_only=True)
class Told:
    """How many rows came of the blobs: ``labels`` of documents, ``names`` of images, and blobs and
    snapshots that the lease ``lease`` ``held``; None: none was needed."""

    labels: int = 0
    names: int = 0
    held: int = 0
    lease: str | None = None


def tell(
    connection: sqlite3.Connection, paths: Paths, *, partial: Collection[str], now: int, lease: str
) -> Told:
    """Add what blobs tell; the caller's transaction goes on.

    Args:
        partial: Tables of which rows may be missing.
        now: Microseconds since the epoch.
        lease: Id of the lease to make when records may be missing.
    """
    told = Told()
    connection.execute("CREATE TEMP TABLE present (digest TEXT PRIMARY KEY) WITHOUT ROWID")
    found = ((digest,) for digest, _ in paths.blob_entries())
    connection.executemany("INSERT INTO temp.present VALUES (?)", found)
    names = _Names(connection, now=now) if "images" in partial else None
    if names:
        told.names += names.take(_layout(paths))
    _run(connection, _ABOUT)
    if partial:
        _run(connection, _PUSHED)
    for digest, size, document in _documents(paths):
        if partial:
            _offer(connection, digest, document, now=now)
        told.labels += _label(connection, digest, size, document, every="content_labels" in partial)
        if names and isinstance(document, Index):
            told.names += names.take(document.manifests)
    if partial:
        for statement in _REPOSITORIES:
            connection.execute(statement, {"now": now})
        told.held = _hold(connection, lease, now)
        told.lease = lease if told.held else None
    for table in ("present", "about", *(("seen", "kept", "pushed") if partial else ())):
        connection.execute(f"DROP TABLE temp.{table}")
    return told


def _documents(paths: Paths) -> Iterator[tuple[Digest, int, Manifest | Index]]:
    """Every manifest and index among the blobs that is what its name says."""
    for digest, _ in paths.blob_entries():
        try:
            with open(paths.blob(digest), "rb") as file:
                if os.fstat(file.fileno()).st_size > MAX_MANIFEST_SIZE:
                    continue
                data = file.read(_PEEK)
                if not data.lstrip().startswith(b"{"):
                    continue
                data += file.read(MAX_MANIFEST_SIZE)
            if Digest.of(data, algorithm=digest.algorithm) == digest:
                yield digest, len(data), parse_manifest(data, media_type=None, subject=digest)
        except (OSError, DistoreError):  # gone, unreadable, or a document of another kind: it tells nothing
            continue


def _layout(paths: Paths) -> tuple[Descriptor, ...]:
    """What the index.json of an OCI layout at the root names."""
    try:
        with open(os.path.join(paths.root, "index.json"), "rb") as file:
            data = file.read(MAX_MANIFEST_SIZE + 1)
        document = parse_manifest(data, media_type=mediatypes.OCI_INDEX, subject="index.json")
    except (OSError, DistoreError):
        return ()
    return document.manifests if isinstance(document, Index) else ()


def _label(
    connection: sqlite3.Connection, digest: Digest, size: int, document: Manifest | Index, *, every: bool
) -> int:
    """Label a document, where it has no such label (with ``every``, where it lacks one), and what it
    is about, which leads to it."""
    added = 0
    for namespace in _seen_by(connection, digest):
        known = connection.execute(_HAS_LABELS, (namespace, digest)).fetchone()
        if every or not known:
            added += _add(connection, namespace, digest, gc_labels(document))
        if connection.execute(_ABOUT_THERE, (namespace, digest)).fetchone():
            continue
        if document.subject is not None and (every or not known):
            about = document.subject.digest
            if connection.execute("SELECT 1 FROM temp.present WHERE digest = ?", (about,)).fetchone():
                itself = Descriptor(media_type=document.media_type, digest=digest, size=size)
                added += _add(connection, namespace, about, referrer_labels((itself,)))
    return added


def _offer(connection: sqlite3.Connection, digest: Digest, document: Manifest | Index, *, now: int) -> None:
    """What a manifest names is no rubbish where it was pushed; and its blobs were there first, but for those
    that are had from elsewhere."""
    own: list[Descriptor] = []
    if isinstance(document, Index):
        children = document.manifests
    else:
        children = (document.config, *document.layers)
        own += (
            each for each in children if not each.urls and not mediatypes.is_nondistributable(each.media_type)
        )
    connection.executemany(_LINK, [(each.digest, each.size, digest) for each in children])
    connection.executemany(_OFFER, [(each.digest, each.size, now, digest) for each in own])


def _run(connection: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _seen_by(connection: sqlite3.Connection, digest: Digest) -> list[str]:
    return [str(row[0]) for row in connection.execute(_SEEN_BY, (digest,))] or [DEFAULT_NAMESPACE]


def _add(connection: sqlite3.Connection, namespace: str, digest: Digest, labels: Mapping[str, str]) -> int:
    rows = ((namespace, digest, key, value) for key, value in labels.items())
    return sum(connection.execute(_ADD_LABEL, row).rowcount for row in rows)


class _Names:
    """Names that annotations of indexes give to their children, where no record has them."""

    def __init__(self, connection: sqlite3.Connection, *, now: int) -> None:
        self._connection = connection
        self._now = now

    def take(self, descriptors: tuple[Descriptor, ...]) -> int:
        added = 0
        for each in descriptors:
            name = _name(each.annotations)
            there = "SELECT 1 FROM temp.present WHERE digest = ?"
            if name is None or not self._connection.execute(there, (each.digest,)).fetchone():
                continue
            for namespace in _seen_by(self._connection, each.digest):
                row = (namespace, name, each.media_type, each.digest, each.size, None, self._now, self._now)
                added += self._connection.execute(_ADD_IMAGE, row).rowcount
        return added


def _name(annotations: Mapping[str, str]) -> str | None:
    """A whole reference; a tag alone does not say of what."""
    for key in (_FULL_NAME, _REF_NAME):
        text = annotations.get(key, "")
        try:
            if text and str(Reference.parse(text)) == text:
                return text
        except DistoreError:
            continue
    return None


def _hold(connection: sqlite3.Connection, lease: str, now: int) -> int:
    """Put all blobs that neither a document nor an image names under a lease without an end, and all
    snapshots: a label that kept one may be lost."""
    _run(connection, _SEEN)
    held = connection.execute(_LOOSE, (lease,)).rowcount
    held += connection.execute(_SNAPSHOTS, (lease,)).rowcount
    namespaces = connection.execute("SELECT DISTINCT namespace FROM lease_resources WHERE id = ?", (lease,))
    for (namespace,) in namespaces.fetchall():
        connection.execute("INSERT INTO leases VALUES (?, ?, ?, 0)", (namespace, lease, now))
        connection.execute(
            "INSERT INTO lease_labels VALUES (?, ?, ?, ?)", (namespace, lease, PURPOSE, "dist db rebuild")
        )
    return held
