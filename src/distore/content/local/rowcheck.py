"""fsck of the database's rows: do they fit the tree? Rows of all namespaces count."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.content.local import tree
from distore.content.local.paths import DEFAULT_NAMESPACE
from distore.content.local.problem import Problem
from distore.content.local.salvage import PASSING, SHAPES
from distore.errors import InvalidArgument, PermissionDenied
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.content.local.database import Database
    from distore.content.local.paths import Paths

_ABOUT_BLOBS: Final = ("content_labels", "content", "blobs")
_DIGESTS: Final = " UNION ".join(f"SELECT digest FROM {table}" for table in _ABOUT_BLOBS)  # noqa: S608
_IMAGES: Final = "SELECT namespace, name, digest FROM images ORDER BY namespace, name"
_SNAPSHOTS: Final = (
    "SELECT namespace, snapshotter, key, id FROM snapshots ORDER BY namespace, snapshotter, key"
)
_IS_SNAPSHOT: Final = "SELECT 1 FROM snapshots WHERE (namespace, snapshotter, key, id) = (?, ?, ?, ?)"
_TABLES: Final = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
)
_OWN: Final = frozenset({*SHAPES, *PASSING})
_OFFERS: Final = (
    "SELECT namespace, repository, digest FROM repository_blobs ORDER BY namespace, digest, repository"
)
_IS_OFFER: Final = "SELECT 1 FROM repository_blobs WHERE (namespace, repository, digest) = (?, ?, ?)"


def problems(database: Database, paths: Paths, *, dry_run: bool) -> Iterator[Problem]:
    """Tables that are not ours or not there, rows about blobs that nobody has (removed), images whose
    root is missing, repositories of which a blob is, and snapshots whose files are. Labels of what lies
    in quarantine stay: they tell where it came from.

    Raises:
        DataLoss: The database is damaged.
    """
    if not database.exists():
        return
    yield from _tables(database)
    quarantined = set(tree.quarantined(paths))
    for (text,) in database.stream(_DIGESTS):
        digest = _digest(text)
        if digest is None or (digest not in quarantined and not _has_file(paths, digest)):
            yield from _orphan(database, paths, str(text), dry_run=dry_run)
    for namespace, name, text in database.stream(_IMAGES):
        yield from _target(database, paths, (str(namespace), str(name), str(text)))
    for row in database.stream(_OFFERS):
        yield from _offer(database, paths, row)
    for row in database.stream(_SNAPSHOTS):
        yield from _files(database, paths, row)


def _tables(database: Database) -> Iterator[Problem]:
    names = {str(row[0]) for row in database.query(_TABLES)}
    for name in sorted(names - _OWN):
        detail = f"table {name[:80]!a} is not of this format; dist db rebuild leaves it behind"
        yield Problem(kind="database", subject=database.path, detail=detail)
    for name in sorted(_OWN - names):
        detail = f"table {name} is missing; dist db rebuild makes it again"
        yield Problem(kind="database", subject=database.path, detail=detail)


def _orphan(database: Database, paths: Paths, text: str, *, dry_run: bool) -> Iterator[Problem]:
    """Looked at again beside nobody who could bring or delete the blob."""
    problem = Problem(kind="row", subject=text, detail="has records, and no file")
    if dry_run:
        if database.query(f"SELECT 1 FROM ({_DIGESTS}) WHERE digest = ?", text):  # noqa: S608
            yield problem
        return
    try:
        with database.transaction() as connection:
            digest = _digest(text)
            if digest is not None and _has_file(paths, digest):
                return
            statements = [f"DELETE FROM {table} WHERE digest = ?" for table in _ABOUT_BLOBS]  # noqa: S608
            removed = sum(connection.execute(each, (text,)).rowcount for each in statements)
    except PermissionDenied as error:
        yield Problem(kind="row", subject=text, detail=f"{problem.detail}; not removed: {error}")
        return
    if removed:
        yield Problem(kind="row", subject=text, detail=problem.detail, action="removed")


def _target(database: Database, paths: Paths, image: tuple[str, str, str]) -> Iterator[Problem]:
    namespace, name, text = image
    digest = _digest(text)
    if digest is not None and _has_file(paths, digest):
        rows = database.query("SELECT namespace FROM content WHERE digest = ?", digest)
        if (namespace,) in rows or (namespace == DEFAULT_NAMESPACE and not rows):
            return
    if not database.query("SELECT 1 FROM images WHERE (namespace, name, digest) = (?, ?, ?)", *image):
        return  # deleted or moved meanwhile
    where = "" if namespace == DEFAULT_NAMESPACE else f" --namespace {namespace}"
    detail = f"its target {text} is missing; dist pull{where} {name} brings it"
    yield Problem(kind="image", subject=name, detail=detail)


def _offer(database: Database, paths: Paths, row: tuple[object, ...]) -> Iterator[Problem]:
    """A registry says of it that it is not there, and takes it again."""
    namespace, repository, text = map(str, row)
    digest = _digest(text)
    if digest is not None and _has_file(paths, digest):
        return
    if database.query(_IS_OFFER, *row):  # else it went meanwhile
        detail = f"blob {text} of namespace {namespace} is missing; push it again, or dist fsck --repair"
        yield Problem(kind="repository", subject=repository, detail=detail)


def _files(database: Database, paths: Paths, row: tuple[object, ...]) -> Iterator[Problem]:
    namespace, snapshotter, key, id = map(str, row)
    folder = os.path.join(paths.snapshots, snapshotter, id, "fs")
    if os.path.isdir(folder) or not database.query(_IS_SNAPSHOT, *row):
        return
    where = "" if namespace == DEFAULT_NAMESPACE else f" --namespace {namespace}"
    detail = f"its files are missing; dist snapshots rm{where} --snapshotter {snapshotter} {key} forgets it"
    yield Problem(kind="snapshot", subject=key, detail=detail)


def _has_file(paths: Paths, digest: Digest) -> bool:
    return os.path.lexists(paths.blob(digest))


def _digest(value: object) -> Digest | None:
    try:
        return Digest(str(value))
    except InvalidArgument:
        return None
