"""Import: every image of an archive or a layout into the store, by its names."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition, NotFound
from distore.images.gclabels import referrer_labels
from distore.images.select import ALL
from distore.images.walk import walk
from distore.transfer.imported import Supply
from distore.transfer.importnames import Roots
from distore.transfer.importplan import ImportOptions, ImportPlan
from distore.transfer.importsink import ImportSink
from distore.transfer.intake import Intake, open_contents
from distore.transfer.progress import Finished, Noted, Resolved
from distore.transfer.push import PushOptions, push
from distore.transfer.scratch import drop_forgotten
from distore.transfer.space import check_space
from distore.transfer.storesink import add_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from distore.errors import DistoreError
    from distore.images.image import ImageStore
    from distore.images.select import Selection
    from distore.images.walk import Graph
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.transfer.imported import Contents
    from distore.transfer.importnames import Root
    from distore.transfer.importplan import Planned
    from distore.transfer.progress import Event
    from distore.transfer.storesink import SinkStore

__all__ = ["STANDARD_INPUT", "ImportOptions", "import_archive"]

STANDARD_INPUT: Final = "standard input"  # what messages call a stream
_TOLD: Final = 50  # errors, or notes, of an archive that are told one by one
_DEFAULTS: Final = ImportOptions()


def import_archive(
    source: str | BinaryIO,
    *,
    store: SinkStore,
    images: ImageStore,
    options: ImportOptions = _DEFAULTS,
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
    drop_forgotten(store)
    run = _Import(store, images, options, source=source, clock=clock)
    try:
        contents = yield from run.open(source)
        try:
            yield from _few_notes(run.bring(contents), run.subject)
        finally:
            contents.close()
    finally:
        if left := run.left():
            discard(left)
    yield from _told(run.errors, on_error, run.subject)


def _few_notes(events: Generator[Event, None, None], subject: str) -> Iterator[Event]:
    """Whoever made the archive decides how much there is to say about it."""
    count = 0
    with closing(events):
        for event in events:
            count += isinstance(event, Noted)
            if count <= _TOLD or not isinstance(event, Noted):
                yield event
    if count > _TOLD:
        yield Noted(text=f"{subject}: and {count - _TOLD} notes more")


def _told(
    errors: Sequence[DistoreError], on_error: Callable[[DistoreError], None] | None, subject: str
) -> Iterator[Event]:
    if len(errors) > _TOLD:
        more = f"{subject}: and {len(errors) - _TOLD} errors more"
        errors = [*errors[:_TOLD], FailedPrecondition(more)]
    if on_error is not None:
        for error in errors:
            on_error(error)
    elif errors:
        for error in errors[1:]:
            yield Noted(text=str(error))
        raise errors[0]


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
        self.subject = source if isinstance(source, str) else STANDARD_INPUT
        self._clock = clock
        self._new: set[Digest] = set()
        self._good: set[Digest] = set()  # what belongs to images that were imported
        self._notes: list[str] = []
        self._supply: Supply
        self._plan: ImportPlan
        self.errors: list[DistoreError] = []

    def left(self) -> list[Digest]:
        """What is new and belongs to nothing."""
        return sorted(self._new - self._good)

    def open(self, source: str | BinaryIO) -> Generator[Event, None, Contents]:
        """The contents; those of a stream are in the store when this returns."""
        intake = Intake(self._store, subject=self.subject, brought=self._new.add, clock=self._clock)
        return (yield from open_contents(source, intake, subject=self.subject))

    def bring(self, contents: Contents) -> Generator[Event, None, None]:
        """Plan all images, and import them one after the other."""
        self._supply = Supply(contents, self._store, subject=self.subject)
        if contents.failure is not None:
            self.errors.append(contents.failure)
        self._plan = ImportPlan(
            self._supply,
            self._options,
            subject=self.subject,
            failure=contents.failure,
            note=self._notes.append,
            errors=self.errors,
        )
        self._plan.read(self._roots(contents))
        planned = self._plan.images
        yield from self._noted()
        missing = {
            blob.digest: blob.size
            for image in planned
            for blob in image.graph.blobs()
            if not self._is_here(blob)
        }
        check_space(self._store, sum(missing.values()), subject=self.subject)
        for image in planned:
            with self._plan.alone(f"image {image.names[0]}"):
                yield from self._bring_image(image)
        yield from self._bring_referrers()

    def _roots(self, contents: Contents) -> list[Root]:
        roots = Roots(
            contents,
            self._supply,
            subject=self.subject,
            note=self._notes.append,
            fail=self.errors.append,
        )
        try:
            roots.read()
        except FailedPrecondition as error:
            raise contents.failure or error from error
        return list(roots.found.values())

    def _bring_image(self, image: Planned) -> Iterator[Event]:
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
        for subject, referrers in self._plan.referrers.items():
            for referrer in referrers:
                if referrer.digest in self._good:
                    continue
                if subject in self._new - self._good or not self._has(subject):
                    yield Noted(
                        text=f"{self.subject}: {referrer.digest} refers to {subject}, which is not there;"
                        " passed over"
                    )
                    continue
                with self._plan.alone(f"referrer {referrer.digest}"):
                    yield from self._attach(referrer, subject)

    def _attach(self, referrer: Descriptor, subject: Digest) -> Iterator[Event]:
        graph = walk(referrer, self._plan.document, referrers=self._plan.referrers_of)

        def attached(root: Descriptor) -> None:
            self._label_subjects(graph)
            add_labels(self._store, subject, referrer_labels([root]))
            self._keep(graph)

        yield from self._push(referrer, f"{self.subject}@{referrer.digest}", attached, ALL)

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
                referrers=self._plan.referrers_of,
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
        for text in self._notes:
            yield Noted(text=text)
