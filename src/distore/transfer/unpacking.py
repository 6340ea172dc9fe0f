"""Unpacker: gzip and zstd undone while bytes stream by; memory does not grow with the output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.diff.frames import FIRST_INPUT, HEAD, frames_of
from distore.errors import DataLoss, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

    from distore.diff.frames import Frame, Frames

MAX_PLAIN: Final = 1 << 40  # bytes that compressed ones may stand for; a bomb ends here
_OUTPUT: Final = 1024 * 1024  # bytes handed on at a time


class Unpacker:
    """Takes bytes in any pieces, finds out how they are compressed, and hands the plain ones on.

    Args:
        take: Gets the plain bytes; must be done with them when it returns.
        subject: What messages call the bytes.
        limit: Plain bytes that compressed ones may stand for.
    """

    def __init__(
        self, take: Callable[[ReadableBuffer], object], *, subject: str, limit: int = MAX_PLAIN
    ) -> None:
        self._take = take
        self._subject = subject
        self._left = self._limit = limit
        self._head: bytes | None = b""  # until there is enough to tell; then None
        self._frames: Frames | None = None
        self._frame: Frame | None = None  # the one that is open, or was last
        self._piece = _OUTPUT  # bytes handed to it at a time

    def feed(self, data: ReadableBuffer) -> None:
        """Take the next bytes.

        Raises:
            DataLoss: They are damaged.
            ResourceExhausted: They stand for more than ``limit``.
            Unimplemented: They are zstd, which this Python cannot read.
        """
        if self._head is not None:
            data = self._head + bytes(data)
            if len(data) < HEAD:
                self._head = data
                return
            self._head = None
            self._frames = frames_of(data[:HEAD], subject=self._subject)
        if self._frames is None:
            self._take(data)
        else:
            self._unpack(memoryview(data).cast("B"), self._frames)

    def finish(self) -> None:
        """There are no more.

        Raises:
            DataLoss: The end is missing.
        """
        if self._head:
            self._take(self._head)
        if self._frames is not None and (self._frame is None or not self._frame.eof):
            raise DataLoss(f"{self._subject}: the {self._frames.compression} data ends too early")

    def _unpack(self, data: memoryview, frames: Frames) -> None:
        at = 0
        while at < len(data):
            piece = data[at : at + self._piece]
            if self._frame is None or self._frame.eof:
                begun = self._frame is not None
                padding = len(piece) - len(bytes(piece).lstrip(b"\0")) if begun and frames.padded else 0
                if padding:
                    at += padding
                    continue
                self._frame = frames.new()
            self._drain(self._frame, piece, frames)
            at += len(piece)
            if self._frame.eof:
                at -= len(self._frame.unused_data)
                self._piece = FIRST_INPUT
            else:
                self._piece = min(2 * self._piece, _OUTPUT)

    def _drain(self, frame: Frame, piece: ReadableBuffer, frames: Frames) -> None:
        """Hand on all that a piece of the input stands for."""
        while True:
            try:
                plain = frame.decompress(piece, max_length=_OUTPUT)
            except frames.error as error:
                raise DataLoss(f"{self._subject}: damaged {frames.compression} data") from error
            if plain:
                self._left -= len(plain)
                if self._left < 0:
                    raise ResourceExhausted(f"{self._subject}: unpacks to more than {self._limit} bytes")
                self._take(plain)
            if frame.eof or frame.needs_input:
                return
            piece = b""
