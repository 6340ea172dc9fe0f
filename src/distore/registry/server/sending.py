"""Sending: an answer on its way to the client, at its pace and no slower than it may be."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

from distore.errors import DistoreError
from distore.registry.message import Arriving

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distore.registry.message import FileBacked, Response, Slice
    from distore.registry.server.pace import Pace, Watch

_CHUNK: Final = 256 * 1024  # bytes read and sent at a time where sendfile cannot
_FIRST: Final = 64 * 1024  # bytes that travel with the headers
_PIECE: Final = 1024 * 1024  # bytes for one call of sendfile: others get their turn in between
_AHEAD: Final = 4 * 1024 * 1024  # bytes that the system is told to have ready
_TICK: Final = 0.05  # seconds between two pieces of a connection that is slowed down
_LOOK: Final = 1.0  # seconds between two looks at whether the connection is still meant to be open


class Sending:
    """One answer. ``sent``: bytes of its body that have gone so far.

    Args:
        id: Of the request, for logs on both sides.
        rate: Bytes a second, or None for as fast as it goes.
        pace: How slowly the client may take it.
        readers: Where reads that may wait are done.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        given: Response,
        *,
        id: str,
        rate: int | None,
        pace: Pace,
        readers: Executor,
    ) -> None:
        self._request = request
        self._given = given
        self._id = id
        self._rate = rate
        self._watch: Watch = pace.watch()
        self._readers = readers
        self._loop = asyncio.get_running_loop()
        self.sent = 0

    async def send(self, *, keep: bool) -> web.StreamResponse:
        """Send it; without ``keep`` it is the last one of the connection."""
        given, request = self._given, self._request
        response = web.StreamResponse(status=given.status, headers=given.headers)
        response.headers.update({"x-request-id": self._id, "server": "distore"})
        if not keep:
            response.force_close()
        if "content-length" not in response.headers and given.status not in (204, 304):
            response.content_length = given.length
        try:
            await response.prepare(request)
        except ConnectionError:
            return hung_up(request)  # the client has gone
        whole = False
        try:
            whole = request.method == "HEAD" or await self._body(response)
            if not keep:
                await response.write_eof()
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
            return response  # the client has gone, or takes it too slowly
        finally:
            # A body that ends early must not look like one that is whole.
            if not (whole and keep) and request.transport is not None:
                request.transport.close()
        return response

    async def _body(self, response: web.StreamResponse) -> bool:
        """Send it; whether it was as long as the headers say."""
        promised, given = response.content_length, self._given
        if isinstance(given.body, bytes):
            await self._bytes(response, given.body)
        else:
            await self._slice(response, given.body)
            if self.sent < given.body.length:
                return False
        return promised is None or promised <= given.length

    async def _bytes(self, response: web.StreamResponse, data: bytes) -> None:
        started = self._loop.time()
        while self.sent < len(data):
            await self._write(response, data[self.sent : self.sent + self._piece(_CHUNK)])
            await self._pace(started)

    async def _slice(self, response: web.StreamResponse, body: Slice) -> None:
        started = self._loop.time()
        by_file = self._rate is None and hasattr(body.reader, "fileno") and not self._is_tls()
        arriving = body.reader if isinstance(body.reader, Arriving) else None
        while self.sent < body.length:
            if arriving is not None:
                await self._arrived(arriving, body.start + self.sent)
            if self.sent and by_file:
                await self._send_file(cast("FileBacked", body.reader), body)
                return
            size = min(self._piece(_CHUNK if self.sent else _FIRST), body.length - self.sent)
            try:
                data = await self._loop.run_in_executor(
                    self._readers, body.reader.read_at, size, body.start + self.sent
                )
            except DistoreError:
                return  # the headers are gone already: all that is left is to break off
            if not data:
                return
            await self._write(response, data)
            await self._pace(started)

    async def _arrived(self, reader: Arriving, offset: int) -> None:
        """Wait until a read would not: in no thread, for many may wait for long."""
        came = self._loop.create_future()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_settle, came)

        if not reader.wait(offset, tell):
            await came

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        """Hand it to the transport, and wait until that has room again.

        Raises:
            TimeoutError: The client takes it too slowly.
            ConnectionError: It has gone.
        """
        before, began = self._buffered(), self._loop.time()
        try:
            async with asyncio.timeout(self._watch.patience):
                await response.write(data)
        except TimeoutError:
            await self._drained(before + len(data), began)
        else:
            moved = max(1, before + len(data) - self._buffered())
            self._account(self._loop.time() - began, moved)
        self.sent += len(data)

    async def _drained(self, buffered: int, began: float) -> None:
        """Wait until the transport has room; ``buffered`` bytes were to go since ``began``."""
        while True:
            left, now = self._buffered(), self._loop.time()
            self._account(now - began, max(0, buffered - left))
            buffered, began = left, now
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch.patience):
                    # aiohttp's public drain passes a transport that is not its own; this one waits for ours.
                    await self._request.protocol._drain_helper()
                    return

    def _account(self, seconds: float, moved: int) -> None:
        if not self._watch.waited(seconds, moved):
            raise TimeoutError

    async def _send_file(self, reader: FileBacked, body: Slice) -> None:
        """The rest of the body by sendfile, after what the response has written."""
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        limits = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(0)  # nothing of ours may be on its way behind the file
        await self._drained(self._buffered(), self._loop.time())
        transport.set_write_buffer_limits(high=limits[1], low=limits[0])
        # A descriptor of our own, for the loop watches the other one already, and the file may be closed.
        out = os.dup(transport.get_extra_info("socket").fileno())
        try:
            await self._pour(transport, out, reader.fileno(), body)
        finally:
            os.close(out)

    async def _pour(self, transport: asyncio.WriteTransport, out: int, file: int, body: Slice) -> None:
        ahead = 0
        while self.sent < body.length:
            if transport.is_closing():
                raise ConnectionResetError("the connection was closed")
            at = body.start + self.sent
            if self.sent >= ahead:
                ahead = self.sent + _AHEAD
                os.posix_fadvise(file, at, 2 * _AHEAD, os.POSIX_FADV_WILLNEED)
            try:
                moved = os.sendfile(out, file, at, min(_PIECE, body.length - self.sent))
            except BlockingIOError:
                await self._writable(out)
                continue
            if moved == 0:
                return  # the file is shorter than it was
            self.sent += moved
            self._watch.waited(0.0, moved)
            await asyncio.sleep(0)

    async def _writable(self, out: int) -> None:
        began = self._loop.time()
        room = self._loop.create_future()
        self._loop.add_writer(out, _settle, room)
        try:
            await asyncio.wait((room,), timeout=min(_LOOK, self._watch.patience))
        finally:
            self._loop.remove_writer(out)
        self._account(self._loop.time() - began, 0)

    def _buffered(self) -> int:
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        return transport.get_write_buffer_size()

    def _is_tls(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.get_extra_info("sslcontext") is not None

    def _piece(self, most: int) -> int:
        return most if self._rate is None else max(1, min(most, int(self._rate * _TICK)))

    async def _pace(self, started: float) -> None:
        if self._rate is not None:
            due = started + self.sent / self._rate
            await asyncio.sleep(max(0.0, due - self._loop.time()))


def hung_up(request: web.BaseRequest) -> web.StreamResponse:
    """End the connection; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
