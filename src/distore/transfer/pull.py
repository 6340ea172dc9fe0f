"""Pull: an image from a registry into a store; nothing that is there travels again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from distore._internal.pool import gather
from distore._internal.retry import Retrier
from distore.content.blobs import open_writer
from distore.content.store import IngestManager, Manager, Provider
from distore.errors import AlreadyExists, DataLoss, NotFound
from distore.images.children import read_manifest
from distore.images.gclabels import gc_labels, referrer_labels
from distore.images.select import ALL
from distore.images.walk import walk
from distore.oci.manifest import parse_manifest
from distore.remotes.fetch import fetch_document, source_label
from distore.remotes.refkey import ref_key
from distore.remotes.resolver import Target
from distore.transfer.crew import Crew, SegmentIngester
from distore.transfer.pace import DEFAULT_CONCURRENCY, Stop, Throttle
from distore.transfer.progress import Done, Finished, Noted, Planned, Resolved
from distore.transfer.space import check_space
from distore.transfer.storesink import add_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from distore.errors import Unavailable
    from distore.images.select import Selection
    from distore.images.walk import Graph
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import Index, Manifest
    from distore.remotes.resolver import Fetcher
    from distore.transfer.progress import Event


@runtime_checkable
class Joining(Protocol):
    """A store that labels many blobs at once."""

    def join_labels(self, digests: Iterable[Digest], added: Mapping[str, str], /) -> None:
        """Add values to labels that are lists with commas."""
        ...


class Beside(Protocol):
    """Work on what a pull brings, in threads of its own, while more still arrives."""

    @property
    def workers(self) -> int:
        """Threads that ``work`` is for; 1 at least."""
        ...

    def begin(self, root: Descriptor, /) -> int:
        """Every document is in the store; how many bytes of blobs there will be work on."""
        ...

    def arrived(self, digest: Digest, /) -> None:
        """A blob is in the store."""
        ...

    def all_arrived(self) -> None:
        """No more blobs arrive; raises when it cannot be done without one that did not."""
        ...

    def work(self, emit: Callable[[Event], None], /) -> None:
        """One worker, until all is done; raises what ends the pull, too."""
        ...

    def close(self) -> None:
        """Nobody works any more, whatever came of it."""
        ...

    def finish(self) -> object:
        """All of it was done."""
        ...


class PullStore(Provider, Manager, IngestManager, SegmentIngester, Protocol):
    """What a pull needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOptions:
    """How to pull.

    Args:
        selection: What of an index is wanted.
        concurrency: Connections at once, for all blobs and parts of blobs together.
        limit_rate: Bytes a second for all of them together, or None.
        referrers: Gives what refers to a document (signatures, attestations, SBOMs), which then
            comes along; None: nothing does.
        labels: Whether blobs get labels: where they came from, and what manifests keep.
        beside: Works on the blobs as they come; the pull ends when that does.
    """

    selection: Selection = ALL
    concurrency: int = DEFAULT_CONCURRENCY
    limit_rate: int | None = None
    referrers: Callable[[Digest], Iterable[Descriptor]] | None = None
    labels: bool = True
    beside: Beside | None = None


def pull(
    store: PullStore,
    fetcher: Fetcher,
    root: Descriptor,
    *,
    name: str,
    options: PullOptions = PullOptions(),
    abort: Callable[[], None] = lambda: None,
    pause: Callable[[float], None] | None = None,
    stop: Stop | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Event]:
    """Have ``root`` and all that is wanted below it in ``store``; yields what happens.

    Blobs are whole and verified one by one, the biggest first; a blob that another process
    brings is followed, after everything that nobody brings. Closing the iterator stops at once
    and keeps what came.

    Args:
        name: What events call the image.
        abort: Breaks off the fetcher's connections, so that nobody waits for one in vain.
        pause: Waits that many seconds for a limited rate; may raise Cancelled.
        stop: Ends it from another thread: nobody waits on, whatever for; None: nobody else will.
    Raises:
        NotFound: The image, or a chosen platform, is not there.
        DiskFull: There is less room than bytes are missing; nothing was fetched yet.
        DistoreError: As ``fetch``; what came is kept for the next try.
    """
    run = _Pull(store, fetcher, options, clock)
    run.stop = stop or run.stop
    run.pause = pause or run.stop.sleep
    started, moved = clock(), 0
    yield Resolved(name=name, descriptor=root)

    def halt() -> None:
        run.stop.set()
        abort()

    graph = yield from run.plan(root, halt)
    crew = yield from run.prepare(graph, root)
    workers = max(1, min(options.concurrency, run.useful))
    try:
        for event in _gathered(crew, options.beside, workers=workers, halt=halt):
            if isinstance(event, Done) and event.how == "fetched":
                moved += run.missing.get(event.digest, 0)
            yield event
    finally:
        crew.close()
        if options.beside is not None:
            options.beside.close()
    if options.beside is not None:
        options.beside.finish()
    run.name_source(graph)
    size = sum(blob.size for blob in (*graph.blobs(), *graph.documents()))
    yield Finished(name=name, descriptor=root, size=size, moved=moved, seconds=clock() - started)


def _gathered(
    crew: Crew, beside: Beside | None, *, workers: int, halt: Callable[[], None]
) -> Iterator[Event]:
    """What the crew does, and who works on what it brings."""
    if beside is None:
        yield from gather(crew.work, workers=workers, stop=halt)
        return

    def bring(emit: Callable[[Event], None]) -> None:
        def told(event: Event) -> None:
            if isinstance(event, Done):
                beside.arrived(event.digest)
            emit(event)

        crew.work(told)
        beside.all_arrived()

    loops = iter([*(bring for _ in range(workers)), *(beside.work for _ in range(beside.workers))])

    def work(emit: Callable[[Event], None]) -> None:
        next(loops)(emit)  # whichever comes first: each thread takes another one

    yield from gather(work, workers=workers + beside.workers, stop=halt)
    # The system may not have given a thread for it.
    yield from gather(beside.work, workers=1, stop=halt)


class _Pull:
    """What the steps of one pull share."""

    def __init__(
        self, store: PullStore, fetcher: Fetcher, options: PullOptions, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._options = options
        self._clock = clock
        self.stop = Stop()
        self.pause: Callable[[float], None] = self.stop.sleep
        self._source = source_label(fetcher.repository) if options.labels else {}
        self._notes: list[Noted] = []
        self.missing: dict[Digest, int] = {}  # bytes to fetch of each blob that is not there
        self.useful = 1  # workers that can have something to do

    def plan(self, root: Descriptor, stop: Callable[[], None]) -> Generator[Event, None, Graph]:
        """Have every document of the image in the store."""
        graph = walk(
            root,
            self._document,
            selection=self._options.selection,
            workers=self._options.concurrency,
            referrers=self._options.referrers,
            stop=stop,
        )
        for subject, found in graph.referrers.items():
            self._label(subject, referrer_labels(found))
        yield from self._notes
        where = self._fetcher.repository.name
        for child in graph.missing:
            platform = f" ({child.platform})" if child.platform else ""
            yield Noted(text=f"{where}@{child.digest}{platform}: not there; passed over")
        for child in graph.elsewhere:
            yield Noted(
                text=f"layer {child.digest}: only to be had from {child.urls[0][:200]!a}; passed over"
            )
        return graph

    def prepare(self, graph: Graph, root: Descriptor) -> Generator[Event, None, Crew]:
        """Find out what is missing, and whether there is room for it."""
        blobs, beside = graph.blobs(), self._options.beside
        unpack = 0 if beside is None else beside.begin(root)
        waiting, kept = [], 0
        for blob in blobs:
            if self._is_here(blob):
                if beside is not None:
                    beside.arrived(blob.digest)
                yield Done(digest=blob.digest, media_type=blob.media_type, size=blob.size, how="present")
                continue
            there = min(self._offset(blob), blob.size)
            kept += there
            self.missing[blob.digest] = blob.size - there
            waiting.append(blob)
        missing = sum(self.missing.values())
        yield Planned(
            blobs=len(blobs),
            size=sum(blob.size for blob in blobs),
            missing_blobs=len(waiting),
            missing=missing,
            kept=kept,
            unpack=unpack,
        )
        check_space(self._store, missing, subject=self._fetcher.repository.name)
        self.useful = sum(1 + blob.size // (16 * 1024 * 1024) for blob in waiting)
        return Crew(
            self._store,
            self._fetcher,
            waiting,
            stop=self.stop,
            throttle=Throttle(self._options.limit_rate, clock=self._clock, sleep=self.pause),
            labels={} if isinstance(self._store, Joining) else self._source,
            clock=self._clock,
            configs_first=beside is not None,
        )

    def name_source(self, graph: Graph) -> None:
        """Note on every object where it can be had: one transaction instead of one for each blob.

        A crash before it leaves blobs without that label, which the next pull gives them.
        """
        if self._source and isinstance(self._store, Joining):
            there = (each for each in (*graph.blobs(), *graph.documents()) if self._is_here(each))
            self._store.join_labels([each.digest for each in there], self._source)

    def _document(self, descriptor: Descriptor) -> Manifest | Index:
        """From the store, or from the registry into the store."""
        try:
            parsed = read_manifest(self._store, descriptor)
        except NotFound:
            parsed = self._fetched(descriptor)
        else:
            self._label(descriptor.digest, gc_labels(parsed))
        return parsed

    def _fetched(self, descriptor: Descriptor) -> Manifest | Index:
        target = Target(digest=descriptor.digest, media_type=descriptor.media_type, size=descriptor.size)
        retrier = Retrier(on_retry=self._retrying, sleep=self.stop.sleep, clock=self._clock)
        data = descriptor.data or fetch_document(self._fetcher, target, retrier=retrier).data
        parsed = parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)
        labels = {**self._source, **gc_labels(parsed)} if self._options.labels else {}
        ref = ref_key(descriptor.media_type, descriptor.digest)
        try:
            with open_writer(
                self._store,
                ref,
                total=len(data),
                expected=descriptor.digest,
                on_locked="follow",
                on_progress=lambda _status: self.stop.check(),
            ) as writer:
                writer.truncate()
                writer.write(data)
                writer.commit(size=len(data), labels=labels)
        except AlreadyExists:  # by another process, or of another namespace
            self._label(descriptor.digest, labels)
        return parsed

    def _is_here(self, blob: Descriptor) -> bool:
        try:
            info = self._store.info(blob.digest)
        except NotFound:
            return False
        if info.size != blob.size:  # a writer would say that it is there
            raise DataLoss(
                f"content {blob.digest}: {info.size} bytes in the store, its manifest says {blob.size};"
                " run dist fsck"
            )
        return True

    def _offset(self, blob: Descriptor) -> int:
        """Bytes kept from an earlier try."""
        try:
            return self._store.status(ref_key(blob.media_type, blob.digest)).offset
        except NotFound:
            return 0

    def _label(self, digest: Digest, wanted: dict[str, str]) -> None:
        """What a document keeps, should the one who stored it not have said so."""
        if self._options.labels:
            add_labels(self._store, digest, wanted)

    def _retrying(self, error: Unavailable, pause: float, left: int) -> None:
        self._notes.append(Noted(text=f"{error}; trying again in {pause:.1f} s ({left} left)"))
