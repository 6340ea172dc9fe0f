"""HandOver: a request that another worker must answer."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from distore.registry.app import RegistryServer, Surroundings
from distore.registry.message import ELSEWHERE, OWNER, Handler, Request, Response, Slice
from distore.registry.server.exchange import Exchange
from distore.registry.server.handover import HandOver
from distore.testing.server import BytesReader

BLOB = random.Random(2).randbytes(3_000_000)
Pair = Callable[..., socket.socket]


@pytest.fixture
def seen() -> list[Exchange]:
    """What both workers observed."""
    return []


@pytest.fixture
def pair(seen: list[Exchange]) -> Iterator[Pair]:
    """A connection to a worker with the first handler, beside which another one has the second."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))

        def start(first: Handler, second: Handler) -> socket.socket:
            meeting = stack.enter_context(socket.socket(socket.AF_UNIX))
            meeting.bind(str(folder / "77.sock"))
            meeting.listen()
            hand_over = HandOver(str(folder))
            servers = [
                RegistryServer(first, around=Surroundings(hand_over=hand_over, observe=seen.append)),
                RegistryServer(
                    second, around=Surroundings(private=meeting, hand_over=hand_over, observe=seen.append)
                ),
            ]
            for server in servers:
                stack.enter_context(server)
            host, _, port = servers[0].address.partition(":")
            return stack.enter_context(socket.create_connection((host, int(port)), timeout=20))

        yield start


def elsewhere(request: Request) -> Response:
    return Response(status=ELSEWHERE, headers={OWNER: "77"})


def answer_to(client: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of one answer with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
    while len(body) < length:
        body += client.recv(65536)
    return head, body


def test_the_other_worker_gets_the_whole_request_and_its_answer_comes_back(
    pair: Pair, seen: list[Exchange]
) -> None:
    def tell(request: Request) -> Response:
        size = 0
        while piece := request.body.read(65536):
            size += len(piece)
        told = [request.method, request.path, dict(request.query), request.headers["a"], request.client, size]
        return Response(status=202, headers={"b": "c"}, body=json.dumps(told).encode())

    client = pair(elsewhere, tell)
    for _ in range(2):  # the connection is kept
        head = f"PATCH /v2/a%2Fb?x=%20y HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: {len(BLOB)}\r\n\r\n"
        client.sendall(head.encode() + BLOB)
        answered, body = answer_to(client)

        assert answered.startswith(b"HTTP/1.1 202 ")
        assert b"\r\nb: c" in answered
        assert json.loads(body) == ["PATCH", "/v2/a/b", {"x": " y"}, "b", "127.0.0.1", len(BLOB)]
    while len(seen) < 2:
        pass
    assert [(exchange.status, exchange.received) for exchange in seen] == [(202, len(BLOB))] * 2


def test_a_long_answer_comes_back_whole(pair: Pair) -> None:
    body = Slice(reader=BytesReader(BLOB), start=0, length=len(BLOB))

    client = pair(elsewhere, lambda request: Response(status=200, body=body))
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")

    assert answer_to(client)[1] == BLOB


def test_a_client_that_asks_whether_it_may_send_is_told(pair: Pair) -> None:
    client = pair(elsewhere, lambda request: Response(status=200, body=request.body.read(10)))
    client.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")

    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"abc")
    assert answer_to(client)[1] == b"abc"


def test_a_refusal_comes_back_before_the_body_is_sent(pair: Pair) -> None:
    client = pair(elsewhere, lambda request: Response(status=404, body=b"no"))
    client.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\nabc")

    head, body = answer_to(client)

    assert (head.split()[1], body) == (b"404", b"no")
    assert b"connection: close" in head.lower()


def test_when_that_worker_has_ended_the_request_is_for_this_one(pair: Pair) -> None:
    asked: list[str] = []

    def first(request: Request) -> Response:
        asked.append(request.path)
        if len(asked) == 1:
            return Response(status=ELSEWHERE, headers={OWNER: "78"})
        return Response(status=200, body=request.body.read(10))

    client = pair(first, elsewhere)
    client.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")

    assert answer_to(client)[1] == b"abc"


@pytest.mark.parametrize("owner", ["77", "78", "../77", ""])
def test_a_request_that_nobody_has_does_not_go_round_in_circles(pair: Pair, owner: str) -> None:
    def away(request: Request) -> Response:
        return Response(status=ELSEWHERE, headers={OWNER: owner})

    client = pair(away, away)
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    head, _ = answer_to(client)

    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head.lower()
