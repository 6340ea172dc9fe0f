"""Connection: one client's connection; what is no HTTP gets a document of ours, what stands still ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

from distore.registry import errors

if TYPE_CHECKING:
    from collections.abc import Callable

_BUDGET: Final = 20 * 1024 * 1024  # bytes of all connections that wait for handlers; may be doubled
_MOST: Final = 512 * 1024  # bytes of one of them
_LEAST: Final = 32 * 1024


class Seat(Protocol):
    """A place among the connections."""

    def leave(self) -> None:
        """Give it to somebody else; a second call does nothing."""
        ...


class Connection(web.RequestHandler):
    """aiohttp's side of a connection.

    Args:
        head_timeout: Seconds for the head of a request, once it has begun; None: as long as it takes.
        failed: Told of what should never happen.
    """

    __slots__ = ("_failed", "_head_timeout", "_late", "_wire", "inside", "peer", "seat")

    def __init__(
        self,
        manager: web.Server,
        *,
        head_timeout: float | None,
        failed: Callable[[BaseException], None],
        **options: Any,
    ) -> None:
        super().__init__(manager, **options)
        self._head_timeout = head_timeout
        self._failed = failed
        self._late: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None
        self.seat: Seat | None = None
        self.peer = ""  # whose it is, by its address; nothing for a unix socket
        self.inside = False  # another worker of the same server is at the other end

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and nothing has begun to come."""
        return self._waiter is not None and not self._waiter.done() and not self._messages

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        self._await_head()

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        if self._late is None and self.is_idle:
            self._await_head()
        super().data_received(data)
        if self._late is not None and (self._request_count != before or self._messages):
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self.seat is not None:
            self.seat.leave()
        if self._wire is not None and isinstance(self._manager, Connections):
            self._manager.transports.discard(self._wire)  # asyncio cannot abort what has ended
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request (400), or to a mistake of ours (500)."""
        if status >= 500 and exc is not None:
            self._failed(exc)
        elif isinstance(self._manager, Connections) and self._manager.refused is not None:
            self._manager.refused(peer_of(request), status)
        text = "not a request that can be read" if status == 400 else "something went wrong here"
        refusal = errors.refusal(status, errors.UNSUPPORTED if status == 400 else errors.UNKNOWN, text)
        assert isinstance(refusal.body, bytes)
        headers = {**refusal.headers, "server": "distore"}
        response = web.Response(status=status, headers=headers, body=refusal.body)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        if isinstance(error, BaseException):
            self._failed(error)

    def _await_head(self) -> None:
        if self._head_timeout is not None:
            self._late = self._loop.call_later(self._head_timeout, self._too_late)

    def _too_late(self) -> None:
        self._late = None
        self.force_close()


class Connections(web.Server):
    """Makes connections, and knows every transport until it is gone: a handler forgets its own as soon
    as it closes it, though what is not flushed keeps the socket open."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Any],
        *,
        head_timeout: float | None,
        failed: Callable[[BaseException], None],
        refused: Callable[[str, int], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(handler, **options)
        self.refused = refused  # told the client and the status of what was no request
        self.transports: set[asyncio.Transport] = set()
        self._options = options
        self._head_timeout = head_timeout
        self._failed = failed

    def __call__(self) -> Connection:
        # A client fills its buffer whenever disks are slower than it is: all of them have one budget.
        size = min(_MOST, max(_LEAST, _BUDGET // (len(self.transports) + 1)))
        return Connection(
            self,
            loop=self._loop,
            head_timeout=self._head_timeout,
            failed=self._failed,
            read_bufsize=size,
            **self._options,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.transports.add(transport)

    def end_idle(self) -> None:
        """End the connections that nothing is under way on."""
        for each in self.connections:
            if isinstance(each, Connection) and each.is_idle:
                each.force_close()


def peer_of(request: web.BaseRequest) -> str:
    """The address at the other end; nothing for a unix socket alone."""
    # Not what the transport says: of a connection that was reset it knows no address.
    assert isinstance(request.protocol, Connection)
    return request.protocol.peer


def is_inside(request: web.BaseRequest) -> bool:
    """Whether another worker of the same server sends it."""
    return isinstance(request.protocol, Connection) and request.protocol.inside
