"""The contract of a content store: what every implementation does, and what it leaves behind.

The rules are those of containerd's content API (core/content/content.go, local and remote
stores alike); where this contract is stronger the docstring says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from _typeshed import ReadableBuffer, WriteableBuffer

    from distore.oci.digest import Digest

MAX_REF_LENGTH: Final = 4096  # UTF-8 bytes
MAX_LABEL_SIZE: Final = 4096  # bytes of key and value together (containerd pkg/labels/validate.go)


# NamedTuples, not dataclasses: importing dataclasses costs 9 ms of the start-up of every verb
# (docs/decisions/0002-start-up.md). Use fields by name only; fields may be added.
class Info(NamedTuple):
    """One committed blob. ``size`` in bytes; times are aware UTC."""

    digest: Digest
    size: int
    created: datetime
    updated: datetime
    labels: Mapping[str, str]


class Owner(NamedTuple):
    """The process that holds an ingest; ``since`` is aware UTC. None where it is unknown."""

    pid: int | None
    host: str | None
    command: str | None
    since: datetime | None


class Status(NamedTuple):
    """One ingest that has not been committed.

    ``offset`` is the number of bytes that a resume keeps, ``total`` the size promised when the
    ingest was opened, ``expected`` the digest promised. ``owner`` is None while nobody writes,
    or where the store cannot tell.
    """

    ref: str
    offset: int
    total: int | None
    expected: Digest | None
    started: datetime
    updated: datetime
    owner: Owner | None = None


class Input(Protocol):
    """A source of bytes that fills a buffer; fewer than asked is fine, 0 is the end."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Reader(Protocol):
    """Positioned reads from one committed blob; safe to share between threads."""

    @property
    def size(self) -> int:
        """Bytes in the blob."""
        ...

    def read_at(self, length: int, offset: int, /) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only at the end, ``b""`` at or past it.

        Raises:
            OutOfRange: ``length`` or ``offset`` is negative.
            DataLoss: The device cannot read the bytes.
        """
        ...

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        """Fill ``buffer`` from ``offset``; the number of bytes read, 0 at or past the end."""
        ...

    def close(self) -> None:
        """Release it; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class Provider(Protocol):
    """Gives out blobs."""

    def reader(self, digest: Digest, /) -> Reader:
        """Open a blob. A later delete does not disturb an open reader.

        Raises:
            NotFound: No such blob.
        """
        ...


class Writer(Protocol):
    """One ingest. Leaving the ``with`` block closes it and keeps the bytes for a resume.

    One thread at a time calls a writer. Every method but ``close`` and ``status`` raises
    FailedPrecondition once it is closed.
    """

    @property
    def ref(self) -> str:
        """The name of the ingest."""
        ...

    @property
    def offset(self) -> int:
        """Bytes kept so far; where the next ``write`` goes."""
        ...

    def write(self, data: ReadableBuffer, /) -> int:
        """Append all of ``data`` and return its length; ``data`` may be reused afterwards.

        Raises:
            DiskFull, QuotaExceeded, ReadOnly, DataLoss: What was written before is kept.
        """
        ...

    def status(self) -> Status:
        """As ``IngestManager.status`` gives it."""
        ...

    def digest(self) -> Digest:
        """Digest of the bytes so far; waits for kept bytes that are still being hashed."""
        ...

    def truncate(self, size: int = 0, /) -> None:
        """Keep only the first ``size`` bytes.

        Raises:
            InvalidArgument: ``size`` is negative.
            OutOfRange: ``size`` is more than is there.
        """
        ...

    def commit(
        self,
        *,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Digest:
        """Make the bytes visible under their digest, durably, and close.

        Without ``expected`` the digest promised when the writer was opened counts.

        Args:
            size: Number of bytes the blob must have, or None when unknown.
            expected: Digest the bytes must have, or None when unknown.
            labels: Labels the new blob gets. An existing blob keeps its own.
        Raises:
            SizeMismatch, DigestMismatch: Not what was promised; the ingest is kept.
            AlreadyExists: The blob is in the store; the ingest is dropped.
            InvalidArgument: A label is too long; the ingest is kept.
            DiskFull, QuotaExceeded, ReadOnly, DataLoss: Not committed; the ingest is kept.
        """
        ...

    def close(self) -> None:
        """Release the ingest and keep what was written; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class SegmentWriter(Writer, Protocol):
    """A writer that also takes its bytes out of order, for parallel ranges of one blob."""

    def write_at(self, data: ReadableBuffer, offset: int, /) -> int:
        """Put all of ``data`` at ``offset``; several threads may call it at once.

        ``offset`` of the writer is the end of the bytes that are there without a gap. What lies
        behind a gap may be kept over a close or a crash, too; ``missing`` tells. Commit raises
        FailedPrecondition while there is a gap.

        Raises:
            OutOfRange: ``offset`` lies before the writer's own: those bytes are settled.
        """
        ...

    def missing(self, total: int, /) -> list[tuple[int, int]]:
        """Which of ``total`` bytes are not there, as (start, end) pairs in order."""
        ...


class FileWriter(SegmentWriter, Protocol):
    """A writer beside files, which takes in whole sources faster than ``write`` in a loop."""

    def fill(self, source: Input, /) -> int:
        """Append all of ``source``; the number of bytes."""
        ...

    def take_file(self, source: str, /, *, link: str = "auto") -> None:
        """Become the bytes of a local file; what was kept before is dropped.

        Args:
            link: ``reflink`` shares the blocks (copy on write: safe), ``hardlink`` makes the blob
                a second name of the file, which becomes read-only and must never be written
                again, ``copy`` copies, ``auto`` tries reflink and then copies.
        Raises:
            Unimplemented: The file system cannot do what was asked.
            FailedPrecondition: ``source`` is not a regular file.
        """
        ...


class Ingester(Protocol):
    """Takes in blobs."""

    def writer(self, ref: str, /, *, total: int | None = None, expected: Digest | None = None) -> Writer:
        """Open the ingest ``ref``, new or kept; a kept one goes on at its offset at once.

        Args:
            ref: Any printable text (str.isprintable), up to MAX_REF_LENGTH.
            total: Bytes the blob will have, or None when unknown.
            expected: Digest the blob will have, or None when unknown. Of both, None keeps what an
                earlier opening promised, and another value takes its place.
        Raises:
            AlreadyExists: ``expected`` is in the store already.
            Locked: Another writer holds ``ref``; the message names its owner.
            InvalidArgument: A bad ``ref`` or a negative ``total``.
        """
        ...


class Manager(Protocol):
    """Knows what is committed."""

    def info(self, digest: Digest, /) -> Info:
        """About one blob.

        Raises:
            NotFound: No such blob.
        """
        ...

    def update(self, info: Info, /, *fieldpaths: str) -> Info:
        """Change labels of ``info.digest`` and return the new Info; ``updated`` becomes now.

        Field paths are ``labels`` (replace them all) and ``labels.KEY`` (set one, or remove it
        when ``info.labels`` lacks it or has it empty). Without a field path all labels are replaced.

        Raises:
            NotFound: No such blob.
            InvalidArgument: Another field path, or a label over MAX_LABEL_SIZE; nothing changed.
        """
        ...

    def walk(self, *filters: str) -> Iterator[Info]:
        """Every blob that one of ``filters`` matches (all without a filter), in no fixed order.

        A blob committed or deleted meanwhile may or may not appear. Memory does not grow with
        the number of blobs.

        Raises:
            InvalidArgument: A filter does not parse (containerd filter syntax).
        """
        ...

    def delete(self, digest: Digest, /) -> None:
        """Remove a blob and its labels, durably.

        Raises:
            NotFound: No such blob (containerd's local store is silent here).
        """
        ...


class IngestManager(Protocol):
    """Knows what is being ingested."""

    def status(self, ref: str, /) -> Status:
        """About one ingest.

        Raises:
            NotFound: No such ingest.
        """
        ...

    def statuses(self, *filters: str) -> Iterator[Status]:
        """Every ingest that one of ``filters`` matches on ``ref`` (all without a filter)."""
        ...

    def abort(self, ref: str, /) -> None:
        """Drop an ingest that nobody writes, and its bytes.

        Raises:
            NotFound: No such ingest.
            Locked: A writer holds it (containerd's local store drops it all the same).
        """
        ...


class Store(Provider, Ingester, Manager, IngestManager, Protocol):
    """All of it. Ask for the smallest part you use: fetch needs an Ingester, not a Store."""


class Follower(Protocol):
    """A store that can watch an ingest which another process runs."""

    def follow(
        self,
        ref: str,
        /,
        *,
        on_progress: Callable[[Status], None] | None = None,
        timeout: float | None = None,
    ) -> Digest | None:
        """Wait until nobody holds ``ref``.

        Args:
            on_progress: Called with the running ingest's status a few times a second.
            timeout: Seconds to wait, or None for as long as it takes.
        Returns:
            The digest the ingest was committed as, or None when it ended without a commit (or
            nobody held it).
        Raises:
            DeadlineExceeded: Somebody still holds it after ``timeout``.
        """
        ...
