"""Growing: a blob that is read by many while it is still on its way into the store."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.errors import FailedPrecondition, OutOfRange, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from distore.content.store import Reader
    from distore.errors import DistoreError
    from distore.oci.digest import Digest

# Held back until the digest is known to be right: nobody gets a whole body of wrong bytes.
_HELD_BACK: Final = 1  # bytes


class Growth:
    """One blob on its way. One thread brings it, any number read; the last to let go closes the file.

    Args:
        size: Bytes that it will have, or None while that is unknown.
        source: The repository that it is asked of.
    """

    def __init__(self, digest: Digest, *, size: int | None, source: str = "") -> None:
        self.digest = digest
        self.source = source
        self.size = size
        self.failure: DistoreError | None = None
        self._news = threading.Condition()
        self._callbacks: list[tuple[int, Callable[[], None]]] = []
        self._fds: list[int] = []  # the last one counts; somebody may still read from the others
        self._whole: Reader | None = None  # once it is in the store
        self._is_whole = self._is_right = False
        self._arrived = 0
        self._turns = 0  # how often what had arrived was given up
        self._holders = 1

    # For whoever brings it.

    def attach(self, fd: int) -> None:
        """The file that it grows in, which is taken over. If it grew in another one before, nothing of
        this one has arrived yet: its bytes may be others."""
        with self._news:
            if self._fds and self._arrived and not os.path.sameopenfile(self._fds[-1], fd):
                self._turns += 1
                self._arrived = 0
            self._fds.append(fd)

    def advance(self, arrived: int) -> None:
        """So many bytes are in the file by now; fewer than before: those were given up."""
        with self._news:
            if arrived < self._arrived:
                self._turns += 1
            self._arrived = arrived
            self._tell()

    def follow(self, arrived: int) -> None:
        """As ``advance``, of a file that another process writes: once it has all, there is no ingest any
        more, and none of its bytes."""
        with self._news:
            if arrived < self._arrived and self._fds and os.fstat(self._fds[-1]).st_size >= self._arrived:
                return
        self.advance(arrived)

    def give_up(self, size: int) -> None:
        """All but the first ``size`` bytes will be written anew."""
        with self._news:
            if size < self._arrived:
                self._turns += 1
                self._arrived = size

    def prove(self) -> None:
        """All that is in the file is right."""
        with self._news:
            self._is_right = True

    def finish(self, whole: Reader) -> None:
        """It is in the store, verified; ``whole``, which is taken over, reads it there."""
        with self._news:
            if not (self._is_right or (self._fds and _is_same(self._fds[-1], whole))):
                self._turns += 1 if self._arrived else 0  # what was read was another file's
            self.size, self._arrived = whole.size, whole.size
            self._whole, self._is_whole = whole, True
            self._tell()

    def fail(self, error: DistoreError) -> None:
        """It does not come."""
        with self._news:
            if not self._is_whole:
                self.failure = error
            self._tell()

    # For those who read.

    def hold(self) -> bool:
        """Count one more who reads; False when all have let go already."""
        with self._news:
            if not self._holders:
                return False
            self._holders += 1
            return True

    def let_go(self) -> None:
        """Count one less."""
        with self._news:
            self._holders -= 1
            if self._holders:
                return
            fds, self._fds = self._fds, []
            whole, self._whole = self._whole, None
        for fd in fds:
            os.close(fd)
        if whole is not None:
            whole.close()

    def begun(self, seconds: float) -> bool:
        """Wait for the first bytes and the size, or the failure; whether it came to either."""
        with self._news:
            return self._news.wait_for(self._has_begun, seconds)

    def whole(self, seconds: float) -> bool:
        """Wait for the end; whether it came to it, well or not."""
        with self._news:
            return self._news.wait_for(lambda: self._is_whole or self.failure is not None, seconds)

    def when(self, offset: int, callback: Callable[[], None]) -> bool:
        """Whether a read at ``offset`` would not wait. If it would, ``callback`` is called once, from
        any thread, when it does not any more."""
        with self._news:
            if self._can_read(offset):
                return True
            self._callbacks.append((offset, callback))
            return False

    def read(self, length: int, offset: int, turn: int | None) -> tuple[bytes, int]:
        """Up to ``length`` bytes as soon as there are any, and the turn they are of.

        Args:
            turn: Of what was read before; None: nothing was.
        Raises:
            Unavailable: It does not come, or not as it came before.
        """
        with self._news:
            self._news.wait_for(lambda: self._can_read(offset))
            end, now, whole = self._readable(), self._turns, self._whole
            fd = self._fds[-1] if self._fds else -1
        if turn not in (None, now):
            raise Unavailable(f"content {self.digest}: what had come of it was given up")
        if offset >= end:
            raise self.failure or Unavailable(f"content {self.digest}: it ended at byte {end}")
        length = min(length, end - offset)
        if whole is not None:
            return whole.read_at(length, offset), now
        with translated(f"content {self.digest}"):
            data = os.pread(fd, length, offset)
        if now != self._turns:
            raise Unavailable(f"content {self.digest}: what had come of it was given up")
        return data, now

    def _has_begun(self) -> bool:
        return self._is_whole or self.failure is not None or (self.size is not None and self._readable() > 0)

    def _can_read(self, offset: int) -> bool:
        return self._is_whole or self.failure is not None or offset < self._readable()

    def _readable(self) -> int:
        if self._is_whole:
            return self._arrived
        if not self._fds:
            return 0
        if self.size is None:
            return max(0, self._arrived - _HELD_BACK)
        return min(self._arrived, self.size - _HELD_BACK)

    def _tell(self) -> None:
        self._news.notify_all()
        due = [callback for offset, callback in self._callbacks if self._can_read(offset)]
        if due:
            self._callbacks = [waiting for waiting in self._callbacks if not self._can_read(waiting[0])]
            for callback in due:
                callback()


class GrowingReader:
    """A Reader of a Growth with a size, for one client. Gives what has arrived, which may be less than
    was asked for; ``wait`` tells whether there is any.

    Args:
        growth: Held for this reader (``Growth.hold``), which lets it go.
    """

    def __init__(self, growth: Growth) -> None:
        assert growth.size is not None
        self._growth: Growth | None = growth
        self._digest = growth.digest
        self._turn: int | None = None
        self.size = growth.size

    def wait(self, offset: int, callback: Callable[[], None], /) -> bool:
        """As ``Growth.when``."""
        return self._growth is None or self._growth.when(offset, callback)

    def read_at(self, length: int, offset: int, /) -> bytes:
        if length < 0 or offset < 0:
            raise OutOfRange(f"content {self._digest}: cannot read {length} bytes at {offset}")
        if self._growth is None:
            raise FailedPrecondition(f"content {self._digest}: read from a closed reader")
        if offset >= self.size or not length:
            return b""
        data, self._turn = self._growth.read(min(length, self.size - offset), offset, self._turn)
        return data

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read_at(len(view), offset)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        growth, self._growth = self._growth, None
        if growth is not None:
            growth.let_go()

    def __enter__(self) -> GrowingReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class UnreadReader:
    """Of a blob that is elsewhere, whose size alone is known: for the headers of an answer to HEAD."""

    def __init__(self, digest: Digest, size: int) -> None:
        self._digest = digest
        self.size = size

    def read_at(self, length: int, offset: int, /) -> bytes:
        raise Unavailable(f"content {self._digest}: it is not here")

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        raise Unavailable(f"content {self._digest}: it is not here")

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> UnreadReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _is_same(fd: int, reader: Reader) -> bool:
    """Whether the reader's bytes are those of the open file."""
    fileno = getattr(reader, "fileno", None)
    if fileno is None:
        return False
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(fileno()))
    except OSError:
        return False
