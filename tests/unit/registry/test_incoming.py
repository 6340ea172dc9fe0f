"""Bodies of requests over real sockets: streamed, refused early, slow, and broken off."""

from __future__ import annotations

import gzip
import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.errors import Unavailable
from distore.oci.digest import Digest
from distore.registry import app
from distore.registry.app import RegistryServer
from distore.registry.message import NO_ANSWER, Handler, Request, Response
from distore.registry.routes import PushRegistry
from distore.registry.server.pace import Pace
from distore.testing.memory_repositories import MemoryRepositories

BLOB = random.Random(5).randbytes(3_000_000)
DIGEST = Digest.of(BLOB)
Serve = Callable[..., RegistryServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[RegistryServer] = []

    def start(handler: Handler, *, rate: int | None = None) -> RegistryServer:
        registry = RegistryServer(handler, rate=rate)
        registry.start()
        started.append(registry)
        return registry

    yield start
    for registry in started:
        registry.stop()


def echo(request: Request) -> Response:
    """The length of the body."""
    size = 0
    while piece := request.body.read(100_000):
        assert len(piece) <= 100_000
        size += len(piece)
    return Response(status=200, body=str(size).encode())


def refuse(request: Request) -> Response:
    return Response(status=403)


def connection(registry: RegistryServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(registry.address, timeout=10)


def plug(registry: RegistryServer, text: str) -> socket.socket:
    host, _, port = registry.address.partition(":")
    plugged = socket.create_connection((host, int(port)), timeout=10)
    plugged.sendall(text.encode())
    return plugged


def put(size: int, *headers: str) -> str:
    return "\r\n".join(["PUT / HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers, "", ""])


def test_a_push_over_one_connection_ends_in_the_store(serve: Serve, store: LocalStore) -> None:
    client = connection(serve(PushRegistry(store, MemoryRepositories()).handle))

    client.request("POST", "/v2/a/blobs/uploads/")
    answer = client.getresponse()
    answer.read()
    location = str(answer.headers["location"])
    client.request("PUT", f"{location}&digest={DIGEST}", body=BLOB)
    status = client.getresponse().status
    client.close()

    assert status == 201
    assert read_blob(store, DIGEST, max_size=len(BLOB)) == BLOB


def test_a_body_without_a_length_is_read_to_its_end(serve: Serve) -> None:
    client = connection(serve(echo))

    for pieces in ([], [b"x"], [BLOB[:100], BLOB[100:]]):
        client.request("PUT", "/", body=iter(pieces), encode_chunked=True)
        assert client.getresponse().read() == str(sum(map(len, pieces))).encode()
    client.close()


def test_a_request_without_a_body_has_an_empty_one(serve: Serve) -> None:
    client = connection(serve(echo))

    for method in ("GET", "POST"):
        client.request(method, "/")
        assert client.getresponse().read() == b"0"
    client.close()


def test_bytes_are_kept_as_they_are_whatever_they_are_called(serve: Serve) -> None:
    data = gzip.compress(b"x" * 1000)
    client = connection(serve(echo))

    client.request("PUT", "/", body=data, headers={"Content-Encoding": "gzip"})

    assert client.getresponse().read() == str(len(data)).encode()
    client.close()


def test_a_client_that_asks_is_told_to_go_on(serve: Serve) -> None:
    with plug(serve(echo), put(3, "Expect: 100-continue")) as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_client_that_asks_may_be_refused_and_sends_nothing(serve: Serve) -> None:
    with plug(serve(refuse), put(10**9, "Expect: 100-continue")) as client:
        answer = b""
        while piece := client.recv(1000):  # to the end: the connection is of no more use
            answer += piece

    assert answer.startswith(b"HTTP/1.1 403") and b"connection: close" in answer.lower()


def test_a_refusal_is_heard_and_the_connection_goes_on(serve: Serve) -> None:
    client = connection(serve(refuse))

    sockets = []
    for _ in range(2):
        client.request("PUT", "/", body=BLOB[:300_000])
        sockets.append(client.sock)
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (403, b"")
    client.close()

    assert sockets[0] is sockets[1]


def test_a_connection_that_breaks_is_an_error_for_who_reads(serve: Serve) -> None:
    found: list[str] = []
    ended = threading.Event()

    def handle(request: Request) -> Response:
        try:
            return echo(request)
        except Unavailable as error:
            found.append(str(error))
            raise
        finally:
            ended.set()

    def handled(request: Request) -> Response:
        try:
            return handle(request)
        except Unavailable:
            return Response(status=503)

    with plug(serve(handled), put(1000)) as client:
        client.sendall(b"abc")

    assert ended.wait(10)
    assert found == ["request body: the connection ended before it"]


def test_a_client_that_sends_nothing_is_not_waited_for_for_ever(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_PATIENT", Pace(window=0.01))

    def handle(request: Request) -> Response:
        with pytest.raises(Unavailable, match="too slowly"):
            request.body.read(10)
        return Response(status=503)

    with plug(serve(handle), put(1000)) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 503")


def test_a_body_of_a_request_that_was_answered_is_gone(serve: Serve) -> None:
    kept: list[Request] = []

    def handle(request: Request) -> Response:
        kept.append(request)
        return Response(status=200)

    client = connection(serve(handle))
    client.request("PUT", "/", body=b"abc")
    client.getresponse().read()
    client.close()

    with pytest.raises(Unavailable, match="has ended"):
        kept[0].body.read(10)


def test_a_connection_may_end_without_an_answer(serve: Serve) -> None:
    client = connection(serve(lambda request: Response(status=NO_ANSWER)))

    client.request("GET", "/")

    with pytest.raises(ConnectionError):
        client.getresponse()
    client.close()


def test_what_comes_can_be_slowed_down(serve: Serve) -> None:
    client = connection(serve(echo, rate=200_000))
    started = time.monotonic()

    client.request("PUT", "/", body=BLOB[:20_000])

    assert client.getresponse().read() == b"20000"
    assert time.monotonic() - started > 0.09
    client.close()


@pytest.mark.slow
def test_a_server_stops_while_somebody_sends(serve: Serve) -> None:
    began = threading.Event()
    ended = threading.Event()

    def handle(request: Request) -> Response:
        began.set()
        with pytest.raises(Unavailable):
            echo(request)
        ended.set()
        return Response(status=503)

    registry = serve(handle)
    with plug(registry, put(1000)):
        assert began.wait(10)
        registry.stop()

    assert ended.is_set()


def test_a_name_may_come_twice_in_a_query(serve: Serve) -> None:
    seen: list[Request] = []

    def handle(request: Request) -> Response:
        seen.append(request)
        return Response(status=204)

    client = connection(serve(handle))
    client.request("GET", "/token?scope=a&scope=b%20c&n=1")
    client.getresponse().read()
    client.close()

    assert (dict(seen[0].query), seen[0].values("scope")) == ({"scope": "a", "n": "1"}, ("a", "b c"))
    assert (seen[0].values("n"), seen[0].values("x")) == (("1",), ())
