"""The way within a repository from a tag to a blob, for people who ask why it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distore.content.local.database import Database

_HERE: Final = "namespace = ? AND repository = ?"
_PARENT: Final = (
    f"SELECT manifest FROM repository_links WHERE {_HERE} AND digest = ? ORDER BY manifest LIMIT 1"  # noqa: S608
)
_TAG: Final = f"SELECT name FROM repository_tags WHERE {_HERE} AND digest = ? ORDER BY name LIMIT 1"  # noqa: S608
_MOST: Final = 16  # manifests on a way; indexes of indexes may go round in a ring


def way_to(database: Database, namespace: str, repository: str, digest: str) -> tuple[str | None, list[str]]:
    """The tag that leads to a blob, if any, and the manifests from there on, the blob left out."""
    way: list[str] = []
    while True:
        rows = database.query(_TAG, namespace, repository, digest)
        if rows:
            return str(rows[0][0]), way
        rows = database.query(_PARENT, namespace, repository, digest)
        if not rows or len(way) == _MOST or rows[0][0] in way:
            return None, way
        digest = str(rows[0][0])
        way.insert(0, digest)
