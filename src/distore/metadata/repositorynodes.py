"""Repositories as the collector sees them: each blob that one offers is a root, and stands for itself.

A flat one: a registry lists every blob of an image, so that none needs the labels of another, and a
snapshot that was made of an image is no business of its repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    from distore.content.local.database import Database
    from distore.metadata.nodes import Nodes

    Row = tuple[object, ...]
    Pages = Callable[[str, tuple[str, ...], tuple[int, ...]], Iterator[Row]]

REASON: Final = "repository "  # before the name
_OFFERED: Final = (  # each blob once
    "SELECT namespace, digest, min(repository) FROM repository_blobs INDEXED BY repository_owners"
    " WHERE (namespace, digest) > (?, ?) GROUP BY namespace, digest ORDER BY namespace, digest LIMIT ?"
)
_OFFERS: Final = (
    "SELECT namespace, digest, repository FROM repository_blobs INDEXED BY repository_owners"
    " WHERE (namespace, digest, repository) > (?, ?, ?) ORDER BY namespace, digest, repository LIMIT ?"
)
_IS_OFFERED: Final = "SELECT 1 FROM repository_blobs WHERE namespace = ? AND digest = ? LIMIT 1"


class RepositoryNodes:
    """Not thread-safe.

    Args:
        pages: Reads a table from key to key.
    """

    def __init__(self, database: Database, nodes: Nodes, pages: Pages) -> None:
        self._database = database
        self._nodes = nodes
        self._pages = pages
        # (namespace, repository, digest) of what a dry run takes for swept
        self.ignored: AbstractSet[tuple[object, ...]] = frozenset()

    def roots(self) -> Iterator[tuple[bytes, str]]:
        """Everything that is offered, and by whom."""
        for namespace, digest, repository in self._offers():
            node = self._nodes.content(str(namespace), str(digest), flat=True)
            if node is not None:
                yield node, f"{REASON}{repository}"

    def _offers(self) -> Iterator[Row]:
        if not self.ignored:
            yield from self._pages(_OFFERED, ("", ""), (0, 1))
            return
        for namespace, digest, repository in self._pages(_OFFERS, ("", "", ""), (0, 1, 2)):
            if (namespace, repository, digest) not in self.ignored:
                yield namespace, digest, repository

    def held(self, namespace: str, type: str, key: str) -> Iterator[bytes]:
        """The node of a blob that a repository offers now."""
        if type == "content" and self._database.query(_IS_OFFERED, namespace, key):
            node = self._nodes.content(namespace, key, flat=True)
            if node is not None:
                yield node
