"""MemoryStore: the contract kept in memory; the verified fake that tests use."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore._internal.filters import parse
from distore.content.gaps import Frontier
from distore.content.rules import check_labels, check_ref, info_adaptor, status_adaptor, updated_labels
from distore.content.store import Info, Owner, Status
from distore.errors import (
    AlreadyExists,
    DeadlineExceeded,
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    Locked,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    SizeMismatch,
)
from distore.oci.digest import DEFAULT_ALGORITHM, Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from _typeshed import ReadableBuffer, WriteableBuffer

_MAX_SIZE: Final = 1 << 30  # bytes of one ingest; gaps take memory, too
_LOOK: Final = 0.2  # seconds between two reports of progress


@dataclass(slots=True, kw_only=True)
class _Ingest:
    ref: str
    started: datetime
    updated: datetime
    data: bytearray = field(default_factory=bytearray)  # may have gaps behind `kept`
    kept: int = 0  # bytes without a gap
    total: int | None = None
    expected: Digest | None = None
    owner: Owner | None = None  # while a writer is open
    result: Digest | None = None


class MemoryStore:
    """A Store and Follower whose writers take segments; thread-safe.

    Args:
        command: What errors and statuses name as the owner of an ingest.
        now: Seconds since the epoch.
    """

    def __init__(self, *, command: str = "python", now: Callable[[], float] = time.time) -> None:
        self._command = command
        self._now = now
        self._changed = threading.Condition(threading.RLock())
        self._blobs: dict[Digest, tuple[Info, bytes]] = {}
        self._ingests: dict[str, _Ingest] = {}

    def reader(self, digest: Digest, /) -> MemoryReader:
        return MemoryReader(digest, self._found(digest)[1])

    def writer(
        self, ref: str, /, *, total: int | None = None, expected: Digest | None = None
    ) -> MemoryWriter:
        check_ref(ref)
        if total is not None and total < 0:
            raise InvalidArgument(f"ingest {ref!r}: total {total} is negative")
        with self._changed:
            if expected in self._blobs:
                raise AlreadyExists(f"content {expected} already exists", subject=expected)
            ingest = self._ingests.get(ref)
            if ingest is None:
                now = self._moment()
                ingest = self._ingests[ref] = _Ingest(ref=ref, started=now, updated=now)
            self._refuse_held(ingest)
            ingest.owner = Owner(os.getpid(), os.uname().nodename, self._command, self._moment())
            ingest.total = ingest.total if total is None else total
            ingest.expected = expected or ingest.expected
        return MemoryWriter(self, ingest)

    def info(self, digest: Digest, /) -> Info:
        return _copied(self._found(digest)[0])

    def update(self, info: Info, /, *fieldpaths: str) -> Info:
        with self._changed:
            old, data = self._found(info.digest)
            labels = updated_labels(old.labels, info.labels, fieldpaths)
            check_labels(labels)
            new = old._replace(labels=labels, updated=self._moment())
            self._blobs[info.digest] = (new, data)
            return _copied(new)

    def walk(self, *filters: str) -> Iterator[Info]:
        wanted = parse(filters)
        with self._changed:
            infos = [info for info, _ in self._blobs.values()]
        return (_copied(info) for info in infos if wanted.match(info_adaptor(info)))

    def delete(self, digest: Digest, /) -> None:
        with self._changed:
            self._found(digest)
            del self._blobs[digest]

    def status(self, ref: str, /) -> Status:
        check_ref(ref)
        with self._changed:
            if ref not in self._ingests:
                raise NotFound(f"ingest {ref!r}: not found")
            return _status(self._ingests[ref])

    def statuses(self, *filters: str) -> Iterator[Status]:
        wanted = parse(filters)
        with self._changed:
            found = [_status(ingest) for ingest in self._ingests.values()]
        return (status for status in found if wanted.match(status_adaptor(status)))

    def abort(self, ref: str, /) -> None:
        with self._changed:
            self.status(ref)
            self._refuse_held(self._ingests[ref])
            del self._ingests[ref]

    def follow(
        self,
        ref: str,
        /,
        *,
        on_progress: Callable[[Status], None] | None = None,
        timeout: float | None = None,
    ) -> Digest | None:
        check_ref(ref)
        with self._changed:
            ingest = self._ingests.get(ref)
        end = None if timeout is None else time.monotonic() + timeout
        while ingest is not None and ingest.owner is not None:
            if on_progress:
                on_progress(_status(ingest))  # without the lock: it may wait for the writer
            left = _LOOK if end is None else min(_LOOK, end - time.monotonic())
            with self._changed:
                if ingest.owner is not None and left <= 0:
                    raise DeadlineExceeded(f"{self._locked(ingest)}; waited {timeout:g} s")
                if ingest.owner is not None:
                    self._changed.wait(left)
        return ingest.result if ingest else None

    def _refuse_held(self, ingest: _Ingest) -> None:
        if ingest.owner is not None:
            raise self._locked(ingest)

    def _locked(self, ingest: _Ingest) -> Locked:
        owner = ingest.owner
        assert owner is not None and owner.since is not None
        age = max(0, round((self._moment() - owner.since).total_seconds()))
        return Locked(
            f"ingest {ingest.ref!r}: locked by pid {owner.pid} on {owner.host} ({owner.command}) for {age} s",
            ref=ingest.ref,
            pid=owner.pid,
            host=owner.host,
            command=owner.command,
            since=owner.since,
        )

    def _found(self, digest: Digest) -> tuple[Info, bytes]:
        with self._changed:
            if digest not in self._blobs:
                raise NotFound(f"content {digest}: not found")
            return self._blobs[digest]

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def _released(self, ingest: _Ingest) -> None:
        with self._changed:
            ingest.owner = None
            self._changed.notify_all()

    def _committed(self, ingest: _Ingest, digest: Digest, labels: Mapping[str, str]) -> None:
        with self._changed:
            del self._ingests[ingest.ref]
            ingest.result = digest
            if digest in self._blobs:
                raise AlreadyExists(f"content {digest} already exists", subject=digest)
            data, moment = bytes(ingest.data), self._moment()
            info = Info(digest, len(data), moment, moment, {k: v for k, v in labels.items() if v})
            self._blobs[digest] = (info, data)


class MemoryReader:
    """A Reader of bytes."""

    def __init__(self, digest: Digest, data: bytes) -> None:
        self._digest = digest
        self._data: bytes | None = data
        self.size = len(data)

    def read_at(self, length: int, offset: int, /) -> bytes:
        if length < 0 or offset < 0:
            raise OutOfRange(f"content {self._digest}: cannot read {length} bytes at {offset}")
        return self._open()[offset : offset + length]

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read_at(len(view), offset)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._data = None

    def _open(self) -> bytes:
        if self._data is None:
            raise FailedPrecondition(f"content {self._digest}: read from a closed reader")
        return self._data

    def __enter__(self) -> MemoryReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class MemoryWriter:
    """A SegmentWriter into a bytearray."""

    def __init__(self, store: MemoryStore, ingest: _Ingest) -> None:
        self._store = store
        self._ingest = ingest
        self._subject = f"ingest {ingest.ref!r}"
        del ingest.data[ingest.kept :]
        self._frontier = Frontier(ingest.kept)
        self._closed = False
        self._guard = threading.Lock()

    @property
    def ref(self) -> str:
        return self._ingest.ref

    @property
    def offset(self) -> int:
        return self._frontier.end

    def write(self, data: ReadableBuffer, /) -> int:
        return self.write_at(data, self._frontier.end)

    def write_at(self, data: ReadableBuffer, offset: int, /) -> int:
        self._check_open("write")
        given = bytes(memoryview(data))
        if offset + len(given) > _MAX_SIZE:
            raise ResourceExhausted(
                f"{self._subject}: over {_MAX_SIZE} bytes, the limit of a store in memory"
            )
        with self._guard:
            if offset < self._frontier.end:
                raise OutOfRange(f"{self._subject}: offset {offset} lies before {self._frontier.end}")
            if not given:  # nothing arrived, so nothing lies behind a gap now
                return 0
            content = self._ingest.data
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(given)] = given
            self._frontier.add(offset, offset + len(given))
            self._settle()
        return len(given)

    def missing(self, total: int, /) -> list[tuple[int, int]]:
        with self._guard:
            return self._frontier.missing(total)

    def status(self) -> Status:
        return self._store.status(self.ref)

    def digest(self) -> Digest:
        self._check_open("digest")
        expected = self._ingest.expected
        algorithm = expected.algorithm if expected else DEFAULT_ALGORITHM
        return Digest.of(memoryview(self._ingest.data)[: self.offset].tobytes(), algorithm=algorithm)

    def truncate(self, size: int = 0, /) -> None:
        self._check_open("truncate")
        if size < 0:
            raise InvalidArgument(f"{self._subject}: cannot truncate to {size} bytes")
        if size > self._frontier.end:
            raise OutOfRange(f"{self._subject}: cannot truncate {self._frontier.end} bytes to {size}")
        with self._guard:
            del self._ingest.data[size:]
            self._frontier = Frontier(size)
            self._settle()

    def commit(
        self,
        *,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Digest:
        self._check_open("commit")
        expected = expected or self._ingest.expected
        try:
            check_labels(labels or {})
            if self._frontier.gaps:
                start, end = self._frontier.gaps[0]
                raise FailedPrecondition(f"{self._subject}: bytes {start} to {end} are missing")
            if size is not None and size != self.offset:
                raise SizeMismatch(ref=self.ref, expected=size, actual=self.offset)
            algorithm = expected.algorithm if expected else DEFAULT_ALGORITHM
            actual = Digest.of(self._ingest.data, algorithm=algorithm)
            if expected is not None and expected != actual:
                raise DigestMismatch(ref=self.ref, expected=expected, actual=actual)
            self._store._committed(self._ingest, actual, labels or {})
            return actual
        finally:
            self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._store._released(self._ingest)

    def __enter__(self) -> MemoryWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _settle(self) -> None:
        """What a status and a resume see are the bytes without a gap."""
        self._ingest.kept = self._frontier.end
        self._ingest.updated = self._store._moment()

    def _check_open(self, what: str) -> None:
        if self._closed:
            raise FailedPrecondition(f"{self._subject}: {what} on a closed writer")


def _status(ingest: _Ingest) -> Status:
    return Status(
        ref=ingest.ref,
        offset=ingest.kept,
        total=ingest.total,
        expected=ingest.expected,
        started=ingest.started,
        updated=ingest.updated,
        owner=ingest.owner,
    )


def _copied(info: Info) -> Info:
    """What the caller may change without changing the store."""
    return info._replace(labels=dict(info.labels))
