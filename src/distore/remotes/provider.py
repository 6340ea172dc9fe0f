"""RemoteProvider: a repository read like a store, for whoever copies blobs out of Providers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from distore._internal.retry import Retrier
from distore.content.slices import BytesReader
from distore.errors import OutOfRange, Unavailable
from distore.remotes.fetch import fetch_document
from distore.remotes.resolver import Target
from distore.remotes.source import Source, skip_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from distore.content.store import Reader
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.remotes.resolver import Fetcher


_MAX_KEPT: Final = 64 * 1024 * 1024  # bytes of documents in memory; the rest is asked for again


class RemoteProvider:
    """A Provider whose blobs come from a registry. Their bytes are not verified: who keeps them
    does that.

    Args:
        new_retrier: Makes the Retrier of one reader.
    """

    def __init__(self, fetcher: Fetcher, *, new_retrier: Callable[[], Retrier] = Retrier) -> None:
        self.fetcher = fetcher
        self._new_retrier = new_retrier

    def __str__(self) -> str:
        return self.fetcher.repository.name

    def reader(self, digest: Digest, /) -> Reader:
        target = Target(digest=digest)
        source = Source(self.fetcher, target, retrier=self._new_retrier())
        try:
            return RemoteReader(source)
        except BaseException:
            source.close()
            raise


class RemoteImage(RemoteProvider):
    """An image in a registry as the origin of a copy. Its documents are read once and kept in memory,
    up to _MAX_KEPT bytes of them; blobs pass through.

    Args:
        root: What the image's name stands for.
    """

    def __init__(
        self, fetcher: Fetcher, root: Descriptor, *, name: str, new_retrier: Callable[[], Retrier] = Retrier
    ) -> None:
        super().__init__(fetcher, new_retrier=new_retrier)
        self._root = root
        self._documents: dict[Digest, bytes] = {}
        self._kept = 0  # bytes of them
        self._guard = threading.Lock()
        self.name = name

    def resolve(self) -> Descriptor:
        """The root."""
        return self._root

    def document(self, descriptor: Descriptor, /) -> bytes:
        """A manifest or index, verified."""
        data = self._documents.get(descriptor.digest)
        if data is None:
            target = Target(digest=descriptor.digest, media_type=descriptor.media_type, size=descriptor.size)
            data = fetch_document(self.fetcher, target, retrier=self._new_retrier()).data
            self._keep(descriptor.digest, data)
        return data

    def reader(self, digest: Digest, /) -> Reader:
        data = self._documents.get(digest)
        return super().reader(digest) if data is None else BytesReader(data, subject=f"content {digest}")

    def close(self) -> None:
        """The connections are the resolver's to close."""
        with self._guard:
            self._documents.clear()
            self._kept = 0

    def _keep(self, digest: Digest, data: bytes) -> None:
        with self._guard:
            if digest not in self._documents and self._kept + len(data) <= _MAX_KEPT:
                self._documents[digest] = data
                self._kept += len(data)

    def __enter__(self) -> RemoteImage:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class RemoteReader:
    """A Reader that is quick when reads follow each other: they share one connection."""

    def __init__(self, source: Source) -> None:
        self._guard = threading.Lock()
        self._source = source
        self._held = b""  # read, and not wanted yet
        self._held_at = 0
        stream = source.open()
        if stream.size is None:
            raise Unavailable(f"{stream.source}: does not tell its size")
        self.size = stream.size

    def read_at(self, length: int, offset: int, /) -> bytes:
        if length < 0:
            raise OutOfRange(f"read: {length} bytes cannot be read")
        space = bytearray(max(0, min(length, self.size - offset)))
        return bytes(memoryview(space)[: self.readinto_at(space, offset)])

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        if offset < 0:
            raise OutOfRange(f"read: offset {offset} is negative")
        view = memoryview(buffer).cast("B")[: max(0, self.size - offset)]
        done = 0
        with self._guard:
            while done < len(view):
                piece = self._piece(offset + done, len(view) - done)
                if not piece:
                    break
                view[done : done + len(piece)] = piece
                done += len(piece)
        return done

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> RemoteReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _piece(self, offset: int, limit: int) -> bytes:
        """Up to ``limit`` bytes at ``offset``; the rest of what came is held for the next call."""
        at = offset - self._held_at
        if not 0 <= at < len(self._held):
            if offset != self._source.position:
                self._source.seek(offset)
            self._held, self._held_at, at = skip_to(offset, self._source), offset, 0
        return self._held[at : at + limit]
