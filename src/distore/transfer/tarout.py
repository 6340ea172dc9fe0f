"""Tar archives of which every member is known before the first byte: to a file or a stream, verified."""

from __future__ import annotations

import os
import stat
import tarfile
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from distore._internal.oserrors import translate, translated
from distore.content.blobs import CHUNK
from distore.errors import DataLoss, DiskFull, FailedPrecondition
from distore.transfer.tarwriter import TarWriter, header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor
    from typing import BinaryIO

    from _typeshed import ReadableBuffer

    from distore.content.store import Provider
    from distore.oci.descriptor import Descriptor

_SPACES: Final = 3  # buffers: one is read or written while others are still being hashed
_HAND_OVER: Final = 128 * 1024  # bytes; to hand a smaller buffer to a thread costs more than to hash it


class Out(Protocol):
    """Where an archive goes. ``name`` is what messages call it."""

    @property
    def name(self) -> str: ...

    def open(self) -> None:
        """Find out whether it can be there, before anything else is done.

        Raises:
            AlreadyExists, FailedPrecondition, NotFound: It cannot.
        """
        ...

    def begin(self, size: int, /) -> None:
        """Find out whether an archive of ``size`` bytes fits.

        Raises:
            DiskFull: It does not.
        """
        ...

    def write(self, data: ReadableBuffer, /) -> None:
        """Append all of ``data``, which may be reused afterwards."""
        ...

    def finish(self) -> None:
        """End the archive; a file appears under its name now."""
        ...

    def close(self) -> None:
        """Give up what is not finished; a second call does nothing."""
        ...


class TarFile:
    """A file that appears whole or not at all; see TarWriter.

    Args:
        overwrite: Replace a file that is there.
    """

    def __init__(self, path: str, *, overwrite: bool = False) -> None:
        self.name = path
        self._overwrite = overwrite
        self._tar: TarWriter | None = None

    def open(self) -> None:
        self._tar = TarWriter(self.name, overwrite=self._overwrite, subject=self.name)

    def begin(self, size: int, /) -> None:
        with translated(self.name):
            # The folder that a link leads to is the one that is written to.
            folder = os.path.dirname(os.path.realpath(self.name))
            check_room(os.statvfs(folder), size, subject=self.name)

    def write(self, data: ReadableBuffer, /) -> None:
        self._opened().write(data)

    def finish(self) -> None:
        self._opened().finish()

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()

    def _opened(self) -> TarWriter:
        if self._tar is None:
            raise FailedPrecondition(f"{self.name}: written to before it was opened")
        return self._tar


class TarStream:
    """A stream, which stays open; where it breaks off the archive has no end.

    A reader that went away is the BrokenPipeError that it is.
    """

    def __init__(self, stream: BinaryIO, *, name: str = "standard output") -> None:
        self.name = name
        self._stream = stream

    def open(self) -> None:
        """It is."""

    def begin(self, size: int, /) -> None:
        with suppress(OSError, ValueError):  # not every stream is a file; then nobody knows
            fd = self._stream.fileno()
            if stat.S_ISREG(os.fstat(fd).st_mode):
                check_room(os.fstatvfs(fd), size, subject=self.name)

    def write(self, data: ReadableBuffer, /) -> None:
        left = memoryview(data).cast("B")
        try:
            while left:
                left = left[self._stream.write(left) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise translate(error, self.name) from error

    def finish(self) -> None:
        self.write(bytes(2 * tarfile.BLOCKSIZE))
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise translate(error, self.name) from error

    def close(self) -> None:
        """The stream is its owner's to close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive, of ``size`` bytes: ``data``, or what ``pour`` hands to its argument
    while it tells the offset in ``blob`` at which it is."""

    name: str
    size: int
    data: bytes = b""
    blob: Descriptor | None = None
    pour: Callable[[Callable[[ReadableBuffer], None]], Iterator[int]] | None = None


def small(name: str, data: bytes) -> Member:
    """A member out of memory."""
    return Member(name=name, size=len(data), data=data)


def archive_size(members: Iterable[Member]) -> int:
    """Bytes of an archive of them."""
    blocks = sum(len(header(each.name, each.size)) + each.size + _padding(each.size) for each in members)
    return blocks + 2 * tarfile.BLOCKSIZE


def write_member(out: Out, member: Member) -> Iterator[int]:
    """Append a member; yields how far it is.

    Raises:
        DataLoss: There are more bytes than it was to have, or fewer.
    """
    out.write(header(member.name, member.size))
    if member.pour is None:
        out.write(member.data)
    else:
        written = 0

        def take(data: ReadableBuffer) -> None:
            nonlocal written
            written += memoryview(data).nbytes
            out.write(data)

        yield from member.pour(take)
        if written != member.size:
            raise DataLoss(f"{out.name}: {member.name}: {written} bytes instead of {member.size}")
    out.write(bytes(_padding(member.size)))


class Pump:
    """Moves blobs, each verified by one thread while the caller's writes it. Memory is a few buffers.

    Args:
        provider: Has the blobs.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._spaces: list[memoryview] = []
        self._pool: ThreadPoolExecutor | None = None

    def pour(self, descriptor: Descriptor, take: Callable[[ReadableBuffer], None]) -> Iterator[int]:
        """Hand the whole blob to ``take``, which must be done with the bytes when it returns; yields
        the offset. That it was the right one is known at the end.

        Raises:
            NotFound: It is not there.
            DataLoss: It is not as long as it should be, or its bytes are not those of the digest.
        """
        verifier = descriptor.digest.verifier()
        hashed: deque[Future[None]] = deque()
        offset = turn = 0
        with self._provider.reader(descriptor.digest) as reader:
            if reader.size != descriptor.size:
                raise damaged(descriptor, reader.size)
            while offset < descriptor.size:
                if len(hashed) == _SPACES:
                    hashed.popleft().result()
                space = self._space(turn)[: descriptor.size - offset]
                size = reader.readinto_at(space, offset)
                if not size:
                    raise damaged(descriptor, offset)
                if descriptor.size < _HAND_OVER:
                    verifier.update(space[:size])
                else:
                    hashed.append(self._threads().submit(verifier.update, space[:size]))
                take(space[:size])
                offset, turn = offset + size, (turn + 1) % _SPACES
                yield offset
        while hashed:
            hashed.popleft().result()
        if not verifier.verified():
            raise DataLoss(f"content {descriptor.digest}: damaged in the store; run dist fsck")

    def close(self) -> None:
        """End the thread; a second call does nothing."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Pump:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _space(self, number: int) -> memoryview:
        while len(self._spaces) <= number:
            self._spaces.append(memoryview(bytearray(CHUNK)))
        return self._spaces[number]

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # 10 ms that small exports do not need

            self._pool = ThreadPoolExecutor(1, thread_name_prefix="distore-export")
        return self._pool


def damaged(descriptor: Descriptor, size: int) -> DataLoss:
    """A blob of the store that has ``size`` bytes instead of those its descriptor says."""
    return DataLoss(
        f"content {descriptor.digest}: has {size} bytes in the store, {descriptor.size} were promised; run"
        " dist fsck"
    )


def check_room(found: os.statvfs_result, size: int, *, subject: str) -> None:
    """Refuse what cannot fit into a file system.

    Raises:
        DiskFull: ``size`` bytes are more than it has left.
    """
    free = found.f_bavail * found.f_frsize
    if found.f_blocks and size > free:
        raise DiskFull(f"{subject}: {size} bytes are needed and {free} are free; nothing was written")


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
