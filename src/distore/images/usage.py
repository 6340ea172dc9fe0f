"""Usage: the bytes of images, what they share, and what would go with one of them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from distore.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from distore.images.check import Checkable, Checker
from distore.images.children import document_of
from distore.images.gclabels import referrers_of
from distore.images.walk import MAX_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distore.content.store import Info
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest

_BAD_REFERRER: Final = (NotFound, DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes that the store has of an image: all, those that another image needs too, and those that
    go when the image goes. What refers to it (signatures, SBOMs) is part of it."""

    total: int
    shared: int
    unique: int


class Measurable(Checkable, Protocol):
    """Also knows the labels of blobs, which name what refers to them."""

    def info(self, digest: Digest, /) -> Info:
        """About one blob."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What one target needs, for ``Survey.usage``; ``is_named``: an image stands for it."""

    is_named: bool
    numbers: array[int] = field(repr=False)


class Survey:
    """Which blobs are needed, and by how many images. Keeps some hundred bytes for each blob."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._sizes = array("q")
        self._counts = array("Q")

    def add(self, store: Measurable, target: Descriptor, *, names: int) -> Needed:
        """Count the blobs of a target once for each of its ``names``; 0: no image stands for it.

        Raises:
            ResourceExhausted: More than MAX_OBJECTS; nothing of it is counted.
            DistoreError: The store cannot be read.
        """
        numbers = array("Q")
        for digest, size in list(blobs_of(store, target)):
            number = self._numbers.setdefault(_compact(digest), len(self._sizes))
            if number == len(self._sizes):
                self._sizes.append(size)
                self._counts.append(0)
            self._counts[number] += names
            numbers.append(number)
        return Needed(is_named=names > 0, numbers=numbers)

    def usage(self, needed: Needed) -> Usage:
        """Of a target, once everything has been added."""
        total = shared = 0
        for number in needed.numbers:
            total += self._sizes[number]
            if self._counts[number] > needed.is_named:
                shared += self._sizes[number]
        return Usage(total=total, shared=shared, unique=total - shared)


def blobs_of(store: Measurable, target: Descriptor) -> Iterator[tuple[Digest, int]]:
    """The blobs that the store has of an image and of what refers to it, each once, with their bytes.

    Raises:
        ResourceExhausted: Deeper than MAX_DEPTH, or more than MAX_OBJECTS.
        DistoreError: The store cannot be read.
    """
    checker = Checker(store, ingests=False)
    seen: set[Digest] = set()
    waiting = [target]
    planned = {target.digest}
    while waiting:
        at = waiting.pop()
        checked = checker.check(at)
        for digest, part in checked.objects.items():
            if digest not in seen and len(seen) >= MAX_OBJECTS:
                raise ResourceExhausted(
                    f"manifest {target.digest}: more than {MAX_OBJECTS} objects with its referrers"
                )
            if digest not in seen and part.is_there:
                seen.add(digest)
                yield digest, part.size
        for referrer in _referrers(store, checked.below):
            if referrer not in planned:
                planned.add(referrer)
                if (found := _document(store, referrer)) is not None:
                    waiting.append(found)


def _referrers(store: Measurable, documents: Iterable[Digest]) -> Iterator[Digest]:
    for digest in documents:
        try:
            labels = store.info(digest).labels
        except NotFound:  # deleted meanwhile
            continue
        yield from referrers_of(labels)


def _document(store: Measurable, digest: Digest) -> Descriptor | None:
    """A referrer; None when it cannot be read."""
    try:
        return document_of(store, digest)
    except _BAD_REFERRER:
        return None


def _compact(digest: Digest) -> bytes:
    return digest.algorithm.encode() + bytes.fromhex(digest.encoded)
