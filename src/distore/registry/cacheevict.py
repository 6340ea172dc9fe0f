"""Eviction: copies that were not asked for the longest give way when there are too many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.oci import mediatypes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from distore.oci.digest import Digest
    from distore.repositories import ManifestRecord, Repositories, Tag

# Whoever has just got a manifest is about to ask for what it names.
RECENT: Final = 600.0  # seconds
_AT_ONCE: Final = 200  # manifests that go in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copied:
    """A manifest of a copy; ``last``: when it, or a tag of it, was last asked for."""

    last: float
    repository: str
    record: ManifestRecord
    tags: tuple[Tag, ...]


def evict(
    repositories: Repositories, *, now: float, budget: int | None, short: int = 0, recent: float = RECENT
) -> int:
    """Have the copies of upstreams' repositories take no more than ``budget`` bytes (None: any number), and
    ``short`` bytes less than they do; bytes that are offered no more. The collector frees them.

    What was asked for within ``recent`` seconds stays in any case, and so does what was pushed.
    """
    names = [name for name in repositories.names() if repositories.is_cached(name)]
    if not names or (budget is None and not short):
        return 0
    before = repositories.size(names)
    goal = max(0, before - short)
    goal = goal if budget is None else min(goal, budget)
    waiting = _oldest_first(repositories, names, until=now - recent) if before > goal else []
    used = before
    while waiting and used > goal:
        chosen = _enough(waiting, used - goal)
        waiting = waiting[len(chosen) :]
        for name in dict.fromkeys(copied.repository for copied in chosen):
            _give_up(
                repositories,
                name,
                [copied for copied in chosen if copied.repository == name],
                before=now - recent,
            )
        used = repositories.size(names)
    return before - used


def _oldest_first(repositories: Repositories, names: Iterable[str], *, until: float) -> list[_Copied]:
    found = []
    for name in names:
        by_digest: dict[Digest, list[Tag]] = {}
        for tag in repositories.tags(name):
            by_digest.setdefault(tag.descriptor.digest, []).append(tag)
        for record in repositories.manifests(name):
            tags = by_digest.get(record.descriptor.digest, [])
            if not record.cached or any(tag.checked is None for tag in tags):
                continue  # it was pushed here, and can be had nowhere else
            times = [record.pulled, record.pushed, *(tag.pulled for tag in tags)]
            last = max((time.timestamp() for time in times if time is not None), default=0.0)
            if last < until:
                found.append(_Copied(last=last, repository=name, record=record, tags=tuple(tags)))
    # An index and what it names are often asked for within the same moment: the index goes first.
    found.sort(key=lambda copied: (copied.last, not _is_index(copied.record)))
    return found


def _enough(waiting: Sequence[_Copied], size: int) -> list[_Copied]:
    """The first of them that have so many bytes, if nothing else has the same ones."""
    chosen: list[_Copied] = []
    counted: set[Digest] = set()
    for copied in waiting[:_AT_ONCE]:
        if size <= 0:
            break
        chosen.append(copied)
        own = (copied.record.descriptor.digest, copied.record.descriptor.size)
        # What an index names are manifests; their blobs are theirs.
        named = () if _is_index(copied.record) else copied.record.children
        for digest, bytes_of in (own, *named):
            size -= 0 if digest in counted else bytes_of
            counted.add(digest)
    return chosen


def _give_up(repositories: Repositories, name: str, chosen: Sequence[_Copied], *, before: float) -> None:
    indexes_first = sorted(chosen, key=lambda copied: not _is_index(copied.record))
    repositories.retire(
        name,
        tags=[tag for copied in chosen for tag in copied.tags],
        manifests=[copied.record for copied in indexes_first],
        blobs=list({digest for copied in chosen for digest, _ in copied.record.children}),
        before=before,
    )


def _is_index(record: ManifestRecord) -> bool:
    return mediatypes.is_index(record.descriptor.media_type)
