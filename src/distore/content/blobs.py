"""What one does with a content store, whichever it is: open, copy, read and write whole blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from distore.content.store import Follower, Writer
from distore.errors import AlreadyExists, DataLoss, InvalidArgument, Locked, NotFound, ResourceExhausted
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from distore.content.store import Ingester, IngestManager, Input, Provider, Status

W = TypeVar("W", bound=Writer)
W_co = TypeVar("W_co", bound=Writer, covariant=True)

ON_LOCKED: Final = ("fail", "wait", "follow")
CHUNK: Final = 1024 * 1024  # bytes moved at a time


class FollowedIngester(Follower, Protocol[W_co]):
    """An Ingester, of whichever kind of writer, whose running ingests can be watched."""

    def writer(self, ref: str, /, *, total: int | None = None, expected: Digest | None = None) -> W_co:
        """As ``Ingester.writer``."""
        ...


def open_writer(
    store: FollowedIngester[W],
    ref: str,
    *,
    total: int | None = None,
    expected: Digest | None = None,
    on_locked: str = "fail",
    on_progress: Callable[[Status], None] | None = None,
    timeout: float | None = None,
) -> W:
    """Open an ingest that another process may be running.

    Args:
        on_locked: ``fail`` at once; ``wait`` until it is free and open it then; ``follow`` it:
            when it ends in a commit its blob is the answer, otherwise take it over.
        on_progress: Called with the other's status while waiting.
        timeout: Seconds to wait for each holder, or None for as long as it takes.
    Raises:
        AlreadyExists: ``expected`` is there, or the ingest followed was committed;
            ``subject`` is the digest.
        Locked: With ``fail``.
        DeadlineExceeded: Still held after ``timeout``.
    """
    if on_locked not in ON_LOCKED:
        raise InvalidArgument(f"on_locked {on_locked!r}: want one of {', '.join(ON_LOCKED)}")
    while True:
        try:
            return store.writer(ref, total=total, expected=expected)
        except Locked:
            if on_locked == "fail":
                raise
        digest = store.follow(ref, on_progress=on_progress, timeout=timeout)
        if digest is not None and on_locked == "follow" and expected in (None, digest):
            raise AlreadyExists(f"content {digest} already exists", subject=digest)


def read_blob(provider: Provider, digest: Digest, *, max_size: int) -> bytes:
    """A whole small blob, verified.

    Args:
        max_size: Bytes that it may have at most.
    Raises:
        NotFound: No such blob.
        ResourceExhausted: It is larger than ``max_size``.
        DataLoss: Its bytes are not those of the digest.
    """
    with provider.reader(digest) as reader:
        if reader.size > max_size:
            raise ResourceExhausted(f"content {digest}: {reader.size} bytes, the limit here is {max_size}")
        data = reader.read_at(reader.size, 0)
    if Digest.of(data, algorithm=digest.algorithm) != digest:
        raise DataLoss(f"content {digest}: damaged in the store; run dist fsck")
    return data


def write_blob(
    ingester: Ingester,
    ref: str,
    source: Input | bytes,
    *,
    size: int | None = None,
    expected: Digest | None = None,
) -> Digest:
    """Ingest a whole blob from its first byte; the digest, whether or not it was there before."""
    try:
        with ingester.writer(ref, total=size, expected=expected) as writer:
            if writer.offset:
                writer.truncate()
            if isinstance(source, bytes):
                writer.write(source)
            else:
                pump(source, writer)
            return writer.commit(size=size, expected=expected)
    except AlreadyExists as error:
        return Digest(error.subject or "")


def pump(source: Input, writer: Writer) -> int:
    """Append all of ``source``; the number of bytes. Memory stays at two chunks."""
    spaces = (memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK)))
    copied = turn = 0
    while size := source.readinto(spaces[turn]):
        writer.write(spaces[turn][:size])
        copied += size
        turn ^= 1
    return copied


def copy(provider: Provider, digest: Digest, writer: Writer) -> None:
    """Bring ``writer`` from its offset to the end of the blob; the caller commits."""
    space = memoryview(bytearray(CHUNK))
    with provider.reader(digest) as reader:
        while size := reader.readinto_at(space, writer.offset):
            writer.write(space[:size])


def prune_ingests(
    store: IngestManager, *, older_than: float, now: datetime, dry_run: bool = False
) -> Iterator[Status]:
    """Abort every ingest that nobody writes and nobody wrote to for ``older_than`` seconds.

    Yields the status of each one aborted (or that would be, with ``dry_run``).
    """
    for status in store.statuses():
        if status.owner is not None or (now - status.updated).total_seconds() < older_than:
            continue
        try:
            if not dry_run:
                store.abort(status.ref)
        except (Locked, NotFound):  # somebody took it up or ended it since
            continue
        yield status
