"""Convert: an image of a store with other compression, media types or platforms, as a new image."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from distore._internal.pool import gather
from distore.diff.compression import BlobInput, Decompressed
from distore.errors import NotFound
from distore.oci.descriptor import Descriptor
from distore.transfer.convertplan import Builder, ConvertOptions, Plan
from distore.transfer.newimage import (
    OCI,
    UNCOMPRESSED_LABEL,
    LayerFormat,
    add_labels,
    all_threads,
    layer_media_type,
    put_layer,
)
from distore.transfer.pace import Stop
from distore.transfer.pouring import check_size
from distore.transfer.progress import Done, Finished, Moved, Planned, Resolved, Started
from distore.transfer.scratch import drop_forgotten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.transfer.convertplan import Job, Made
    from distore.transfer.progress import Event
    from distore.transfer.storesink import SinkStore

_MAX_WORKERS: Final = 4  # layers at once; each has threads of its own
_TELL: Final = 0.2  # seconds between two events of a layer


class Namer(Protocol):
    """Gives names to images."""

    def put(self, name: str, target: Descriptor, /) -> object:
        """As ``ImageStore.put``."""
        ...


def convert(
    store: SinkStore,
    root: Descriptor,
    *,
    name: str,
    images: Namer,
    options: ConvertOptions,
    stop: Stop | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Event]:
    """Make a new image out of ``root`` and give it ``name``, last; yields what happens.

    What is right already stays byte for byte: with nothing to change the new root is the old one.
    Every layer that is made anew unpacks to what its config says it does. Attestations of an index
    stay and point at the new manifests; signatures and other referrers are about the old image and
    stay with it. The store must be one in which nothing is collected meanwhile (a lease).

    Args:
        stop: Ends it from another thread; None: nobody else will.
    Raises:
        NotFound: Something that is needed is not in the store; it is named.
        DataLoss: A layer is damaged, or is not the one of its config; no name was given.
        InvalidArgument: Docker's media types have none for something in it.
        DistoreError: As the store.
    """
    started = clock()
    drop_forgotten(store)
    yield Resolved(name=name, descriptor=root)
    plan = Plan(store, options)
    tree = plan.document(root)
    jobs = sorted(plan.jobs.values(), key=lambda job: job.layer.size)
    yield Planned(
        blobs=len(plan.blobs),
        size=sum(blob.size for blob in plan.blobs.values()),
        missing_blobs=len(jobs),
        missing=sum(job.layer.size for job in jobs),
    )
    work = _Work(store, options, stop or Stop(), clock)
    yield from work.layers(jobs)
    builder = Builder(store, options, work.made)
    new = yield from builder.document(tree)
    images.put(name, new)
    yield Finished(
        name=name,
        descriptor=new,
        size=builder.size,
        moved=work.written,
        seconds=clock() - started,
    )


class _Work:
    """The layers, several at once; ``made`` has the new one of each (digest, compression)."""

    def __init__(
        self, store: SinkStore, options: ConvertOptions, stop: Stop, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._options = options
        self._stop = stop
        self._clock = clock
        self._guard = threading.Lock()
        self.made: dict[Made, Descriptor] = {}
        self.written = 0  # bytes

    def layers(self, waiting: list[Job]) -> Iterator[Event]:
        """Convert all of them, the last one first."""
        workers = max(1, min(all_threads(), _MAX_WORKERS, len(waiting)))
        threads = -(-all_threads() // workers)

        def work(emit: Callable[[Event], None]) -> None:
            while True:
                with self._guard:
                    if not waiting:
                        return
                    job = waiting.pop()
                self._stop.check()
                how = "present" if self._is_there(job) else "converted"
                if how == "converted":
                    self._convert(job, threads, emit)
                layer = job.layer
                emit(Done(digest=layer.digest, media_type=layer.media_type, size=layer.size, how=how))

        yield from gather(work, workers=workers, stop=self._stop.set)

    def _is_there(self, job: Job) -> bool:
        """Whether the plain bytes are in the store: they are named by their DiffID."""
        if job.target is not None:
            return False
        try:
            info = self._store.info(job.diff_id)
        except NotFound:
            return False
        add_labels(self._store, job.diff_id, {UNCOMPRESSED_LABEL: str(job.diff_id)})
        self.made[job.layer.digest, None] = Descriptor(
            media_type=layer_media_type(OCI, None), digest=job.diff_id, size=info.size
        )
        return True

    def _convert(self, job: Job, threads: int, emit: Callable[[Event], None]) -> None:
        layer, told = job.layer, self._clock()
        emit(Started(digest=layer.digest, media_type=layer.media_type, size=layer.size, offset=0))

        def read(offset: int) -> None:
            nonlocal told
            self._stop.check()
            if self._clock() - told >= _TELL:
                told = self._clock()
                emit(Moved(digest=layer.digest, offset=offset, size=layer.size))

        subject = f"layer {layer.digest}"
        level = self._options.level if job.target is not None else None
        with self._store.reader(layer.digest) as reader:
            check_size(reader, layer)
            plain = Decompressed(
                BlobInput(reader, on_progress=read), subject=subject, limit=self._options.max_layer
            )
            made = put_layer(
                self._store,
                plain,
                LayerFormat(compression=job.target, level=level, threads=threads),
                subject=subject,
                expected=job.diff_id,
            )
        with self._guard:
            self.made[layer.digest, job.target] = made.descriptor
            self.written += made.descriptor.size
