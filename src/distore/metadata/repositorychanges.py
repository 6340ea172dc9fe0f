"""Changes of repositories, each within a transaction of somebody else's, nobody writing beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import Unavailable
from distore.metadata.repositoryretire import retire
from distore.metadata.repositoryrows import manifest_row, microseconds

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable

    from distore.oci.digest import Digest
    from distore.repositories import ManifestRecord, Pull, Tag

FRESH: Final = 10.0  # seconds for which a use is not written again: it may be that much later than ``used``
_HERE: Final = "namespace = ? AND repository = ?"
_ADD: Final = "INSERT OR IGNORE INTO repositories (namespace, name, origin, created) VALUES (?, ?, ?, ?)"
_OFFER: Final = (
    "INSERT INTO repository_blobs (namespace, repository, digest, size, used) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET size = excluded.size, used = max(used, excluded.used)"
)
_USE: Final = f"UPDATE repository_blobs SET used = max(used, ?) WHERE {_HERE} AND digest = ?"  # noqa: S608
_OFFERED_IN: Final = f"SELECT 1 FROM repository_blobs WHERE {_HERE} AND digest = ?"  # noqa: S608
_OFFERED_ANYWHERE: Final = "SELECT 1 FROM repository_blobs WHERE namespace = ? AND digest = ? LIMIT 1"
_PUT: Final = (
    "INSERT INTO repository_manifests"
    " (namespace, repository, digest, media_type, artifact_type, subject, annotations, size, pushed, cached)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET media_type = excluded.media_type,"
    " artifact_type = excluded.artifact_type, subject = excluded.subject,"
    " annotations = excluded.annotations, size = excluded.size, pushed = excluded.pushed,"
    " cached = min(cached, excluded.cached)"  # pushed once is pushed
)
_UNLINK: Final = f"DELETE FROM repository_links WHERE {_HERE} AND manifest = ?"  # noqa: S608
_LINK: Final = "INSERT OR IGNORE INTO repository_links VALUES (?, ?, ?, ?, ?)"
_TAG: Final = (
    "INSERT INTO repository_tags (namespace, repository, name, digest, media_type, size, updated, checked)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " updated = CASE WHEN digest = excluded.digest THEN updated ELSE excluded.updated END,"
    " digest = excluded.digest, media_type = excluded.media_type, size = excluded.size,"
    " checked = excluded.checked"
    " WHERE excluded.checked IS NULL OR checked IS NOT NULL"  # a copy takes no tag from who pushed it
)
_UNTAG: Final = f"DELETE FROM repository_tags WHERE {_HERE} AND name = ?"  # noqa: S608
_UNTAG_ALL: Final = f"DELETE FROM repository_tags WHERE {_HERE} AND digest = ?"  # noqa: S608
_IS_MANIFEST: Final = f"SELECT 1 FROM repository_manifests WHERE {_HERE} AND digest = ?"  # noqa: S608
_DROP_MANIFEST: Final = f"DELETE FROM repository_manifests WHERE {_HERE} AND digest = ?"  # noqa: S608
_DROP_BLOB: Final = f"DELETE FROM repository_blobs WHERE {_HERE} AND digest = ?"  # noqa: S608
_DROP_ALL: Final = tuple(
    f"DELETE FROM {table} WHERE {_HERE}"  # noqa: S608
    for table in ("repository_tags", "repository_links", "repository_manifests", "repository_blobs")
)
_DROP: Final = "DELETE FROM repositories WHERE namespace = ? AND name = ?"
_PULLED: Final = (
    f"UPDATE repository_manifests SET pulled = max(coalesce(pulled, 0), ?) WHERE {_HERE} AND digest = ?"  # noqa: S608
)
_TAG_PULLED: Final = (
    f"UPDATE repository_tags SET pulled = max(coalesce(pulled, 0), ?) WHERE {_HERE} AND name = ?"  # noqa: S608
)
_CHECKED: Final = f"UPDATE repository_tags SET checked = ? WHERE {_HERE} AND name = ?"  # noqa: S608


class Changes:
    """Of one namespace; each method is what ``Repositories`` has under its name.

    Args:
        blob_size: Bytes of a blob of the content store; None when it is not there.
        now: Seconds since the epoch.
    """

    def __init__(
        self, namespace: str, *, blob_size: Callable[[Digest], int | None], now: Callable[[], float]
    ) -> None:
        self._namespace = namespace
        self._blob_size = blob_size
        self._now = now

    def add_blob(
        self, connection: sqlite3.Connection, repository: str, digest: Digest, size: int, *, cached: bool
    ) -> None:
        """``size`` counts only where the file says nothing else.

        Raises:
            Unavailable: It was removed before it could be offered.
        """
        there = self._blob_size(digest)
        if there is None:
            raise Unavailable(f"content {digest}: removed before {repository} could offer it; try again")
        self._make(connection, repository, cached=cached)
        self._offer(connection, repository, digest, there)

    def use(self, connection: sqlite3.Connection, repository: str, digest: Digest) -> bool:
        row = (microseconds(self._now()), self._namespace, repository, digest)
        return connection.execute(_USE, row).rowcount > 0 and self._blob_size(digest) is not None

    def mount(
        self, connection: sqlite3.Connection, source: str | None, repository: str, digest: Digest
    ) -> bool:
        if source is None:
            found = connection.execute(_OFFERED_ANYWHERE, (self._namespace, digest)).fetchone()
        else:
            found = connection.execute(_OFFERED_IN, (self._namespace, source, digest)).fetchone()
        size = self._blob_size(digest)
        if found is None or size is None:
            return False
        self._make(connection, repository, cached=False)
        self._offer(connection, repository, digest, size)
        return True

    def put_manifest(
        self,
        connection: sqlite3.Connection,
        repository: str,
        record: ManifestRecord,
        *,
        tags: Collection[str],
        needed: Collection[Digest],
        cached: bool,
    ) -> list[Digest]:
        """Raises:
        Unavailable: Its bytes were removed before it could be offered.
        """
        missing = [digest for digest in needed if not self._has(connection, repository, digest)]
        if missing:
            return missing
        digest = record.descriptor.digest
        self.add_blob(connection, repository, digest, record.descriptor.size, cached=cached)
        here, now = (self._namespace, repository), microseconds(self._now())
        connection.execute(_PUT, (*here, *manifest_row(record), now, cached))
        connection.execute(_UNLINK, (*here, digest))
        connection.executemany(_LINK, [(*here, digest, *child) for child in record.children])
        about = record.descriptor
        target = (digest, about.media_type, about.size, now, now if cached else None)
        connection.executemany(_TAG, [(*here, name, *target) for name in tags])
        return []

    def untag(self, connection: sqlite3.Connection, repository: str, tag: str) -> bool:
        return connection.execute(_UNTAG, (self._namespace, repository, tag)).rowcount > 0

    def delete_manifest(self, connection: sqlite3.Connection, repository: str, digest: Digest) -> bool:
        row = (self._namespace, repository, digest)
        if not connection.execute(_DROP_MANIFEST, row).rowcount:
            return False
        for statement in (_UNTAG_ALL, _UNLINK, _DROP_BLOB):
            connection.execute(statement, row)
        return True

    def delete_blob(self, connection: sqlite3.Connection, repository: str, digest: Digest) -> bool:
        row = (self._namespace, repository, digest)
        if connection.execute(_IS_MANIFEST, row).fetchone() is not None:
            return False
        return connection.execute(_DROP_BLOB, row).rowcount > 0

    def retire(
        self,
        connection: sqlite3.Connection,
        repository: str,
        *,
        tags: Collection[Tag],
        manifests: Collection[ManifestRecord],
        blobs: Collection[Digest],
        before: float,
    ) -> tuple[list[str], list[Digest]]:
        return retire(
            connection,
            self,
            namespace=self._namespace,
            repository=repository,
            tags=tags,
            manifests=manifests,
            blobs=blobs,
            latest=microseconds(latest_use(before, now=self._now())),
        )

    def forget(self, connection: sqlite3.Connection, repository: str) -> bool:
        row = (self._namespace, repository)
        for statement in _DROP_ALL:
            connection.execute(statement, row)
        return connection.execute(_DROP, row).rowcount > 0

    def note_pulled(self, connection: sqlite3.Connection, pulls: Iterable[Pull]) -> None:
        for pull in pulls:
            here = (microseconds(pull.when), self._namespace, pull.repository)
            connection.execute(_PULLED, (*here, pull.digest))
            if pull.tag is not None:
                connection.execute(_TAG_PULLED, (*here, pull.tag))

    def note_checked(self, connection: sqlite3.Connection, repository: str, tag: str, when: float) -> None:
        connection.execute(_CHECKED, (microseconds(when), self._namespace, repository, tag))

    def _has(self, connection: sqlite3.Connection, repository: str, digest: Digest) -> bool:
        row = (self._namespace, repository, digest)
        found = connection.execute(_OFFERED_IN, row).fetchone()
        return found is not None and self._blob_size(digest) is not None

    def _make(self, connection: sqlite3.Connection, repository: str, *, cached: bool) -> None:
        origin = "cache" if cached else "pushed"
        connection.execute(_ADD, (self._namespace, repository, origin, microseconds(self._now())))

    def _offer(self, connection: sqlite3.Connection, repository: str, digest: Digest, size: int) -> None:
        row = (self._namespace, repository, digest, size, microseconds(self._now()))
        connection.execute(_OFFER, row)


def latest_use(before: float, *, now: float) -> float:
    """The latest ``used`` of a blob that nobody was told of from ``before`` on; all in seconds."""
    return before if now <= before else before - FRESH
