"""LocalWriter: one ingest of the local store, from its first byte to the commit."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.content.gaps import Frontier
from distore.content.local import ingests
from distore.content.local.hashing import CHUNK, FrontierHasher
from distore.content.local.paths import BLOB_MODE
from distore.content.local.sources import gather, size_of
from distore.content.rules import check_labels
from distore.errors import (
    AlreadyExists,
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    SizeMismatch,
)
from distore.oci.digest import DEFAULT_ALGORITHM, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import ReadableBuffer

    from distore._internal.filelock import FileLock
    from distore.content.local.paths import IngestPaths, Paths
    from distore.content.local.visibility import Visibility
    from distore.content.store import Input, Status

# The note of the frontier is written again after that many bytes; a crash loses at most those.
_FRONTIER_STEP: Final = 1024 * 1024  # bytes
# The device begins to write after that many bytes. Measured for 1 GiB, hashing alone 0.8 s: commit
# after 0.83 s with steps of 32 MiB, 1.3 s with 8 MiB, 1.1 to 1.6 s when all is left to fsync.
# Space is reserved for a blob of so many bytes; for a smaller one that would cost more than it helps.
_RESERVE_FROM: Final = 1024 * 1024  # bytes
# What lies behind a gap is kept over a close from so many bytes on: containerd, which resumes at the
# size of the data, would have to throw such an ingest away.
_ISLANDS_FROM: Final = 1024 * 1024  # bytes
_WRITE_BACK_STEP: Final = 32 * 1024 * 1024  # bytes


class LocalWriter:
    """A SegmentWriter over one folder of ingest/. Made by LocalStore, which holds the lock."""

    def __init__(
        self,
        ref: str,
        *,
        paths: IngestPaths,
        store: Paths,
        visibility: Visibility,
        lock: FileLock,
        expected: Digest | None,
        total: int | None = None,
        replace: bool = False,
    ) -> None:
        self._ref = ref
        self._paths = paths
        self._store = store
        self._visibility = visibility
        self._lock = lock
        self._expected = expected
        self._replace = replace
        self._to_reserve = total or 0  # bytes; 0 once it is done
        self._subject = f"ingest {ref!r}"
        self._fd = ingests.open_data(paths.data)
        self._algorithm = expected.algorithm if expected else DEFAULT_ALGORITHM
        self._noted: int | None = None  # what the frontier note on disk says
        self._unnoted = 0  # bytes that arrived since
        try:
            self._frontier = self._settled()
        except BaseException:
            os.close(self._fd)
            raise
        self._guard = threading.Lock()  # frontier and note, when segments come from many threads
        self._flushed = self._frontier.end  # up to here the device has begun to write
        self._reserved = self._committed = False
        self._hasher = self._new_hasher()

    @property
    def ref(self) -> str:
        return self._ref

    @property
    def offset(self) -> int:
        return self._frontier.end

    def write(self, data: ReadableBuffer, /) -> int:
        size = self._append(data)
        if not isinstance(data, bytes):
            self._hasher.settle()
        return size

    def fill(self, source: Input, /) -> int:
        """Append all of ``source`` and return the number of bytes: ``write`` in a loop, but one
        buffer is read and written while the other is still being hashed."""
        spaces = (memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK)))
        copied = turn = 0
        self._to_reserve = self._to_reserve or self._frontier.end + size_of(source)
        try:
            while size := gather(source, spaces[turn]):
                copied += self._append(spaces[turn][:size])
                turn ^= 1
        finally:
            self._hasher.settle()
        return copied

    def _append(self, data: ReadableBuffer) -> int:
        """Write at the frontier. ``data`` is in use until the next call, or ``settle``."""
        self._check_open("write")
        size, offset = memoryview(data).nbytes, self._frontier.end
        if not size:
            return 0
        if self._frontier.gaps:
            return self.write_at(data, offset)
        if self._noted is not None:
            with translated(self._subject):
                self._drop_note()
        self._reserve()
        taken = self._hasher.take(data, size)
        try:
            with translated(self._subject):
                fsops.write(self._fd, data, offset)
        except BaseException:
            self._rewind(offset)
            raise
        self._frontier.add(offset, offset + size)
        if not taken:
            self._hasher.advance(self._frontier.end)
        self._write_back()
        return size

    def write_at(self, data: ReadableBuffer, offset: int, /) -> int:
        self._check_open("write")
        size = memoryview(data).nbytes
        with translated(self._subject):
            with self._guard:
                if offset < self._frontier.end:
                    raise OutOfRange(f"{self._subject}: offset {offset} lies before {self._frontier.end}")
                if offset > self._frontier.end and self._noted is None:
                    self._note_frontier(durable=True)
                self._reserve()
            fsops.write(self._fd, data, offset)
            with self._guard:
                self._frontier.add(offset, offset + size)
                self._unnoted += size
                self._hasher.advance(self._frontier.end)
                self._write_back()
                if self._noted is not None and self._is_note_stale():
                    self._note_frontier()
        return size

    def missing(self, total: int, /) -> list[tuple[int, int]]:
        with self._guard:
            return self._frontier.missing(total)

    def status(self) -> Status:
        status = ingests.status(self._paths)
        if status is None:
            raise NotFound(f"{self._subject}: not found")
        return status if self._fd < 0 else status._replace(offset=self._frontier.end)

    def digest(self) -> Digest:
        self._check_open("digest")
        with translated(self._subject):
            return self._hasher.digest()

    def settle(self, seconds: float, /) -> bool:
        """Whether ``digest`` answers at once, waiting so long for that."""
        self._check_open("settle")
        return self._hasher.wait(seconds)

    def truncate(self, size: int = 0, /) -> None:
        self._check_open("truncate")
        if size < 0:
            raise InvalidArgument(f"{self._subject}: cannot truncate to {size} bytes")
        if size > self._frontier.end:
            raise OutOfRange(f"{self._subject}: cannot truncate {self._frontier.end} bytes to {size}")
        with translated(self._subject):
            self._rewind(size)

    def take_file(self, source: str, /, *, link: str = "auto") -> None:
        """Become the bytes of a local file; see ``fromfile.fill``."""
        self._check_open("take_file")
        from distore.content.local import fromfile

        fromfile.fill(source, self, self._paths, link=link)

    def adopt(self) -> None:
        """The caller has put another file in the place of the data (a link or a clone)."""
        self._hasher.close()
        os.close(self._fd)
        with translated(self._subject):
            self._fd = os.open(self._paths.data, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._frontier = Frontier(os.fstat(self._fd).st_size)
        self._hasher = self._new_hasher()

    def fileno(self) -> int:
        """The open data file."""
        self._check_open("fileno")
        return self._fd

    def commit(
        self,
        *,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Digest:
        self._check_open("commit")
        expected = expected or self._expected
        try:
            check_labels(labels or {})
            with translated(self._subject):
                digest = self._verified(size, expected)
                self._publish(digest, {key: value for key, value in (labels or {}).items() if value})
                return digest
        finally:
            self.close()

    def close(self) -> None:
        if self._fd < 0:
            return
        self._hasher.close()
        try:
            with suppress(OSError):  # the note still says where the gaps begin; the next opening cuts there
                if self._noted is not None and os.fstat(self._fd).st_nlink:
                    self._settle_note()
                elif self._reserved and not self._committed:
                    fsops.truncate(self._fd, self._frontier.end)  # gives back what is behind the end
        finally:
            with suppress(OSError):  # what it has to say was said by fsync, or nobody was promised it
                os.close(self._fd)
            self._fd = -1
            self._lock.release()

    def __enter__(self) -> LocalWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _verified(self, size: int | None, expected: Digest | None) -> Digest:
        if self._frontier.gaps:
            start, end = self._frontier.gaps[0]
            raise FailedPrecondition(f"{self._subject}: bytes {start} to {end} are missing")
        if size is not None and size != self._frontier.end:
            raise SizeMismatch(ref=self._ref, expected=size, actual=self._frontier.end)
        if expected is not None and expected.algorithm != self._hasher.algorithm:
            self._algorithm = expected.algorithm
            self._hasher.close()
            self._hasher = self._new_hasher()
        actual = self._hasher.digest()
        if expected is not None and expected != actual:
            raise DigestMismatch(ref=self._ref, expected=expected, actual=actual)
        return actual

    def _publish(self, digest: Digest, labels: Mapping[str, str]) -> None:
        """The order is the durability contract (docs/formats/store.md#commit). Do not reorder."""
        target = self._store.blob(digest)
        self._visibility.hold((digest,))
        # Where only another namespace sees it these bytes take their own place, and prove that they are had.
        if not self._replace and self._is_there(target) and self._visibility.sees(digest):
            self._finish(digest)
            raise AlreadyExists(f"content {digest} already exists", subject=digest)
        if self._noted is not None:  # a write that failed behind a gap may have left bytes there
            fsops.truncate(self._fd, self._frontier.end)
        self._sync()
        fsops.set_mode(self._fd, BLOB_MODE)
        fsops.ensure_directory(os.path.dirname(target))
        if self._replace:
            self._move(target)
        else:
            self._visibility.publish(digest, labels, lambda: self._move(target))
        self._finish(digest)

    def _move(self, target: str) -> None:
        fsops.rename(self._paths.data, target)
        fsops.sync_directory(os.path.dirname(target))

    def _sync(self) -> None:
        try:
            fsops.sync_file(self._fd)
        except OSError:
            # The kernel reports a failed write-back once and may then call the pages clean: a
            # second fsync would succeed and prove nothing. So none of these bytes is kept.
            self._frontier = Frontier(0)
            fsops.truncate(self._fd, 0)
            raise

    def _is_there(self, target: str) -> bool:
        """A blob of another size is no blob but damage, and gives way to verified bytes."""
        try:
            there = os.stat(target, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return there.st_size == self._frontier.end

    def _finish(self, digest: Digest) -> None:
        self._committed = True
        self._lock.write(ingests.result_fields(digest))
        self._noted = None
        ingests.discard(self._paths)

    def _settled(self) -> Frontier:
        """Bytes kept from before; cuts off what an interrupted run left behind the last of them."""
        frontier = ingests.arrived(self._paths, os.fstat(self._fd))
        if os.path.exists(self._paths.frontier):
            islands = frontier.islands
            fsops.truncate(self._fd, islands[-1][1] if islands else frontier.end)
            if islands:
                self._noted = frontier.end
            else:
                fsops.unlink(self._paths.frontier)
        return frontier

    def _settle_note(self) -> None:
        """Keep what lies behind gaps when it is worth another program's not understanding it."""
        islands = self._frontier.islands
        if sum(end - start for start, end in islands) < _ISLANDS_FROM:
            self._drop_note()
        else:
            self._note_frontier()

    def _new_hasher(self) -> FrontierHasher:
        hasher = FrontierHasher(self._fd, self._algorithm)
        hasher.advance(self._frontier.end)
        return hasher

    def _rewind(self, size: int) -> None:
        self._hasher.close()
        fsops.truncate(self._fd, size)
        self._frontier = Frontier(size)
        if self._noted is not None:  # beyond the end it would count the next gap as kept bytes
            self._drop_note()
        self._flushed = min(self._flushed, size)
        self._hasher = self._new_hasher()

    def _reserve(self) -> None:
        size, self._to_reserve = self._to_reserve, 0
        if size >= _RESERVE_FROM:
            with translated(self._subject):
                fsops.reserve(self._fd, size)
            self._reserved = True

    def _write_back(self) -> None:
        size = self._frontier.end - self._flushed
        if size >= _WRITE_BACK_STEP:
            fsops.start_write_back(self._fd, self._flushed, size)
            self._flushed += size

    def _is_note_stale(self) -> bool:
        """Others see the note as our offset; while there are gaps it need not be exact."""
        if self._frontier.gaps:
            return self._unnoted >= _FRONTIER_STEP
        return self._frontier.end != self._noted

    def _drop_note(self) -> None:
        """Cut off what lies behind the frontier; from here on the size of the data says it all."""
        fsops.truncate(self._fd, self._frontier.end)
        fsops.unlink(self._paths.frontier)
        self._noted = None

    def _note_frontier(self, *, durable: bool = False) -> None:
        """Say on disk where the gaps begin, before the first byte lands behind one."""
        fsops.put_line(self._paths.frontier, ingests.note_of(self._frontier))
        if durable:
            fsops.sync_directory(self._paths.folder)
        self._noted, self._unnoted = self._frontier.end, 0

    def _check_open(self, what: str) -> None:
        if self._fd < 0:
            raise FailedPrecondition(f"{self._subject}: {what} on a closed writer")
