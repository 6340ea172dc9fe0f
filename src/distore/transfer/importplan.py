"""ImportPlan: which images of an archive come, with what refers to them, found before the first byte."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.errors import (
    DataLoss,
    DiskFull,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    QuotaExceeded,
    ResourceExhausted,
    Unimplemented,
)
from distore.images.children import attested, is_attestation, is_elsewhere
from distore.images.select import ALL
from distore.images.walk import walk
from distore.oci.digest import Digest
from distore.transfer.importnames import document_of, full_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distore.images.select import Selection
    from distore.images.walk import Graph
    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Index, Manifest
    from distore.oci.reference import Reference
    from distore.transfer.imported import Supply
    from distore.transfer.importnames import Root

MAX_OBJECTS: Final = 500_000  # of all images of an archive, counted for each of them
_WORKERS: Final = 2  # blobs at once; each is hashed beside its writing
# What is wrong with one image and says nothing about the next.
_OF_ONE_IMAGE: Final = (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
_OF_ALL: Final = (DiskFull, QuotaExceeded)  # though they are ResourceExhausted, too


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How to import.

    Args:
        names: What the one image is called, instead of what the archive says.
        base_name: Repository of images that have a bare tag alone; None: they have no name.
        digests: Images without a name are called by their digest.
        selection: What of an index is wanted; the index itself comes unchanged.
        referrers: Whether what refers to the images comes along.
        workers: Blobs at once, where the archive can be read at any place.
    """

    names: tuple[Reference, ...] = ()
    base_name: Reference | None = None
    digests: bool = False
    selection: Selection = ALL
    referrers: bool = True
    workers: int = _WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An image that can be imported."""

    root: Descriptor
    names: list[str]
    graph: Graph


class ImportPlan:
    """Tells images from what refers to them. ``images`` can be imported; ``referrers`` has what came
    beside images, by the digest of the document that it is about.

    Args:
        subject: What messages call the archive.
        failure: Why its end is missing, or None.
        note: Told of what is passed over.
        errors: Gets what is wrong with single images.
    """

    def __init__(
        self,
        supply: Supply,
        options: ImportOptions,
        *,
        subject: str,
        failure: DistoreError | None,
        note: Callable[[str], None],
        errors: list[DistoreError],
    ) -> None:
        self._supply = supply
        self._options = options
        self._subject = subject
        self._failure = failure
        self._note = note
        self._errors = errors
        self._count = 0
        self.images: list[Planned] = []
        self.referrers: dict[Digest, list[Descriptor]] = {}

    def read(self, roots: Sequence[Root]) -> None:
        """Look at every document.

        Raises:
            FailedPrecondition: Nothing in it can be named.
            InvalidArgument: A name for one image, and there are several.
        """
        images, about = [], []
        for root in roots:
            subject = self._subject_of(root.descriptor)
            if subject is not None:
                about.append((subject, root.descriptor))
            named = full_names(root, base=self._options.base_name, by_digest=False)
            if subject is None or named:
                images.append(root)
        for subject, referrer in about if self._options.referrers else ():
            with self.alone(f"referrer {referrer.digest}"):
                self._check(self._walk(referrer, ALL))
                self.referrers.setdefault(subject, []).append(referrer)
        nameless = []
        for root in images:
            names = self._names(root, images)
            if not names:
                nameless.append(root)
                continue
            with self.alone(f"image {names[0]}"):
                graph = self._walk(root.descriptor, self._options.selection, self.referrers_of)
                self._check(graph)
                self.images.append(Planned(root=root.descriptor, names=names, graph=graph))
        self._tell_nameless(nameless)

    def referrers_of(self, digest: Digest) -> Sequence[Descriptor]:
        """What came that is about a document."""
        return self.referrers.get(digest, ())

    def document(self, descriptor: Descriptor) -> Manifest | Index:
        """A manifest or an index, verified."""
        return document_of(self._supply, descriptor)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """What is wrong with one image is told in the end, with its name."""
        try:
            yield
        except _OF_ALL:
            raise
        except _OF_ONE_IMAGE as error:
            text = str(error).removeprefix(f"{self._subject}: ")
            error.args = (f"{self._subject}: {what}: {text}",)
            self._errors.append(error)

    def _walk(
        self,
        root: Descriptor,
        selection: Selection,
        referrers: Callable[[Digest], Sequence[Descriptor]] | None = None,
    ) -> Graph:
        """As ``walk``; a few objects that many images name are as much work as many objects."""
        if self._count > MAX_OBJECTS:
            raise ResourceExhausted(f"{self._subject}: the images in it have over {MAX_OBJECTS} objects")
        graph = walk(root, self.document, selection=selection, referrers=referrers)
        self._count += sum(map(len, graph.below.values()))
        return graph

    def _names(self, root: Root, images: list[Root]) -> list[str]:
        options = self._options
        if not options.names:
            return full_names(root, base=options.base_name, by_digest=options.digests)
        if len(images) > 1:
            raise InvalidArgument(f"{self._subject}: holds {len(images)} images, a name is for one")
        return [str(name) for name in dict.fromkeys(options.names)]

    def _tell_nameless(self, nameless: list[Root]) -> None:
        hint = "give --base-name, --digests, or --name for a single one"
        if not (self.images or self._errors or self.referrers):
            why = f"no image in it has a whole name; {hint}" if nameless else "holds no image"
            raise FailedPrecondition(f"{self._subject}: {why}")
        for root in nameless:
            tag = next(iter(root.tags), None)
            tags = f" but the tag {tag[:80]!a}" if tag else ""
            self._note(f"{self._subject}: {root.descriptor.digest} has no name{tags}; passed over; {hint}")

    def _subject_of(self, descriptor: Descriptor) -> Digest | None:
        """What a document refers to, or the index it was taken from says it does; errors are told
        where it is imported."""
        try:
            subject = self.document(descriptor).subject
            if subject is not None:
                return subject.digest
            return Digest(attested(descriptor) or "") if is_attestation(descriptor) else None
        except DistoreError:
            return None

    def _check(self, graph: Graph) -> None:
        """Whether all of an image is there, as large as its manifests say.

        Raises:
            NotFound, SizeMismatch: It is not.
            DataLoss: The archive breaks off, and something that may lack elsewhere is missing.
        """
        missing = {child.digest for child in graph.missing}
        wanted = graph.below.get(graph.root.digest, ())
        if missing and self._failure is not None:
            raise DataLoss(f"{self._subject}: breaks off before {next(iter(missing))}")
        if missing and all(child.digest in missing for child in wanted):
            raise NotFound(
                f"{self._subject}: none of the manifests that index {graph.root.digest} names is there"
            )
        for parent, children in graph.below.items():
            for child in children:
                if child.digest not in missing:
                    self._check_child(child, parent)

    def _check_child(self, child: Descriptor, parent: Digest) -> None:
        size = self._supply.size(child.digest)
        if size is None and child.data is not None:
            self._supply.add_bytes(child.data, child.digest)
        elif size is None and not is_elsewhere(child):
            raise self._supply.absent(child.digest, parent)
        elif size not in (None, child.size):
            raise FailedPrecondition(
                f"{self._subject}: {child.digest} has {size} bytes, manifest {parent} says {child.size}"
            )
