"""Export: images of a store as one archive, or into a layout; the same images are the same bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from distore._internal.pool import gather
from distore.errors import InvalidArgument
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer import ociindex
from distore.transfer.archive import DOCKER_FILE, blob_name
from distore.transfer.exportdocker import docker_members
from distore.transfer.exportindex import docker_manifest, index_of
from distore.transfer.exportlayout import LayoutFolder
from distore.transfer.exportplan import ExportOptions, ExportStore, make_plan
from distore.transfer.pace import Stop
from distore.transfer.progress import Done, Finished, Moved, Noted, Planned, Resolved, Started
from distore.transfer.tarout import Member, Out, Pump, archive_size, small, write_member

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from _typeshed import ReadableBuffer

    from distore.transfer.exportplan import Plan
    from distore.transfer.progress import Event

__all__ = ["ExportOptions", "ExportStore", "LayoutFolder", "export"]

_TELL: Final = 0.2  # seconds between two events of a blob
_WORKERS: Final = 2  # blobs at once into a layout: while one waits for the device another is hashed
_JSON: Final = "application/json"  # of docker's manifest.json


def export(
    store: ExportStore,
    images: Sequence[tuple[str | None, Descriptor]],
    out: Out | LayoutFolder,
    *,
    options: ExportOptions,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, None]:
    """Write images; yields what happens. Everything is known and checked before the first byte; an
    export that ends early leaves no file.

    Args:
        images: Pairs of a whole reference, or None for an image without a name, and its root.
        out: Where to. A TarStream gets its bytes in one go, without a temporary file.
    Returns:
        Events; the last is Finished with the descriptor of the file that names the images.
    Raises:
        NotFound: Something that must go along is not in ``store``; says how to get it.
        DataLoss: It is damaged.
        DiskFull, AlreadyExists, DistoreError: As ``out``.
    """
    started = clock()
    try:
        if not isinstance(out, LayoutFolder):
            out.open()
        plan = make_plan(store, images, options)
        for image in plan.images:
            yield Resolved(name=image.name or image.root.digest, descriptor=image.root)
        for note in _notes(plan):
            yield Noted(text=note)
        if not isinstance(out, LayoutFolder):
            yield from _archive(store, plan, out, options=options, clock=clock, started=started)
        elif options.docker:
            raise InvalidArgument(f"{out.name}: a folder holds an image layout, not a docker archive")
        else:
            yield from _layout(store, plan, out, clock=clock, started=started)
    finally:
        out.close()


def _notes(plan: Plan) -> Iterator[str]:
    yield from plan.notes
    if plan.left_out:
        count, size = len(plan.left_out), sum(blob.size for blob in plan.left_out)
        yield f"left out {count} blob{'' if count == 1 else 's'}, {size} bytes, which the inventory has"


def _archive(
    store: ExportStore,
    plan: Plan,
    out: Out,
    *,
    options: ExportOptions,
    clock: Callable[[], float],
    started: float,
) -> Iterator[Event]:
    with Pump(store) as pump:
        members = docker_members(plan, store, pump) if options.docker else _members(plan, store, pump)
        out.begin(archive_size(members))
        travelling = [member.blob for member in members if member.blob is not None]
        yield _planned(plan, travelling)
        for member in members:
            yield from _written(out, member, clock)
        out.finish()
    name = DOCKER_FILE if options.docker else ociindex.INDEX_FILE
    head = next(member.data for member in members if member.name == name)
    yield Finished(
        name=out.name,
        descriptor=_head(head, _JSON if options.docker else mediatypes.OCI_INDEX),
        size=sum(member.size for member in members),
        moved=sum(blob.size for blob in travelling),
        seconds=clock() - started,
    )


def _members(plan: Plan, store: ExportStore, pump: Pump) -> list[Member]:
    """What names the images comes first and documents before blobs: whoever reads a stream knows
    early what is to come."""
    docker = docker_manifest(plan, store)

    def blob(descriptor: Descriptor) -> Member:
        def pour(take: Callable[[ReadableBuffer], None]) -> Iterator[int]:
            return pump.pour(descriptor, take)

        return Member(name=blob_name(descriptor.digest), size=descriptor.size, blob=descriptor, pour=pour)

    return [
        small(ociindex.LAYOUT_FILE, ociindex.LAYOUT),
        small(ociindex.INDEX_FILE, index_of(plan).to_bytes(subject="export")),
        *([] if docker is None else [small(DOCKER_FILE, docker)]),
        *map(blob, plan.documents),
        *map(blob, plan.blobs),
    ]


def _written(out: Out, member: Member, clock: Callable[[], float]) -> Iterator[Event]:
    blob = member.blob
    if blob is None:
        for _ in write_member(out, member):
            continue
        return
    yield Started(digest=blob.digest, media_type=blob.media_type, size=blob.size, offset=0)
    told = clock()
    for offset in write_member(out, member):
        now = clock()
        if now - told >= _TELL:
            told = now
            yield Moved(digest=blob.digest, offset=offset, size=blob.size)
    yield _done(blob, "copied")


def _layout(
    store: ExportStore,
    plan: Plan,
    out: LayoutFolder,
    *,
    clock: Callable[[], float],
    started: float,
) -> Iterator[Event]:
    missing = out.missing(plan)
    travelling = [*missing, *plan.documents]
    there = {blob.digest for blob in missing}
    yield _planned(plan, travelling)
    for blob in plan.blobs:
        if blob.digest not in there:
            yield _done(blob, "present")
    waiting, stop = sorted(travelling, key=lambda each: each.size), Stop()
    moved = 0

    def work(emit: Callable[[Event], None]) -> None:
        while True:
            try:
                blob = waiting.pop()  # the biggest; a list gives each to one thread only
            except IndexError:
                return
            _push(store, blob, out, emit, stop=stop, clock=clock)

    for event in gather(work, workers=_WORKERS, stop=stop.set):
        if isinstance(event, Done) and event.how == "copied":
            moved += event.size
        yield event
    index = out.finish(plan)
    yield Finished(
        name=out.name,
        descriptor=_head(index, mediatypes.OCI_INDEX),
        size=sum(each.size for each in (*plan.blobs, *plan.documents)),
        moved=moved,
        seconds=clock() - started,
    )


def _push(
    store: ExportStore,
    blob: Descriptor,
    out: LayoutFolder,
    emit: Callable[[Event], None],
    *,
    stop: Stop,
    clock: Callable[[], float],
) -> None:
    told: float | None = None

    def moved(offset: int) -> None:
        nonlocal told
        stop.check()
        now = clock()
        if told is None:
            emit(Started(digest=blob.digest, media_type=blob.media_type, size=blob.size, offset=offset))
            told = now
        if now - told >= _TELL:
            told = now
            emit(Moved(digest=blob.digest, offset=offset, size=blob.size))

    how = out.push(blob, store, on_progress=moved)
    emit(_done(blob, "copied" if how == "pushed" else how))


def _planned(plan: Plan, travelling: Sequence[Descriptor]) -> Planned:
    everything = {each.digest: each.size for each in (*plan.blobs, *plan.documents, *plan.left_out)}
    return Planned(
        blobs=len(everything),
        size=sum(everything.values()),
        missing_blobs=len(travelling),
        missing=sum(each.size for each in travelling),
    )


def _done(descriptor: Descriptor, how: str) -> Done:
    return Done(digest=descriptor.digest, media_type=descriptor.media_type, size=descriptor.size, how=how)


def _head(data: bytes, kind: str) -> Descriptor:
    return Descriptor(media_type=kind, digest=Digest.of(data), size=len(data))
