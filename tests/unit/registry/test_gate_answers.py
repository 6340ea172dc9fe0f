"""The gate: where it sends clients and browsers, and what it answers at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.registry.gates import Asked, write_users

RULES = """
[auth]
htpasswd = "users"
[[auth.rule]]
repositories = ["team/**"]
users = ["ann"]
[[auth.rule]]
repositories = ["team/**", "shared"]
users = ["*"]
actions = ["pull"]
"""
PUBLIC = f'{RULES}\n[[auth.rule]]\nrepositories = ["public/**"]\nusers = ["anonymous"]\nactions = ["pull"]\n'
ITEM = "/v2/team/x/manifests/latest"
PUSH = "repository:team/x:pull,push"

Make = Callable[[str], Asked]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    write_users(tmp_path)
    return lambda text: Asked(text, tmp_path)


@pytest.fixture
def gate(make: Make) -> Asked:
    return make(RULES)


@pytest.fixture
def public(make: Make) -> Asked:
    return make(PUBLIC)


def test_a_browser_is_asked_for_a_name_and_a_password(gate: Asked, public: Asked) -> None:
    assert gate.challenge("GET", "/") == 'Basic realm="distore"'
    assert gate.granted("/", "ann") == "ann: pull push delete"
    assert gate.granted("/x", "bob") == "bob: pull"
    assert public.granted("/", repository="public/x") == "None: pull"
    assert public.challenge("GET", "/login") == 'Basic realm="distore"'
    answer = public.ask("GET", "/login", "ann")
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_a_browser_that_is_not_answered_shows_a_line_for_people(gate: Asked) -> None:
    answer = gate.ask("GET", "/", accept="text/html,*/*")

    assert (answer.status, answer.headers["content-type"]) == (401, "text/plain; charset=utf-8")
    assert answer.body == b"This registry shows nothing without a login.\n"


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_a_page_of_another_site_cannot_use_the_password_that_a_browser_remembers(
    gate: Asked, site: str, status: int
) -> None:
    path = "/v2/team/x/blobs/uploads/"

    assert gate.ask("POST", path, "ann", sec_fetch_site=site).status == status
    assert gate.ask("GET", ITEM, "ann", sec_fetch_site=site).status == 200


def test_a_browser_that_tells_no_site_is_judged_by_the_origin(gate: Asked) -> None:
    path = "/v2/team/x/blobs/uploads/"

    assert gate.ask("POST", path, "ann", origin="http://evil.example").status == 403
    assert gate.ask("POST", path, "ann", origin="null").status == 403
    assert gate.ask("POST", path, "ann", origin="http://H:1").status == 200
    assert gate.ask("POST", path, gate.token("ann", PUSH), origin="http://evil.example").status == 200


@pytest.mark.parametrize(
    ("host", "realm"),
    [
        ("r.example.com", "http://r.example.com/token"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/token"),
        ("[::1]:5000", "http://[::1]:5000/token"),
    ],
)
def test_the_token_server_is_where_the_client_has_come_to(gate: Asked, host: str, realm: str) -> None:
    answer = gate.ask("GET", ITEM, host=host)

    assert answer.headers["www-authenticate"].startswith(f'Bearer realm="{realm}"')


@pytest.mark.parametrize(
    "host",
    [
        "",
        'h",realm="http://evil',
        "h/x",
        "h@evil",
        "h evil",
        "h\r\nx: y",
        "é",
        "a" * 300,
        "h:123456",
        "-h",
        "[::1",
    ],
)
def test_a_host_that_is_none_is_in_no_answer(gate: Asked, host: str) -> None:
    answer = gate.ask("GET", ITEM, host=host)

    assert answer.status == 400
    assert "www-authenticate" not in answer.headers


def test_the_address_may_be_in_the_settings(make: Make) -> None:
    asked = make(RULES.replace("[auth]", '[auth]\nurl = "https://r.example.com/"'))

    answer = asked.ask("GET", ITEM, host='evil"')

    assert answer.headers["www-authenticate"].startswith('Bearer realm="https://r.example.com/token",')


def test_behind_tls_the_token_server_is_https(gate: Asked) -> None:
    from dataclasses import replace

    answer = gate.gate.handle(replace(gate.request("GET", ITEM), scheme="https"))

    assert answer.headers["www-authenticate"].startswith('Bearer realm="https://h:1/token"')


def test_what_is_known_is_answered_at_once(public: Asked) -> None:
    token = public.token("ann", PUSH)
    public.ask("GET", ITEM, token)
    public.ask("GET", ITEM, "ann")

    for shown, path in [(token, ITEM), ("ann", ITEM), ("", "/v2/public/x/manifests/x")]:
        answer = public.quick("GET", path, shown)
        assert answer is not None
        assert answer.status == 200
    for shown in ("", token, "ann"):
        answer = public.quick("PUT", "/v2/secret/manifests/x", shown)
        assert answer is not None
        assert answer.status in (401, 403)


@pytest.mark.parametrize("shown", ["bob", "ann:no", "Bearer x", "Basic ?", "Digest x"])
def test_what_is_not_known_is_not_looked_at_in_the_event_loop(
    gate: Asked, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bcrypt

    monkeypatch.setattr(bcrypt, "checkpw", pytest.fail)

    assert gate.quick("GET", ITEM, shown) is None
    assert gate.quick("GET", "/token", "ann") is None


def test_files_are_looked_at_again_outside_of_the_event_loop(public: Asked) -> None:
    item = "/v2/public/x/manifests/x"
    assert public.quick("GET", item) is not None

    public.clock.now += 1

    assert public.quick("GET", item) is None
    assert public.ask("GET", item).status == 200
    assert public.quick("GET", item) is not None
