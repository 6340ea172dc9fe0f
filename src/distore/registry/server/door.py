"""Door: takes connections one at a time, as long as there is room for them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distore.registry import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ssl import SSLContext

    from distore.registry.server.connection import Connection
    from distore.registry.server.crowd import Crowd

_PAUSE: Final = 0.5  # seconds, when the process has no descriptors left
_HANDSHAKE: Final = 20.0  # seconds that a client gets to agree on TLS
_TLS: Final = b"\x16"  # the first byte of whoever speaks it
_REQUEST: Final = 64 * 1024  # bytes read of a request that is refused
_PLAIN: Final = errors.refusal(400, errors.UNSUPPORTED, "this address speaks TLS: https://")


class Door:
    """Of one event loop.

    One connection is taken in each round of the loop: so workers that share a socket share the
    connections, too, the idle one taking more. When all places are taken, clients wait outside.

    Args:
        make: A new connection's protocol.
        tls: Asked for each connection, so that a new certificate counts at once; None: plain.
        known: Whether a client is one of ours, which has no limits.
        inside: Other workers of the same server come through it.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        make: Callable[[], Connection],
        crowd: Crowd,
        tls: Callable[[], SSLContext] | None,
        known: Callable[[str], bool] = lambda _client: False,
        inside: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._make = make
        self._crowd = crowd
        self._tls = tls
        self._known = known
        self._inside = inside
        self._attaching: set[asyncio.Task[None]] = set()
        self._open = False
        self._closed = False

    def open(self) -> None:
        """Take connections."""
        if not self._open and not self._closed:
            self._open = True
            for listener in self._listeners:
                listener.setblocking(False)
                self._loop.add_reader(listener.fileno(), self._take, listener)

    async def close(self) -> None:
        """Take no more; returns when those that were taken are attached."""
        self._shut()
        self._closed = True
        for task in list(self._attaching):
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), 1.0)
        for task in list(self._attaching):
            task.cancel()

    def _shut(self) -> None:
        if self._open:
            self._open = False
            for listener in self._listeners:
                self._loop.remove_reader(listener.fileno())

    def _take(self, listener: socket.socket) -> None:
        if not self._open:
            return
        try:
            taken, address = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client has gone
        except OSError:
            self._shut()
            self._loop.call_later(_PAUSE, self.open)
            return
        # Of a socket for both families, IPv4 has an address of IPv6.
        client = address[0].removeprefix("::ffff:") if listener.family != socket.AF_UNIX else ""
        counted = "" if self._known(client) else client
        if not self._crowd.connect(counted):
            taken.close()
            return
        if self._crowd.is_full:
            self._shut()
        taken.setblocking(False)
        if listener.family != socket.AF_UNIX:
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._attach(taken, client, counted))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)

    async def _attach(self, taken: socket.socket, client: str, counted: str) -> None:
        connection = self._make()
        connection.peer = client
        connection.inside = self._inside
        seat = connection.seat = _Seat(lambda: self._gone(counted))
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(lambda: connection, taken)
            elif await self._speaks_tls(taken):
                await self._loop.connect_accepted_socket(
                    lambda: connection, taken, ssl=self._tls(), ssl_handshake_timeout=_HANDSHAKE
                )
            else:
                _refuse_plain(taken)
                seat.leave()
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            seat.leave()
        except BaseException:
            seat.leave()
            taken.close()
            raise

    async def _speaks_tls(self, taken: socket.socket) -> bool:
        """Whether what comes first is no HTTP; waits for it as long as for the rest of a handshake."""
        came = asyncio.Event()
        self._loop.add_reader(taken.fileno(), came.set)
        try:
            await asyncio.wait_for(came.wait(), _HANDSHAKE)
        except TimeoutError:
            return False
        finally:
            self._loop.remove_reader(taken.fileno())
        try:
            return taken.recv(1, socket.MSG_PEEK) in (_TLS, b"")
        except OSError:  # it has gone
            return False

    def _gone(self, client: str) -> None:
        self._crowd.disconnect(client)
        if not self._crowd.is_full:
            self.open()


def _refuse_plain(taken: socket.socket) -> None:
    """Say what is wrong to a client that speaks HTTP where TLS is spoken."""
    assert isinstance(_PLAIN.body, bytes)
    head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
    with taken, suppress(OSError):
        taken.recv(_REQUEST)  # what is not read has the system drop the answer
        taken.send(f"{head}content-length: {len(_PLAIN.body)}\r\n\r\n".encode() + _PLAIN.body)


class _Seat:
    """Is left once, whoever notices first that the client has gone."""

    def __init__(self, left: Callable[[], None]) -> None:
        self._left: Callable[[], None] | None = left

    def leave(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            left()
