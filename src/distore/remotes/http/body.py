"""Response: one answer whose body is read with a stopwatch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from urllib3 import exceptions

from distore.errors import DeadlineExceeded, DistoreError, Unavailable
from distore.remotes.http.failures import network_error, with_abort

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse

# A fast stream comes in pieces of a socket buffer or a TLS record; they are handed on together
# when they come within this time.
_GATHER: Final = 0.05  # seconds
MAX_DISCARDED: Final = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to wait for what. Times in seconds; None: no limit.

    ``read_timeout`` is for one silence, ``deadline`` the moment on the clock when everything
    must be over. ``min_speed`` in bytes a second holds for each ``window`` of seconds spent
    waiting for the network; time that the reader of the bytes takes does not count.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    min_speed: int | None = None
    window: float = 30.0
    deadline: float | None = None
    max_redirects: int = 8

    def patience(self, seconds: float, now: float, where: str) -> float:
        """``seconds``, or less when the deadline is nearer; ``where`` is the subject of the error.

        Raises:
            DeadlineExceeded: It is over.
        """
        if self.deadline is None:
            return seconds
        if now >= self.deadline:
            raise DeadlineExceeded(f"{where}: the time allowed is over")
        return min(seconds, self.deadline - now)

    def expired(self, now: float) -> bool:
        """Whether the deadline is over."""
        return self.deadline is not None and now >= self.deadline


class Response:
    """Status, headers and a body that is not read yet. One thread at a time."""

    def __init__(
        self,
        raw: BaseHTTPResponse,
        *,
        where: str,
        wire: socket.socket | None,
        limits: Limits,
        clock: Callable[[], float],
        is_aborted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._raw = raw
        self._wire = wire
        self._limits = limits
        self._clock = clock
        self._is_aborted = is_aborted
        self._waited = 0.0  # seconds in this window of the speed floor
        self._came = 0  # bytes in it
        self._failure: Exception | None = None
        self.where = where
        self.status = raw.status
        self.at_home = True  # False once a redirect led to another server: it asks for nothing of ours
        self.secrets: tuple[str, ...] = ()  # headers of the request that no message may repeat

    def header(self, name: str) -> str | None:
        """One header; several of a name are joined by commas."""
        return self._raw.headers.get(name)

    def headers(self, name: str) -> list[str]:
        """Every header of that name."""
        return list(self._raw.headers.getlist(name))

    @property
    def length(self) -> int | None:
        """Bytes of the body by Content-Length, or None."""
        text = (self.header("content-length") or "").strip()
        chunked = "chunked" in (self.header("transfer-encoding") or "").lower()
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 and not chunked else None

    def read(self, limit: int, /) -> bytes:
        """Up to ``limit`` bytes as they arrive, ``b""`` at the end.

        Raises:
            Unavailable: Broken off, silent or too slow.
            DeadlineExceeded: The time allowed is over.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        started = self._clock()
        pieces = [self._piece(limit)]
        size = len(pieces[0])
        while pieces[-1] and size < limit // 2 and self._clock() - started < _GATHER:
            try:
                pieces.append(self._piece(limit - size))
            except (Unavailable, DeadlineExceeded) as error:
                self._failure = error  # what came before it is good
                break
            size += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_small(self, limit: int) -> bytes:
        """The whole body, or its first ``limit`` bytes."""
        pieces: list[bytes] = []
        left = limit
        while left and (piece := self.read(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def discard(self) -> None:
        """Close, after reading what little there may be, so that the connection can be used again."""
        try:
            self.read_small(MAX_DISCARDED)
        except DistoreError:
            pass  # nobody wanted the body
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back when all was read, close it otherwise."""
        if self._raw.connection is not None and self._raw.length_remaining == 0:
            with suppress(exceptions.HTTPError, OSError, ValueError):
                self._raw.read1(1)  # asks the network nothing, and gives the connection back
        self._raw.close()
        self._raw.release_conn()

    def _piece(self, limit: int) -> bytes:
        """What one look at the network gives."""
        now = self._clock()
        patience = self._limits.patience(self._limits.read_timeout, now, self.where)
        # After the last byte the connection is closed, or somebody else's.
        if self._wire is not None and self._raw.connection is not None and self._wire.fileno() >= 0:
            self._wire.settimeout(patience)
        try:
            data = self._raw.read1(limit, decode_content=False)
        except (exceptions.HTTPError, OSError, ValueError) as error:
            expired = self._limits.expired(self._clock())
            failure = network_error(error, self.where, expired=expired, patience=patience)
            raise (with_abort(failure) if self._is_aborted() else failure) from error
        if self._is_aborted():  # without a length an end like any other
            raise with_abort(Unavailable(f"{self.where}: broken off on request"))
        self._measure(self._clock() - now, len(data))
        return data

    def _measure(self, seconds: float, size: int) -> None:
        floor = self._limits.min_speed
        self._waited += seconds
        self._came += size
        if floor is None or self._waited < self._limits.window:
            return
        if size and self._came < floor * self._waited:
            raise Unavailable(
                f"{self.where}: only {self._came / self._waited:.0f} bytes a second"
                f" over {self._waited:.0f} s, the floor is {floor}"
            )
        self._waited, self._came = 0.0, 0
