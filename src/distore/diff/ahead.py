"""ReadAhead: an Input that is read, and hashed, in threads of their own where the system gives them."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

from distore.content.blobs import CHUNK
from distore.errors import FailedPrecondition, ResourceExhausted
from distore.oci.digest import Digest, new_hasher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.content.store import Input

_BUFFERS: Final = 4  # one is worked on, one is hashed, one is filled, one is ready
_Got = tuple[memoryview, int] | BaseException | None


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
        self._plain: SimpleQueue[_Got] = SimpleQueue()  # read, and to be hashed
        self._full: SimpleQueue[_Got] = SimpleQueue()
        self._is_whole = False
        self._total = 0
        self.size = 0
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(CHUNK)))
        self._hashing = _started(self._hash, "distore-hash")
        self._reading = _started(self._read, "distore-layer")

    def __iter__(self) -> Iterator[memoryview]:
        if self._reading is None:
            yield from self._beside_nobody()
            return
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
        if self._reading is not None:
            self._reading.join()
        self._plain.put(None)
        if self._hashing is not None:
            self._hashing.join()

    def _beside_nobody(self) -> Iterator[memoryview]:
        buffer = self._free.get()
        assert buffer is not None
        while size := self._filled(buffer):
            self._hasher.update(buffer[:size])
            self.size += size
            yield buffer[:size]
        self._is_whole = True

    def _filled(self, buffer: memoryview) -> int:
        """How many bytes came next; 0 at the end."""
        size = self._source.readinto(buffer) or 0
        self._total += size
        if self._total > self._limit:
            raise ResourceExhausted(f"{self._subject}: unpacks to more than {self._limit} bytes")
        return size

    def _read(self) -> None:
        try:
            while (buffer := self._free.get()) is not None:
                size = self._filled(buffer)
                self._hand_on((buffer, size) if size else None)
                if not size:
                    return
        except BaseException as error:  # noqa: BLE001 - whoever takes the bytes gets it
            self._hand_on(error)

    def _hand_on(self, got: _Got) -> None:
        """To the thread that hashes; without one it is done here."""
        if self._hashing is not None:
            self._plain.put(got)
            return
        if isinstance(got, tuple):
            self._hasher.update(got[0][: got[1]])
        self._full.put(got)

    def _hash(self) -> None:
        while isinstance(got := self._plain.get(), tuple):
            self._hasher.update(got[0][: got[1]])
            self._full.put(got)
        self._full.put(got)


def _started(work: Callable[[], None], name: str) -> Thread | None:
    """None: the system gives no more threads."""
    thread = Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
