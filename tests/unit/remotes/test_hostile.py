"""What hostile registries, mirrors and the servers they lead to come to: secrets and terminals are safe."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.unit.remotes.pushing import Clients

from distore.errors import (
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from distore.oci.digest import Digest
from distore.registry.message import Response
from distore.remotes.credentials import Credential
from distore.remotes.environment import Environment
from distore.remotes.http import repository
from distore.remotes.http.address import split_url
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.http.listing import Listing, pages
from distore.remotes.http.login import verify
from distore.remotes.http.proxies import proxy_for
from distore.remotes.http.repository import HttpRepository
from distore.remotes.http.transport import Transport
from distore.remotes.options import RegistryOptions
from distore.remotes.resolver import Target
from distore.testing import server
from distore.testing.server import FakeRegistry, Fault

Connect = Callable[..., HttpFetcher]
BODY = b"content"
SECRET = "hunter22"
BASIC = base64.b64encode(f"bob:{SECRET}".encode()).decode()


@pytest.fixture
def elsewhere() -> Iterator[FakeRegistry]:
    """A server that a redirect leads to."""
    with FakeRegistry() as other:
        yield other


@pytest.fixture
def speak() -> Iterator[Callable[[bytes], str]]:
    """A server on a loopback port that answers one request with the bytes it is given; its address."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def begin(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield begin
    for thread in threads:
        thread.join()
    for listener in listeners:
        listener.close()


def knows_bob(tmp_path: Path, registry: FakeRegistry) -> RegistryOptions:
    """Credentials for one registry."""
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {registry.address: {"auth": BASIC}}}))
    return RegistryOptions(auth_files=(str(file),))


def challenge(header: str) -> Fault:
    return server.refuse(401, "UNAUTHORIZED", "no", www_authenticate=header)


def fetch(fetcher: HttpFetcher, target: Target) -> bytes:
    with fetcher.open(target) as stream:
        return stream.read(1 << 20)


def shown(registry: FakeRegistry) -> list[str]:
    """Every Authorization header that it got."""
    return [seen.headers["authorization"] for seen in registry.requests if "authorization" in seen.headers]


@pytest.mark.parametrize("kind", ["bearer", "basic"])
def test_the_server_where_a_redirect_leads_cannot_ask_for_the_credentials_of_the_first(
    kind: str, registry: FakeRegistry, elsewhere: FakeRegistry, connect: Connect, tmp_path: Path
) -> None:
    target = Target(digest=registry.put("demo", BODY))
    registry.inject(server.redirect(f"{elsewhere.url}/storage/1"), times=None)
    asks = {"bearer": f'Bearer realm="{elsewhere.url}/token",service="x"', "basic": 'Basic realm="x"'}
    elsewhere.inject(challenge(asks[kind]), path="/storage", times=None)

    with pytest.raises(Unauthenticated, match="answered 401"):
        fetch(connect(f"{registry.address}/demo", options=knows_bob(tmp_path, registry)), target)

    assert shown(elsewhere) == []
    assert shown(registry) == []
    assert elsewhere.seen("/token") == []


def test_a_login_tells_nothing_to_the_server_where_a_redirect_leads(
    registry: FakeRegistry, elsewhere: FakeRegistry
) -> None:
    registry.inject(server.redirect(f"{elsewhere.url}/v2/"), times=None)
    realm = f'Bearer realm="{elsewhere.url}/token"'
    elsewhere.inject(challenge(realm), path="/v2", times=None)

    with pytest.raises(FailedPrecondition, match="answered 401"):
        verify(registry.address, Credential(username="bob", secret=SECRET), RegistryOptions())

    assert shown(elsewhere) == shown(registry) == []
    assert elsewhere.seen("/token") == []


@pytest.mark.parametrize(
    "line", [b"\x1b]0;pwned\x07\x9b31m", b"HTTP/\x1b[31m 200 OK", b"HTTP/1.1 \x1b[2J OK"]
)
def test_what_is_no_answer_sends_nothing_to_a_terminal(
    line: bytes, speak: Callable[[bytes], str], connect: Connect
) -> None:
    address = speak(line + b"\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(Unavailable) as caught:
        fetch(connect(f"{address}/demo"), Target(digest=Digest.of(BODY)))

    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "when",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 99999999999999999999 Jan 2020 00:00:00 GMT",
        "1 Jan 2020 99999999999999999999:00",
        "Mon, 01 Jan 2020 00:00:00 +99999999999",
        "9" * 60,
    ],
)
def test_a_moment_that_no_calendar_has_is_none(when: str, registry: FakeRegistry, connect: Connect) -> None:
    target = Target(digest=registry.put("demo", BODY))
    registry.inject(server.throttled(when), times=None)

    with pytest.raises(Unavailable):
        fetch(connect(f"{registry.address}/demo"), target)


@pytest.mark.parametrize(
    "words", [f"user bob with {SECRET} is not welcome", f"bad header Basic {BASIC}", f"BASIC {BASIC.upper()}"]
)
def test_credentials_that_a_registry_repeats_are_in_no_message(
    words: str, connect: Connect, tmp_path: Path
) -> None:
    with FakeRegistry(users={"bob": SECRET}) as registry:
        target = Target(digest=registry.put("demo", BODY))
        registry.inject(server.refuse(403, "DENIED", words), times=None)

        with pytest.raises(DistoreError) as caught:
            fetch(connect(f"{registry.address}/demo", options=knows_bob(tmp_path, registry)), target)

    assert shown(registry) == [f"Basic {BASIC}"]
    assert "denied" in str(caught.value)
    assert "***" in str(caught.value)
    assert not {SECRET, BASIC.lower()} & set(str(caught.value).lower().replace("'", " ").split())


@pytest.mark.parametrize(
    "proxy",
    [
        "http://bob:hunter22@proxy.example:abc",
        "http://bob:hunter/22@proxy.example:80",
        "http://bob:12/hunter22@proxy.example:80",
        "http://bob:12#hunter22@proxy.example:80",
        "http://bob:hunter22@[::1",
        "http://bob:hunter22@",
        "http://bob:hunter22@proxy.example:99999",
    ],
)
def test_a_proxy_that_is_no_address_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(InvalidArgument, match="proxy for https: want") as caught:
        proxy_for(urlsplit("https://a.example/"), {"https": proxy})

    assert "hunter" not in str(caught.value)
    assert "22" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_proxy_is_shown_the_password_that_its_address_spells(registry: FakeRegistry) -> None:
    proxy = f"http://bob:p%40ss%C3%BC@{registry.address}"

    with closing(Transport(proxies={"http": proxy})) as transport:
        transport.request("GET", "http://origin.example/v2/", headers={}).discard()

    wanted = base64.b64encode("bob:p@ssü".encode()).decode()
    assert registry.requests[0].headers["proxy-authorization"] == f"Basic {wanted}"


def test_the_password_of_a_proxy_is_not_in_the_options_as_printed() -> None:
    options = RegistryOptions(proxies={"https": "http://bob:hunter22@proxy.example:80"})

    assert SECRET not in repr(options)


def test_a_header_of_a_stranger_names_no_proxy() -> None:
    gateway = {
        "REQUEST_METHOD": "GET",
        "HTTP_PROXY": "http://evil.example",
        "HTTPS_PROXY": "http://own.example",
    }

    assert Environment.read(gateway, uid=1, home="/h").proxies == {"https": "http://own.example"}
    own = Environment.read({**gateway, "http_proxy": "http://own.example"}, uid=1, home="/h")
    assert own.proxies == {"http": "http://own.example", "https": "http://own.example"}


@pytest.mark.parametrize(
    "url", ["https://bob:hunter22@a.example:99999/", "https://bob:hunter22@\xe4.example/"]
)
def test_the_message_about_an_address_has_no_password(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        split_url(url)

    assert SECRET not in str(caught.value)
    assert "example" in str(caught.value)


def test_pages_without_end_come_to_one(registry: FakeRegistry, clients: Clients) -> None:
    count = 0

    def more(request: object, handler: object) -> Response:
        nonlocal count
        count += 1
        link = {"link": f'</v2/demo/tags/list?last={count}>; rel="next"'}
        return Response(status=200, headers=link, body=json.dumps({"tags": ["x" * 100]}).encode())

    registry.inject(more, times=None)
    client = clients.client(f"{registry.address}/demo")
    listing = Listing(path="demo/tags/list", scope="", subject="tags", query={}, max_size=1000)

    with pytest.raises(ResourceExhausted, match="more than 1000 bytes"):
        list(pages(client, listing, new_retrier=clients.retrier))

    assert count == 9


def test_referrers_without_end_come_to_one(
    registry: FakeRegistry, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MAX_REFERRERS_SIZE", 100)
    body = json.dumps({"schemaVersion": 2, "manifests": [], "annotations": {"x": "x" * 100}}).encode()
    registry.inject(lambda request, handler: Response(status=200, body=body), times=None)
    found = HttpRepository(clients.client(f"{registry.address}/demo"), new_retrier=clients.retrier)

    with pytest.raises(ResourceExhausted, match=r"referrers of .*: more than 100 bytes"):
        list(found.referrers(Digest.of(BODY)))
