"""Shown: what one visitor may see of a registry, in pieces that a page has room for."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import DistoreError, InvalidArgument
from distore.images.children import children
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import Index
from distore.registry.grants import PULL
from distore.registry.names import is_repository, is_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from distore.content.store import Provider
    from distore.images.image import Image
    from distore.oci.manifest import ImageConfig, Manifest
    from distore.oci.platform import Platform
    from distore.registry.documents import Documents
    from distore.registry.grants import Grants
    from distore.registry.pages.links import Place
    from distore.registry.shelfimages import ShelfImages
    from distore.repositories import ManifestRecord, Repositories, RepositoryUsage

PAGE: Final = 50  # rows of a list
SCANNED: Final = 20_000  # names that one page looks through
SORTED: Final = 1000  # tags that are sorted by their age; of more, a page shows them by name
DOCUMENTS: Final = 400  # that one page reads
_BATCH: Final = 1000  # names asked for at a time


class Sources(NamedTuple):
    """Where everything is from. ``shelf``: None when the images of the store are not served."""

    repositories: Repositories
    shelf: ShelfImages | None
    content: Provider
    documents: Documents


class Listing(NamedTuple):
    """Some names, and behind which one the others come; None: these were the last."""

    names: list[str]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A tag as a list shows it; ``shelved``: of an image of the store."""

    name: str
    descriptor: Descriptor
    updated: datetime | None
    shelved: bool = False


class Tags(NamedTuple):
    """Some tags, and behind which one the others come; ``newest``: they are sorted by age."""

    tags: list[Tagged]
    next: str | None
    newest: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A manifest that a repository offers."""

    place: Place
    descriptor: Descriptor
    tag: Tagged | None = None
    record: ManifestRecord | None = None


class Shown:
    """Answers for one request, of what ``grants`` let its user pull; reads DOCUMENTS at most."""

    def __init__(self, sources: Sources, grants: Grants) -> None:
        self._repositories = sources.repositories
        self._shelf = sources.shelf
        self._content = sources.content
        self._documents = sources.documents
        self._grants = grants
        self._left = DOCUMENTS

    def may(self, repository: str) -> bool:
        """Whether the user may pull from it."""
        return self._grants.may(PULL, repository)

    def names(self, *, after: str, wanted: str) -> Listing:
        """Repositories with ``wanted`` in their name."""
        found: list[str] = []
        scanned = 0
        while batch := self._batch(after):
            for name in batch:
                if wanted in name and self.may(name):
                    if len(found) == PAGE:
                        return Listing(found, found[-1])
                    found.append(name)
            after = batch[-1]
            scanned += len(batch)
            if scanned >= SCANNED:
                return Listing(found, after)
            if len(batch) < _BATCH:
                break
        return Listing(found, None)

    def exists(self, repository: str) -> bool:
        """Whether there is such a repository, for this user."""
        if not is_repository(repository) or not self.may(repository):
            return False
        return self._repositories.exists(repository) or self.is_shelved(repository)

    def is_shelved(self, repository: str) -> bool:
        """Whether images of the store are in it."""
        return self._shelf is not None and self._shelf.exists(repository)

    def usage(self, repository: str) -> RepositoryUsage | None:
        """What was pushed to it; None: nothing was."""
        return self._repositories.usage(repository)

    def tag_count(self, repository: str, usage: RepositoryUsage | None) -> int:
        """Its tags, those of the store's images, too."""
        shelf = {} if self._shelf is None else self._shelf.tags(repository)
        both = sum(self._repositories.tag(repository, name) is not None for name in islice(shelf, PAGE))
        return (usage.tags if usage else 0) + len(shelf) - both

    def last_push(self, repository: str, usage: RepositoryUsage | None) -> datetime | None:
        """When a tag came or moved last."""
        shelf = {} if self._shelf is None else self._shelf.tags(repository)
        times = [image.updated for image in islice(shelf.values(), _BATCH)]
        if usage is not None and usage.updated is not None:
            times.append(usage.updated)
        return max(times, default=None)

    def tags(self, repository: str, *, after: str, wanted: str, by_name: bool) -> Tags:
        """Tags with ``wanted`` in them, the newest first if there are not too many to sort."""
        if not after and not by_name:
            every = self._tags(repository, after="", limit=SORTED + 1)
            if len(every) <= SORTED:
                fitting = [tag for tag in every if wanted in tag.name]
                fitting.sort(key=lambda tag: tag.updated.timestamp() if tag.updated else 0.0, reverse=True)
                return Tags(fitting, None, newest=True)
        found: list[Tagged] = []
        scanned = 0
        while batch := self._tags(repository, after=after, limit=_BATCH):
            for tag in batch:
                if wanted in tag.name:
                    if len(found) == PAGE:
                        return Tags(found, found[-1].name, newest=False)
                    found.append(tag)
            after = batch[-1].name
            scanned += len(batch)
            if scanned >= SCANNED:
                return Tags(found, after, newest=False)
            if len(batch) < _BATCH:
                break
        return Tags(found, None, newest=False)

    def find(self, place: Place) -> Found | None:
        """The manifest at a place, if this user may see it."""
        if not self.exists(place.repository):
            return None
        if not place.is_digest:
            tag = self.tag(place.repository, place.name)
            if tag is None:
                return None
            record = self._repositories.manifest(place.repository, tag.descriptor.digest)
            return Found(place=place, descriptor=tag.descriptor, tag=tag, record=record)
        try:
            digest = Digest(place.name)
        except InvalidArgument:
            return None
        record = self._repositories.manifest(place.repository, digest)
        if record is not None:
            return Found(place=place, descriptor=record.descriptor, record=record)
        kind = None if self._shelf is None else self._shelf.media_type(place.repository, digest)
        size = None if kind is None else self._size_of(digest)
        if kind is None or size is None or not (mediatypes.is_manifest(kind) or mediatypes.is_index(kind)):
            return None
        return Found(place=place, descriptor=Descriptor(media_type=kind, digest=digest, size=size))

    def tag(self, repository: str, name: str) -> Tagged | None:
        """One tag."""
        if not is_tag(name):
            return None
        tag = self._repositories.tag(repository, name)
        if tag is not None:
            return Tagged(name=name, descriptor=tag.descriptor, updated=tag.updated)
        image = None if self._shelf is None else self._shelf.tag(repository, name)
        if image is None:
            return None
        return _of_image(name, image)

    def offers(self, repository: str, digest: Digest) -> bool:
        """Whether it offers a blob or a manifest."""
        if self._repositories.has(repository, digest):
            return True
        return self._shelf is not None and self._shelf.media_type(repository, digest) is not None

    def referrers(self, repository: str, digest: Digest, *, most: int) -> list[Descriptor]:
        """What is about a manifest."""
        found = {each.digest: each for each in self._repositories.referrers(repository, digest, limit=most)}
        if self._shelf is not None:
            for each in self._shelf.referrers(repository, digest)[:most]:
                found.setdefault(each.digest, each)
        return list(found.values())[:most]

    def records(self, repository: str, *, most: int) -> list[ManifestRecord]:
        """Some of its manifests."""
        return self._repositories.manifests(repository, limit=most)

    def owners(self, digest: Digest, *, most: int) -> list[str]:
        """Repositories that offer it, of those that the user may see."""
        names = set(self._repositories.owners(digest))
        if self._shelf is not None:
            names.update(self._shelf.owners(digest, most=most))
        return sorted(name for name in names if self.may(name))

    def document(self, repository: str, descriptor: Descriptor) -> Manifest | Index | None:
        """A manifest or index; None when the repository does not offer it, or too many were read."""
        if not self._takes_one(repository, descriptor.digest):
            return None
        return self._documents.manifest(descriptor.digest, descriptor.media_type)

    def config(self, repository: str, manifest: Manifest) -> ImageConfig | None:
        """The config of an image; None when it has none that the repository offers."""
        config = manifest.config
        if not mediatypes.is_config(config.media_type) or not self._takes_one(repository, config.digest):
            return None
        return self._documents.config(config.digest)

    def is_here(self, repository: str, digest: Digest) -> bool:
        """Whether it is offered, and has not been lost."""
        return self.offers(repository, digest) and self._size_of(digest) is not None

    def _takes_one(self, repository: str, digest: Digest) -> bool:
        """Whether one more document may be read: whoever writes its digest into a manifest of their own
        must not get by it what only another repository has."""
        if self._left <= 0:
            return False
        self._left -= 1
        return self.offers(repository, digest)

    def _size_of(self, digest: Digest) -> int | None:
        """Bytes of a blob; None when it is not there."""
        try:
            with self._content.reader(digest) as reader:
                return reader.size
        except DistoreError:
            return None

    def platforms(self, repository: str, descriptor: Descriptor) -> list[Platform]:
        """Those that it is for, as far as it says so itself."""
        document = self.document(repository, descriptor)
        if document is None:
            return []
        if isinstance(document, Index):
            given = (child.platform for child in document.manifests[:DOCUMENTS])
            return [each for each in given if each is not None and each.os not in ("", "unknown")]
        config = self.config(repository, document)
        return [] if config is None or not config.platform.os else [config.platform]

    def held(self, repository: str, descriptor: Descriptor) -> dict[Digest, int]:
        """Bytes of everything that is there of an image, by digest; what a sparse index lacks is not."""
        found: dict[Digest, int] = {}
        waiting = [descriptor]
        while waiting:
            at = waiting.pop()
            document = None if at.digest in found else self.document(repository, at)
            if document is None:
                continue
            found[at.digest] = at.size
            if isinstance(document, Index):
                waiting += document.manifests
            else:
                found.update((child.digest, child.size) for child in children(document))
        return found

    def _batch(self, after: str) -> list[str]:
        shelf = [] if self._shelf is None else self._shelf.names(after=after, limit=_BATCH)
        return _first(_BATCH, self._repositories.names(after=after, limit=_BATCH), shelf)

    def _tags(self, repository: str, *, after: str, limit: int) -> list[Tagged]:
        pushed = {
            tag.name: Tagged(name=tag.name, descriptor=tag.descriptor, updated=tag.updated)
            for tag in self._repositories.tags(repository, after=after, limit=limit)
        }
        shelf = {} if self._shelf is None else self._shelf.tags(repository)
        names = _first(limit, pushed, (name for name in shelf if name > after))
        return [pushed.get(name) or _of_image(name, shelf[name]) for name in names]


def _of_image(tag: str, image: Image) -> Tagged:
    return Tagged(name=tag, descriptor=image.target, updated=image.updated, shelved=True)


def _first(limit: int, *lists: Iterable[str]) -> list[str]:
    return list(islice(_once(merge(*lists)), limit))


def _once(names: Iterator[str]) -> Iterator[str]:
    last = None
    for name in names:
        if name != last:
            yield name
        last = name
