"""Retire: what a rule found useless in a repository goes, unless it came to be of use since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.metadata.repositoryrows import microseconds

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

    from distore.metadata.repositorychanges import Changes
    from distore.oci.digest import Digest
    from distore.repositories import ManifestRecord, Tag

_HERE: Final = "namespace = ? AND repository = ?"
# ``used`` is written with every push, and when a client was told that it is there.
_RECENT: Final = f"SELECT 1 FROM repository_blobs WHERE {_HERE} AND digest = ? AND used > ?"  # noqa: S608
_UNTAG: Final = (
    f"DELETE FROM repository_tags WHERE {_HERE} AND name = ? AND digest = ? AND updated = ? AND checked IS ?"  # noqa: S608
)
_TAGGED: Final = f"SELECT 1 FROM repository_tags WHERE {_HERE} AND digest = ? LIMIT 1"  # noqa: S608
_SUBJECT: Final = (  # that a manifest is about, and that is here
    f"SELECT 1 FROM repository_manifests WHERE {_HERE} AND digest ="  # noqa: S608
    f" (SELECT subject FROM repository_manifests WHERE {_HERE} AND digest = ?)"
)
_DROP: Final = (
    f"DELETE FROM repository_blobs WHERE {_HERE} AND digest = ? AND used <= ? AND NOT EXISTS"  # noqa: S608
    " (SELECT 1 FROM repository_links AS l WHERE l.namespace = repository_blobs.namespace"
    " AND l.repository = repository_blobs.repository AND l.digest = repository_blobs.digest)"
    " AND NOT EXISTS (SELECT 1 FROM repository_manifests AS m WHERE m.namespace = repository_blobs.namespace"
    " AND m.repository = repository_blobs.repository AND m.digest = repository_blobs.digest)"
)
_PARENT: Final = f"SELECT 1 FROM repository_links WHERE {_HERE} AND digest = ? LIMIT 1"  # noqa: S608


def retire(
    connection: sqlite3.Connection,
    changes: Changes,
    *,
    namespace: str,
    repository: str,
    tags: Collection[Tag],
    manifests: Collection[ManifestRecord],
    blobs: Collection[Digest],
    latest: int,
) -> tuple[list[str], list[Digest]]:
    """Within one transaction.

    Manifests that name others come first (a child goes only when no manifest names it any more), subjects
    before what is about them: a signature goes with its image, and stays with one that somebody came to use.

    Args:
        latest: Microseconds since the epoch: what was used later stays.
    """
    here = (namespace, repository)

    def is_recent(digest: Digest) -> bool:
        return connection.execute(_RECENT, (*here, digest, latest)).fetchone() is not None

    gone_tags = []
    for tag in tags:
        digest = tag.descriptor.digest
        if tag.updated is None or is_recent(digest):
            continue
        checked = None if tag.checked is None else microseconds(tag.checked.timestamp())
        row = (*here, tag.name, digest, microseconds(tag.updated.timestamp()), checked)
        if connection.execute(_UNTAG, row).rowcount:
            gone_tags.append(tag.name)
    gone = []
    for record in manifests:
        digest = record.descriptor.digest
        if is_recent(digest):
            continue
        looks = ((_TAGGED, (*here, digest)), (_PARENT, (*here, digest)), (_SUBJECT, (*here, *here, digest)))
        needed = any(connection.execute(*look).fetchone() for look in looks)
        if not needed and changes.delete_manifest(connection, repository, digest):
            gone.append(digest)
    connection.executemany(_DROP, [(*here, digest, latest) for digest in blobs])
    return gone_tags, gone
