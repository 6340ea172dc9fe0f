"""RegistryServer: over real sockets, from files, at any speed, and to the end."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from distore.content.blobs import write_blob
from distore.content.local.store import LocalStore
from distore.errors import Unavailable
from distore.oci.digest import Digest
from distore.registry.app import RegistryServer
from distore.registry.message import LATER, Handler, Request, Response, Slice
from distore.registry.routes import PushRegistry
from distore.testing import server
from distore.testing.memory_repositories import MemoryRepositories
from distore.testing.server import BytesReader, FakeRegistry

BLOB = random.Random(3).randbytes(1_000_000)


@pytest.fixture
def serve() -> Iterator[Callable[..., RegistryServer]]:
    started: list[RegistryServer] = []

    def start(handler: Handler, *, rate: int | None = None) -> RegistryServer:
        registry = RegistryServer(handler, rate=rate)
        registry.start()
        started.append(registry)
        return registry

    yield start
    for registry in started:
        registry.stop()


@pytest.fixture
def path(store: LocalStore) -> str:
    """Of BLOB, in files."""
    return f"/v2/demo/blobs/{write_blob(store, 'put', BLOB)}"


def files(store: LocalStore) -> Handler:
    return PushRegistry(store, MemoryRepositories({"demo": {}}, everywhere=set(store.digests()))).handle


def ask(
    registry: RegistryServer | FakeRegistry, path: str, method: str = "GET", **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection(registry.address, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        connection.close()


def test_a_file_is_sent_whole(serve: Callable[..., RegistryServer], store: LocalStore, path: str) -> None:
    status, headers, data = ask(serve(files(store)), path)

    assert (status, data) == (200, BLOB)
    assert headers["content-length"] == str(len(BLOB))
    assert headers["docker-content-digest"] == Digest.of(BLOB)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (1, 999_998), (65_535, 65_536), (500_000, 999_999)])
def test_a_part_of_a_file_is_that_part(
    serve: Callable[..., RegistryServer], store: LocalStore, path: str, start: int, end: int
) -> None:
    status, headers, data = ask(serve(files(store)), path, Range=f"bytes={start}-{end}")

    assert (status, data) == (206, BLOB[start : end + 1])
    assert headers["content-range"] == f"bytes {start}-{end}/{len(BLOB)}"


def test_a_reader_without_a_file_is_sent_all_the_same(serve: Callable[..., RegistryServer]) -> None:
    body = Slice(reader=BytesReader(BLOB), start=10, length=len(BLOB) - 20)

    status, _, data = ask(serve(lambda request: Response(status=200, body=body)), "/")

    assert (status, data) == (200, BLOB[10:-10])


def test_a_head_has_the_length_and_no_body(
    serve: Callable[..., RegistryServer], store: LocalStore, path: str
) -> None:
    status, headers, data = ask(serve(files(store)), path, "HEAD")

    assert (status, headers["content-length"], data) == (200, str(len(BLOB)), b"")


def test_one_connection_serves_request_after_request(
    serve: Callable[..., RegistryServer], store: LocalStore, path: str
) -> None:
    connection = http.client.HTTPConnection(serve(files(store)).address, timeout=10)

    sockets = []
    for method, headers in [
        ("GET", {}),
        ("HEAD", {}),
        ("GET", {"If-None-Match": f'"{Digest.of(BLOB)}"'}),
    ] * 2:
        connection.request(method, path, headers=headers)
        sockets.append(connection.sock)
        connection.getresponse().read()
    connection.close()

    assert len(set(map(id, sockets))) == 1


def test_many_clients_are_served_at_once(
    serve: Callable[..., RegistryServer], store: LocalStore, path: str
) -> None:
    registry = serve(files(store))
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(ask(registry, path)[2])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert found == [BLOB] * 8


def test_a_handler_gets_path_query_and_headers(serve: Callable[..., RegistryServer]) -> None:
    seen: list[Request] = []

    def handle(request: Request) -> Response:
        seen.append(request)
        return Response(status=204)

    ask(serve(handle), "/v2/a%2Fb/x%20y?n=1&last=%C3%BC", **{"X-Mixed-Case": "1"})

    assert (seen[0].path, seen[0].query) == ("/v2/a/b/x y", {"n": "1", "last": "ü"})
    assert seen[0].headers["x-mixed-case"] == "1"


def test_a_body_that_ends_early_is_broken_off_and_not_passed_for_whole(
    serve: Callable[..., RegistryServer],
) -> None:
    body = Slice(reader=BytesReader(b"short"), start=0, length=100)

    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(serve(lambda request: Response(status=200, body=body)), "/")

    assert caught.value.partial == b"short"


def test_a_connection_can_be_slowed_down(serve: Callable[..., RegistryServer]) -> None:
    registry = serve(lambda request: Response(status=200, body=BLOB[:20_000]), rate=200_000)
    started = time.monotonic()

    assert ask(registry, "/")[2] == BLOB[:20_000]

    assert time.monotonic() - started > 0.04  # two pieces, and a pause between them


def test_a_client_that_goes_away_hurts_nobody(
    serve: Callable[..., RegistryServer], store: LocalStore, path: str
) -> None:
    registry = serve(files(store))
    host, _, port = registry.address.partition(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            client.recv(10)

    assert ask(registry, path)[2] == BLOB


@pytest.mark.parametrize("text", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x00\x05hello\r\n\r\n"])
def test_what_is_no_request_is_refused(serve: Callable[..., RegistryServer], text: bytes) -> None:
    registry = serve(lambda request: Response(status=204))
    host, _, port = registry.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(100)

    assert answer == b"" or answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert ask(registry, "/")[0] == 204


def test_a_port_that_is_taken_is_said(serve: Callable[..., RegistryServer]) -> None:
    first = serve(lambda request: Response(status=204))
    second = RegistryServer(lambda request: Response(status=204), port=int(first.address.partition(":")[2]))

    with pytest.raises(Unavailable, match=rf"registry {first.address}: cannot listen: .*in use"):
        second.start()

    second.stop()


def test_a_port_that_is_none_is_said() -> None:
    registry = RegistryServer(lambda request: Response(status=204), port=70_000)

    with pytest.raises(Unavailable, match="cannot listen"):
        registry.start()


def test_an_address_of_the_newer_kind_is_written_in_brackets() -> None:
    assert RegistryServer(lambda request: Response(status=204), host="::1", port=5).address == "[::1]:5"


def test_a_server_that_stopped_takes_no_more(store: LocalStore, path: str) -> None:
    with RegistryServer(files(store)) as registry:
        assert ask(registry, path)[0] == 200

    with pytest.raises(ConnectionRefusedError):
        ask(registry, path)
    registry.stop()  # a second time


def test_the_fake_counts_what_it_sends() -> None:
    with FakeRegistry() as fake:
        digest = fake.put("demo", BLOB)
        fake.inject(server.drop_at(1000))

        with pytest.raises(http.client.IncompleteRead):
            ask(fake, f"/v2/demo/blobs/{digest}")
        ask(fake, f"/v2/demo/blobs/{digest}", Range="bytes=999000-")

        assert fake.bytes_sent == 2000
        assert [(seen.method, seen.status) for seen in fake.seen("/blobs/")] == [("GET", 200), ("GET", 206)]


def test_a_fault_is_for_as_many_requests_as_it_says() -> None:
    with FakeRegistry() as fake:
        fake.put("demo", b"")
        fake.inject(server.unavailable(), path="/tags/", times=2)
        fake.inject(server.throttled(1), path="/tags/")

        statuses = [ask(fake, "/v2/demo/tags/list")[0] for _ in range(4)]

        assert statuses == [503, 503, 429, 200]
        assert ask(fake, "/v2/")[0] == 200


def test_requests_that_wait_for_other_servers_hold_up_no_others(
    serve: Callable[..., RegistryServer],
) -> None:
    over, waiting, enough = threading.Event(), [], threading.Event()

    def handle(request: Request) -> Response:
        if request.path != "/v2/slow":
            return Response(status=200, body=b"here")
        if not request.patient:
            return Response(status=LATER)
        waiting.append(1)
        if len(waiting) == 100:
            enough.set()
        over.wait(30)
        return Response(status=200, body=b"at last")

    registry, got = serve(handle), []
    threads = [threading.Thread(target=lambda: got.append(ask(registry, "/v2/slow")[2])) for _ in range(100)]
    for thread in threads:
        thread.start()
    assert enough.wait(30)

    here = ask(registry, "/v2/here")

    over.set()
    for thread in threads:
        thread.join()
    assert here[0] == 200
    assert got == [b"at last"] * 100
