"""Transport: redirects that leak nothing, limits on time and speed, TLS, proxies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from distore.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    PermissionDenied,
    Unavailable,
)
from distore.registry.message import Response
from distore.remotes.http.body import Limits
from distore.remotes.http.transport import Transport
from distore.testing import server
from distore.testing.server import FakeRegistry

BODY = b"0123456789" * 100
SECRET = {"Authorization": "Bearer secret", "X-Own": "secret"}


class Clock:
    """Stands still until it is moved; ``step`` seconds go by at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def make() -> Iterator[Callable[..., Transport]]:
    made: list[Transport] = []

    def new(
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] | None = None,
        ca: str | None = None,
        skip_verify: bool = False,
        proxies: Mapping[str, str] | None = None,
    ) -> Transport:
        transport = Transport(
            limits=limits or Limits(),
            ca=ca,
            skip_verify=skip_verify,
            proxies=proxies,
            clock=clock or Clock(),
        )
        made.append(transport)
        return transport

    yield new
    for transport in made:
        transport.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    with FakeRegistry() as second:
        yield second


def answering(listener: socket.socket, answer: bytes, *, times: int = 1) -> threading.Thread:
    """Take one connection, answer ``times`` requests on it, and hold it until the client ends it."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for _ in range(times):
                connection.recv(65536)
                connection.sendall(answer)
            connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def blob(registry: FakeRegistry, data: bytes = BODY) -> str:
    return f"{registry.url}/v2/demo/blobs/{registry.put('demo', data)}"


def read(transport: Transport, url: str, **options: object) -> bytes:
    response = transport.request("GET", url, headers={}, **options)  # type: ignore[arg-type] # as given
    try:
        return response.read_small(1 << 20)
    finally:
        response.close()


def test_a_body_comes_as_it_was_sent(make: Callable[..., Transport], registry: FakeRegistry) -> None:
    assert read(make(), blob(registry)) == BODY


def test_credentials_and_own_headers_go_to_the_first_server_only(
    make: Callable[..., Transport], registry: FakeRegistry, other: FakeRegistry
) -> None:
    registry.inject(server.redirect(blob(other)))

    assert read(make(), blob(registry), private=SECRET) == BODY

    assert registry.requests[0].headers["authorization"] == "Bearer secret"
    assert {"authorization", "x-own"} & set(other.requests[0].headers) == set()


def test_credentials_do_not_come_back_once_a_redirect_led_away(
    make: Callable[..., Transport], registry: FakeRegistry, other: FakeRegistry
) -> None:
    registry.inject(server.redirect(blob(other)))
    other.inject(server.redirect(blob(registry)))

    read(make(), blob(registry), private=SECRET)

    assert ["authorization" in seen.headers for seen in registry.requests] == [True, False]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_stay_on_a_redirect_within_the_server(
    make: Callable[..., Transport], registry: FakeRegistry, status: int
) -> None:
    target = blob(registry)
    registry.inject(server.redirect(target.removeprefix(registry.url), status))

    assert read(make(), target, private=SECRET) == BODY

    assert [seen.headers.get("authorization") for seen in registry.requests] == ["Bearer secret"] * 2


def test_another_port_is_another_server(
    make: Callable[..., Transport], registry: FakeRegistry, other: FakeRegistry
) -> None:
    registry.inject(server.redirect(blob(other).replace("127.0.0.1", "localhost")))

    read(make(), blob(registry), private=SECRET)

    assert "authorization" not in other.requests[0].headers


def test_redirects_come_to_an_end(make: Callable[..., Transport], registry: FakeRegistry) -> None:
    url = blob(registry)
    registry.inject(server.redirect(url), times=None)

    with pytest.raises(FailedPrecondition, match="more than 3 redirects"):
        read(make(limits=Limits(max_redirects=3)), url)

    assert len(registry.requests) == 4


def test_no_redirect_leads_from_https_to_http(
    make: Callable[..., Transport], encrypted: FakeRegistry, registry: FakeRegistry, ca: str
) -> None:
    encrypted.inject(server.redirect(blob(registry)))

    with pytest.raises(PermissionDenied, match="redirects from https to http"):
        read(make(ca=ca), blob(encrypted))

    assert registry.requests == []


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://u:pw@127.0.0.1/", "http://[", "gopher://a/"]
)
def test_a_redirect_to_no_usable_address_is_refused(
    make: Callable[..., Transport], registry: FakeRegistry, target: str
) -> None:
    registry.inject(server.redirect(target))

    with pytest.raises(FailedPrecondition, match="redirects to no usable address") as caught:
        read(make(), blob(registry))

    assert "pw" not in str(caught.value)


def test_a_redirect_without_a_target_is_an_answer_like_any_other(
    make: Callable[..., Transport], registry: FakeRegistry
) -> None:
    registry.inject(lambda request, handler: Response(status=307))

    response = make().request("GET", blob(registry), headers={})
    response.discard()

    assert response.status == 307


def test_a_server_that_says_nothing_is_given_up(make: Callable[..., Transport], silent: str) -> None:
    with pytest.raises(Unavailable, match=rf"{silent}: nothing came for 0.05 s"):
        read(make(limits=Limits(read_timeout=0.05)), f"http://{silent}/")


def test_a_server_that_falls_silent_in_the_middle_is_given_up(make: Callable[..., Transport]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        transport = make(limits=Limits(read_timeout=0.05))
        client = answering(listener, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        response = transport.request("GET", f"http://{address}/", headers={})

        assert response.read(10) == b"01234"
        with pytest.raises(Unavailable, match=r"nothing came for 0\.05 s"):
            response.read(10)

        response.close()
        client.join(10)


def test_nobody_listening_is_unavailable(make: Callable[..., Transport]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"

        with pytest.raises(Unavailable, match=rf"{address}: cannot connect: connection refused"):
            read(make(), f"http://{address}/")


def test_the_deadline_covers_everything(make: Callable[..., Transport], registry: FakeRegistry) -> None:
    clock = Clock()
    transport = make(limits=Limits(deadline=clock.now + 10), clock=clock)
    response = transport.request("GET", blob(registry), headers={})

    clock.now += 10
    with pytest.raises(DeadlineExceeded, match="the time allowed is over"):
        response.read(10)
    with pytest.raises(DeadlineExceeded):
        read(transport, blob(registry))

    response.close()


def test_a_silence_that_reaches_the_deadline_is_no_reason_to_try_again(
    make: Callable[..., Transport], silent: str
) -> None:
    clock = Clock(step=0.02)  # one look at the beginning, one at the end
    limits = Limits(deadline=clock.now + 0.03)

    with pytest.raises(DeadlineExceeded, match="the time allowed is over"):
        read(make(limits=limits, clock=clock), f"http://{silent}/")


def test_a_trickle_below_the_floor_is_given_up(
    make: Callable[..., Transport], registry: FakeRegistry
) -> None:
    registry.inject(server.trickle(10))
    limits = Limits(min_speed=1000, window=5)
    transport = make(limits=limits, clock=Clock(step=1.0))
    response = transport.request("GET", blob(registry), headers={})

    with pytest.raises(Unavailable, match=r"only [0-9]+ bytes a second over [0-9]+ s, the floor is 1000"):
        while response.read(10):
            pass

    response.close()


def test_a_fast_beginning_buys_no_time_for_a_trickle(
    make: Callable[..., Transport], registry: FakeRegistry
) -> None:
    registry.inject(server.trickle(10))
    clock = Clock(step=1.0)
    transport = make(limits=Limits(min_speed=5, window=5), clock=clock)
    response = transport.request("GET", blob(registry), headers={})
    for _ in range(50):
        response.read(10)

    clock.step = 10.0
    with pytest.raises(Unavailable, match="the floor is 5"):
        response.read(10)

    response.close()


def test_time_that_the_reader_takes_is_not_the_server_s(
    make: Callable[..., Transport], registry: FakeRegistry
) -> None:
    registry.inject(server.trickle(10))
    clock = Clock()
    transport = make(limits=Limits(min_speed=1000, window=5), clock=clock)
    response = transport.request("GET", blob(registry), headers={})

    size = 0
    while piece := response.read(10):
        size += len(piece)
        clock.now += 3600  # standard output is blocked

    response.close()
    assert size == len(BODY)


def test_a_trickle_without_a_floor_is_read_to_its_end(
    make: Callable[..., Transport], registry: FakeRegistry
) -> None:
    registry.inject(server.trickle(10))

    assert read(make(clock=Clock(step=1.0)), blob(registry)) == BODY


def test_a_connection_is_used_again(make: Callable[..., Transport]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        client = answering(listener, answer, times=2)
        transport = make()

        assert [read(transport, url), read(transport, url)] == [b"ok", b"ok"]

        transport.close()
        client.join(10)
        assert not client.is_alive()


def test_a_proxy_is_asked_for_the_whole_address(
    make: Callable[..., Transport], registry: FakeRegistry
) -> None:
    proxied = make(proxies={"http": f"http://user:pw@{registry.address}"})

    response = proxied.request("GET", "http://registry.example/v2/", headers={})
    response.discard()

    assert response.status == 200
    assert registry.requests[0].headers["host"] == "registry.example"
    assert registry.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwdw=="


def test_a_proxy_that_is_gone_is_named_without_its_password(make: Callable[..., Transport]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        proxy = f"http://user:pw@127.0.0.1:{reserved.getsockname()[1]}"

        with pytest.raises(Unavailable, match="cannot connect through the proxy") as caught:
            read(make(proxies={"http": proxy}), "http://registry.example/v2/")

    assert "pw" not in str(caught.value)
