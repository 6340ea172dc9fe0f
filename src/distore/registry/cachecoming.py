"""Coming: one blob on its way from an upstream into the store, which others read along."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from distore.errors import AlreadyExists
from distore.registry.growing import Growth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed import ReadableBuffer

    from distore.content.store import Reader, Status, Writer
    from distore.oci.digest import Digest
    from distore.oci.reference import Reference
    from distore.registry.cacheblobs import CachedBlobs
    from distore.registry.cachecounts import CacheCounts
    from distore.registry.upstreams import Copy
    from distore.remotes.resolver import Fetcher, Stream, Target


PREFIX: Final = "cache-"  # of the ingests, so that those that nobody goes on with can be told


@runtime_checkable
class _InFile(Protocol):
    def fileno(self) -> int: ...


class Coming:
    """One blob on its way: the ingester of its download, which lets others read along."""

    def __init__(self, blobs: CachedBlobs, copy: Copy, digest: Digest, *, size: int | None, proven: bool):
        self._blobs = blobs
        self._proven = proven
        self._peeked = False
        self.copy = copy
        self.growth = Growth(digest, size=size, source=copy.repository)
        self.ref = f"{PREFIX}{copy.reference.domain}-{digest}"
        self.wanted = {copy.repository}
        self.offered: set[str] = set()
        self.reader: Reader | None = None  # of the blob in the store; the growth's, once it is whole
        self.name = f"{copy.reference.name}@{digest}"

    def close(self) -> None:
        """It did not come to its end."""
        if self.reader is not None:
            self.reader.close()

    def prove(self) -> None:
        """Make sure that the upstream has it in this repository."""
        if not self._proven:
            self.told(self._blobs.size(self.copy, self.growth.digest))

    def told(self, size: int | None) -> None:
        """The upstream has it."""
        self._proven = True
        if self.growth.size is None:
            self.growth.size = size

    def writer(self, ref: str, /, *, total: int | None = None, expected: Digest | None = None) -> Writer:
        return Copying(self._blobs, self, self._blobs.open(ref, total, expected))

    def follow(
        self,
        ref: str,
        /,
        *,
        on_progress: Callable[[Status], None] | None = None,
        timeout: float | None = None,
    ) -> Digest | None:
        self._peeked = False
        return self._blobs.followed(ref, on_progress, timeout)

    def look(self, status: Status) -> None:
        """Read along with another process."""
        self._blobs.check_open()
        self.prove()
        if not self._peeked and status.offset and (fd := self._blobs.peek(status.ref)) is not None:
            self.growth.attach(fd)
            self._peeked = True
        if self._peeked:
            self.growth.follow(status.offset)


class Copying:
    """A Writer that tells what has arrived, and offers the blob as it is committed."""

    def __init__(self, blobs: CachedBlobs, coming: Coming, inner: Writer) -> None:
        self._blobs = blobs
        self._coming = coming
        self._inner = inner
        self._growth = coming.growth
        if isinstance(inner, _InFile):
            self._growth.attach(os.dup(inner.fileno()))
        self._growth.advance(inner.offset)

    @property
    def ref(self) -> str:
        return self._inner.ref

    @property
    def offset(self) -> int:
        return self._inner.offset

    def write(self, data: ReadableBuffer, /) -> int:
        size = self._inner.write(data)
        self._growth.advance(self._inner.offset)
        return size

    def status(self) -> Status:
        return self._inner.status()

    def digest(self) -> Digest:
        return self._inner.digest()

    def truncate(self, size: int = 0, /) -> None:
        self._growth.give_up(size)  # before: nobody may read what is written anew
        self._inner.truncate(size)

    def commit(
        self,
        *,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Digest:
        digest = self._growth.digest

        def commit() -> None:
            with suppress(AlreadyExists):  # the bytes were verified all the same
                self._inner.commit(size=size, expected=expected or digest, labels=labels)
            self._growth.prove()

        self._blobs.offer(self._coming, commit)
        return digest

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Copying:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Told:
    """A Fetcher whose answers are news."""

    def __init__(self, inner: Fetcher, coming: Coming, counts: CacheCounts) -> None:
        self._inner = inner
        self._coming = coming
        self._counts = counts

    @property
    def repository(self) -> Reference:
        return self._inner.repository

    def open(
        self, target: Target, /, *, offset: int = 0, end: int | None = None, validator: str | None = None
    ) -> Stream:
        stream = self._inner.open(target, offset=offset, end=end, validator=validator)
        self._coming.told(stream.size)
        return Counted(stream, self._counts)


class Counted:
    """A Stream whose bytes are counted."""

    def __init__(self, inner: Stream, counts: CacheCounts) -> None:
        self._inner = inner
        self._counts = counts
        self.offset = inner.offset
        self.size = inner.size
        self.media_type = inner.media_type
        self.digest = inner.digest
        self.validator = inner.validator
        self.source = inner.source

    def read(self, limit: int, /) -> bytes:
        data = self._inner.read(limit)
        self._counts.received(len(data))
        return data

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
