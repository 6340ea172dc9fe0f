"""ShelfImages: the images of a store as repositories with tags, and what each of them offers."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.store import Provider
from distore.errors import DistoreError, InvalidArgument, NotFound
from distore.images.children import children, has_children
from distore.images.gclabels import referrers_of
from distore.images.walk import MAX_DEPTH
from distore.oci.reference import Reference
from distore.registry.names import is_repository, is_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.content.store import Info
    from distore.images.image import Image, ImageStore
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.registry.documents import Documents

FRESH: Final = 1.0  # seconds that a look at the images holds
MAX_MEMBERS: Final = 20_000  # objects that one image offers
MEMORY: Final = 400_000  # objects that are remembered of all images together


class ShelfContent(Provider, Protocol):
    """Also knows the labels of blobs, which name what refers to them."""

    def info(self, digest: Digest, /) -> Info:
        """About one blob."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """The images as they were ``at`` (seconds of the clock)."""

    at: float
    names: list[str]
    tags: Mapping[str, Mapping[str, Image]]
    roots: Mapping[str, Mapping[Digest, Descriptor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """What a root leads to, by media type, as it was ``at``."""

    at: float
    members: Mapping[Digest, str] = field(repr=False)


class ShelfImages:
    """Images whose names are references, by repository: ``docker.io/library/redis`` has ``latest``.

    Thread-safe. What was added to the store is seen at once under its tag, and in lists after FRESH.
    A name with a port has no place among the repositories of a registry, and is left out.

    Args:
        clock: Seconds.
    """

    def __init__(
        self, images: ImageStore, content: ShelfContent, documents: Documents, *, clock: Callable[[], float]
    ) -> None:
        self._images = images
        self._content = content
        self._documents = documents
        self._clock = clock
        self._guard = threading.Lock()
        self._look: _Look | None = None
        self._reaches: OrderedDict[Digest, _Reach] = OrderedDict()
        self._remembered = 0

    def names(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Repositories in lexical order, those behind ``after``."""
        names = self._looked().names
        start = bisect_right(names, after)
        return names[start : None if limit is None else start + limit]

    def exists(self, repository: str) -> bool:
        """Whether there is an image of it."""
        return repository in self._looked().roots

    def tags(self, repository: str) -> Mapping[str, Image]:
        """Its images by tag, in lexical order."""
        return self._looked().tags.get(repository, {})

    def tag(self, repository: str, name: str) -> Image | None:
        """What a tag stands for, at this moment."""
        if not is_repository(repository) or not is_tag(name):
            return None
        try:
            image = self._images.get(f"{repository}:{name}")
        except NotFound:
            return self.tags(repository).get(name)
        except DistoreError:
            return None
        look = self._looked()
        if look.tags.get(repository, {}).get(name) != image:
            # Whoever knows the tag asks for its blobs next.
            with self._guard:
                self._look = None
        return image

    def media_type(self, repository: str, digest: Digest) -> str | None:
        """What an image of the repository calls an object that it leads to; None: none does."""
        for root in self._looked().roots.get(repository, {}).values():
            found = self._reach(root, digest).members.get(digest)
            if found is not None:
                return found
        return None

    def referrers(self, repository: str, subject: Digest) -> list[Descriptor]:
        """What the store has that says it is about ``subject``, in the order of the digests."""
        if self.media_type(repository, subject) is None:
            return []
        found: list[Descriptor] = []
        for digest in self._labelled(subject):
            document = self._documents.manifest(digest)
            if document is not None and document.subject and document.subject.digest == subject:
                described = self._documents.described(digest)
                found += [described] if described is not None else []
        return sorted(found, key=lambda each: each.digest)

    def owners(self, digest: Digest, *, most: int) -> list[str]:
        """Repositories that lead to it; looks at ``most`` images at most."""
        looked = 0
        found: list[str] = []
        for name, roots in self._looked().roots.items():
            for root in roots.values():
                looked += 1
                if looked > most:
                    return found
                if digest in self._reach(root, digest).members:
                    found.append(name)
                    break
        return found

    def _looked(self) -> _Look:
        now = self._clock()
        with self._guard:
            look = self._look
            if look is not None and 0 <= now - look.at < FRESH:
                return look
            self._look = look = _look_at(self._images, now)
            return look

    def _reach(self, root: Descriptor, wanted: Digest) -> _Reach:
        """What it leads to; looked for again when ``wanted`` is not there, as a sparse index may have
        got more, and an image a signature."""
        now = self._clock()
        with self._guard:
            known = self._reaches.get(root.digest)
            if known is not None:
                self._reaches.move_to_end(root.digest)
                if wanted in known.members or 0 <= now - known.at < FRESH:
                    return known
        reach = _Reach(at=now, members=self._members(root))
        with self._guard:
            old = self._reaches.pop(root.digest, None)
            self._remembered += len(reach.members) - (len(old.members) if old else 0)
            self._reaches[root.digest] = reach
            while self._remembered > MEMORY and len(self._reaches) > 1:
                _, gone = self._reaches.popitem(last=False)
                self._remembered -= len(gone.members)
        return reach

    def _members(self, root: Descriptor) -> dict[Digest, str]:
        members: dict[Digest, str] = {root.digest: root.media_type}
        level = [root]
        for _ in range(MAX_DEPTH + 1):
            below = []
            for at in level:
                for child in self._below(at) if has_children(at) else ():
                    if child.digest not in members and len(members) < MAX_MEMBERS:
                        members[child.digest] = child.media_type
                        below.append(child)
            level = below
        return members

    def _below(self, at: Descriptor) -> list[Descriptor]:
        """What a document names, and what the store knows to refer to it."""
        document = self._documents.manifest(at.digest, at.media_type)
        named = [] if document is None else list(children(document))
        about = [self._documents.described(digest) for digest in self._labelled(at.digest)]
        return [*named, *(each for each in about if each is not None)]

    def _labelled(self, digest: Digest) -> list[Digest]:
        try:
            return referrers_of(self._content.info(digest).labels)
        except NotFound:
            return []


def _look_at(images: ImageStore, now: float) -> _Look:
    tags: dict[str, dict[str, Image]] = {}
    roots: dict[str, dict[Digest, Descriptor]] = {}
    for image in images.list():
        try:
            reference = Reference.parse(image.name, default_tag=None)
        except InvalidArgument:
            continue
        if not is_repository(reference.name):
            continue
        roots.setdefault(reference.name, {})[image.target.digest] = image.target
        if reference.tag is not None:
            tags.setdefault(reference.name, {})[reference.tag] = image
    ordered = {name: dict(sorted(found.items())) for name, found in tags.items()}
    return _Look(at=now, names=sorted(roots), tags=ordered, roots=roots)
