"""The gates of the fake registry: who shows a good token or password is let in, nobody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distore.registry.basic import credentials_of
from distore.registry.message import BytesBody, Request, Response
from distore.registry.scopes import Access
from distore.testing.gates import BasicGate, TokenGate

BLOB = "/v2/library/redis/blobs/x"
SCOPE = "repository:library/redis:pull"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> TokenGate:
    return TokenGate(
        lambda request: Response(status=200), secret=b"secret", clock=clock, service="test", lifetime=60
    )


def ask(gate: TokenGate, path: str, token: str = "", *, kind: str = "Bearer") -> int:
    headers = {"host": "h:1", **({"authorization": f"{kind} {token}"} if token else {})}
    return gate.handle(Request(method="GET", path=path, headers=headers)).status


def document(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def token(gate: TokenGate, scope: str = SCOPE) -> str:
    answer = document(gate.handle(Request(method="GET", path="/token", query={"scope": scope})))
    assert answer["expires_in"] > 0
    return str(answer["token"])


def test_without_a_token_a_client_is_told_where_to_get_one(gate: TokenGate) -> None:
    response = gate.handle(Request(method="GET", path=BLOB, headers={"host": "h:1"}))

    assert response.status == 401
    assert response.headers["www-authenticate"] == (
        f'Bearer realm="http://h:1/token",service="test",scope="{SCOPE}"'
    )
    assert document(response)["errors"][0]["code"] == "UNAUTHORIZED"


def test_the_root_needs_a_token_for_nothing_in_particular(gate: TokenGate) -> None:
    response = gate.handle(Request(method="GET", path="/v2/", headers={"host": "h:1"}))

    assert (response.status, "scope" in response.headers["www-authenticate"]) == (401, False)
    assert ask(gate, "/v2/", token(gate, "")) == 200


def test_a_token_opens_the_repository_it_was_given_for(gate: TokenGate) -> None:
    good = token(gate)

    assert ask(gate, BLOB, good) == 200
    assert ask(gate, BLOB, good, kind="bearer") == 200
    assert ask(gate, "/v2/library/other/blobs/x", good) == 401
    assert ask(gate, BLOB, good, kind="Basic") == 401


def test_a_token_ends(gate: TokenGate, clock: Clock) -> None:
    good = token(gate)

    clock.now += 59
    assert ask(gate, BLOB, good) == 200
    clock.now += 1
    assert ask(gate, BLOB, good) == 401


def test_a_token_of_somebody_else_s_making_is_refused(gate: TokenGate, clock: Clock) -> None:
    other = TokenGate(lambda request: Response(status=200), secret=b"other", clock=clock)

    assert ask(gate, BLOB, token(other)) == 401


def test_a_token_that_was_changed_is_refused(gate: TokenGate) -> None:
    _, _, signature = token(gate).partition(".")
    claim = base64.urlsafe_b64encode(json.dumps([SCOPE, 1e12]).encode()).decode()

    assert ask(gate, BLOB, f"{claim}.{signature}") == 401


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1))
def test_nonsense_is_refused_and_no_error(gate: TokenGate, text: str) -> None:
    assert ask(gate, BLOB, text) == 401


def test_a_scope_that_is_too_long_gets_no_token(gate: TokenGate) -> None:
    request = Request(method="GET", path="/token", query={"scope": "x" * 1000})

    assert gate.handle(request).status == 400


PUSH = "repository:a/b:pull,push"


@pytest.fixture
def private(clock: Clock) -> TokenGate:
    """Only for ann, who has a refresh token, too."""
    return TokenGate(
        lambda request: Response(status=200),
        secret=b"secret",
        clock=clock,
        users={"ann": "p:w"},
        refresh_tokens={"lasting": "ann"},
    )


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def posted(gate: TokenGate, **form: str) -> Response:
    body = BytesBody(urlencode(form).encode())
    return gate.handle(Request(method="POST", path="/token", body=body))


def challenge(
    gate: TokenGate, method: str, path: str, *, query: dict[str, str] | None = None, shown: str = ""
) -> str:
    """What a 401 says; empty when there is none."""
    headers = {"host": "h:1", **({"authorization": f"Bearer {shown}"} if shown else {})}
    request = Request(method=method, path=path, query=query or {}, headers=headers)
    return gate.handle(request).headers.get("www-authenticate", "")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/a/b/tags/list", "repository:a/b:pull"),
        ("HEAD", "/v2/a/b/blobs/x", "repository:a/b:pull"),
        ("GET", "/v2/a/b/referrers/x", "repository:a/b:pull"),
        ("POST", "/v2/a/b/blobs/uploads/", PUSH),
        ("PATCH", "/v2/a/b/blobs/uploads/x", PUSH),
        ("PUT", "/v2/a/b/blobs/uploads/x", PUSH),
        ("GET", "/v2/a/b/blobs/uploads/x", PUSH),
        ("DELETE", "/v2/a/b/blobs/uploads/x", PUSH),
        ("PUT", "/v2/a/b/manifests/x", PUSH),
        ("DELETE", "/v2/a/b/manifests/x", "repository:a/b:delete"),
        ("DELETE", "/v2/a/b/blobs/x", "repository:a/b:delete"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ],
)
def test_each_request_needs_its_scope_and_gets_in_with_it(
    gate: TokenGate, method: str, path: str, scope: str
) -> None:
    assert f',scope="{scope}"' in challenge(gate, method, path)

    assert challenge(gate, method, path, shown=token(gate, scope)) == ""
    refused = challenge(gate, method, path, shown=token(gate, "repository:a/b:other"))
    assert refused.endswith(f',scope="{scope}",error="insufficient_scope"')


def test_a_mount_needs_to_read_where_the_blob_is(gate: TokenGate) -> None:
    query = {"mount": "x", "from": "c"}
    path = "/v2/a/b/blobs/uploads/"

    assert f',scope="{PUSH} repository:c:pull"' in challenge(gate, "POST", path, query=query)

    assert challenge(gate, "POST", path, query=query, shown=token(gate, PUSH)) != ""
    both = token(gate, f"{PUSH} repository:c:pull")
    assert challenge(gate, "POST", path, query=query, shown=both) == ""


def test_one_token_may_have_many_scopes(gate: TokenGate) -> None:
    scopes = ("repository:a/b:pull", f"repository:a/b:push {SCOPE}")
    request = Request(method="GET", path="/token", query={"scope": scopes[0]}, repeated={"scope": scopes})
    many = str(document(gate.handle(request))["token"])

    assert ask(gate, BLOB, many) == 200
    assert challenge(gate, "PUT", "/v2/a/b/manifests/x", shown=many) == ""
    assert challenge(gate, "DELETE", "/v2/a/b/manifests/x", shown=many) != ""


def test_a_star_allows_every_action(gate: TokenGate) -> None:
    assert challenge(gate, "DELETE", "/v2/a/b/blobs/x", shown=token(gate, "repository:a/b:*")) == ""


@pytest.mark.parametrize("scope", ["x", "repository:a/b", "repository::pull", ":a/b:pull", "repository:a/b:"])
def test_what_is_no_scope_allows_nothing(gate: TokenGate, scope: str) -> None:
    assert Access.parse(scope) is None
    assert challenge(gate, "GET", "/v2/a/b/tags/list", shown=token(gate, scope)) != ""


def test_the_name_in_a_scope_may_have_colons() -> None:
    text = "repository:h:5000/a:pull,push"

    scope = Access.parse(text)

    assert scope == Access(kind="repository", name="h:5000/a", actions=("pull", "push"))
    assert str(scope) == text


def test_too_many_scopes_get_no_token(gate: TokenGate) -> None:
    request = Request(method="GET", path="/token", query={"scope": "a:b:c " * 33})

    assert gate.handle(request).status == 400


def test_a_token_that_ended_is_said_to_be_invalid(gate: TokenGate, clock: Clock) -> None:
    old = token(gate)
    clock.now += 60

    assert challenge(gate, "GET", BLOB, shown=old).endswith(',error="invalid_token"')


def test_a_user_gets_a_token(private: TokenGate) -> None:
    request = Request(method="GET", path="/token", query={"scope": SCOPE}, headers=basic("ann:p:w"))

    answer = document(private.handle(request))

    assert ask(private, BLOB, answer["token"]) == 200
    assert "refresh_token" not in answer


def test_a_user_gets_a_refresh_token_on_request(private: TokenGate) -> None:
    query = {"scope": SCOPE, "offline_token": "true"}
    request = Request(method="GET", path="/token", query=query, headers=basic("ann:p:w"))

    assert document(private.handle(request))["refresh_token"] == "lasting"


@pytest.mark.parametrize("shown", [None, "ann:", "ann:pw", "ann", ":p:w", "bob:p:w", "bob:", ""])
def test_others_get_no_token(private: TokenGate, shown: str | None) -> None:
    headers = {} if shown is None else basic(shown)

    response = private.handle(Request(method="GET", path="/token", headers=headers))

    assert (response.status, response.headers["www-authenticate"]) == (401, 'Basic realm="distore"')


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "refresh_token", "refresh_token": "lasting"},
        {"grant_type": "password", "username": "ann", "password": "p:w"},
    ],
)
def test_a_form_gets_an_access_token(private: TokenGate, form: dict[str, str]) -> None:
    answer = document(posted(private, **form, scope=f"{SCOPE} {PUSH}", access_type="offline"))

    assert ask(private, BLOB, answer["access_token"]) == 200
    assert (answer["scope"], answer["refresh_token"]) == (f"{SCOPE} {PUSH}", "lasting")
    assert "token" not in answer


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "refresh_token", "refresh_token": "other"}, 401),
        ({"grant_type": "refresh_token"}, 401),
        ({"grant_type": "password", "username": "ann", "password": "x"}, 401),
        ({"grant_type": "password"}, 401),
        ({"grant_type": "other"}, 400),
        ({}, 400),
        ({"grant_type": "password", "username": "x" * 70_000}, 400),
    ],
)
def test_a_wrong_form_gets_none(private: TokenGate, form: dict[str, str], status: int) -> None:
    assert posted(private, **form).status == status


def test_nobody_in_particular_may_use_a_form_where_everybody_may(gate: TokenGate) -> None:
    answer = document(posted(gate, grant_type="password", username="x", password="y", scope=SCOPE))

    assert ask(gate, BLOB, answer["access_token"]) == 200


def test_a_form_that_is_none_is_refused(private: TokenGate) -> None:
    request = Request(method="POST", path="/token", body=BytesBody(b"\xff&" * 200))

    assert private.handle(request).status == 400


def test_a_password_is_in_no_repr() -> None:
    shown = credentials_of(basic("ann:secret")["authorization"])

    assert repr(shown) == "Credentials(user='ann')"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (basic("ann:pw").get("authorization", ""), 200),
        (basic("ann:no").get("authorization", ""), 401),
        (basic("\u00fc:\u00fc").get("authorization", ""), 200),
        ("", 401),
        ("Basic ?", 401),
        ("Basic", 401),
        ("Bearer x", 401),
    ],
)
def test_basic_lets_in_who_knows_the_password(header: str, status: int) -> None:
    handle: Callable[[Request], Response] = BasicGate(
        lambda request: Response(status=200), users={"ann": "pw", "\u00fc": "\u00fc"}, service="test"
    ).handle

    response = handle(Request(method="GET", path="/v2/", headers={"authorization": header}))

    assert response.status == status
    assert response.headers.get("www-authenticate") == (None if status == 200 else 'Basic realm="test"')
