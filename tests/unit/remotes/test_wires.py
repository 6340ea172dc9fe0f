"""One connection for many requests, what ends it, and requests whose bodies meet trouble."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from distore.errors import DeadlineExceeded, DistoreError, FailedPrecondition, Unavailable
from distore.oci.digest import Digest
from distore.remotes.budget import SharedBudget
from distore.remotes.http.bodies import Whole
from distore.remotes.http.body import Limits, Response
from distore.remotes.http.transport import Transport
from distore.testing import server
from distore.testing.server import FakeRegistry

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BIG = 64 * 1024 * 1024  # bytes: more than any socket buffers


class Zeros:
    """A large body that counts what was taken of it."""

    def __init__(self, size: int = BIG) -> None:
        self.size = size
        self.taken = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        piece = bytes(256 * 1024)
        for taken in range(0, self.size, len(piece)):
            self.taken = taken
            yield piece


class Server:
    """Answers each connection with ``talk``; counts them."""

    def __init__(self, talk: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._talk = talk
        self._tls = tls
        self.accepted = 0
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            # An answer that is held back would be lost when the connection is reset.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._talk(connection)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(talk: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(talk, tls))
        return servers[-1]

    yield make
    for made in servers:
        made.close()


@pytest.fixture
def transport(ca: str) -> Iterator[Transport]:
    with closing(Transport(ca=ca, limits=Limits(read_timeout=5.0))) as made:
        yield made


def head(connection: socket.socket) -> bytes:
    """A request's headers, and what came with them."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError("the client has gone")
        data += piece
    return data


def whole(connection: socket.socket) -> bytes:
    """A request's headers, after all of its body came."""
    headers, _, body = head(connection).partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in headers.splitlines() if line[:15].lower() == b"content-length:"), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return headers


def ask(transport: Transport, method: str, url: str, **options: object) -> Response:
    return transport.request(method, url, headers={}, **options)  # type: ignore[arg-type] # as given


def told(transport: Transport, method: str, url: str, **options: object) -> tuple[int, bytes]:
    response = ask(transport, method, url, **options)
    try:
        return response.status, response.read_small(1 << 20)
    finally:
        response.close()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every connection that a client in this process makes."""
    made: list[object] = []
    original = socket.socket.connect

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        made.append(address)
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return made


@pytest.mark.parametrize("secure", [False, True])
def test_small_requests_one_after_the_other_use_one_connection(
    registry: FakeRegistry,
    encrypted: FakeRegistry,
    transport: Transport,
    connections: list[object],
    secure: bool,
) -> None:
    target = encrypted if secure else registry
    digest, base = target.put("demo", b"data"), f"{target.url}/v2/demo"
    target.inject(server.refuse(401), path="/tags/", times=None)

    for number in range(5):
        data = b"%d" % number
        assert told(transport, "GET", f"{base}/blobs/{digest}") == (200, b"data")
        assert told(transport, "HEAD", f"{base}/blobs/{digest}") == (200, b"")
        assert told(transport, "GET", f"{base}/blobs/{Digest.of(b'gone')}")[0] == 404
        assert told(transport, "GET", f"{base}/tags/list")[0] == 401
        opened = ask(transport, "POST", f"{base}/blobs/uploads/", body=Whole())
        opened.close()  # 202 without a body, which nobody reads
        url = f"{target.url}{opened.header('location')}&digest={Digest.of(data)}"
        assert told(transport, "PUT", url, body=Whole(data)) == (201, b"")

    assert len(connections) == 1


def test_an_answer_without_a_body_that_nobody_reads_keeps_the_connection(
    registry: FakeRegistry, transport: Transport, connections: list[object]
) -> None:
    digest = registry.put("demo", b"data")

    for _ in range(3):
        ask(transport, "HEAD", f"{registry.url}/v2/demo/blobs/{digest}").close()

    assert len(connections) == 1


def test_a_reader_that_stops_at_the_last_byte_keeps_the_connection(
    registry: FakeRegistry, transport: Transport, connections: list[object]
) -> None:
    digest = registry.put("demo", b"data")

    for _ in range(3):
        response = ask(transport, "GET", f"{registry.url}/v2/demo/blobs/{digest}")
        assert response.read(4) == b"data"
        response.close()

    assert len(connections) == 1


def test_an_answer_that_is_not_read_to_its_end_closes_its_connection(
    registry: FakeRegistry, transport: Transport, connections: list[object]
) -> None:
    digest = registry.put("demo", b"data" * 1000)

    for _ in range(2):
        response = ask(transport, "GET", f"{registry.url}/v2/demo/blobs/{digest}")
        response.read(10)
        response.close()

    assert len(connections) == 2


def test_a_connection_that_was_given_back_keeps_its_next_user_s_time_limit(
    registry: FakeRegistry, transport: Transport
) -> None:
    digest = registry.put("demo", b"data")
    response = ask(transport, "GET", f"{registry.url}/v2/demo/blobs/{digest}")
    assert response.read(4) == b"data"
    wire = response._wire
    assert wire is not None
    wire.settimeout(77)

    assert response.read(4) == b""

    assert wire.gettimeout() == 77


@pytest.mark.parametrize("status", [401, 413, 500])
@pytest.mark.parametrize("secure", [False, True])
def test_an_answer_that_comes_while_the_body_is_sent_is_reported(
    serve: Callable[..., Server],
    transport: Transport,
    server_context: ssl.SSLContext,
    status: int,
    secure: bool,
) -> None:
    def talk(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status)
        connection.recv(1024)  # and the rest of it never: the client meets a closed connection

    body = Zeros()
    early = serve(talk, server_context if secure else None)

    assert told(transport, "PUT", early.url, body=body) == (status, b"no")

    assert body.taken < BIG // 2


def test_an_early_answer_of_a_server_that_just_stops_reading_is_reported(
    serve: Callable[..., Server],
) -> None:
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        if b"PUT" in head(connection):
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            over.wait(10)
        else:
            connection.sendall(OK)

    stubborn = serve(talk)
    with closing(Transport(limits=Limits(read_timeout=0.1))) as transport:
        assert told(transport, "PUT", stubborn.url, body=Zeros()) == (413, b"")
        assert told(transport, "GET", stubborn.url) == (200, b"ok")  # over another connection

    over.set()
    assert stubborn.accepted == 2


def test_a_server_that_reads_nothing_and_says_nothing_is_given_up(serve: Callable[..., Server]) -> None:
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        head(connection)
        over.wait(10)

    deaf = serve(talk)
    with (
        closing(Transport(limits=Limits(read_timeout=0.1))) as transport,
        pytest.raises(Unavailable, match="the connection broke off: timed out"),
    ):
        told(transport, "PUT", deaf.url, body=Zeros())

    over.set()


@pytest.mark.parametrize("secure", [False, True])
def test_a_server_that_closes_in_the_middle_of_a_body_is_unavailable(
    serve: Callable[..., Server], transport: Transport, server_context: ssl.SSLContext, secure: bool
) -> None:
    closing_server = serve(_hang_up, server_context if secure else None)

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:[0-9]+: the connection broke off"):
        told(transport, "PUT", closing_server.url, body=Zeros())


def test_a_body_that_fails_is_not_the_network_s_fault(
    serve: Callable[..., Server], transport: Transport
) -> None:
    class Broken(Zeros):
        def __iter__(self) -> Iterator[bytes]:
            yield bytes(1000)
            raise FailedPrecondition("content ends at byte 1000")

    target = serve(_hang_up)

    with pytest.raises(FailedPrecondition, match="content ends at byte 1000"):
        told(transport, "PUT", target.url, body=Broken())


def test_a_long_body_heeds_the_deadline(serve: Callable[..., Server]) -> None:
    now = 1000.0

    class Slow(Zeros):
        def __iter__(self) -> Iterator[bytes]:
            nonlocal now
            for _ in range(10):
                now += 1
                yield bytes(100)

    target = serve(whole)
    limits = Limits(deadline=now + 5)
    with (
        closing(Transport(limits=limits, clock=lambda: now)) as transport,
        pytest.raises(DeadlineExceeded, match="the time allowed is over"),
    ):
        told(transport, "PUT", target.url, body=Slow(1000))

    assert now == 1005


@pytest.mark.parametrize(
    ("status", "method", "length"),
    [(301, "GET", 0), (302, "GET", 0), (303, "GET", 0), (307, "PUT", 3), (308, "PUT", 3)],
)
def test_a_redirect_sends_the_body_again_or_becomes_a_get(
    serve: Callable[..., Server], transport: Transport, status: int, method: str, length: int
) -> None:
    seen: list[bytes] = []

    def target(connection: socket.socket) -> None:
        seen.append(whole(connection))
        connection.sendall(OK)

    there = serve(target)

    def source(connection: socket.socket) -> None:
        whole(connection)
        connection.sendall(
            b"HTTP/1.1 %d See\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, there.url.encode())
        )

    assert told(transport, "PUT", serve(source).url, body=Whole(b"abc")) == (200, b"ok")

    lines = seen[0].decode().lower().splitlines()
    assert lines[0].startswith(f"{method.lower()} / ")
    assert [line for line in lines if line.startswith("content-length")] == (
        [f"content-length: {length}"] if length else []
    )


def _answer_once(connection: socket.socket) -> None:
    whole(connection)
    connection.sendall(OK)


def _hang_up(connection: socket.socket) -> None:
    head(connection)


def _stuck(connection: socket.socket, before: bytes, over: threading.Event) -> None:
    head(connection)
    connection.sendall(before)
    over.wait(10)


@pytest.mark.parametrize(
    "before",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n0123", b"HTTP/1.1 200 OK\r\n\r\n0123"],
    ids=["headers", "body", "body without a length"],
)
@pytest.mark.parametrize("secure", [False, True])
def test_abort_ends_every_wait_at_once_and_the_transport_can_be_used_on(
    serve: Callable[..., Server],
    transport: Transport,
    server_context: ssl.SSLContext,
    before: bytes,
    secure: bool,
) -> None:
    over, errors = threading.Event(), list[DistoreError]()
    stuck = serve(lambda c: _stuck(c, before, over), server_context if secure else None)
    fine = serve(_answer_once, server_context if secure else None)

    def wait() -> None:
        try:
            told(transport, "GET", stuck.url)
        except DistoreError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while thread.is_alive():  # it may not have come to the wait yet
        thread.join(0.02)
        transport.abort()

    over.set()
    assert [type(error) for error in errors] == [Unavailable]
    assert told(transport, "GET", fine.url) == (200, b"ok")


def test_abort_ends_a_body_that_nobody_takes(serve: Callable[..., Server], transport: Transport) -> None:
    over, errors = threading.Event(), list[DistoreError]()
    deaf = serve(lambda connection: _stuck(connection, b"", over))

    def send() -> None:
        try:
            told(transport, "PUT", deaf.url, body=Zeros())
        except DistoreError as error:
            errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    while thread.is_alive():
        thread.join(0.02)
        transport.abort()

    over.set()
    assert [type(error) for error in errors] == [Unavailable]


def test_an_aborted_connection_is_not_used_again(serve: Callable[..., Server], transport: Transport) -> None:
    def talk(connection: socket.socket) -> None:
        while whole(connection):
            connection.sendall(OK)

    target = serve(talk)
    assert told(transport, "GET", target.url) == (200, b"ok")

    transport.abort()

    assert told(transport, "GET", target.url) == (200, b"ok")
    assert target.accepted == 2


def test_the_budget_is_asked_before_each_request_and_told_of_each_answer(
    registry: FakeRegistry,
) -> None:
    naps: list[float] = []
    budget = SharedBudget(None, now=lambda: 1000.0, random=lambda: 0.0, sleep=naps.append)
    url = f"{registry.url}/v2/demo/blobs/{registry.put('demo', b'data')}"
    registry.inject(server.throttled(7))
    with closing(Transport(budget=budget)) as transport:
        assert told(transport, "GET", url)[0] == 429
        with suppress(Unavailable):  # this clock stands still
            told(transport, "GET", url)

    assert naps[0] == 7.0


def test_the_last_request_that_a_registry_allows_is_heeded(registry: FakeRegistry) -> None:
    naps: list[float] = []
    budget = SharedBudget(None, now=lambda: 1000.0, random=lambda: 0.0, sleep=naps.append)
    url = f"{registry.url}/v2/demo/blobs/{registry.put('demo', b'data')}"
    registry.inject(server.with_headers(ratelimit_remaining="0;w=21600"))
    with closing(Transport(budget=budget)) as transport:
        assert told(transport, "GET", url)[0] == 200
        assert told(transport, "GET", url)[0] == 200

    assert naps == [0.5]
