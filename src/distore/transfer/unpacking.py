"""Unpacker: gzip and zstd undone while bytes stream by; memory does not grow with the output."""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from distore.errors import DataLoss, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_MODULES: Final = ("compression.zstd", "backports.zstd")  # Python 3.14's own, and the same for others
_WBITS: Final = 31  # gzip, and nothing else (zlib.h, inflateInit2)
_OUTPUT: Final = 1024 * 1024  # bytes handed on at a time
# What follows a member or a frame is copied. Where they are tiny and many, little may follow: after
# each the next gets this much at first, and twice as much every time.
_FIRST_INPUT: Final = 1024  # bytes
HEAD: Final = 4  # bytes that tell the compression


class _Zstd(Protocol):
    """compression.zstd.ZstdDecompressor, and bz2's and lzma's."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: ReadableBuffer, /, max_length: int = -1) -> bytes: ...


class _ZstdModule(Protocol):
    """What is used of compression.zstd."""

    ZstdError: type[Exception]
    ZstdDecompressor: Callable[[], _Zstd]


def compression_of(head: bytes) -> str | None:
    """``gzip``, ``zstd`` or None, by the first HEAD bytes."""
    if head.startswith(_GZIP):
        return "gzip"
    return "zstd" if head.startswith(_ZSTD) else None


class Unpacker:
    """Takes bytes in any pieces, finds out how they are compressed, and hands the plain ones on.

    Args:
        take: Gets the plain bytes; must be done with them when it returns.
        subject: What messages call the bytes.
    """

    def __init__(self, take: Callable[[ReadableBuffer], object], *, subject: str) -> None:
        self._take = take
        self._subject = subject
        self._head: bytes | None = b""  # until there is enough to tell; then None
        self._stage: _Gunzip | _Unzstd | None = None

    def feed(self, data: ReadableBuffer) -> None:
        """Take the next bytes.

        Raises:
            DataLoss: They are damaged.
            Unimplemented: They are zstd, which this Python cannot read.
        """
        if self._head is not None:
            data = self._head + bytes(data)
            if len(data) < HEAD:
                self._head = data
                return
            self._begin(data)
        if self._stage is None:
            self._take(data)
        else:
            self._stage.feed(data)

    def finish(self) -> None:
        """There are no more.

        Raises:
            DataLoss: The end is missing.
        """
        if self._head:
            self._take(self._head)
        if self._stage is not None:
            self._stage.finish()

    def _begin(self, head: bytes) -> None:
        self._head = None
        compression = compression_of(head[:HEAD])
        if compression == "gzip":
            self._stage = _Gunzip(self._take, self._subject)
        elif compression == "zstd":
            self._stage = _Unzstd(self._take, self._subject, _zstd_module(self._subject))


class _Gunzip:
    """One gzip member after the other (RFC 1952, section 2.2); zeros behind the last are padding."""

    def __init__(self, take: Callable[[ReadableBuffer], object], subject: str) -> None:
        self._take = take
        self._subject = subject
        self._member = zlib.decompressobj(_WBITS)
        self._input = _OUTPUT  # bytes handed to zlib at a time

    def feed(self, data: ReadableBuffer) -> None:
        left = memoryview(data).cast("B")
        while left:
            piece = left[: self._input]
            if self._member.eof:
                padding = len(piece) - len(bytes(piece).lstrip(b"\0"))
                if padding:
                    left = left[padding:]
                    continue
                self._member = zlib.decompressobj(_WBITS)
            try:
                plain = self._member.decompress(piece, _OUTPUT)
            except zlib.error as error:
                raise DataLoss(f"{self._subject}: damaged gzip data") from error
            if plain:
                self._take(plain)
            ended = self._member.eof
            behind = self._member.unused_data if ended else self._member.unconsumed_tail
            left = left[len(piece) - len(behind) :]
            self._input = _FIRST_INPUT if ended else min(2 * self._input, _OUTPUT)

    def finish(self) -> None:
        if not self._member.eof:  # what did not fit into the output of the last feed
            try:
                rest = self._member.flush()
            except zlib.error as error:
                raise DataLoss(f"{self._subject}: damaged gzip data") from error
            if rest:
                self._take(rest)
        if not self._member.eof:
            raise DataLoss(f"{self._subject}: the gzip data ends too early")


class _Unzstd:
    """One zstd frame after the other."""

    def __init__(self, take: Callable[[ReadableBuffer], object], subject: str, module: _ZstdModule) -> None:
        self._take = take
        self._subject = subject
        self._module = module
        self._frame = module.ZstdDecompressor()
        self._input = _OUTPUT  # bytes handed to it at a time

    def feed(self, data: ReadableBuffer) -> None:
        left = memoryview(data).cast("B")
        while left:
            piece, left = left[: self._input], left[self._input :]
            behind = self._feed(bytes(piece))
            if behind:
                left = memoryview(data).cast("B")[-len(left) - behind :]
            self._input = _FIRST_INPUT if self._frame.eof else min(2 * self._input, _OUTPUT)

    def _feed(self, piece: bytes) -> int:
        """How many of the bytes lie behind the frame."""
        if self._frame.eof:
            self._frame = self._module.ZstdDecompressor()
        while True:
            try:
                plain = self._frame.decompress(piece, max_length=_OUTPUT)
            except self._module.ZstdError as error:
                raise DataLoss(f"{self._subject}: damaged zstd data") from error
            if plain:
                self._take(plain)
            if self._frame.eof:
                return len(self._frame.unused_data)
            if self._frame.needs_input:
                return 0
            piece = b""

    def finish(self) -> None:
        if not self._frame.eof:
            raise DataLoss(f"{self._subject}: the zstd data ends too early")


def _zstd_module(subject: str) -> _ZstdModule:
    for name in _ZSTD_MODULES:
        try:
            return cast("_ZstdModule", import_module(name))
        except ImportError:
            continue
    raise Unimplemented(
        f"{subject}: compressed with zstd, which needs Python 3.14 or the package backports.zstd"
    )
