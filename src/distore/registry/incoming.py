"""Incoming: the body of a request, on its way from the event loop to the thread that handles it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from distore.errors import Unavailable
from distore.registry.server.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Coroutine

_TICK: Final = 0.05  # seconds between two pieces of a connection that is slowed down
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Incoming:
    """A Body; made and closed in the event loop, read in another thread.

    A client that asks whether it may send (Expect: 100-continue) is told so at the first read:
    a handler that refuses without reading saves it the trouble.

    Args:
        rate: Bytes a second, or None for as fast as they come.
        pace: How slow they may be.
    """

    def __init__(
        self, request: web.BaseRequest, *, rate: int | None = None, pace: Pace | None = None
    ) -> None:
        self._request = request
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._has_body = request.body_exists
        self._closed = threading.Event()
        self._reading: asyncio.Task[bytes] | None = None
        self._watch = (pace or Pace()).watch()
        self.received = 0  # bytes so far
        self._started = self._loop.time()
        self._asks = (
            self._has_body
            and request.version >= (1, 1)
            and request.headers.get("expect", "").lower() == "100-continue"
        )
        self.is_awaited = self._asks

    def read(self, limit: int, /) -> bytes:
        if not self._has_body or limit <= 0:
            return b""
        if self._closed.is_set():
            raise Unavailable("request body: the connection has ended")
        try:
            return self._in_loop(self._take(limit))
        except (ConnectionError, RuntimeError, CancelledError, web.RequestPayloadError) as error:
            raise Unavailable("request body: the connection ended before it") from error
        except TimeoutError as error:
            raise Unavailable("request body: it comes too slowly, or not at all") from error

    @property
    def ended(self) -> bool:
        """The whole body was read, or there is none."""
        return not self._has_body or self._request.content.at_eof()

    @property
    def untouched(self) -> bool:
        """Nobody has read any of it, or asked the client for it."""
        return self.received == 0 and self.is_awaited == self._asks

    async def next(self, limit: int, /) -> bytes:
        """``read``, for somebody in the event loop, even once it is closed.

        Raises:
            TimeoutError, ConnectionError, web.RequestPayloadError: The client does not send the rest.
        """
        self.open()
        return await self._take(limit) if self._has_body else b""

    def open(self) -> None:
        """Let another handler read it, after one that did not."""
        self._closed.clear()

    def close(self) -> None:
        """Nobody answers any more: let go of a thread that still waits for bytes."""
        self._closed.set()
        if self._reading is not None:
            self._reading.cancel()

    def _in_loop(self, work: Coroutine[object, object, bytes]) -> bytes:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            raise
        return future.result()

    async def _take(self, limit: int) -> bytes:
        if self._closed.is_set():
            raise ConnectionResetError("closed")
        self._reading = asyncio.current_task()
        try:
            if self.is_awaited:
                self.is_awaited = False
                await self._request.writer.write(_CONTINUE)
                self._request.writer.output_size = 0
            limit = limit if self._rate is None else max(1, min(limit, int(self._rate * _TICK)))
            data = await self._some(limit)
            self.received += len(data)
            if self._rate is not None:
                due = self._started + self.received / self._rate
                await asyncio.sleep(max(0.0, due - self._loop.time()))
            return data
        finally:
            self._reading = None

    async def _some(self, limit: int) -> bytes:
        """Up to ``limit`` bytes.

        Raises:
            TimeoutError: The client is too slow.
        """
        content = self._request.content
        limit = min(limit, content.get_read_buffer_limits()[0])  # what a connection may hold, twice at most
        while True:
            began = self._loop.time()
            data = None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch.patience):
                    data = await content.read(limit)
            if not self._watch.waited(self._loop.time() - began, len(data or b"")) and data != b"":
                raise TimeoutError
            if data is not None:
                return data
