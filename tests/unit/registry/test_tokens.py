"""The token gate: who shows a good token is let in, nobody else."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distore.registry.message import Request, Response
from distore.registry.tokens import TokenGate

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
