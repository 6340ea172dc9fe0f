"""MemoryRepositories: Repositories in memory, the verified fake for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Container, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from distore.oci.descriptor import Descriptor
from distore.repositories import ManifestRecord, Pull, RepositoryUsage, Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from distore.oci.digest import Digest

Tags = MutableMapping[str, dict[str, Descriptor]]


@dataclass(slots=True)
class _Repository:
    cached: bool = False
    blobs: dict[Digest, int] = field(default_factory=dict)  # manifests, too; bytes
    manifests: dict[Digest, ManifestRecord] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)  # the times of those in ``MemoryRepositories.shown``
    used: dict[Digest, float] = field(default_factory=dict)  # when somebody was last told of a blob

    def last_use(self, digest: Digest) -> datetime | None:
        """When it was last pushed, or somebody was told of it."""
        record = self.manifests.get(digest)
        moments = [datetime.fromtimestamp(self.used[digest], UTC)] if digest in self.used else []
        if record is not None and record.pushed is not None:
            moments.append(record.pushed)
        return max(moments, default=None)


class MemoryRepositories:
    """Repositories that end with the process. Nothing is swept.

    Args:
        shown: Tags by repository, kept up to date; a test may change it, too.
        everywhere: Blobs that every repository offers.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        shown: Tags | None = None,
        *,
        everywhere: Container[Digest] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.shown: Tags = {} if shown is None else shown
        self._everywhere = everywhere
        self._now = now
        self._guard = threading.RLock()
        self._all: dict[str, _Repository] = {}
        self._version = 0

    def version(self) -> int:
        # A test may change ``shown`` behind our back: never the same number twice.
        with self._guard:
            self._version += 1
            return self._version

    def names(self, *, after: str = "", limit: int | None = None) -> list[str]:
        with self._guard:
            return sorted(name for name in {*self._all, *self.shown} if name > after)[:limit]

    def exists(self, repository: str, /) -> bool:
        with self._guard:
            return repository in self._all or repository in self.shown

    def is_cached(self, repository: str, /) -> bool:
        with self._guard:
            return repository in self._all and self._all[repository].cached

    def has(self, repository: str, digest: Digest, /) -> bool:
        with self._guard:
            here = self._all.get(repository)
            return digest in self._everywhere or (here is not None and digest in here.blobs)

    def use(self, repository: str, digest: Digest, /) -> bool:
        with self._guard:
            if not self.has(repository, digest):
                return False
            if repository in self._all:
                self._all[repository].used[digest] = self._now()
            return True

    def manifest(self, repository: str, digest: Digest, /) -> ManifestRecord | None:
        with self._guard:
            here = self._all.get(repository)
            return here.manifests.get(digest) if here is not None else None

    def manifests(
        self, repository: str, /, *, after: str = "", limit: int | None = None
    ) -> list[ManifestRecord]:
        with self._guard:
            here = self._all.get(repository)
            found = here.manifests if here is not None else {}
            digests = [digest for digest in sorted(found) if digest > after][:limit]
            return [replace(found[digest], used=here.last_use(digest)) for digest in digests if here]

    def tag(self, repository: str, name: str, /) -> Tag | None:
        with self._guard:
            descriptor = self.shown.get(repository, {}).get(name)
            if descriptor is None:
                return None
            here = self._all.get(repository)
            told = here.tags.get(name) if here is not None else None
            if told is not None and told.descriptor == descriptor:
                return told
            return Tag(name=name, descriptor=descriptor)

    def tags(self, repository: str, /, *, after: str = "", limit: int | None = None) -> list[Tag]:
        with self._guard:
            names = sorted(name for name in self.shown.get(repository, {}) if name > after)[:limit]
            found = (self.tag(repository, name) for name in names)
            return [tag for tag in found if tag is not None]

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
        return [
            record.descriptor
            for record in self.manifests(repository, after=after)
            if record.subject == subject and artifact_type in (None, record.descriptor.artifact_type)
        ][:limit]

    def usage(self, repository: str, /) -> RepositoryUsage | None:
        with self._guard:
            if not self.exists(repository):
                return None
            here = self._all.get(repository) or _Repository()
            return RepositoryUsage(
                name=repository,
                size=sum(here.blobs.values()),
                blobs=len(here.blobs),
                manifests=len(here.manifests),
                tags=len(self.shown.get(repository, {})),
                cached=here.cached,
                updated=max((tag.updated for tag in self.tags(repository) if tag.updated), default=None),
            )

    def size(self, repositories: Collection[str] | None = None, /) -> int:
        with self._guard:
            chosen = [
                here for name, here in self._all.items() if repositories is None or name in repositories
            ]
            return sum({digest: size for here in chosen for digest, size in here.blobs.items()}.values())

    def owners(self, digest: Digest, /) -> list[str]:
        with self._guard:
            return sorted(name for name, here in self._all.items() if digest in here.blobs)

    @contextmanager
    def keeping(self, digest: Digest, /) -> Iterator[None]:
        yield

    def add_blob(self, repository: str, digest: Digest, size: int, /, *, cached: bool = False) -> None:
        with self._guard:
            here = self._made(repository, cached=cached)
            here.blobs.setdefault(digest, size)
            here.used[digest] = self._now()

    def mount(self, source: str | None, repository: str, digest: Digest, /) -> bool:
        with self._guard:
            if source is not None and not self.has(source, digest):
                return False
            owners = self.owners(digest)
            if source is None and not owners:
                return False
            size = self._all[owners[0]].blobs[digest] if owners else 0
            self.add_blob(repository, digest, size)
            return True

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
        moment = datetime.fromtimestamp(self._now(), UTC)
        descriptor = record.descriptor
        with self._guard:
            missing = [digest for digest in needed if not self.has(repository, digest)]
            if missing:
                return missing
            here = self._made(repository, cached=cached)
            old = here.manifests.get(descriptor.digest)
            pulled = old.pulled if old is not None else None
            copied = cached and (old is None or old.cached)
            here.manifests[descriptor.digest] = replace(
                record, pushed=moment, pulled=pulled, used=None, cached=copied
            )
            here.blobs[descriptor.digest] = descriptor.size
            plain = Descriptor(
                media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
            )
            for name in tags:
                found = self.tag(repository, name)
                if cached and found is not None and found.checked is None:
                    continue  # a copy takes no tag from who pushed it
                known = found or Tag(name=name, descriptor=plain)
                moved = known.updated is None or known.descriptor.digest != plain.digest
                self.shown[repository][name] = plain
                here.tags[name] = replace(
                    known,
                    descriptor=plain,
                    updated=moment if moved else known.updated,
                    checked=moment if cached else None,
                )
            return []

    def untag(self, repository: str, tag: str, /) -> bool:
        with self._guard:
            if repository in self._all:
                self._all[repository].tags.pop(tag, None)
            return self.shown.get(repository, {}).pop(tag, None) is not None

    def delete_manifest(self, repository: str, digest: Digest, /) -> bool:
        with self._guard:
            here = self._all.get(repository)
            if here is None or here.manifests.pop(digest, None) is None:
                return False
            here.blobs.pop(digest, None)
            tags = self.shown.get(repository, {})
            for name in [name for name, descriptor in tags.items() if descriptor.digest == digest]:
                self.untag(repository, name)
            return True

    def delete_blob(self, repository: str, digest: Digest, /) -> bool:
        with self._guard:
            here = self._all.get(repository)
            if here is None or digest not in here.blobs or digest in here.manifests:
                return False
            del here.blobs[digest]
            return True

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
        limit = datetime.fromtimestamp(before, UTC)
        with self._guard:
            here = self._all.get(repository)
            if here is None:
                return [], []
            old = {
                digest
                for digest, record in here.manifests.items()
                if (record.pushed is None or record.pushed < limit) and here.used.get(digest, 0.0) < before
            }
            gone_tags = [
                tag.name
                for tag in tags
                if tag.descriptor.digest not in here.manifests or tag.descriptor.digest in old
                if (found := self.tag(repository, tag.name)) is not None
                and (found.descriptor.digest, found.updated, found.checked)
                == (tag.descriptor.digest, tag.updated, tag.checked)
                and self.untag(repository, tag.name)
            ]
            gone = _useless(
                {record.descriptor.digest for record in manifests} & old,
                here.manifests,
                tagged={descriptor.digest for descriptor in self.shown.get(repository, {}).values()},
            )
            for digest in gone:
                self.delete_manifest(repository, digest)
            named = {child for record in here.manifests.values() for child, _ in record.children}
            for digest in {*blobs} - named:
                if here.used.get(digest, 0.0) < before:
                    self.delete_blob(repository, digest)
            return gone_tags, sorted(gone)

    def forget(self, repository: str, /) -> bool:
        with self._guard:
            there = self.exists(repository)
            self._all.pop(repository, None)
            self.shown.pop(repository, None)
            return there

    def note_pulled(self, pulls: Iterable[Pull], /) -> None:
        with self._guard:
            for pull in pulls:
                moment = datetime.fromtimestamp(pull.when, UTC)
                here = self._all.get(pull.repository)
                if here is None or pull.digest not in here.manifests:
                    continue
                record = here.manifests[pull.digest]
                here.manifests[pull.digest] = replace(record, pulled=max(record.pulled or moment, moment))
                if pull.tag in here.tags:
                    tag = here.tags[pull.tag]
                    here.tags[pull.tag] = replace(tag, pulled=max(tag.pulled or moment, moment))

    def note_checked(self, repository: str, tag: str, when: float, /) -> None:
        with self._guard:
            here = self._all.get(repository)
            if here is not None and tag in here.tags:
                here.tags[tag] = replace(here.tags[tag], checked=datetime.fromtimestamp(when, UTC))

    def _made(self, repository: str, *, cached: bool) -> _Repository:
        self.shown.setdefault(repository, {})
        return self._all.setdefault(repository, _Repository(cached=cached))


def _useless(
    candidates: set[Digest], manifests: dict[Digest, ManifestRecord], *, tagged: set[Digest]
) -> set[Digest]:
    """Those that no tag and no manifest that stays needs, and that are about none that stays."""
    gone = candidates - tagged
    while True:
        needed = {
            child
            for digest, record in manifests.items()
            if digest not in gone
            for child, _ in record.children
        }
        needed |= {digest for digest in gone if manifests[digest].subject in manifests.keys() - gone}
        if not gone & needed:
            return gone
        gone -= needed
