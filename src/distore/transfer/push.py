"""Push: an image to wherever a Pusher leads; what is there is not sent again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal.pool import gather, map_unordered
from distore.errors import FailedPrecondition
from distore.images.children import Documents, has_children, read_document
from distore.images.select import ALL
from distore.images.walk import walk
from distore.oci.manifest import parse_manifest
from distore.transfer.pace import DEFAULT_CONCURRENCY, Stop, Throttle
from distore.transfer.progress import Done, Finished, Moved, Noted, Planned, Resolved, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from _typeshed import WriteableBuffer

    from distore.content.store import Provider, Reader
    from distore.images.select import Selection
    from distore.images.walk import Graph
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import Index, Manifest
    from distore.remotes.resolver import Pusher
    from distore.transfer.progress import Event

_TELL: Final = 0.2  # seconds between two events of a blob


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """How to push.

    Args:
        selection: What of an index goes along; the index itself goes unchanged.
        concurrency: Objects at once.
        limit_rate: Bytes a second for all of them together, or None.
        referrers: Gives what refers to a document, which then goes along; None: nothing does.
        how: What a blob that travelled is called: ``pushed`` or ``copied``.
    """

    selection: Selection = ALL
    concurrency: int = DEFAULT_CONCURRENCY
    limit_rate: int | None = None
    referrers: Callable[[Digest], Iterable[Descriptor]] | None = None
    how: str = "pushed"


def push(
    provider: Provider,
    root: Descriptor,
    pusher: Pusher,
    *,
    options: PushOptions = PushOptions(),
    sources: Callable[[Digest], Sequence[str]] = lambda _digest: (),
    abort: Callable[[], None] = lambda: None,
    pause: Callable[[float], None] | None = None,
    stop: Stop | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Event]:
    """Have ``root`` and all that is wanted below it where ``pusher`` leads; yields what happens.

    Blobs go first, the biggest at the head, then manifests, children before parents, and the root
    with its name last: whoever looks meanwhile finds nothing half.

    Args:
        sources: Repositories at the other end that may have a blob already.
        abort: Breaks off the connections, so that nobody waits for one in vain.
        pause: Waits that many seconds for a limited rate; may raise Cancelled.
        stop: Ends it from another thread: nobody waits on, whatever for; None: nobody else will.
    Raises:
        NotFound: Something that must go along is not in ``provider``; it is named.
        DistoreError: As Pusher; what arrived may stay there for the next try.
    """
    run = _Push(provider, pusher, options, clock, pause)
    run.stop = stop or run.stop
    started = clock()
    yield Resolved(name=pusher.name, descriptor=root)

    def halt() -> None:
        run.stop.set()
        abort()

    graph = yield from run.plan(root, halt)
    workers = min(options.concurrency, pusher.parallel or options.concurrency, max(1, len(run.blobs)))

    def work(emit: Callable[[Event], None]) -> None:
        run.work(emit, sources)

    moved = 0
    for event in gather(work, workers=workers, stop=halt):
        if isinstance(event, Done) and event.how == options.how:
            moved += event.size
        yield event
    yield from run.documents(graph, workers, halt)
    size = sum(blob.size for blob in (*graph.blobs(), *graph.documents()))
    yield Finished(name=pusher.name, descriptor=root, size=size, moved=moved, seconds=clock() - started)


class _Push:
    """What the steps of one push share."""

    def __init__(
        self,
        provider: Provider,
        pusher: Pusher,
        options: PushOptions,
        clock: Callable[[], float],
        pause: Callable[[float], None] | None,
    ) -> None:
        self._provider = provider
        self._pusher = pusher
        self._options = options
        self._clock = clock
        self.stop = Stop()
        self._throttle = Throttle(options.limit_rate, clock=clock, sleep=pause or self.stop.sleep)
        self._guard = threading.Lock()
        self.blobs: list[Descriptor] = []  # the biggest last

    def plan(self, root: Descriptor, stop: Callable[[], None]) -> Generator[Event, None, Graph]:
        """Read the documents, and ask what is there already; nothing is sent yet."""
        workers = self._options.concurrency if isinstance(self._provider, Documents) else 1
        graph = walk(
            root,
            self._read,
            selection=self._options.selection,
            workers=workers,
            referrers=self._options.referrers,
            stop=stop,
        )
        for child in graph.missing:
            platform = f" ({child.platform})" if child.platform else ""
            yield Noted(text=f"{child.digest}{platform}: not here; passed over")
        for child in graph.elsewhere:
            yield Noted(text=f"layer {child.digest}: only to be had from its own addresses; passed over")
        blobs = graph.blobs()
        there = set()
        for blob in self._present(blobs, stop):
            there.add(blob.digest)
            yield _done(blob, "present")
        self.blobs = sorted((blob for blob in blobs if blob.digest not in there), key=lambda blob: blob.size)
        yield Planned(
            blobs=len(blobs),
            size=sum(blob.size for blob in blobs),
            missing_blobs=len(self.blobs),
            missing=sum(blob.size for blob in self.blobs),
        )
        return graph

    def _present(self, blobs: list[Descriptor], stop: Callable[[], None]) -> Iterator[Descriptor]:
        """Those that need not be sent."""

        def look(blob: Descriptor) -> Descriptor | None:
            self.stop.check()
            return blob if self._pusher.exists(blob) else None

        workers = min(
            self._options.concurrency, self._pusher.parallel or self._options.concurrency, len(blobs)
        )
        return map_unordered(look, blobs, workers=workers, stop=stop) if blobs else iter(())

    def work(self, emit: Callable[[Event], None], sources: Callable[[Digest], Sequence[str]]) -> None:
        """One worker: the biggest blob that nobody sends, again and again."""
        while True:
            with self._guard:
                if not self.blobs:
                    return
                blob = self.blobs.pop()
            self.stop.check()
            self._send(blob, emit, sources(blob.digest))

    def documents(self, graph: Graph, workers: int, stop: Callable[[], None]) -> Iterator[Event]:
        """Send what names others, and the name at last."""
        *below, root = graph.documents() or [graph.root]
        for level in _levels(below, graph):
            waiting = list(level)

            def work(emit: Callable[[Event], None], waiting: list[Descriptor] = waiting) -> None:
                while True:
                    with self._guard:
                        if not waiting:
                            return
                        document = waiting.pop()
                    self.stop.check()
                    how = self._pusher.push(
                        document, self._provider, on_progress=lambda _offset: self.stop.check()
                    )
                    emit(_done(document, how))

            yield from gather(work, workers=min(workers, len(waiting)), stop=stop)
        if has_children(root):
            try:
                self._pusher.tag(root, self._provider)
            except FailedPrecondition as error:
                if not graph.missing:
                    raise
                raise FailedPrecondition(
                    f"{error}; {len(graph.missing)} of the manifests it names are not here: choose one with"
                    " --platform, or pull the others with --all-platforms"
                ) from error
            yield _done(root, "pushed")

    def _read(self, descriptor: Descriptor) -> Manifest | Index:
        data = descriptor.data or read_document(self._provider, descriptor)
        return parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)

    def _send(self, blob: Descriptor, emit: Callable[[Event], None], sources: Sequence[str]) -> None:
        told = [0.0]
        begun = [False]

        def moved(offset: int) -> None:
            self.stop.check()
            now = self._clock()
            if not begun[0]:
                begun[0] = True
                emit(Started(digest=blob.digest, media_type=blob.media_type, size=blob.size, offset=offset))
            if now - told[0] >= _TELL:
                told[0] = now
                emit(Moved(digest=blob.digest, offset=offset, size=blob.size))

        provider = _Throttled(self._provider, self._throttle) if self._options.limit_rate else self._provider
        how = self._pusher.push(blob, provider, sources=sources, on_progress=moved)
        emit(_done(blob, self._options.how if how == "pushed" else how))


class _Throttled:
    """A Provider whose readers keep to a rate."""

    def __init__(self, provider: Provider, throttle: Throttle) -> None:
        self._provider = provider
        self._throttle = throttle

    def reader(self, digest: Digest, /) -> Reader:
        return _ThrottledReader(self._provider.reader(digest), self._throttle)


class _ThrottledReader:
    def __init__(self, reader: Reader, throttle: Throttle) -> None:
        self._reader = reader
        self._throttle = throttle
        self.size = reader.size

    def read_at(self, length: int, offset: int, /) -> bytes:
        self._throttle.take(length)
        return self._reader.read_at(length, offset)

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        self._throttle.take(memoryview(buffer).nbytes)
        return self._reader.readinto_at(buffer, offset)

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> _ThrottledReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _done(descriptor: Descriptor, how: str) -> Done:
    return Done(digest=descriptor.digest, media_type=descriptor.media_type, size=descriptor.size, how=how)


def _levels(documents: Sequence[Descriptor], graph: Graph) -> Iterator[list[Descriptor]]:
    """Documents that may go at once: none of them names another of the same level."""
    heights: dict[Digest, int] = {}
    levels: dict[int, list[Descriptor]] = {}
    for document in documents:  # children come before parents
        below = [heights[child.digest] for child in graph.below[document.digest] if child.digest in heights]
        height = heights[document.digest] = max(below, default=-1) + 1
        levels.setdefault(height, []).append(document)
    for height in sorted(levels):
        yield levels[height]
