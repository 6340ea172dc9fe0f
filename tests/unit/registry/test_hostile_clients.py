"""RegistryServer and clients that mean no good: slow, many, endless, or not speaking HTTP at all."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from distore.content.local.store import LocalStore
from distore.errors import DataLoss, Unavailable
from distore.registry.app import RegistryServer, Surroundings
from distore.registry.message import Handler, Request, Response, Slice
from distore.registry.server.exchange import Exchange
from distore.registry.server.settings import Limits

Serve = Callable[..., RegistryServer]
PATIENT = Limits(header_timeout=5, idle_timeout=5, rate_window=5)


@pytest.fixture
def said() -> list[str]:
    """What the server told its operator."""
    return []


@pytest.fixture
def seen() -> list[Exchange]:
    """What the server observed."""
    return []


@pytest.fixture
def serve(said: list[str], seen: list[Exchange]) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(handler: Handler, **limits: float) -> RegistryServer:
            given = Limits(**limits)  # type: ignore[arg-type] # as given
            around = Surroundings(limits=given, observe=seen.append, say=said.append)
            server = RegistryServer(handler, around=around)
            return stack.enter_context(server)

        yield start


def plug(server: RegistryServer, data: bytes = b"") -> socket.socket:
    host, _, port = server.address.partition(":")
    client = socket.create_connection((host, int(port)), timeout=20)
    client.sendall(data)
    return client


def everything(client: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def fine(request: Request) -> Response:
    return Response(status=200, body=b"fine")


def drain(request: Request) -> Response:
    size = 0
    while piece := request.body.read(65536):
        size += len(piece)
    return Response(status=200, body=str(size).encode())


def test_a_head_that_does_not_end_is_not_waited_for(serve: Serve) -> None:
    server = serve(fine, header_timeout=0.1)

    for data in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nA: "):
        with plug(server, data) as client:
            assert everything(client) == b""


def test_a_second_head_that_does_not_end_is_not_waited_for_either(serve: Serve) -> None:
    with plug(serve(fine, header_timeout=0.1), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET / HT")

        assert everything(client).count(b"HTTP/1.1") == 0


def test_a_connection_that_is_idle_is_ended(serve: Serve) -> None:
    with plug(serve(fine, idle_timeout=0.1), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        assert everything(client).endswith(b"fine")


def test_a_body_that_stands_still_is_not_waited_for(serve: Serve) -> None:
    errors: list[str] = []

    def note(request: Request) -> Response:
        try:
            return drain(request)
        except Unavailable as error:
            errors.append(str(error))
            raise

    head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
    with plug(serve(note, rate_window=0.1), head) as client:
        answer = client.recv(1000)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert errors == ["request body: it comes too slowly, or not at all"]


def test_a_body_that_trickles_is_not_waited_for(serve: Serve) -> None:
    server = serve(drain, rate_window=0.2, min_rate=10_000)
    over = threading.Event()
    with plug(server, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n") as client:

        def trickle() -> None:
            try:
                while not over.wait(0.01):
                    client.sendall(b"x")
            except OSError:
                return

        thread = threading.Thread(target=trickle)
        thread.start()
        answer = client.recv(1000)
        over.set()
        thread.join()

    assert answer.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("kind", ["file", "bytes"])
def test_a_client_that_takes_nothing_is_not_waited_for(
    serve: Serve, seen: list[Exchange], store: LocalStore, kind: str
) -> None:
    size = 30_000_000
    with store.writer("r") as writer:
        writer.write(bytes(size))
        digest = writer.commit()

    def answer(request: Request) -> Response:
        body = Slice(reader=store.reader(digest), start=0, length=size) if kind == "file" else bytes(size)
        return Response(status=200, body=body)

    with plug(serve(answer, rate_window=0.2), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        wait = threading.Event()
        for _ in range(500):
            if seen:
                break
            wait.wait(0.01)
        received = everything(client)

    assert [(exchange.status, exchange.sent < size) for exchange in seen] == [(200, True)]
    assert len(received) < size


def test_one_client_has_only_so_many_requests_at_work(serve: Serve) -> None:
    go = threading.Event()

    def wait(request: Request) -> Response:
        go.wait(20)
        return fine(request)

    server = serve(wait, client_requests=2)
    ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with plug(server, ask) as first, plug(server, ask) as second:
        while server.crowd.requests < 2:
            go.wait(0.001)
        with plug(server, ask) as third:
            refused = everything(third)
        go.set()
        good = [everything(first), everything(second)]

    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in head.lower()
    assert json.loads(body)["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert all(answer.endswith(b"fine") for answer in good)


def test_uploads_that_stand_still_hold_up_nobody_else(serve: Serve) -> None:
    server = serve(lambda request: drain(request) if request.method == "PUT" else fine(request))
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(plug(server, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"))

        with plug(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
            assert everything(client).endswith(b"fine")


def test_one_client_has_only_so_many_connections(serve: Serve) -> None:
    server = serve(fine, client_connections=2)
    ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with plug(server, ask) as first, plug(server, ask) as second:
        assert first.recv(1000)
        assert second.recv(1000)
        with plug(server) as third:
            assert everything(third) == b""
    while server.crowd.connections:
        threading.Event().wait(0.001)
    with plug(server, ask) as fourth:
        assert fourth.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_when_all_places_are_taken_others_wait_for_one(serve: Serve) -> None:
    server = serve(fine, connections=1)
    ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with plug(server, ask) as first:
        assert first.recv(1000)
        with plug(server, ask) as second:
            first.close()

            assert second.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_mistake_of_ours_is_told_to_the_operator_and_not_to_the_client(
    serve: Serve, said: list[str], seen: list[Exchange]
) -> None:
    def fail(request: Request) -> Response:
        raise RuntimeError("a secret")

    with plug(serve(fail), b"GET /what HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
        answer = everything(client)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert json.loads(body) == {"errors": [{"code": "UNKNOWN", "message": "something went wrong here"}]}
    what, which = said
    line = fail.__code__.co_firstlineno + 1
    assert what.startswith("dist: internal error: RuntimeError: a secret (")
    assert what.endswith(f"{__file__}:{line} in fail)")
    assert which.startswith(f"dist: request {seen[0].id}: GET '/what': 500 ")
    assert [exchange.status for exchange in seen] == [500]


def test_an_answer_that_is_our_fault_is_told_to_the_operator(
    serve: Serve, said: list[str], seen: list[Exchange]
) -> None:
    def fail(request: Request) -> Response:
        raise DataLoss("blob 1: damaged")

    with plug(serve(fail), b"GET /a\x1b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
        everything(client)
    with plug(serve(fail), b"GET /a%1b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
        everything(client)

    (line,) = said
    assert line.startswith(f"dist: request {seen[-1].id}: GET '/a\\x1b': 500 ")
    assert "blob 1: damaged" in line


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 500 + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_one_document_and_no_more(
    serve: Serve, said: list[str], seen: list[Exchange], data: bytes
) -> None:
    with plug(serve(fine), data) as client:
        answer = everything(client)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"traceback" not in body.lower()
    assert json.loads(body)["errors"][0]["code"]
    assert said == []
    assert [(exchange.status, exchange.request.client) for exchange in seen] == [(400, "127.0.0.1")]


@pytest.mark.slow
def test_no_garbage_brings_it_down_or_makes_it_talk(serve: Serve, said: list[str]) -> None:
    rng = random.Random(11)
    server = serve(drain, header_timeout=0.2, rate_window=0.2, idle_timeout=0.2)
    good = b"PUT /v2/a/blobs/uploads/x?digest=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"

    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 8)):
            at = rng.randrange(len(data))
            kind = rng.randrange(3)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randrange(1, 10)]
            else:
                data[at:at] = rng.choice(
                    [b"\r\n", b"\0", b"%", b"\xff\xfe", b"?", b":", b"chunked", b"9" * 30]
                )
        with plug(server, bytes(data)) as client:
            answer = everything(client)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
        assert b"Traceback" not in answer

    assert said == []
    with plug(server, good + good) as client:
        assert everything(client).count(b"HTTP/1.1 200") == 2  # pipelined, and in order
