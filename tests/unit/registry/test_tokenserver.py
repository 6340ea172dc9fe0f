"""Tokens: given out here to who has a name and a password, or taken of another server."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.registry.gates import Asked, document, write_users

from distore.errors import Unavailable
from distore.registry.message import Request, Response

SETTINGS = """
[auth]
htpasswd = "users"
[[auth.rule]]
repositories = ["team/**"]
users = ["ann"]
[[auth.rule]]
repositories = ["public/**"]
users = ["anonymous"]
actions = ["pull"]
"""
ITEM = "/v2/team/x/manifests/1"
PUSH = "repository:team/x:pull,push"
Make = Callable[[str], Asked]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    write_users(tmp_path)
    return lambda text: Asked(text, tmp_path)


@pytest.fixture
def asked(make: Make) -> Asked:
    return make(SETTINGS)


def posted(asked: Asked, **form: str) -> Response:
    return asked.ask("POST", "/token", body=urlencode(form).encode())


def claims(token: str) -> Any:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_a_token_says_what_docker_s_protocol_wants(asked: Asked) -> None:
    response = asked.ask("GET", f"/token?service=distore&scope={PUSH}", "ann")

    answer = document(response)
    assert response.headers["cache-control"] == "no-store"
    assert answer["token"] == answer["access_token"]
    assert (answer["expires_in"], answer["issued_at"]) == (300, "1970-01-12T13:46:40Z")
    assert "refresh_token" not in answer
    said = claims(answer["token"])
    assert len(said.pop("jti")) == 24
    assert said == {
        "iss": "distore",
        "sub": "ann",
        "aud": "distore",
        "exp": 1_000_300,
        "nbf": 1_000_000,
        "iat": 1_000_000,
        "access": [{"type": "repository", "name": "team/x", "actions": ["pull", "push"]}],
    }


def test_no_two_tokens_are_the_same(asked: Asked) -> None:
    assert asked.token("ann", PUSH) != asked.token("ann", PUSH)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.text(),
            st.builds(
                "{}:{}:{}".format,
                st.sampled_from(["repository", "registry", "repository(plugin)", ""]),
                st.sampled_from(["team/x", "team/../x", "public/y", "catalog", "secret", "a:b", ""]),
                st.sampled_from(["pull", "push", "*", "pull,push,delete", "pull,,*", "write", "PULL"]),
            ),
        ),
        max_size=5,
    ),
    st.sampled_from(["ann", "bob", ""]),
)
def test_a_token_never_allows_more_than_the_rules(asked: Asked, scopes: list[str], user: str) -> None:
    allowed = {
        "ann": {"team/x": {"pull", "push", "delete"}, "public/y": {"pull"}},
        "bob": {"public/y": {"pull"}},
        "": {"public/y": {"pull"}},
    }[user]
    request = asked.request("GET", f"/token?{urlencode([('scope', scope) for scope in scopes])}", user)

    response = asked.gate.handle(request)

    if response.status != 200:
        assert response.status == 400
        return
    for entry in claims(document(response)["token"])["access"]:
        if entry == {"type": "registry", "name": "catalog", "actions": ["*"]}:
            continue
        assert entry["type"] == "repository"
        assert entry["actions"]
        assert set(entry["actions"]) <= allowed.get(entry["name"], set())


@pytest.mark.parametrize("shown", ["ann:no", "eve:p:w", "Basic ?", "ann:", ":p:w"])
def test_who_is_not_known_gets_no_token(make: Make, shown: str) -> None:
    private = make('[auth]\nhtpasswd = "users"')

    response = private.ask("GET", "/token", shown)

    assert (response.status, response.headers["www-authenticate"]) == (401, 'Basic realm="distore"')
    assert private.ask("GET", "/token").status == 401


@pytest.mark.parametrize("shown", ["Basic !!!", "Basic /zo=", "Basic YW5u", "Bearer x", "Digest x"])
def test_a_login_that_cannot_be_read_is_wrong_where_everybody_gets_a_token(asked: Asked, shown: str) -> None:
    assert asked.ask("GET", "/token").status == 200
    assert asked.ask("GET", "/token", shown).status == 401


def test_a_login_asks_for_a_token_without_a_scope(asked: Asked) -> None:
    response = asked.ask("GET", "/token?account=ann&client_id=docker&offline_token=true&service=x", "ann")

    answer = document(response)
    assert claims(answer["token"])["access"] == []
    assert asked.ask("GET", "/v2/", f"Bearer {answer['token']}").status == 200
    assert answer["refresh_token"]


@pytest.fixture
def refresh(asked: Asked) -> str:
    return str(document(asked.ask("GET", "/token?offline_token=1", "ann"))["refresh_token"])


def test_a_refresh_token_stands_for_the_password(asked: Asked, refresh: str) -> None:
    asked.clock.now += 29 * 86400

    answer = document(posted(asked, grant_type="refresh_token", refresh_token=refresh, scope=PUSH))

    assert (answer["token_type"], answer["scope"]) == ("Bearer", PUSH)
    assert "token" not in answer
    assert "refresh_token" not in answer
    assert asked.granted(ITEM, f"Bearer {answer['access_token']}") == "ann: pull push"


def test_a_refresh_token_is_no_access_token_nor_the_other_way_round(asked: Asked, refresh: str) -> None:
    access = asked.token("ann", PUSH).partition(" ")[2]

    assert asked.ask("GET", ITEM, f"Bearer {refresh}").status == 401
    assert posted(asked, grant_type="refresh_token", refresh_token=access).status == 401


@pytest.mark.parametrize("users", [{"ann": "new"}, {"bob": "b"}])
def test_a_new_password_ends_refresh_tokens(
    asked: Asked, refresh: str, tmp_path: Path, users: dict[str, str]
) -> None:
    write_users(tmp_path, users)
    asked.clock.now += 1

    assert posted(asked, grant_type="refresh_token", refresh_token=refresh).status == 401


def test_a_refresh_token_ends(asked: Asked, refresh: str) -> None:
    asked.clock.now += 30 * 86400

    assert posted(asked, grant_type="refresh_token", refresh_token=refresh).status == 401


def test_nobody_in_particular_gets_no_refresh_token(asked: Asked) -> None:
    answer = document(asked.ask("GET", "/token?offline_token=true&scope=repository:public/x:pull"))

    assert "refresh_token" not in answer
    assert claims(answer["token"])["sub"] == ""


def test_a_password_in_a_form_gets_a_token(asked: Asked) -> None:
    form = {"grant_type": "password", "username": "ann", "password": "p:w", "access_type": "offline"}

    answer = document(posted(asked, **form, scope=f"{PUSH} repository:team/y:pull"))

    assert len(claims(answer["access_token"])["access"]) == 2
    assert answer["refresh_token"]


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "refresh_token", "refresh_token": "other"}, 401),
        ({"grant_type": "refresh_token"}, 401),
        ({"grant_type": "password", "username": "ann", "password": "x"}, 401),
        ({"grant_type": "password", "username": "ann", "password": "x" * 100}, 401),
        ({"grant_type": "password"}, 401),
        ({"grant_type": "other"}, 400),
        ({}, 400),
        ({"grant_type": "password", "username": "x" * 70_000}, 400),
        ({"grant_type": "password", "username": "ann", "password": "p:w", "scope": "x" * 513}, 400),
    ],
)
def test_a_wrong_form_gets_none(asked: Asked, form: dict[str, str], status: int) -> None:
    assert posted(asked, **form).status == status


@pytest.mark.parametrize("body", [b"\xff&" * 200, b"a&" * 101, b""])
def test_a_form_that_is_none_is_refused(asked: Asked, body: bytes) -> None:
    assert asked.ask("POST", "/token", body=body).status == 400


def test_too_many_scopes_and_too_long_ones_get_none(asked: Asked) -> None:
    assert asked.ask("GET", "/token?scope=" + "+".join(["a:b:c"] * 33), "ann").status == 400
    assert asked.ask("GET", "/token?scope=" + "x" * 513, "ann").status == 400
    names = [f"repository:team/{'x' * 200}{number}:*" for number in range(30)]
    assert asked.ask("GET", "/token?scope=" + "+".join(names), "ann").status == 400


def test_no_other_method_gets_a_token(asked: Asked) -> None:
    response = asked.ask("PUT", "/token", "ann")

    assert (response.status, response.headers["allow"]) == (405, "GET, POST")


def test_a_form_that_breaks_off_is_answered(asked: Asked) -> None:
    class Broken:
        def read(self, limit: int, /) -> bytes:
            raise Unavailable("request body: the connection has ended")

    response = asked.gate.handle(Request(method="POST", path="/token", body=Broken()))

    assert response.status == 503


def test_the_key_may_be_a_file_of_ones_own(make: Make, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    (tmp_path / "key.pem").chmod(0o640)
    asked = make(f'{SETTINGS}\n[auth.token]\nkey = "key.pem"\nissuer = "me"\nservice = "us"\nlifetime = "1h"')

    token = asked.token("ann", PUSH)

    assert asked.notes == []
    said = jwt.decode(
        token.partition(" ")[2],
        key.public_key(),
        algorithms=["ES256"],
        audience="us",
        issuer="me",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert said["exp"] - said["iat"] == 3600
    assert asked.granted(ITEM, token) == "ann: pull push"
    assert not (tmp_path / "serve.key").exists()
    refresh = document(asked.ask("GET", "/token?offline_token=1", "ann"))["refresh_token"]
    assert posted(asked, grant_type="refresh_token", refresh_token=refresh).status == 200


def test_a_key_that_everybody_can_read_is_warned_about(make: Make, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x" * 32)
    (tmp_path / "key").chmod(0o644)

    asked = make(f'{SETTINGS}\n[auth.token]\nkey = "key"')

    assert asked.notes == [
        f"warning: {tmp_path}/key: whoever is on this machine can read it and make tokens; chmod o-r"
    ]


EXTERNAL = """
[auth.token]
realm = "https://auth.example.com/token"
service = "us"
issuer = "them"
keys = ["keys.json"]
"""
ALLOWED = [{"type": "repository", "name": "team/x", "actions": ["pull", "push"]}]


@pytest.fixture(scope="module")
def theirs() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def foreign(make: Make, tmp_path: Path, theirs: rsa.RSAPrivateKey) -> Make:
    entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(theirs.public_key()))
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{**entry, "kid": "k1"}]}))
    return lambda rules: make(rules + EXTERNAL)


def of_another(key: Any, *, algorithm: str = "RS256", kid: str = "k1", **changed: Any) -> str:
    said = {"iss": "them", "aud": "us", "sub": "ann", "exp": 1_000_060, "access": ALLOWED, **changed}
    return f"Bearer {jwt.encode(said, key, algorithm, headers={'kid': kid})}"


def test_the_challenge_names_the_other_server(foreign: Make) -> None:
    asked = foreign("")

    assert asked.challenge("PUT", ITEM) == (
        f'Bearer realm="https://auth.example.com/token",service="us",scope="{PUSH}"'
    )
    assert asked.challenge("GET", "/token") == 'Bearer realm="https://auth.example.com/token",service="us"'


def test_a_token_of_another_server_is_taken_at_its_word(foreign: Make, theirs: rsa.RSAPrivateKey) -> None:
    asked = foreign("")

    assert asked.granted(ITEM, of_another(theirs)) == "ann: pull push"
    assert asked.granted(ITEM, of_another(theirs, sub="", aud=["x", "us"])) == "None: pull push"
    assert 'error="insufficient_scope"' in asked.challenge("DELETE", ITEM, of_another(theirs))
    everything = [{"type": "registry", "name": "catalog", "actions": ["*"]}]
    assert asked.granted("/v2/_catalog", of_another(theirs, access=everything)) == "ann: pull"


def test_rules_hold_for_tokens_of_another_server_if_there_are_some(
    foreign: Make, theirs: rsa.RSAPrivateKey
) -> None:
    asked = foreign('[[auth.rule]]\nrepositories = ["team/**"]\nusers = ["ann"]\nactions = ["pull"]\n')

    assert asked.granted(ITEM, of_another(theirs)) == "ann: pull"
    assert asked.ask("GET", ITEM, of_another(theirs, sub="bob")).status == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "us"},
        {"aud": "them"},
        {"exp": 999_900},
        {"nbf": 1_000_100},
        {"access": None},
        {"access": "x"},
        {"access": [1, {}, {"type": "repository", "name": "team/x", "actions": "pull"}]},
        {"access": [{"type": "repository", "name": ["team/x"], "actions": ["pull"]}]},
        {"access": [{"type": "repository(plugin)", "name": "team/x", "actions": ["pull"]}]},
        {"kid": "k2"},
    ],
)
def test_a_token_of_another_server_that_is_wrong_opens_nothing(
    foreign: Make, theirs: rsa.RSAPrivateKey, changed: dict[str, Any]
) -> None:
    assert foreign("").ask("GET", ITEM, of_another(theirs, **changed)).status == 401


def test_a_public_key_of_another_server_is_no_secret(foreign: Make, theirs: rsa.RSAPrivateKey) -> None:
    pem = theirs.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    token = jwt.PyJWS().encode(b"{}", b"x" * 32, "HS256", headers={"kid": "k1"})
    head, body = token.split(".")[:2]
    import hmac

    mac = base64.urlsafe_b64encode(hmac.digest(pem, f"{head}.{body}".encode(), "sha256")).decode()

    assert foreign("").ask("GET", ITEM, f"Bearer {head}.{body}.{mac.rstrip('=')}").status == 401


def test_new_keys_of_another_server_are_found(
    foreign: Make, theirs: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    asked, new = foreign(""), rsa.generate_private_key(65537, 2048)
    assert asked.ask("GET", ITEM, of_another(new, kid="k2")).status == 401

    entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(new.public_key()))
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{**entry, "kid": "k2"}]}))
    asked.clock.now += 1

    assert asked.ask("GET", ITEM, of_another(new, kid="k2")).status == 200
    assert asked.ask("GET", ITEM, of_another(theirs)).status == 401


def test_passwords_are_taken_beside_the_tokens_of_another_server(
    foreign: Make, theirs: rsa.RSAPrivateKey
) -> None:
    asked = foreign('[auth]\nhtpasswd = "users"\n')

    assert asked.granted(ITEM, "bob") == "bob: pull push delete"
    assert asked.granted(ITEM, of_another(theirs, sub="eve")) == "eve: pull push"
