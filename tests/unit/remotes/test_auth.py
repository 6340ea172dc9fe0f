"""Tokens: the anonymous flow, and servers that ask for nonsense."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from distore.errors import DistoreError, FailedPrecondition, NotFound, Unauthenticated, Unavailable
from distore.registry.message import Response
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.http.tokens import MAX_TOKEN, MAX_TOKEN_RESPONSE
from distore.remotes.options import RegistryOptions
from distore.remotes.resolver import Target
from distore.testing import server
from distore.testing.server import FakeRegistry, Fault

Connect = Callable[..., HttpFetcher]
BODY = b"content"


def fetch(fetcher: HttpFetcher, target: Target) -> bytes:
    with fetcher.open(target) as stream:
        return stream.read(1 << 20)


def body(text: bytes | str, status: int = 200) -> Fault:
    data = text.encode() if isinstance(text, str) else text
    return lambda request, handler: Response(status=status, body=data)


def challenge(header: str) -> Fault:
    return server.refuse(401, "UNAUTHORIZED", "no", www_authenticate=header)


def test_a_token_is_had_by_answering_the_challenge(gated: FakeRegistry, connect: Connect) -> None:
    target = Target(digest=gated.put("demo/app", BODY))

    assert fetch(connect(f"{gated.address}/demo/app"), target) == BODY

    assert [seen.status for seen in gated.requests] == [401, 200, 200]
    asked = gated.seen("/token")[0]
    assert asked.query == {"service": "distore", "scope": "repository:demo/app:pull"}
    assert "authorization" not in asked.headers


def test_a_token_serves_until_it_ends(connect: Connect) -> None:
    now = 0.0
    with FakeRegistry(with_tokens=True, clock=lambda: now) as gated:
        target = Target(digest=gated.put("demo", BODY))
        fetcher = connect(f"{gated.address}/demo", clock=lambda: now)

        for _ in range(3):
            fetch(fetcher, target)
        assert len(gated.seen("/token")) == 1

        now += 299.0  # it ends a second later, but the answer may take that long
        assert fetch(fetcher, target) == BODY
        assert len(gated.seen("/token")) == 2


def test_a_token_that_is_refused_is_replaced(connect: Connect) -> None:
    now, servers_now = 0.0, 0.0
    with FakeRegistry(with_tokens=True, clock=lambda: servers_now) as gated:
        target = Target(digest=gated.put("demo", BODY))
        fetcher = connect(f"{gated.address}/demo", clock=lambda: now)
        fetch(fetcher, target)

        servers_now += 10_000.0  # clocks may go differently
        assert fetch(fetcher, target) == BODY

    assert len(gated.seen("/token")) == 2


def test_each_repository_has_a_token_of_its_own(gated: FakeRegistry, connect: Connect) -> None:
    target = Target(digest=gated.put("one", BODY))
    gated.put("two", BODY)

    fetch(connect(f"{gated.address}/one"), target)
    fetch(connect(f"{gated.address}/two"), target)

    assert [seen.query["scope"] for seen in gated.seen("/token")] == [
        "repository:one:pull",
        "repository:two:pull",
    ]


def test_a_token_never_follows_a_redirect_to_another_server(
    gated: FakeRegistry, registry: FakeRegistry, connect: Connect
) -> None:
    digest = gated.put("demo", BODY)
    registry.put("demo", BODY)
    gated.inject(server.redirect(f"{registry.url}/v2/demo/blobs/{digest}"))

    assert fetch(connect(f"{gated.address}/demo"), Target(digest=digest)) == BODY

    assert "authorization" in gated.requests[-1].headers
    assert "authorization" not in registry.requests[0].headers


def test_a_header_of_hosts_toml_gives_way_to_a_token(
    gated: FakeRegistry, connect: Connect, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "_default").mkdir()
    (folder / "_default" / "hosts.toml").write_text('[header]\nauthorization = "Basic eA=="\nx-own = "1"')
    fetcher = connect(f"{gated.address}/demo", options=RegistryOptions(hosts_dir=str(folder)))

    fetch(fetcher, Target(digest=gated.put("demo", BODY)))

    first, token, last = gated.requests
    assert first.headers["authorization"] == "Basic eA=="
    assert last.headers["authorization"].startswith("Bearer ")
    assert (first.headers["x-own"], last.headers["x-own"]) == ("1", "1")
    assert {"authorization", "x-own"} & set(token.headers) == set()


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_a_token_has_one_of_two_names(registry: FakeRegistry, connect: Connect, key: str) -> None:
    target = Target(digest=registry.put("demo", BODY))
    registry.inject(challenge(f'Bearer realm="{registry.url}/token"'))
    registry.inject(body(json.dumps({key: "abc"})), path="/token")

    assert fetch(connect(f"{registry.address}/demo"), target) == BODY

    assert registry.requests[-1].headers["authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "answered no JSON"),
        (b"<html>", "answered no JSON"),
        (b"[" * 100_000, "answered no JSON"),
        (b"\xff\xfe", "answered no JSON"),
        (b"[]", "answered no JSON object"),
        (b"{}", "answered without a usable token"),
        (b'{"token": 1}', "answered without a usable token"),
        (b'{"token": "a\\r\\nevil: 1"}', "answered without a usable token"),
        (b'{"token": "a b"}', "answered without a usable token"),
        (b'{"token": "\\u00e4"}', "answered without a usable token"),
        (json.dumps({"token": "x" * (MAX_TOKEN + 1)}).encode(), "answered without a usable token"),
        (
            b'{"token": "' + b"x" * MAX_TOKEN_RESPONSE + b'"}',
            f"answered more than {MAX_TOKEN_RESPONSE} bytes",
        ),
    ],
    ids=range(12),
)
def test_a_token_server_that_answers_nonsense_is_named(
    registry: FakeRegistry, connect: Connect, answer: bytes, why: str
) -> None:
    registry.inject(challenge(f'Bearer realm="{registry.url}/token"'))
    registry.inject(body(answer), path="/token")

    with pytest.raises(
        FailedPrecondition, match=f"token for {registry.url}: {registry.address} {why}"
    ) as caught:
        fetch(connect(f"{registry.address}/demo"), Target(digest=registry.put("demo", BODY)))

    assert "xxxx" not in str(caught.value)


@pytest.mark.parametrize("lifetime", ["0", "-5", "1e400", "NaN", '"x"', "true", "null", "[]", "9" * 400])
def test_a_token_with_a_strange_lifetime_is_used_all_the_same(
    registry: FakeRegistry, connect: Connect, lifetime: str
) -> None:
    registry.inject(challenge(f'Bearer realm="{registry.url}/token"'))
    registry.inject(body(f'{{"token": "abc", "expires_in": {lifetime}}}'), path="/token")

    fetched = fetch(connect(f"{registry.address}/demo"), Target(digest=registry.put("demo", BODY)))

    assert fetched == BODY


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ('Basic realm="x"', "wants a user name and a password"),
        ("Bearer service=x", "does not say who gives it"),
        ("Negotiate", "does not say what it wants"),
        ('Bearer realm="file:///etc/passwd"', "names no usable token server"),
        ('Bearer realm="http://u:pw@127.0.0.1/"', "names no usable token server"),
        ('Bearer realm="/token"', "names no usable token server"),
        ('Bearer realm="http://127.0.0.1/#x"', "leave out the fragment"),
        ("", "answered 401"),
    ],
)
def test_a_challenge_that_cannot_be_answered_says_what_is_missing(
    registry: FakeRegistry, connect: Connect, header: str, why: str
) -> None:
    registry.inject(challenge(header))

    with pytest.raises(Unauthenticated, match=why) as caught:
        fetch(connect(f"{registry.address}/demo"), Target(digest=registry.put("demo", BODY)))

    assert registry.address in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_server_with_tls_may_not_send_to_a_token_server_without(
    encrypted: FakeRegistry, registry: FakeRegistry, connect: Connect, ca: str
) -> None:
    encrypted.inject(challenge(f'Bearer realm="{registry.url}/token"'))
    fetcher = connect(
        f"{encrypted.address}/demo", options=RegistryOptions(ca=ca, hosts_dir=None), over="https"
    )

    with pytest.raises(Unauthenticated, match="speaks no TLS"):
        fetch(fetcher, Target(digest=encrypted.put("demo", BODY)))

    assert registry.requests == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthenticated), (404, Unauthenticated), (400, Unauthenticated), (503, Unavailable)],
)
def test_a_token_server_that_refuses_is_named(
    registry: FakeRegistry, connect: Connect, status: int, kind: type[DistoreError]
) -> None:
    registry.inject(challenge(f'Bearer realm="{registry.url}/token"'))
    registry.inject(server.refuse(status, "DENIED", "not you"), path="/token")

    with pytest.raises(
        kind, match=f"token for {registry.url}: {registry.address} answered {status}: denied not you"
    ):
        fetch(connect(f"{registry.address}/demo"), Target(digest=registry.put("demo", BODY)))


def test_a_server_that_refuses_its_own_tokens_is_not_asked_for_ever(
    registry: FakeRegistry, connect: Connect
) -> None:
    registry.inject(challenge(f'Bearer realm="{registry.url}/token"'), path="/blobs/", times=None)
    registry.inject(body('{"token": "abc"}'), path="/token", times=None)

    with pytest.raises(Unauthenticated, match="answered 401"):
        fetch(connect(f"{registry.address}/demo"), Target(digest=registry.put("demo", BODY)))

    assert [seen.path for seen in registry.requests].count("/token") == 1


def test_what_is_missing_behind_a_token_is_missing(gated: FakeRegistry, connect: Connect) -> None:
    gated.put("demo", BODY)

    with pytest.raises(NotFound, match=r"demo:gone: not found"):
        fetch(connect(f"{gated.address}/demo"), Target(tag="gone"))
