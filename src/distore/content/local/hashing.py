"""The digest of a growing file, computed beside the writes and never in their way."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition
from distore.oci.digest import Digest, new_hasher

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from distore.oci.digest import Hasher

CHUNK: Final = 1024 * 1024  # bytes read back at a time
# Handing a smaller buffer to the thread costs more than hashing it here.
_HAND_OVER: Final = 128 * 1024


class FrontierHasher:
    """Hashes bytes 0 up to the frontier of ``fd``, in order, mostly on a thread of its own.

    What is behind (a kept prefix, segments that arrived out of order) is read back from the
    file; what is appended while nothing is behind is hashed from the caller's buffer. The
    thread exists only once there is something for it to do; where the system gives none, the
    caller's own does it.
    """

    def __init__(self, fd: int, algorithm: str) -> None:
        self._fd = fd
        self.algorithm = algorithm
        self._hasher: Hasher = new_hasher(algorithm)
        self._done = 0  # bytes hashed
        self._goal = 0  # bytes to be hashed, all readable from the file or in _buffer
        self._buffer: ReadableBuffer | None = None  # the next _size bytes after _done, when held
        self._size = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._error: OSError | None = None

    def advance(self, frontier: int) -> None:
        """Bytes up to ``frontier`` are in the file now; hash them in the background."""
        with self._changed:
            if frontier > self._goal:
                self._goal = frontier
                self._wake()

    def take(self, data: ReadableBuffer, size: int) -> bool:
        """Hash the next ``size`` bytes from the caller's buffer, if nothing is behind.

        True means taken, and ``settle`` must be called before ``data`` changes; False means the
        caller writes first and calls ``advance``.
        """
        if self._thread is None and self._done == self._goal and size < _HAND_OVER:
            self._hasher.update(data)
            self._done += size
            self._goal += size
            return True
        with self._changed:
            while self._buffer is not None:
                self._changed.wait()
            if self._done < self._goal or self._error:
                return False
            if size < _HAND_OVER:
                self._hasher.update(data)
                self._done += size
                self._goal += size
                return True
            self._buffer, self._size = data, size
            self._goal += size
            self._wake()
            if self._thread is None:
                self._hasher.update(data)
                self._done, self._buffer = self._done + size, None
        return True

    def settle(self) -> None:
        """Wait until no caller's buffer is in use."""
        if self._buffer is not None:
            with self._changed:
                while self._buffer is not None:
                    self._changed.wait()

    def wait(self, seconds: float) -> bool:
        """Whether ``digest`` answers at once, waiting so long for that."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._done >= self._goal or self._thread is None or self._stopped, seconds
            )

    def digest(self) -> Digest:
        """Digest up to the frontier; waits for what is behind.

        Raises:
            OSError: The file cannot be read back.
            FailedPrecondition: It was closed meanwhile.
        """
        with self._changed:
            while self._done < self._goal and self._error is None:
                if self._stopped:
                    raise FailedPrecondition("digest: closed before all bytes were hashed")
                if self._thread is None:
                    self._catch_up()
                else:
                    self._changed.wait()
            if self._error is not None:
                raise self._error
            return Digest.from_hasher(self.algorithm, self._hasher)

    def close(self) -> None:
        """Stop the thread; the descriptor may be closed afterwards."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _wake(self) -> None:
        if self._thread is None and not self._stopped:
            # A daemon: a process that is told to die does not wait for a digest nobody wants.
            thread = threading.Thread(target=self._run, name="distore-hash", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there is none to be had
                return
            self._thread = thread
        self._changed.notify_all()

    def _catch_up(self) -> None:
        """Hash what is behind in the caller's thread."""
        space = memoryview(bytearray(CHUNK))
        while self._done < self._goal:
            size = self._read(space[: min(self._goal - self._done, CHUNK)])
            self._hasher.update(space[:size])
            self._done += size

    def _run(self) -> None:
        space = memoryview(bytearray(CHUNK))
        while True:
            with self._changed:
                while self._done >= self._goal and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    self._buffer = None
                    self._changed.notify_all()
                    return
                data, size = self._buffer, self._size
                behind = self._goal - self._done
            try:
                if data is None:
                    size = self._read(space[: min(behind, CHUNK)])
                    data = space[:size]
                self._hasher.update(data)
            except OSError as error:
                with self._changed:
                    self._error, self._stopped = error, True
                    self._changed.notify_all()
                return
            with self._changed:
                self._done += size
                self._buffer = None
                self._changed.notify_all()

    def _read(self, space: memoryview) -> int:
        size = os.preadv(self._fd, [space], self._done)
        if not size:
            raise OSError(5, "file is shorter than what was written to it")
        return size
