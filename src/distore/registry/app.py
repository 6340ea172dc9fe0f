"""RegistryServer: the one HTTP adapter; a Handler behind aiohttp, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

from aiohttp import web

from distore.errors import DistoreError, Unavailable
from distore.registry.incoming import BUFFER, Incoming
from distore.registry.message import NO_ANSWER, Request, Slice

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from distore.registry.message import FileBacked, Handler, Response

_CHUNK: Final = 256 * 1024  # bytes read and sent at a time where sendfile cannot
_FIRST: Final = 64 * 1024  # bytes that travel with the headers
_TICK: Final = 0.05  # seconds between two pieces of a connection that is slowed down
_START_TIMEOUT: Final = 30.0  # seconds
_WORKERS: Final = 64  # requests at work at once; most wait for their clients
_LAST_ROUNDS: Final = 10  # of the event loop
_GRACE: Final = 1.0  # seconds that answers in work get when the server stops


class RegistryServer:
    """Serves ``handler`` from the moment the ``with`` block is entered until it is left.

    Handlers are called from worker threads, several at once. Bodies come and go in pieces: a blob
    is never in memory as a whole, however large.

    Args:
        port: 0: a free one; ``address`` tells which.
        rate: Bytes a second for each connection and direction, or None for as fast as it goes.
        tls: Speak TLS.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rate: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._tls = tls
        self.rate = rate
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="distore-registry", daemon=True)

    @property
    def address(self) -> str:
        """``host:port`` as it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    def start(self) -> None:
        """Listen, and return when it does.

        Raises:
            Unavailable: It cannot listen there.
        """
        self._thread.start()
        listens = self._ready.wait(_START_TIMEOUT)
        if self._failure is not None or not listens:
            why = self._failure or f"not ready after {_START_TIMEOUT:g} s"
            raise Unavailable(f"registry {self.address}: cannot listen: {why}") from self._failure

    def stop(self) -> None:
        """Stop listening and end the connections; a second call does nothing."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
            self._thread.join()

    def __enter__(self) -> RegistryServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except (OSError, OverflowError) as error:  # a port over 65535 overflows
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(_WORKERS, thread_name_prefix="distore-registry"))
        self._stopping = asyncio.Event()
        # A blob that is called gzip is kept as it comes, or its digest would not hold.
        server = _Server(self._answer, access_log=None, read_bufsize=BUFFER, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=_GRACE)
        await runner.setup()
        try:
            listener = await self._loop.create_server(server, self._host, self._port, ssl=self._tls)
            self._port = listener.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stopping.wait()
            # Let nobody else in, then wait for those who are in already: a connection that asyncio
            # has accepted and not yet attached is left open for good once its server is closed.
            for listening in listener.sockets:
                self._loop.remove_reader(listening.fileno())
            await _rounds()
            listener.close()
        finally:
            await runner.cleanup()
            await _end(server.transports)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        incoming = Incoming(request, rate=self.rate)
        every = {name: tuple(request.query.getall(name)) for name in {*request.query}}
        plain = Request(
            method=request.method,
            path=request.path,
            query={name: values[0] for name, values in every.items()},
            headers={name.lower(): value for name, value in request.headers.items()},
            repeated={name: values for name, values in every.items() if len(values) > 1},
            body=incoming,
        )
        loop = asyncio.get_running_loop()
        try:
            given = await loop.run_in_executor(None, self._handler, plain)
        finally:
            incoming.close()
        try:
            if given.status == NO_ANSWER or request.transport is None:
                return _hung_up(request)
            return await self._send(request, given, keep=not incoming.is_awaited)
        finally:
            given.close()

    async def _send(self, request: web.BaseRequest, given: Response, *, keep: bool) -> web.StreamResponse:
        """Send an answer; without ``keep`` it is the last one of the connection."""
        response = web.StreamResponse(status=given.status, headers=given.headers)
        if not keep:
            response.force_close()
        if "content-length" not in response.headers and given.status != 304:
            response.content_length = given.length
        try:
            await response.prepare(request)
        except ConnectionError:
            return _hung_up(request)  # the client has gone
        whole = False
        try:
            whole = request.method == "HEAD" or await self._body(request, response, given)
            if not keep:
                await response.write_eof()
        except ConnectionError:
            return response  # the client has gone
        finally:
            # A body that ends early must not look like one that is whole.
            if not (whole and keep) and request.transport is not None:
                request.transport.close()
        return response

    async def _body(self, request: web.BaseRequest, response: web.StreamResponse, given: Response) -> bool:
        """Send it; whether it was as long as the headers say."""
        promised = response.content_length
        if isinstance(given.body, bytes):
            await self._paced(response, given.body)
        else:
            sent = await self._slice(request, response, given.body)
            if sent < given.body.length:
                return False
        return promised is None or promised <= given.length

    async def _slice(self, request: web.BaseRequest, response: web.StreamResponse, body: Slice) -> int:
        sent, started = 0, asyncio.get_running_loop().time()
        while sent < body.length:
            if sent and self.rate is None and hasattr(body.reader, "fileno"):
                return sent + await self._send_file(request, cast("FileBacked", body.reader), body, sent)
            size = min(self._piece(_CHUNK if sent else _FIRST), body.length - sent)
            try:
                data = await asyncio.to_thread(body.reader.read_at, size, body.start + sent)
            except DistoreError:
                break  # the headers are gone already: all that is left is to break off
            if not data:
                break
            await response.write(data)
            sent += len(data)
            await self._pace(sent, started)
        return sent

    async def _send_file(self, request: web.BaseRequest, reader: FileBacked, body: Slice, sent: int) -> int:
        """The rest of the body by sendfile, after what the response has written."""
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        with os.fdopen(os.dup(reader.fileno()), "rb", buffering=0) as file:
            return await asyncio.get_running_loop().sendfile(
                request.transport, file, body.start + sent, body.length - sent
            )

    async def _paced(self, response: web.StreamResponse, data: bytes) -> None:
        sent, started = 0, asyncio.get_running_loop().time()
        while sent < len(data):
            piece = data[sent : sent + self._piece(_CHUNK)]
            await response.write(piece)
            sent += len(piece)
            await self._pace(sent, started)

    def _piece(self, most: int) -> int:
        return most if self.rate is None else max(1, min(most, int(self.rate * _TICK)))

    async def _pace(self, sent: int, started: float) -> None:
        if self.rate is not None:
            due = started + sent / self.rate
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


def _hung_up(request: web.BaseRequest) -> web.StreamResponse:
    """End the connection; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


class _Server(web.Server):
    """Knows every transport until it is gone: a handler forgets its own as soon as it closes it,
    though what is not flushed keeps the socket open."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.transports: WeakSet[asyncio.Transport] = WeakSet()

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.transports.add(transport)


async def _end(transports: Iterable[asyncio.Transport]) -> None:
    """Leave no socket open: TLS would wait half a minute for each client to say goodbye.

    Nobody keeps track of a connection whose handshake failed; what its client sent last is here
    already, and closes it within a few rounds of the event loop.
    """
    for transport in list(transports):
        transport.abort()
    await _rounds()


async def _rounds() -> None:
    for _ in range(_LAST_ROUNDS):
        await asyncio.sleep(0)
