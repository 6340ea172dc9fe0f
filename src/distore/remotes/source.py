"""Source: the bytes of one remote object, over as many connections as it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError, Unavailable
from distore.remotes.mismatch import too_long, wrong_size

if TYPE_CHECKING:
    from distore._internal.retry import Retrier
    from distore.remotes.resolver import Fetcher, Stream, Target

CHUNK: Final = 1024 * 1024  # bytes asked for at a time


class Source:
    """Reads an object piece by piece and goes on where a connection broke.

    Args:
        offset: Where to begin; the other side may not be able to.
        end: Where to stop, exclusive; None: at the end of the object. It may be lowered meanwhile
            (by any thread), and raised again while nothing was read beyond it.
        retrier: Decides how often; its failures are those of this object.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        target: Target,
        *,
        retrier: Retrier,
        offset: int = 0,
        end: int | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._target = target
        self._retrier = retrier
        self._stream: Stream | None = None
        self._validator: str | None = None
        self._position = offset
        self.end = end
        self._asked: int | None = None  # the end that the stream in hand was asked for
        self._received = 0  # bytes in all, those that came twice included
        self.size = target.size
        self.connections = 0  # how many streams it took so far
        self.last: Stream | None = None  # the last of them, for what it told

    @property
    def position(self) -> int:
        """Where in the object the next piece begins."""
        return self._position

    def open(self) -> Stream:
        """Begin unless begun already; the stream tells what the other side says of the object.

        Raises:
            NotFound, Unauthenticated, PermissionDenied, Unavailable, DeadlineExceeded: As Fetcher.
            SizeMismatch: The other side has another size than was promised.
        """
        return self._retrier.run(self._opened, progress=lambda: self._received)

    def next(self, limit: int = CHUNK) -> tuple[int, bytes]:
        """Position and bytes of the next piece; no bytes at the end of the object.

        Positions follow each other, but for one case: the other side can only send the object
        from its start, and the position falls back to 0.

        Raises:
            Unavailable: It broke off more often than the retrier bears.
            DeadlineExceeded: The time allowed ran out.
            SizeMismatch: More bytes than were promised.
        """
        return self._retrier.run(lambda: self._next(limit), progress=lambda: self._received)

    def seek(self, offset: int) -> None:
        """The next piece is to begin at ``offset``: over a new connection."""
        self.close()
        self._position = offset

    def close(self) -> None:
        """Drop the connection; the next piece opens another. A second call does nothing."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _opened(self) -> Stream:
        if self._stream is None:
            # A tag may name another object by now, and only a validator would tell.
            fresh = self._target.digest is None and self._validator is None
            offset = 0 if fresh else self._position
            end = None if self.end == self.size else self.end
            stream = self._fetcher.open(self._target, offset=offset, end=end, validator=self._validator)
            self._asked = end if stream.offset == offset else None
            self._stream = self.last = stream
            self.connections += 1
            self._position = stream.offset
            self._validator = stream.validator
            self._check_size(stream)
        return self._stream

    def _next(self, limit: int) -> tuple[int, bytes]:
        position = self._position
        if self.size is not None and position == self.size and self._target.digest is not None:
            return position, b""  # no need to ask
        if self.end is not None:
            if position >= self.end:
                return position, b""
            if self._asked is not None and position >= self._asked:
                self.close()  # the end was raised: what follows comes over another connection
            limit = min(limit, self.end - position)
        try:
            stream = self._opened()
            position = self._position
            data = stream.read(limit)
        except DistoreError:
            self.close()
            raise
        self._position += len(data)
        self._received += len(data)
        self._check_end(stream, ended=not data)
        return position, data

    def _check_size(self, stream: Stream) -> None:
        if stream.size is None:
            return
        if self._target.size is not None and stream.size != self._target.size:
            self.close()
            raise wrong_size(stream.source, expected=self._target.size, actual=stream.size)
        self.size = stream.size

    def _check_end(self, stream: Stream, *, ended: bool) -> None:
        if self.size is None:
            return
        if self._position > self.size:
            self.close()
            raise too_long(stream.source, expected=self.size)
        promised = self.size if self._asked is None else min(self.size, self._asked)
        if ended and self._position < promised:
            self.close()
            raise Unavailable(f"{stream.source}: ended after {self._position} of {promised} bytes")


def skip_to(offset: int, source: Source, limit: int = CHUNK) -> bytes:
    """The next piece from ``offset`` on, for readers that cannot go back; ``b""`` at the end."""
    while True:
        position, data = source.next(limit)
        if not data or position >= offset:
            return data
        if position + len(data) > offset:
            return data[offset - position :]
