"""Sweep of repositories: blobs that were pushed, or said to be there, and that no manifest came to name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.gc import batches
from distore.metadata.collected import Removed
from distore.metadata.grace import promised
from distore.metadata.repositorychanges import latest_use
from distore.metadata.repositoryrows import microseconds
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.content.local.database import Database
    from distore.metadata.collector import Pass

DEFAULT_GRACE: Final = 3600.0  # seconds that a push may take from a blob to the manifest that names it
_PAGE: Final = 5000  # rows looked at in one read
_AT_ONCE: Final = 200  # rows removed in one transaction
_USELESS: Final = (
    " used <= ? AND NOT EXISTS (SELECT 1 FROM repository_links AS l WHERE l.namespace = b.namespace"
    " AND l.repository = b.repository AND l.digest = b.digest)"
    " AND NOT EXISTS (SELECT 1 FROM repository_manifests AS m WHERE m.namespace = b.namespace"
    " AND m.repository = b.repository AND m.digest = b.digest)"
)
_KEY: Final = "(namespace, repository, digest)"
_NEXT: Final = (  # where the next page begins
    f"SELECT namespace, repository, digest FROM repository_blobs WHERE {_KEY} > (?, ?, ?)"  # noqa: S608
    " ORDER BY namespace, repository, digest LIMIT 1 OFFSET ?"
)
_LOOK: Final = (
    "SELECT namespace, repository, digest, size FROM repository_blobs AS b"  # noqa: S608
    f" WHERE {_KEY} > (?, ?, ?) AND {_KEY} <= (?, ?, ?) AND {_USELESS}"
)
_LOOK_AT_REST: Final = (
    "SELECT namespace, repository, digest, size FROM repository_blobs AS b"  # noqa: S608
    f" WHERE {_KEY} > (?, ?, ?) AND {_USELESS}"
)
_DROP: Final = f"DELETE FROM repository_blobs AS b WHERE {_KEY} = (?, ?, ?) AND {_USELESS}"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlinked:
    """A blob that a repository offers no more, or would not; ``size`` in bytes."""

    namespace: str
    repository: str
    digest: Digest
    size: int


def sweep_unlinked(
    database: Database,
    *,
    grace: float,
    now: Callable[[], float],
    pause: Callable[[], None],
    dry_run: bool = False,
    namespace: str | None = None,
) -> Iterator[Unlinked]:
    """Have repositories offer blobs no more that no manifest of theirs names, and that were neither
    added nor ``use``d for ``grace`` seconds, or for longer if a server promised so; each of them once it
    is so. The collector takes the bytes.

    Safe beside pushes: a manifest that names one of these finds that it is not offered, and is refused.
    A crash leaves some of them removed.

    Args:
        pause: Called between two transactions, to let others write.
        namespace: Only that one's repositories; None: all.
    """
    moment = now()
    before = moment - max(grace, promised(database, now=moment))
    latest = microseconds(latest_use(before, now=moment))
    for some in batches(_found(database, latest, namespace), _AT_ONCE):
        if dry_run:
            yield from some
            continue
        gone = []
        with database.transaction(durable=False) as connection:
            for each in some:
                key = (each.namespace, each.repository, each.digest)
                if connection.execute(_DROP, (*key, latest)).rowcount:
                    gone.append(each)
        yield from gone
        pause()


def sweep_repositories(run: Pass) -> None:
    """``sweep_unlinked`` of all namespaces before a mark; what goes (or would) is in ``run.swept``."""
    database, graph = run.store.database, run.graph
    if not database.exists():
        return
    found = sweep_unlinked(
        database,
        grace=DEFAULT_GRACE,
        now=lambda: graph.now,
        pause=lambda: run.pause(0.0),
        dry_run=run.dry_run,
    )
    offers = [(each.namespace, each.repository, each.digest) for each in found]
    if run.dry_run:
        graph.repositories.ignored = frozenset(offers)
    run.swept = [
        Removed(kind="offer", namespace=space, key=f"{name}@{digest}") for space, name, digest in offers
    ]


def _found(database: Database, latest: int, namespace: str | None) -> Iterator[Unlinked]:
    """Read page by page: no read stays open while others write."""
    last: tuple[object, ...] = (namespace or "", "", "")
    while True:
        ahead = database.read(_NEXT, *last, _PAGE)
        if ahead:
            rows = database.read(_LOOK, *last, *ahead[0], latest)
        else:
            rows = database.read(_LOOK_AT_REST, *last, latest)
        for space, repository, text, size in rows:
            if namespace in (None, space):
                with suppress(InvalidArgument):  # a row that nobody here has written
                    yield Unlinked(
                        namespace=str(space),
                        repository=str(repository),
                        digest=Digest(str(text)),
                        size=int(str(size)),
                    )
        if not ahead or namespace not in (None, ahead[0][0]):
            return
        last = ahead[0]
