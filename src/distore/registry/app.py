"""RegistryServer: the one HTTP adapter; a Handler behind aiohttp, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aiohttp import web

from distore.errors import DistoreError, Unavailable
from distore.registry import errors
from distore.registry.incoming import Incoming
from distore.registry.message import ELSEWHERE, LATER, NO_ANSWER, OWNER, Request, Response
from distore.registry.server import mistakes
from distore.registry.server.addresses import Address, name_of
from distore.registry.server.connection import Connections, is_inside, peer_of
from distore.registry.server.crowd import Crowd
from distore.registry.server.door import Door
from distore.registry.server.ending import Ending
from distore.registry.server.exchange import Exchange
from distore.registry.server.operations import METRICS
from distore.registry.server.origin import Proxies
from distore.registry.server.pace import Pace
from distore.registry.server.sending import Sending, hung_up

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from distore.registry.message import Handler
    from distore.registry.server.handover import HandOver
    from distore.registry.server.settings import Limits, Network

_START_TIMEOUT: Final = 30.0  # seconds
_WORKERS: Final = 64  # requests without a body at work at once
_UPLOADERS: Final = 256  # requests with one; most wait for their clients
_WAITERS: Final = 256  # requests that wait for other servers at once
_READERS: Final = 64  # answers read at once where sendfile cannot
_LAST_ROUNDS: Final = 10  # of the event loop
_GRACE: Final = 1.0  # seconds that answers in work get when the server stops
_KEEP_ALIVE: Final = 3630.0  # seconds; longer than any proxy's
_VERSIONS: Final = ((1, 1), (1, 0))
_SMALL: Final = 64 * 1024  # bytes; a body of more is an upload
_PATIENT: Final = Pace()
_LINGER: Final = 5.0  # seconds that connections without work stay open while others take over


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a server is told beyond its handler, when it is one of several and faces strangers.

    Args:
        listeners: Sockets to take connections from, instead of an address.
        private: Listens for other workers of the same server, which are believed.
        quick: Answers at once, in the event loop, or gives None; see Service.
        limits: What clients may take.
        trusted: The proxies.
        hand_over: Give a request to the worker of that pid, and its answer to the client.
        numbers: What this worker has counted, for the others.
        observe: Told of each request, once it is answered.
        say: Told of mistakes of ours, in one line.
        tls: The context for the next connection.
    """

    listeners: Sequence[socket.socket] = ()
    private: socket.socket | None = None
    quick: Callable[[Request], Response | None] | None = None
    limits: Limits | None = None
    trusted: tuple[Network, ...] = ()
    hand_over: HandOver | None = None
    numbers: Callable[[], bytes] | None = None
    observe: Callable[[Exchange], None] | None = None
    say: Callable[[str], None] | None = None
    tls: Callable[[], ssl.SSLContext] | None = None


class RegistryServer:
    """Serves ``handler`` from the moment the ``with`` block is entered until it is left.

    Handlers are called from worker threads, several at once; those of requests with a body have
    threads of their own, so that slow uploads hold up no pull. Bodies come and go in pieces: a blob
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
        around: Surroundings | None = None,
    ) -> None:
        self._handler = handler
        self._address = Address(host=host, port=port)
        self._around = around or Surroundings(tls=None if tls is None else lambda: tls)
        self._say = self._around.say or (lambda _line: None)
        self._proxies = Proxies(self._around.trusted)
        self.crowd = Crowd(self._around.limits)
        limits = self._around.limits
        self._pace = _PATIENT if limits is None else Pace(limits.min_rate, limits.rate_window)
        self.rate = rate
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = Ending(_GRACE)
        self._thread = threading.Thread(target=self._run, name="distore-registry", daemon=True)

    @property
    def address(self) -> str:
        """``host:port`` as it listens."""
        return str(self._address)

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

    def stop(self, *, grace: float = _GRACE, linger: bool = False) -> None:
        """Stop listening and end the connections; a second call does nothing.

        Args:
            grace: Seconds that what is under way gets.
            linger: Others serve on: end connections only after an answer, or after some seconds
                without a request, so that no client finds its connection closed.
        """
        if self._thread.is_alive():
            self._ask(lambda: self._ending.begin(grace, linger=linger))
            self._thread.join()

    @property
    def is_ending(self) -> bool:
        """Every answer is the last one of its connection."""
        return self._ending.begun.is_set()

    def end(self) -> None:
        """Have a ``stop`` that waits come to its end."""
        self._ask(self._ending.hurry)

    def __enter__(self) -> RegistryServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _ask(self, what: Callable[[], None]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(what)
            except RuntimeError:
                return  # the loop is closed: it has ended

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except (OSError, DistoreError) as error:
            self._failure = error.__cause__ or error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self._failed(context.get("exception")))
        pools = [
            ThreadPoolExecutor(size, thread_name_prefix=f"distore-registry-{name}")
            for name, size in (
                ("pull", _WORKERS),
                ("push", _UPLOADERS),
                ("wait", _WAITERS),
                ("read", _READERS),
            )
        ]
        self._handlers, self._uploaders, self._waiters, self._readers = pools
        limits = self._around.limits
        # A blob that is called gzip is kept as it comes, or its digest would not hold.
        server = Connections(
            self._answer,
            head_timeout=None if limits is None else limits.header_timeout,
            keepalive_timeout=_KEEP_ALIVE if limits is None else limits.idle_timeout,
            failed=self._failed,
            refused=self._refused,
            access_log=None,
            auto_decompress=False,
        )
        own = [] if self._around.listeners else self._address.bind()
        try:
            doors = self._doors(server, own or self._around.listeners)
            self._ready.set()
            await self._ending.begun.wait()
            await self._end(server, doors)
        finally:
            for each in own:
                each.close()
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)

    def _doors(self, server: Connections, listeners: Sequence[socket.socket]) -> list[Door]:
        around = self._around
        doors = [Door(listeners, make=server, crowd=self.crowd, tls=around.tls, known=self._proxies.trusts)]
        if around.private is not None:
            doors.append(Door([around.private], make=server, crowd=Crowd(None), tls=None, inside=True))
        if not around.listeners:
            name = name_of(listeners[0])
            self._address = Address(host=self._address.host, port=int(name.rpartition(":")[2]))
        for door in doors:
            door.open()
        return doors

    async def _end(self, server: Connections, doors: list[Door]) -> None:
        """Let nobody else in, wait for what is under way, and end the connections."""
        await doors[0].close()
        for listener in self._around.listeners:
            listener.close()
        if self._ending.linger:
            await self._ending.wait(lambda: not server.connections, _LINGER)
        server.end_idle()
        await self._ending.wait(lambda: self.crowd.requests == 0, self._ending.grace)
        for door in doors[1:]:
            await door.close()
        await asyncio.sleep(0)
        server.pre_shutdown()
        await server.shutdown(0.05)
        await _end(server.transports)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        began = loop.time()
        incoming = Incoming(request, rate=self.rate, pace=self._pace)
        visit = _Visit(
            request, incoming, self._plain(request, incoming), os.urandom(8).hex(), is_inside(request)
        )
        trusted = visit.inside or self._proxies.trusts(visit.plain.client)
        counted = "" if trusted else visit.plain.client
        upload = request.body_exists and not 0 <= (request.content_length or _SMALL + 1) <= _SMALL
        refused = self.crowd.enter(counted, upload=upload)
        try:
            return await self._answered(visit, refused)
        except Exception:
            visit.status = 500  # what the connection makes of it
            raise
        finally:
            if not refused:
                self.crowd.leave(counted, upload=upload)
            if self._around.observe is not None and not visit.inside:
                seconds = loop.time() - began
                self._around.observe(
                    Exchange(visit.plain, visit.id, visit.status, incoming.received, visit.sent, seconds)
                )

    async def _answered(self, visit: _Visit, refused: str | None) -> web.StreamResponse:
        """Find an answer and send it; notes in ``visit`` what became of it."""
        if refused:
            given = errors.refusal(429, errors.TOO_MANY_REQUESTS, refused, retry_after="1")
        else:
            given = await self._given(visit)
        hand_over = self._around.hand_over
        if given.status == ELSEWHERE and hand_over is not None and not visit.inside:
            owner = given.headers.get(OWNER, "")
            answer = await hand_over(visit.request, visit.plain, visit.incoming, owner)
            if answer is not None:
                visit.status = answer.status
                return answer
            visit.incoming.open()
            given = await self._given(visit)  # that worker has ended: perhaps it is for us by now
        if given.status == ELSEWHERE:
            given = errors.refusal(503, errors.UNKNOWN, "another process is at work on it", retry_after="1")
        if given.status == 500:
            self._say(f"dist: request {visit.id}: {mistakes.answered(visit.plain, given)}")
        try:
            visit.status = given.status
            if given.status == NO_ANSWER or visit.request.transport is None:
                return hung_up(visit.request)
            keep = not (visit.incoming.is_awaited or self.is_ending)
            sending = Sending(
                visit.request, given, id=visit.id, rate=self.rate, pace=self._pace, readers=self._readers
            )
            try:
                return await sending.send(keep=keep)
            finally:
                visit.sent = sending.sent
        finally:
            given.close()

    async def _given(self, visit: _Visit) -> Response:
        """What the handler answers."""
        around, plain, has_body = self._around, visit.plain, visit.request.body_exists
        if visit.request.version not in _VERSIONS:
            return Response(status=NO_ANSWER)  # an answer would name its version
        if visit.inside and plain.path == METRICS and around.numbers is not None:
            return Response(status=200, body=around.numbers())
        try:
            if around.quick is not None and not has_body:
                at_hand = around.quick(plain)
                if at_hand is not None:
                    return at_hand
            pool = self._uploaders if has_body else self._handlers
            loop = asyncio.get_running_loop()
            given = await loop.run_in_executor(pool, self._handler, plain)
            if given.status == LATER:
                patient = replace(plain, patient=True)
                given = await loop.run_in_executor(self._waiters, self._handler, patient)
            return given
        except DistoreError as error:
            return errors.response_for(error)
        except Exception as error:  # noqa: BLE001 - ends one request; whoever runs the server is told
            self._failed(error)
            return errors.refusal(500, errors.UNKNOWN, "something went wrong here")
        finally:
            visit.incoming.close()

    def _plain(self, request: web.BaseRequest, incoming: Incoming) -> Request:
        """The request as handlers want it."""
        query, repeated = {}, {}
        if request.query_string:
            every = {name: tuple(request.query.getall(name)) for name in {*request.query}}
            query = {name: values[0] for name, values in every.items()}
            repeated = {name: values for name, values in every.items() if len(values) > 1}
        headers = {name.lower(): value for name, value in request.headers.items()}
        origin = self._proxies.origin(peer_of(request), request.scheme, headers)
        return Request(
            method=request.method,
            path=request.path,
            query=query,
            headers=headers,
            repeated=repeated,
            body=incoming,
            client=origin.client,
            scheme=origin.scheme,
            patient=request.body_exists,
        )

    def _refused(self, client: str, status: int) -> None:
        """What was no request counts all the same."""
        if self._around.observe is not None:
            request = Request(method="-", path="-", client=client)
            self._around.observe(Exchange(request, os.urandom(8).hex(), status, 0, 0, 0.0))

    def _failed(self, error: BaseException | None) -> None:
        if error is not None:
            self._say(f"dist: internal error: {mistakes.described(error)}")


@dataclass(slots=True)
class _Visit:
    """One request while it is at work."""

    request: web.BaseRequest
    incoming: Incoming
    plain: Request
    id: str
    inside: bool  # another worker hands it over
    status: int = NO_ANSWER
    sent: int = 0


async def _end(transports: Iterable[asyncio.Transport]) -> None:
    """Leave no socket open: TLS would wait half a minute for each client to say goodbye.

    Nobody keeps track of a connection whose handshake failed; what its client sent last is here
    already, and closes it within a few rounds of the event loop.
    """
    for transport in list(transports):
        transport.abort()
    for _ in range(_LAST_ROUNDS):
        await asyncio.sleep(0)
