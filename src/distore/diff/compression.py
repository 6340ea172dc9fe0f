"""Compression of layers: gzip and zstd, undone and made as a stream, the same bytes every time.

docs/decisions/0008-compression.md says why zlib and the zstd of the standard library pack, 0009 why igzip
unpacks.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.blobs import CHUNK
from distore.diff.frames import FIRST_INPUT, GZIP, HEAD, ZSTD, frames_of, zstd_module
from distore.errors import DataLoss, InvalidArgument, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import ModuleType

    from _typeshed import ReadableBuffer

    from distore.content.store import Input, Reader
    from distore.diff.frames import Frames

LEVELS: Final = {GZIP: range(1, 10), ZSTD: range(1, 20)}  # above 19 readers need more than 8 MiB (RFC 8878)
DEFAULT_LEVELS: Final = {GZIP: 6, ZSTD: 3}  # what gzip and zstd take themselves

_INPUT: Final = 256 * 1024  # compressed bytes read at a time
_RAW: Final = -15  # deflate without a header (zlib.h, deflateInit2)
_MEMORY: Final = 8  # zlib's memLevel; its default
_BLOCK: Final = 512 * 1024  # bytes that one thread packs; part of the output, so never changed by a setting
_WINDOW: Final = 32 * 1024  # bytes that deflate looks back


class Compressor(Protocol):
    """Takes plain bytes and hands compressed ones on, in the thread that calls it."""

    def write(self, data: ReadableBuffer, /) -> None:
        """Take more; ``data`` may be reused afterwards."""
        ...

    def finish(self) -> None:
        """There are no more: hand the rest on."""
        ...

    def close(self) -> None:
        """Release threads; without ``finish`` the output stays half."""
        ...


def check_level(compression: str | None, level: int | None) -> None:
    """Whether there is such a compression, and such a level of it.

    Raises:
        InvalidArgument: No.
    """
    if compression is not None and compression not in LEVELS:
        raise InvalidArgument(f"compression {compression!r}: want one of {', '.join(LEVELS)}")
    if level is None:
        return
    if compression is None:
        raise InvalidArgument(f"level {level}: nothing is compressed")
    levels = LEVELS[compression]
    if level not in levels:
        raise InvalidArgument(f"level {level}: {compression} has {levels[0]} to {levels[-1]}")


class BlobInput:
    """A blob as an Input, from its start.

    Args:
        on_progress: Told how far it is read, in bytes, before every read.
    """

    def __init__(self, reader: Reader, *, on_progress: Callable[[int], None] = lambda _offset: None) -> None:
        self._reader = reader
        self._on_progress = on_progress
        self._offset = 0

    def readinto(self, buffer: memoryview, /) -> int:
        self._on_progress(self._offset)
        size = self._reader.readinto_at(buffer, self._offset)
        self._offset += size
        return size


class Decompressed:
    """The plain bytes of an Input, however it is compressed; ``compression`` tells how it was.

    Memory does not grow with either side.

    Args:
        subject: What messages call the bytes.
        limit: Plain bytes that there may be, or None.
    Raises:
        DataLoss: (also of ``readinto``) They are damaged, or the end is missing.
        ResourceExhausted: (of ``readinto``) There are more than ``limit``.
        Unimplemented: They are zstd, which this Python cannot read.
    """

    def __init__(self, source: Input, *, subject: str, limit: int | None = None) -> None:
        head = _head(source)
        frames = frames_of(head, subject=subject)
        self.compression = None if frames is None else frames.compression
        self._subject = subject
        self._limit = limit
        self._given = 0
        self._source: Input = _Prefixed(head, source)
        if frames is not None:
            self._source = _Plain(self._source, frames, subject=subject)

    def readinto(self, buffer: memoryview, /) -> int:
        """As ``Input.readinto``."""
        size = self._source.readinto(buffer) or 0
        self._given += size
        if self._limit is not None and self._given > self._limit:
            raise ResourceExhausted(f"{self._subject}: unpacks to more than {self._limit} bytes")
        return size


def _head(source: Input) -> bytes:
    space = memoryview(bytearray(HEAD))
    filled = 0
    while filled < HEAD and (size := source.readinto(space[filled:])):
        filled += size
    return bytes(space[:filled])


class _Prefixed:
    """An Input with bytes before it."""

    def __init__(self, head: bytes, source: Input) -> None:
        self._head = head
        self._source = source

    def readinto(self, buffer: memoryview, /) -> int:
        if self._head:
            given, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
            buffer[: len(given)] = given
            return len(given)
        return self._source.readinto(buffer) or 0


class _Plain:
    """An Input: the plain bytes of one member or frame after the other."""

    def __init__(self, source: Input, frames: Frames, *, subject: str) -> None:
        self._source = source
        self._frames = frames
        self._message = f"{subject}: %s {frames.compression} data"
        self._space = memoryview(bytearray(_INPUT))
        self._start = self._end = 0  # what is read and not used
        self._piece = _INPUT
        self._frame = frames.new()

    def readinto(self, buffer: memoryview, /) -> int:
        room = min(len(buffer), CHUNK)
        while not self._frame.eof or self._another():
            given: ReadableBuffer = b""
            if self._frame.needs_input:
                given = self._next()
                if not given:
                    raise DataLoss(self._message % "the end is missing of its")
            try:
                plain = self._frame.decompress(given, max_length=room)
            except self._frames.error as error:
                raise DataLoss(self._message % "damaged") from error
            if self._frame.eof:
                # All of it lies in the space still: nothing is read while a frame has input.
                self._start -= len(self._frame.unused_data)
                self._piece = FIRST_INPUT
            if plain:
                buffer[: len(plain)] = plain
                return len(plain)
        return 0

    def _fill(self) -> bool:
        """Whether there is more."""
        if self._start == self._end:
            self._start, self._end = 0, self._source.readinto(self._space) or 0
        return self._start < self._end

    def _next(self) -> memoryview:
        """Input that was not used yet; empty at its end."""
        if not self._fill():
            return self._space[:0]
        given = self._space[self._start : min(self._end, self._start + self._piece)]
        self._start += len(given)
        self._piece = min(2 * self._piece, _INPUT)
        return given

    def _another(self) -> bool:
        """Begin what follows, if anything does."""
        while self._fill():
            if self._frames.padded:
                left = bytes(self._space[self._start : self._end])
                self._start += len(left) - len(left.lstrip(b"\0"))
            if self._start < self._end:
                self._frame = self._frames.new()
                return True
        return False


def compressor(
    compression: str,
    take: Callable[[ReadableBuffer], object],
    *,
    level: int | None = None,
    threads: int = 1,
    subject: str,
) -> Compressor:
    """Compress into ``take``. The output depends on bytes and level alone: not on the time, on a
    name, on ``threads``, or on how the bytes come in pieces.

    Raises:
        InvalidArgument: No such compression, or no such level.
        Unimplemented: This Python has no zstd.
    """
    check_level(compression, level)
    level = level or DEFAULT_LEVELS[compression]
    if compression == GZIP:
        return _Gzip(take, level, threads)
    return _Zstandard(take, level, threads, zstd_module(subject))


class _Gzip:
    """One member whose blocks are packed side by side; each may look back into the one before."""

    def __init__(self, take: Callable[[ReadableBuffer], object], level: int, threads: int) -> None:
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that a reader of layers does not need

        self._take = take
        self._level = level
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="distore-gzip") if threads > 1 else None
        self._waiting: deque[Future[bytes]] = deque()
        self._block = bytearray()
        self._window = b""
        self._crc = self._size = 0
        # No name, no time, and an unknown system (RFC 1952, section 2.3); XFL as gzip itself sets it.
        take(b"\x1f\x8b\x08\0\0\0\0\0" + bytes([{1: 4, 9: 2}.get(level, 0), 255]))

    def write(self, data: ReadableBuffer, /) -> None:
        view = memoryview(data).cast("B")
        while view:
            # A full block waits for more: only the last one may end the stream.
            if len(self._block) == _BLOCK:
                self._pack(last=False)
            room = _BLOCK - len(self._block)
            self._block += view[:room]
            view = view[room:]

    def finish(self) -> None:
        self._pack(last=True)
        while self._waiting:
            self._take(self._waiting.popleft().result())
        self._take(self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little"))
        self.close()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _pack(self, *, last: bool) -> None:
        block, window = bytes(self._block), self._window
        self._block.clear()
        self._window = block[-_WINDOW:]
        self._crc = zlib.crc32(block, self._crc)
        self._size += len(block)
        if self._pool is None:
            self._take(_deflated(block, window, self._level, last=last))
            return
        self._waiting.append(self._pool.submit(_deflated, block, window, self._level, last=last))
        # One more than there are threads: none of them waits for the writer below.
        while len(self._waiting) > self._threads + 1:
            self._take(self._waiting.popleft().result())


def _deflated(block: bytes, window: bytes, level: int, *, last: bool) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, _RAW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, window)
    return packer.compress(block) + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


class _Zstandard:
    """One frame, with a checksum as other builders of images write it."""

    def __init__(
        self, take: Callable[[ReadableBuffer], object], level: int, threads: int, zstd: ModuleType
    ) -> None:
        parameter = zstd.CompressionParameter
        # One thread at least beside ours: the library packs in another way without any, and how
        # many there are makes no difference then (zstd.h, ZSTD_c_nbWorkers).
        workers = min(max(1, threads), parameter.nb_workers.bounds()[1])
        options = {
            parameter.compression_level: level,
            parameter.checksum_flag: 1,
            parameter.nb_workers: workers,
        }
        self._take = take
        self._packer = zstd.ZstdCompressor(options=options)

    def write(self, data: ReadableBuffer, /) -> None:
        packed = self._packer.compress(data)
        if packed:
            self._take(packed)

    def finish(self) -> None:
        self._take(self._packer.flush())

    def close(self) -> None:
        """Its threads end with it."""
