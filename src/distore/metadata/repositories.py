"""StoredRepositories: Repositories in the store's database, shared by any number of processes."""

from __future__ import annotations

import json
import os
from itertools import groupby
from typing import TYPE_CHECKING, Final

from distore.errors import DiskFull, ReadOnly
from distore.metadata.groupcommit import GroupCommit
from distore.metadata.keeping import Keeping
from distore.metadata.repositorychanges import FRESH, Changes
from distore.metadata.repositoryrows import (
    MANIFEST,
    TAG,
    manifest_of,
    microseconds,
    moment,
    referrers_of,
    tag_of,
)
from distore.repositories import RepositoryUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from contextlib import AbstractContextManager

    from distore.content.local.store import LocalStore
    from distore.metadata.leases import Leases
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.repositories import ManifestRecord, Pull, Tag

    Row = tuple[object, ...]

PURPOSE: Final = "serve"  # of the lease
CACHE: Final = "cache"
_HERE: Final = "namespace = ? AND repository = ?"
_NAMES: Final = "SELECT name FROM repositories WHERE namespace = ? AND name > ? ORDER BY name LIMIT ?"
_ORIGIN: Final = "SELECT origin FROM repositories WHERE namespace = ? AND name = ?"
_USED: Final = f"SELECT used FROM repository_blobs WHERE {_HERE} AND digest = ?"  # noqa: S608
_MANIFEST: Final = f"SELECT {MANIFEST} FROM repository_manifests WHERE {_HERE} AND digest = ?"  # noqa: S608
_MANIFESTS: Final = (
    f"SELECT {MANIFEST}, (SELECT used FROM repository_blobs AS b WHERE b.namespace = m.namespace"  # noqa: S608
    " AND b.repository = m.repository AND b.digest = m.digest) FROM repository_manifests AS m"
    f" WHERE {_HERE} AND digest > ? ORDER BY digest LIMIT ?"
)
_CHILDREN: Final = f"SELECT digest, size FROM repository_links WHERE {_HERE} AND manifest = ?"  # noqa: S608
_MANY_CHILDREN: Final = (
    "SELECT manifest, digest, size FROM repository_links"  # noqa: S608
    f" WHERE {_HERE} AND manifest BETWEEN ? AND ? ORDER BY manifest, digest"
)
_TAG: Final = f"SELECT {TAG} FROM repository_tags WHERE {_HERE} AND name = ?"  # noqa: S608
_TAGS: Final = f"SELECT {TAG} FROM repository_tags WHERE {_HERE} AND name > ? ORDER BY name LIMIT ?"  # noqa: S608
_REFERRERS: Final = (
    f"SELECT {MANIFEST} FROM repository_manifests INDEXED BY repository_referrers"  # noqa: S608
    f" WHERE {_HERE} AND subject = ? AND digest > ? AND (? IS NULL OR artifact_type = ?)"
    " ORDER BY digest LIMIT ?"
)
_USAGE: Final = (
    "SELECT (SELECT origin FROM repositories WHERE namespace = ?1 AND name = ?2), coalesce(sum(size), 0),"
    " count(*), (SELECT count(*) FROM repository_manifests WHERE namespace = ?1 AND repository = ?2),"
    " (SELECT count(*) FROM repository_tags WHERE namespace = ?1 AND repository = ?2),"
    " (SELECT max(updated) FROM repository_tags WHERE namespace = ?1 AND repository = ?2)"
    " FROM repository_blobs WHERE namespace = ?1 AND repository = ?2"
)
_SIZE: Final = (
    "SELECT coalesce(sum(size), 0) FROM (SELECT max(size) AS size FROM repository_blobs"
    " INDEXED BY repository_owners WHERE namespace = ? GROUP BY digest)"
)
_SIZE_OF: Final = (
    "SELECT coalesce(sum(size), 0) FROM (SELECT max(size) AS size FROM repository_blobs"
    " WHERE namespace = ? AND repository IN (SELECT value FROM json_each(?)) GROUP BY +digest)"
)
_OWNERS: Final = (
    "SELECT repository FROM repository_blobs WHERE namespace = ? AND digest = ? ORDER BY repository"
)


class StoredRepositories:
    """The repositories of the namespace of ``content``. Reads wait for no writer; changes of several
    threads reach the disk together. ``close`` ends the lease of ``keeping``.

    Args:
        leases: Of the same namespace.
        now: Seconds since the epoch.
    """

    def __init__(self, content: LocalStore, *, leases: Leases, now: Callable[[], float]) -> None:
        self._content = content
        self._read = content.database.read
        self._namespace = content.namespace
        self._now = now
        self._commit = GroupCommit(content.database)
        self._keeping = Keeping(leases, self._commit, namespace=self._namespace, purpose=PURPOSE)
        self._changes = Changes(self._namespace, blob_size=self._blob_size, now=now)

    def close(self) -> None:
        """End what lasts as long as the process; it begins again when it is used again."""
        self._keeping.close()

    # What there is

    def version(self) -> int:
        return self._content.database.version()

    def names(self, *, after: str = "", limit: int | None = None) -> list[str]:
        return [str(row[0]) for row in self._read(_NAMES, self._namespace, after, _limit(limit))]

    def exists(self, repository: str, /) -> bool:
        return bool(self._read(_ORIGIN, self._namespace, repository))

    def is_cached(self, repository: str, /) -> bool:
        return self._read(_ORIGIN, self._namespace, repository) == [(CACHE,)]

    def has(self, repository: str, digest: Digest, /) -> bool:
        return bool(self._read(_USED, self._namespace, repository, digest)) and self._is_there(digest)

    def use(self, repository: str, digest: Digest, /) -> bool:
        rows = self._read(_USED, self._namespace, repository, digest)
        if not rows or not self._is_there(digest):
            return False
        used = rows[0][0]
        if isinstance(used, int) and used > microseconds(self._now() - FRESH):
            return True
        try:
            return self._commit.do(
                lambda connection: self._changes.use(connection, repository, digest), durable=False
            )
        except (DiskFull, ReadOnly):  # it cannot be promised to stay, but it can be had
            return True

    def manifest(self, repository: str, digest: Digest, /) -> ManifestRecord | None:
        rows = self._read(_MANIFEST, self._namespace, repository, digest)
        if not rows:
            return None
        children = self._read(_CHILDREN, self._namespace, repository, digest)
        return manifest_of(repository, rows[0], children)

    def manifests(
        self, repository: str, /, *, after: str = "", limit: int | None = None
    ) -> list[ManifestRecord]:
        rows = self._read(_MANIFESTS, self._namespace, repository, after, _limit(limit))
        if not rows:
            return []
        links = self._read(_MANY_CHILDREN, self._namespace, repository, rows[0][0], rows[-1][0])
        children = {parent: list(group) for parent, group in groupby(links, key=lambda row: row[0])}
        return [manifest_of(repository, row, (link[1:] for link in children.get(row[0], ()))) for row in rows]

    def tag(self, repository: str, name: str, /) -> Tag | None:
        rows = self._read(_TAG, self._namespace, repository, name)
        return tag_of(repository, rows[0]) if rows else None

    def tags(self, repository: str, /, *, after: str = "", limit: int | None = None) -> list[Tag]:
        rows = self._read(_TAGS, self._namespace, repository, after, _limit(limit))
        return [tag_of(repository, row) for row in rows]

    def referrers(
        self,
        repository: str,
        subject: Digest,
        /,
        *,
        artifact_type: str | None = None,
        after: str = "",
        limit: int | None = None,
    ) -> list[Descriptor]:
        rows = self._read(
            _REFERRERS,
            self._namespace,
            repository,
            subject,
            after,
            artifact_type,
            artifact_type,
            _limit(limit),
        )
        return referrers_of(repository, rows)

    def usage(self, repository: str, /) -> RepositoryUsage | None:
        rows = self._read(_USAGE, self._namespace, repository)
        if not rows or rows[0][0] is None:
            return None
        origin, size, blobs, manifests, tags, updated = rows[0]
        return RepositoryUsage(
            name=repository,
            size=int(str(size)),
            blobs=int(str(blobs)),
            manifests=int(str(manifests)),
            tags=int(str(tags)),
            cached=origin == CACHE,
            updated=moment(updated),
        )

    def size(self, repositories: Collection[str] | None = None, /) -> int:
        if repositories is None:
            rows = self._read(_SIZE, self._namespace)
        else:
            rows = self._read(_SIZE_OF, self._namespace, json.dumps(list(repositories)))
        return int(str(rows[0][0])) if rows else 0

    def owners(self, digest: Digest, /) -> list[str]:
        return [str(row[0]) for row in self._read(_OWNERS, self._namespace, digest)]

    # Changes

    def keeping(self, digest: Digest, /) -> AbstractContextManager[None]:
        return self._keeping.kept(digest)

    def add_blob(self, repository: str, digest: Digest, size: int, /, *, cached: bool = False) -> None:
        self._made()
        self._commit.do(
            lambda connection: self._changes.add_blob(connection, repository, digest, size, cached=cached)
        )

    def mount(self, source: str | None, repository: str, digest: Digest, /) -> bool:
        if not (self.owners(digest) if source is None else self.has(source, digest)):
            return False
        return self._commit.do(lambda connection: self._changes.mount(connection, source, repository, digest))

    def put_manifest(
        self,
        repository: str,
        record: ManifestRecord,
        /,
        *,
        tags: Collection[str] = (),
        needed: Collection[Digest] = (),
        cached: bool = False,
    ) -> list[Digest]:
        self._made()
        return self._commit.do(
            lambda connection: self._changes.put_manifest(
                connection, repository, record, tags=tags, needed=needed, cached=cached
            )
        )

    def untag(self, repository: str, tag: str, /) -> bool:
        if self.tag(repository, tag) is None:
            return False
        return self._commit.do(lambda connection: self._changes.untag(connection, repository, tag))

    def delete_manifest(self, repository: str, digest: Digest, /) -> bool:
        if not self._read(_MANIFEST, self._namespace, repository, digest):
            return False
        return self._commit.do(
            lambda connection: self._changes.delete_manifest(connection, repository, digest)
        )

    def delete_blob(self, repository: str, digest: Digest, /) -> bool:
        if not self._read(_USED, self._namespace, repository, digest):
            return False
        return self._commit.do(lambda connection: self._changes.delete_blob(connection, repository, digest))

    def retire(
        self,
        repository: str,
        /,
        *,
        tags: Collection[Tag] = (),
        manifests: Collection[ManifestRecord] = (),
        blobs: Collection[Digest] = (),
        before: float,
    ) -> tuple[list[str], list[Digest]]:
        if not (tags or manifests or blobs) or not self.exists(repository):
            return [], []
        return self._commit.do(
            lambda connection: self._changes.retire(
                connection, repository, tags=tags, manifests=manifests, blobs=blobs, before=before
            )
        )

    def forget(self, repository: str, /) -> bool:
        if not self.exists(repository):
            return False
        return self._commit.do(lambda connection: self._changes.forget(connection, repository))

    def note_pulled(self, pulls: Iterable[Pull], /) -> None:
        noted = list(pulls)
        if noted and self._content.database.exists():
            self._commit.do(lambda connection: self._changes.note_pulled(connection, noted), durable=False)

    def note_checked(self, repository: str, tag: str, when: float, /) -> None:
        if self._content.database.exists():
            self._commit.do(
                lambda connection: self._changes.note_checked(connection, repository, tag, when),
                durable=False,
            )

    def _made(self) -> None:
        self._content.visibility.make_namespace()

    def _is_there(self, digest: Digest) -> bool:
        """Membership is not enough: fsck may have put the file into quarantine."""
        content = self._content
        return os.path.exists(content.paths.blob(digest)) and content.visibility.sees(digest)

    def _blob_size(self, digest: Digest) -> int | None:
        """Bytes of what the namespace sees; None when there is none."""
        try:
            size = os.stat(self._content.paths.blob(digest), follow_symlinks=False).st_size
        except OSError:
            return None
        return size if self._content.visibility.sees(digest) else None


def _limit(limit: int | None) -> int:
    return -1 if limit is None else limit  # SQLite: no limit
