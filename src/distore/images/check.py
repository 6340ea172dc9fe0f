"""Check: what of an image is there, what is missing, and what is not as its descriptors say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.blobs import read_blob
from distore.content.store import Provider
from distore.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from distore.images.children import (
    attested,
    children,
    has_children,
    is_attestation,
    is_elsewhere,
    read_manifest,
)
from distore.images.select import ALL
from distore.images.walk import MAX_DEPTH, MAX_OBJECTS
from distore.oci import mediatypes
from distore.oci.manifest import MAX_CONFIG_SIZE, Index, parse_config
from distore.oci.platform import Only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distore.content.store import Status
    from distore.errors import DistoreError
    from distore.images.select import Selection
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import Manifest
    from distore.oci.platform import Platform

# What is wrong with an object itself; anything else is about the store, and is raised.
_BAD: Final = (DataLoss, FailedPrecondition, InvalidArgument, PermissionDenied, ResourceExhausted)


class State(StrEnum):
    """Of one object, from the best to the worst."""

    PRESENT = "present"
    ELSEWHERE = "elsewhere"  # not here, and only its own URLs have it
    MISSING = "missing"
    WRONG_SIZE = "wrong-size"  # not as many bytes as its descriptor says
    DAMAGED = "damaged"  # not the bytes of its digest, or no document though its type says so


_RANKS: Final = {state: rank for rank, state in enumerate(State)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """One object. ``size``: bytes of it that the store has; ``received``: bytes of an ingest that will
    become it; ``detail`` says in one line what is wrong."""

    descriptor: Descriptor
    state: State
    size: int = 0
    received: int = 0
    detail: str = ""

    @property
    def is_there(self) -> bool:
        """Whether the store has such a blob, be it right or wrong."""
        return self.state not in (State.MISSING, State.ELSEWHERE)

    @property
    def is_good(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.state in (State.PRESENT, State.ELSEWHERE)

    @property
    def lacking(self) -> int:
        """Bytes that have to be brought for it."""
        return 0 if self.is_good else max(0, self.descriptor.size - self.received)


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What an index names, or an image without an index: a manifest and all that it names.

    ``objects`` begins with the manifest; ``platforms`` are those that it is for, ``about`` the digest of
    the sibling that an attestation tells about.
    """

    objects: tuple[Object, ...]
    platforms: tuple[Platform, ...] = ()
    about: str | None = None

    @property
    def manifest(self) -> Descriptor:
        """Its own descriptor."""
        return self.objects[0].descriptor

    @property
    def is_there(self) -> bool:
        """Whether the store has the manifest at all."""
        return self.objects[0].state is not State.MISSING

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is missing or wrong."""
        return all(part.is_good for part in self.objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found of an image.

    ``objects`` has every object once, the root first; ``below`` the wanted children of each document
    that could be read; ``chosen`` whether platforms were, all of which have to be there then.
    """

    root: Descriptor
    objects: Mapping[Digest, Object]
    below: Mapping[Digest, tuple[Descriptor, ...]]
    branches: tuple[Branch, ...]
    chosen: bool = False

    @property
    def absent(self) -> tuple[Branch, ...]:
        """What a sparse index names and the store never had to have; none of it, nothing is an image."""
        if self.chosen:
            return ()
        images = [branch for branch in self.branches if branch.about is None]
        if not any(branch.is_there for branch in images):
            return ()
        return tuple(branch for branch in self.branches if not branch.is_there)

    @property
    def missing(self) -> tuple[Object, ...]:
        """What has to be brought, or brought again, before the image is complete."""
        absent = {branch.manifest.digest for branch in self.absent}
        return tuple(part for at, part in self.objects.items() if not part.is_good and at not in absent)

    @property
    def is_complete(self) -> bool:
        """Whether every image that the store has of it is whole, and it has one at least; with chosen
        platforms, whether those are."""
        return not self.missing

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is missing, not even what a sparse index names."""
        return all(part.is_good for part in self.objects.values())

    @property
    def is_damaged(self) -> bool:
        """Whether something is there and wrong."""
        return any(_RANKS[part.state] > _RANKS[State.MISSING] for part in self.objects.values())

    @property
    def size(self) -> int:
        """Bytes of it that the store has."""
        return sum(part.size for part in self.objects.values())

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms whose images are whole, each once."""
        whole = [branch for branch in self.branches if branch.about is None and branch.is_whole]
        return tuple(dict.fromkeys(str(platform) for branch in whole for platform in branch.platforms))


class Checkable(Provider, Protocol):
    """Gives out blobs, and knows which are on their way."""

    def statuses(self, *filters: str) -> Iterator[Status]:
        """Every ingest."""
        ...


def check(store: Checkable, root: Descriptor, selection: Selection = ALL) -> Checked:
    """See ``Checker.check``; for many images make one Checker."""
    return Checker(store).check(root, selection)


class Checker:
    """Checks images of one store; which ingests there are it asks once.

    Args:
        ingests: Whether to ask for them at all.
    """

    def __init__(self, store: Checkable, *, ingests: bool = True) -> None:
        self._store = store
        self._received: dict[Digest, int] | None = None if ingests else {}

    def check(self, root: Descriptor, selection: Selection = ALL) -> Checked:
        """What of an image is there. Documents are read and verified, of everything else
        the size alone is looked at (``dist fsck`` verifies the bytes).

        Raises:
            NotFound: A chosen platform that the image is not for.
            ResourceExhausted: Deeper than MAX_DEPTH, or more than MAX_OBJECTS.
            DistoreError: The store cannot be read.
        """
        look = _Look(self._store, selection, self._received_of)
        look.descend(root)
        branches = look.branches(root)
        if len(branches) == 1:
            look.refuse_other_platform(branches[0])
        return Checked(
            root=root,
            objects=look.objects,
            below=look.below,
            branches=branches,
            chosen=selection.platforms is not None,
        )

    def _received_of(self, digest: Digest) -> int:
        """Bytes that an ingest keeps of a blob."""
        if self._received is None:
            self._received = {}
            for status in self._store.statuses():
                if status.expected is not None:
                    known = self._received.get(status.expected, 0)
                    self._received[status.expected] = max(known, status.offset)
        return self._received.get(digest, 0)


class _Look:
    """One image, as far as it was looked at."""

    def __init__(self, store: Checkable, selection: Selection, received: Callable[[Digest], int]) -> None:
        self._store = store
        self._selection = selection
        self._received = received
        self._sizes: dict[Digest, int | None] = {}
        self._indexes: set[Digest] = set()  # that could be read
        self.objects: dict[Digest, Object] = {}
        self.below: dict[Digest, tuple[Descriptor, ...]] = {}

    def descend(self, root: Descriptor) -> None:
        """Look at ``root`` and everything wanted below it, level by level."""
        self._look_at(root)
        planned = {root.digest}
        level = [root] if has_children(root) else []
        for _ in range(MAX_DEPTH):
            following = []
            for at in level:
                for child in self._open(at):
                    self._look_at(child)
                    if has_children(child) and child.digest not in planned:
                        planned.add(child.digest)
                        following.append(child)
                if len(self.objects) > MAX_OBJECTS:
                    raise ResourceExhausted(
                        f"manifest {at.digest}: more than {MAX_OBJECTS} objects in one image"
                    )
            level = following
            if not level:
                return
        raise ResourceExhausted(f"manifest {root.digest}: more than {MAX_DEPTH} levels below it")

    def branches(self, root: Descriptor) -> tuple[Branch, ...]:
        """What the indexes name, each once, in the order it was met; without an index the root."""
        if root.digest not in self._indexes:
            return (self._branch([root]),)
        named: dict[Digest, list[Descriptor]] = {}
        for index in self._indexes_in_order():
            for child in self.below[index]:
                if child.digest not in self._indexes:
                    named.setdefault(child.digest, []).append(child)
        return tuple(self._branch(each) for each in named.values())

    def _indexes_in_order(self) -> Iterator[Digest]:
        return (digest for digest in self.below if digest in self._indexes)

    def _branch(self, named: list[Descriptor]) -> Branch:
        """Of the descriptors that name one manifest."""
        digest = named[0].digest
        platforms = list(dict.fromkeys(each.platform for each in named if each.platform is not None))
        abouts = [attested(each) or "" for each in named if is_attestation(each)]
        if not platforms and not abouts and (told := self._platform(digest)):
            platforms = [told]
        digests = dict.fromkeys([digest, *(child.digest for child in self.below.get(digest, ()))])
        return Branch(
            objects=tuple(self.objects[each] for each in digests),
            platforms=tuple(platforms),
            about=abouts[0] if len(abouts) == len(named) else None,
        )

    def refuse_other_platform(self, branch: Branch) -> None:
        """An image without an index that is known to be for none of the chosen platforms is not found."""
        wanted = self._selection.platforms or ()
        if not wanted or self._indexes or not branch.platforms:
            return
        if not any(Only(each).match(own) for each in wanted for own in branch.platforms):
            raise NotFound(
                f"manifest {branch.manifest.digest}: is for {branch.platforms[0]}, not for {wanted[0]}"
            )

    def _open(self, at: Descriptor) -> tuple[Descriptor, ...]:
        """The wanted children of a document; none of one that cannot be read."""
        document = self._document(at)
        if document is None:
            return ()
        if isinstance(document, Index):
            wanted = self._selection.of(document, subject=f"index {at.digest}")
            self._indexes.add(at.digest)
        else:
            wanted = tuple(children(document))
        self.below[at.digest] = wanted
        return wanted

    def _document(self, at: Descriptor) -> Manifest | Index | None:
        try:
            return read_manifest(self._store, at)
        except NotFound:
            return None  # its part says so
        except _BAD as error:
            self._damaged(at, error)
            return None

    def _platform(self, digest: Digest) -> Platform | None:
        """What the config of a manifest says; None for what is no image, or cannot be read."""
        config = next(iter(self.below.get(digest, ())), None)
        if config is None or not mediatypes.is_config(config.media_type):
            return None
        try:
            data = read_blob(self._store, config.digest, max_size=MAX_CONFIG_SIZE)
            return parse_config(data, subject=config.digest).platform
        except (NotFound, InvalidArgument, ResourceExhausted):  # of an artifact, whatever its type says
            return None
        except _BAD as error:
            self._damaged(config, error)
            return None

    def _look_at(self, at: Descriptor) -> None:
        """Note what is there; of two descriptors of one object the one that fits worse counts."""
        part = self._part(at)
        known = self.objects.get(at.digest)
        if known is None or _RANKS[part.state] > _RANKS[known.state]:
            self.objects[at.digest] = part

    def _part(self, at: Descriptor) -> Object:
        try:
            size = self._size(at.digest)
        except _BAD as error:
            return Object(descriptor=at, state=State.DAMAGED, detail=str(error))
        if size is None:
            if is_elsewhere(at):
                return Object(descriptor=at, state=State.ELSEWHERE)
            return Object(descriptor=at, state=State.MISSING, received=self._received(at.digest))
        if size != at.size:
            detail = f"has {size} bytes, its descriptor says {at.size}"
            return Object(descriptor=at, state=State.WRONG_SIZE, size=size, detail=detail)
        return Object(descriptor=at, state=State.PRESENT, size=size)

    def _damaged(self, at: Descriptor, error: DistoreError) -> None:
        size = self._sizes.get(at.digest) or 0
        self.objects[at.digest] = Object(descriptor=at, state=State.DAMAGED, size=size, detail=str(error))

    def _size(self, digest: Digest) -> int | None:
        """Bytes that the store has of a blob; None: it has none."""
        if digest not in self._sizes:
            try:
                with self._store.reader(digest) as reader:
                    self._sizes[digest] = reader.size
            except NotFound:
                self._sizes[digest] = None
        return self._sizes[digest]
