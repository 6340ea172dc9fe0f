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
_UNTAG: Final = f"DELETE FROM repository_tags WHERE {_HERE} AND name = ? AND digest = ? AND updated = ?"  # noqa: S608
_TAGGED: Final = f"SELECT 1 FROM repository_tags WHERE {_HERE} AND digest = ? LIMIT 1"  # noqa: S608
_PARENT: Final = f"SELECT 1 FROM repository_links WHERE {_HERE} AND digest = ? LIMIT 1"  # noqa: S608


def retire(
    connection: sqlite3.Connection,
    changes: Changes,
    *,
    namespace: str,
    repository: str,
    tags: Collection[Tag],
    manifests: Collection[ManifestRecord],
    latest: int,
) -> tuple[list[str], list[Digest]]:
    """Within one transaction.

    Manifests that name others come first (a child goes only when no manifest names it any more).

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
        row = (*here, tag.name, digest, microseconds(tag.updated.timestamp()))
        if connection.execute(_UNTAG, row).rowcount:
            gone_tags.append(tag.name)
    gone = []
    for record in manifests:
        digest = record.descriptor.digest
        if is_recent(digest):
            continue
        needed = any(connection.execute(look, (*here, digest)).fetchone() for look in (_TAGGED, _PARENT))
        if not needed and changes.delete_manifest(connection, repository, digest):
            gone.append(digest)
    return gone_tags, gone
