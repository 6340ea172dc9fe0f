"""ReadAhead: an Input that is read, and hashed, in a thread of its own."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

from distore.content.blobs import CHUNK
from distore.errors import FailedPrecondition, ResourceExhausted
from distore.oci.digest import Digest, new_hasher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.content.store import Input

_BUFFERS: Final = 3  # one is worked on, one is filled, one is ready


class ReadAhead:
    """Its pieces, each good until the next is asked for; what reading raised is raised here.

    ``close`` it in the end: it waits for the thread.

    Args:
        limit: Bytes that there may be (ResourceExhausted).
    """

    def __init__(self, source: Input, *, algorithm: str, limit: int, subject: str) -> None:
        self._source = source
        self._algorithm = algorithm
        self._limit = limit
        self._subject = subject
        self._hasher = new_hasher(algorithm)
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | BaseException | None] = SimpleQueue()
        self._is_whole = False
        self.size = 0
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(CHUNK)))
        self._thread = Thread(target=self._read, name="distore-layer", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[memoryview]:
        while (got := self._full.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            buffer, size = got
            self.size += size
            yield buffer[:size]
            self._free.put(buffer)
        self._is_whole = True

    def digest(self) -> Digest:
        """Of all bytes.

        Raises:
            FailedPrecondition: Not all were taken.
        """
        if not self._is_whole:
            raise FailedPrecondition(f"{self._subject}: not read to its end")
        return Digest.from_hasher(self._algorithm, self._hasher)

    def close(self) -> None:
        """Stop reading; the bytes that are being read come first."""
        self._free.put(None)
        self._thread.join()

    def _read(self) -> None:
        total = 0
        try:
            while (buffer := self._free.get()) is not None:
                size = self._source.readinto(buffer) or 0
                if not size:
                    self._full.put(None)
                    return
                total += size
                if total > self._limit:
                    raise ResourceExhausted(f"{self._subject}: unpacks to more than {self._limit} bytes")
                self._hasher.update(buffer[:size])
                self._full.put((buffer, size))
        except BaseException as error:  # noqa: BLE001 - whoever takes the bytes gets it
            self._full.put(error)
