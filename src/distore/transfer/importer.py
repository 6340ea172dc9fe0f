"""Import: every image of an archive or a layout into the store, by its names."""

from __future__ import annotations

import time
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
from distore.images.children import is_elsewhere
from distore.images.gclabels import referrer_labels
from distore.images.select import ALL
from distore.images.walk import walk
from distore.transfer.imported import Supply
from distore.transfer.importnames import Roots, document_of, full_names
from distore.transfer.importsink import ImportSink
from distore.transfer.intake import Intake, open_contents
from distore.transfer.progress import Finished, Noted, Resolved
from distore.transfer.push import PushOptions, push
from distore.transfer.space import check_space
from distore.transfer.storesink import add_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from distore.images.image import ImageStore
    from distore.images.select import Selection
    from distore.images.walk import Graph
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import Index, Manifest
    from distore.oci.reference import Reference
    from distore.transfer.imported import Contents
    from distore.transfer.importnames import Root
    from distore.transfer.progress import Event
    from distore.transfer.storesink import SinkStore

STANDARD_INPUT: Final = "standard input"  # what messages call a stream
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


def import_archive(
    source: str | BinaryIO,
    *,
    store: SinkStore,
    images: ImageStore,
    options: ImportOptions = ImportOptions(),
    on_error: Callable[[DistoreError], None] | None = None,
    discard: Callable[[Iterable[Digest]], None] = lambda _digests: None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, None]:
    """Import the images of a layout's folder, of an archive, or of one that comes as a stream.

    A stream, and a compressed file, is read once from its first byte to its last. An image is
    named when all of it is there; one that is damaged stops no other.

    Args:
        on_error: Told of what is wrong with single images; None: the first error is raised in the
            end, the others are notes.
        discard: Told in the end which blobs are new and belong to no image that was imported.
        clock: Monotonic seconds.
    Raises:
        NotFound: No such file.
        FailedPrecondition: No archive of images, or nothing in it can be named.
        InvalidArgument: ``names`` for several images.
        DiskFull: There is less room than bytes are missing.
        DistoreError: As the store.
    """
    run = _Import(store, images, options, source=source, clock=clock)
    try:
        contents = yield from run.open(source)
        try:
            yield from run.bring(contents)
        finally:
            contents.close()
    finally:
        if left := run.left():
            discard(left)
    yield from _told(run.errors, on_error)


def _told(errors: Sequence[DistoreError], on_error: Callable[[DistoreError], None] | None) -> Iterator[Event]:
    if on_error is not None:
        for error in errors:
            on_error(error)
    elif errors:
        for error in errors[1:]:
            yield Noted(text=str(error))
        raise errors[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """An image that can be imported."""

    root: Descriptor
    names: list[str]
    graph: Graph


class _Import:
    """What the steps of one import share."""

    def __init__(
        self,
        store: SinkStore,
        images: ImageStore,
        options: ImportOptions,
        *,
        source: str | BinaryIO,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._images = images
        self._options = options
        self._subject = source if isinstance(source, str) else STANDARD_INPUT
        self._clock = clock
        self._new: set[Digest] = set()
        self._good: set[Digest] = set()  # what belongs to images that were imported
        self._referrers: dict[Digest, list[Descriptor]] = {}  # by the digest of their subject
        self._notes: list[str] = []
        self._failure: DistoreError | None = None  # why the end of the archive is missing
        self._supply: Supply
        self.errors: list[DistoreError] = []

    def left(self) -> list[Digest]:
        """What is new and belongs to nothing."""
        return sorted(self._new - self._good)

    def open(self, source: str | BinaryIO) -> Generator[Event, None, Contents]:
        """The contents; those of a stream are in the store when this returns."""
        intake = Intake(self._store, subject=self._subject, brought=self._new.add, clock=self._clock)
        return (yield from open_contents(source, intake, subject=self._subject))

    def bring(self, contents: Contents) -> Iterator[Event]:
        """Plan all images, and import them one after the other."""
        self._supply = Supply(contents, self._store, subject=self._subject)
        self._failure = contents.failure
        if self._failure is not None:
            self.errors.append(self._failure)
        roots = Roots(
            contents,
            self._supply,
            subject=self._subject,
            note=self._notes.append,
            fail=self.errors.append,
        )
        try:
            roots.read()
        except FailedPrecondition as error:
            raise self._failure or error from error
        planned = self._plan(list(roots.found.values()))
        yield from self._noted()
        missing = {
            blob.digest: blob.size
            for image in planned
            for blob in image.graph.blobs()
            if not self._is_here(blob)
        }
        check_space(self._store, sum(missing.values()), subject=self._subject)
        for image in planned:
            with self._alone(f"image {image.names[0]}"):
                yield from self._bring_image(image)
        yield from self._bring_referrers()

    def _plan(self, roots: list[Root]) -> list[_Planned]:
        """The images that can be imported, and what refers to them."""
        images, about = [], []
        for root in roots:
            subject = self._subject_of(root.descriptor)
            if subject is not None:
                about.append((subject, root.descriptor))
            named = full_names(root, base=self._options.base_name, by_digest=False)
            if subject is None or named:
                images.append(root)
        for subject, referrer in about if self._options.referrers else ():
            with self._alone(f"referrer {referrer.digest}"):
                self._check(walk(referrer, self._document))
                self._referrers.setdefault(subject, []).append(referrer)
        planned, nameless = [], []
        for root in images:
            names = self._names(root, images)
            if not names:
                nameless.append(root)
                continue
            with self._alone(f"image {names[0]}"):
                graph = walk(
                    root.descriptor,
                    self._document,
                    selection=self._options.selection,
                    referrers=self._referrers_of,
                )
                self._check(graph)
                planned.append(_Planned(root=root.descriptor, names=names, graph=graph))
        self._tell_nameless(nameless, is_all=not planned)
        return planned

    def _names(self, root: Root, images: list[Root]) -> list[str]:
        options = self._options
        if not options.names:
            return full_names(root, base=options.base_name, by_digest=options.digests)
        if len(images) > 1:
            raise InvalidArgument(f"{self._subject}: holds {len(images)} images, a name is for one")
        return [str(name) for name in dict.fromkeys(options.names)]

    def _tell_nameless(self, nameless: list[Root], *, is_all: bool) -> None:
        hint = "give --base-name, --digests, or --name for a single one"
        if is_all and not self.errors and not self._referrers:
            why = f"no image in it has a whole name; {hint}" if nameless else "holds no image"
            raise FailedPrecondition(f"{self._subject}: {why}")
        for root in nameless:
            tags = f" but the tag {root.tags[0][:80]!a}" if root.tags else ""
            self._notes.append(
                f"{self._subject}: {root.descriptor.digest} has no name{tags}; passed over; {hint}"
            )

    def _subject_of(self, descriptor: Descriptor) -> Digest | None:
        """What a document refers to; errors are told where it is imported."""
        try:
            subject = document_of(self._supply, descriptor).subject
        except DistoreError:
            return None
        return None if subject is None else subject.digest

    def _document(self, descriptor: Descriptor) -> Manifest | Index:
        return document_of(self._supply, descriptor)

    def _referrers_of(self, digest: Digest) -> Sequence[Descriptor]:
        return self._referrers.get(digest, ())

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

    def _bring_image(self, image: _Planned) -> Iterator[Event]:
        def named(root: Descriptor) -> None:
            self._label_subjects(image.graph)
            for name in image.names:
                self._images.put(name, root)
            self._keep(image.graph)

        name, *others = image.names
        yield from self._push(image.root, name, named, self._options.selection)
        size = sum(each.size for each in (*image.graph.blobs(), *image.graph.documents()))
        for other in others:
            yield Resolved(name=other, descriptor=image.root)
            yield Finished(name=other, descriptor=image.root, size=size, moved=0, seconds=0.0)

    def _bring_referrers(self) -> Iterator[Event]:
        """Import what refers to images that the store has had before."""
        for subject, referrers in self._referrers.items():
            for referrer in referrers:
                if referrer.digest in self._good:
                    continue
                if subject in self._new - self._good or not self._has(subject):
                    yield Noted(
                        text=f"{self._subject}: {referrer.digest} refers to {subject}, which is not there;"
                        " passed over"
                    )
                    continue
                with self._alone(f"referrer {referrer.digest}"):
                    yield from self._attach(referrer, subject)

    def _attach(self, referrer: Descriptor, subject: Digest) -> Iterator[Event]:
        graph = walk(referrer, self._document, referrers=self._referrers_of)

        def attached(root: Descriptor) -> None:
            self._label_subjects(graph)
            add_labels(self._store, subject, referrer_labels([root]))
            self._keep(graph)

        yield from self._push(referrer, f"{self._subject}@{referrer.digest}", attached, ALL)

    def _push(
        self, root: Descriptor, name: str, on_tag: Callable[[Descriptor], None], selection: Selection
    ) -> Iterator[Event]:
        return push(
            self._supply,
            root,
            ImportSink(self._store, name=name, brought=self._new.add, on_tag=on_tag),
            options=PushOptions(
                selection=selection,
                concurrency=self._options.workers,
                referrers=self._referrers_of,
                how="copied",
            ),
            clock=self._clock,
        )

    def _label_subjects(self, graph: Graph) -> None:
        """Have documents keep what refers to them."""
        for subject, referrers in graph.referrers.items():
            add_labels(self._store, subject, referrer_labels(referrers))

    def _keep(self, graph: Graph) -> None:
        self._good.update(each.digest for each in (*graph.documents(), *graph.blobs()))

    def _has(self, digest: Digest) -> bool:
        try:
            self._store.info(digest)
        except NotFound:
            return False
        return True

    def _is_here(self, blob: Descriptor) -> bool:
        try:
            return self._store.info(blob.digest).size == blob.size
        except NotFound:
            return False

    def _noted(self) -> Iterator[Event]:
        notes, self._notes = self._notes, []
        for text in notes:
            yield Noted(text=text)

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """What is wrong with one image is told in the end, with its name."""
        try:
            yield
        except _OF_ALL:
            raise
        except _OF_ONE_IMAGE as error:
            text = str(error).removeprefix(f"{self._subject}: ")
            error.args = (f"{self._subject}: {what}: {text}",)
            self.errors.append(error)
