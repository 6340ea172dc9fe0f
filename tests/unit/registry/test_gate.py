"""The gate: who may is let in, and all others are told what standard clients understand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.registry.gates import Asked, basic, document, write_users

from distore.registry.message import Request
from distore.registry.routes import target_of

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
BASIC = f"{RULES}\n[auth.token]\nissue = false\n"
ITEM = "/v2/team/x/manifests/latest"
PUSH = "repository:team/x:pull,push"
REALM = 'Bearer realm="http://h:1/token",service="distore"'

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


def test_without_settings_there_is_no_gate(make: Make) -> None:
    asked = make("")

    assert asked.gate is asked.inner


def test_whoever_shows_nothing_is_told_where_to_get_a_token(gate: Asked) -> None:
    response = gate.ask("GET", ITEM)

    assert response.status == 401
    assert response.headers["www-authenticate"] == f'{REALM},scope="repository:team/x:pull"'
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    assert document(response)["errors"][0]["code"] == "UNAUTHORIZED"
    assert gate.inner.seen == []


def test_without_tokens_a_name_and_a_password_are_asked_for(make: Make) -> None:
    asked = make(BASIC)

    assert asked.challenge("GET", ITEM) == 'Basic realm="distore"'
    assert asked.challenge("GET", ITEM, "Bearer x.y.z") == 'Basic realm="distore"'
    assert asked.ask("GET", ITEM, "ann").status == 200
    assert asked.ask("GET", "/token", "ann").status == 200  # a page of its own, as any other


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/a/b/tags/list", "repository:a/b:pull"),
        ("HEAD", "/v2/a/b/blobs/x", "repository:a/b:pull"),
        ("GET", "/v2/a/b/referrers/x", "repository:a/b:pull"),
        ("POST", "/v2/a/b/blobs/uploads/", "repository:a/b:pull,push"),
        ("PATCH", "/v2/a/b/blobs/uploads/x", "repository:a/b:pull,push"),
        ("PUT", "/v2/a/b/blobs/uploads/x", "repository:a/b:pull,push"),
        ("GET", "/v2/a/b/blobs/uploads/x", "repository:a/b:pull,push"),
        ("DELETE", "/v2/a/b/blobs/uploads/x", "repository:a/b:pull,push"),
        ("PUT", "/v2/a/b/manifests/x", "repository:a/b:pull,push"),
        ("DELETE", "/v2/a/b/manifests/x", "repository:a/b:delete"),
        ("DELETE", "/v2/a/b/blobs/x", "repository:a/b:delete"),
        ("WHAT", "/v2/a/b/blobs/x", "repository:a/b:pull,push"),
        ("POST", "/v2/a/b/blobs/uploads/?mount=x&from=c", "repository:a/b:pull,push repository:c:pull"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ],
)
def test_each_request_names_its_scope_and_gets_in_with_it(
    make: Make, method: str, path: str, scope: str
) -> None:
    asked = make('[auth]\nhtpasswd = "users"')

    assert asked.challenge(method, path) == f'{REALM},scope="{scope}"'

    assert asked.ask(method, path, asked.token("ann", *scope.split())).status == 200
    other = asked.token("ann", "repository:a/other:*")
    assert asked.challenge(method, path, other) == f'{REALM},scope="{scope}",error="insufficient_scope"'


def test_a_token_allows_what_was_asked_for_and_is_allowed(gate: Asked) -> None:
    assert gate.granted(ITEM, gate.token("ann", PUSH)) == "ann: pull push"
    assert gate.granted(ITEM, gate.token("ann", "repository:team/x:*")) == "ann: pull push delete"
    assert gate.granted(ITEM, gate.token("bob", "repository:team/x:*")) == "bob: pull"
    assert gate.granted(ITEM, gate.token("bob", f"{PUSH} repository:team/x:delete")) == "bob: pull"
    assert "insufficient_scope" in gate.challenge("GET", ITEM, gate.token("ann"))
    assert "insufficient_scope" in gate.challenge("PUT", ITEM, gate.token("bob", PUSH))


def test_a_name_and_a_password_allow_all_that_the_rules_do(gate: Asked) -> None:
    assert gate.granted(ITEM, "ann") == "ann: pull push delete"
    assert gate.granted(ITEM, "bob") == "bob: pull"
    assert gate.inner.seen[-1].notes == {"user": "bob"}


def test_who_is_known_and_may_not_is_refused_for_good(gate: Asked) -> None:
    response = gate.ask("PUT", ITEM, "bob")

    assert response.status == 403
    assert document(response)["errors"] == [{"code": "DENIED", "message": "bob may not push team/x"}]
    assert gate.ask("GET", "/v2/secret/manifests/x", "bob").status == 403


@pytest.mark.parametrize(
    ("shown", "challenge"),
    [
        ("ann:no", REALM),
        ("eve:p:w", REALM),
        ("Basic ?", REALM),
        ("Basic", REALM),
        ("Digest x", REALM),
        ("Bearer", REALM),
        ("Bearer x", f'{REALM},scope="repository:public/x:pull",error="invalid_token"'),
    ],
)
def test_wrong_credentials_are_refused_even_where_none_are_needed(
    public: Asked, shown: str, challenge: str
) -> None:
    assert public.challenge("GET", "/v2/public/x/manifests/x", shown).startswith(challenge)


def test_a_password_that_bcrypt_would_cut_is_told(gate: Asked) -> None:
    for shown in (f"ann:{'x' * 73}", f"eve:{'x' * 73}"):
        for path in (ITEM, "/token"):
            message = document(gate.ask("GET", path, shown))["errors"][0]["message"]
            assert message.endswith("wrong name or password: a password has 1 to 72 bytes, and no NUL")


def test_the_rules_hold_for_a_token_that_was_given_before(make: Make, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nrepositories = ["team/x"]\nusers = ["ann"]\n')
    asked = make('[auth]\nhtpasswd = "users"\nrules = "rules.toml"')
    token = asked.token("ann", PUSH)
    assert asked.granted(ITEM, token) == "ann: pull push"

    rules.write_text('[[rule]]\nrepositories = ["team/x"]\nusers = ["ann"]\nactions = ["pull"]\n')
    asked.clock.now += 1

    assert asked.granted(ITEM, token) == "ann: pull"


def test_a_token_of_a_user_who_is_gone_ends_at_once(gate: Asked, tmp_path: Path) -> None:
    token = gate.token("ann", PUSH)
    assert gate.ask("GET", ITEM, token).status == 200

    write_users(tmp_path, {"bob": "b"})
    gate.clock.now += 1

    assert 'error="invalid_token"' in gate.challenge("GET", ITEM, token)
    assert gate.ask("GET", ITEM, "ann").status == 401


def test_a_bad_file_of_users_changes_nothing_and_is_told(gate: Asked, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann:plain\n")
    gate.clock.now += 1

    assert gate.ask("GET", ITEM, "ann").status == 200
    assert gate.ask("GET", ITEM, "bob").status == 200
    assert len(gate.notes) == 1
    assert "users: line 1: user 'ann' has a hash of another kind" in gate.notes[0]


def test_a_token_ends(gate: Asked) -> None:
    token = gate.token("ann", PUSH)

    gate.clock.now += 299
    assert gate.ask("GET", ITEM, token).status == 200
    gate.clock.now += 1
    assert gate.quick("GET", ITEM, token) is None
    assert gate.challenge("GET", ITEM, token) == (
        f'{REALM},scope="repository:team/x:pull",error="invalid_token"'
    )


def test_a_mount_from_where_one_may_not_read_becomes_an_upload(gate: Asked) -> None:
    path = "/v2/team/x/blobs/uploads/?mount=x&from=secret"

    assert gate.ask("POST", path, "ann").status == 200
    assert not gate.inner.seen[-1].grants.may("pull", "secret")
    assert gate.ask("POST", path, gate.token("ann", PUSH, "repository:secret:pull")).status == 200
    assert not gate.inner.seen[-1].grants.may("pull", "secret")


def test_a_mount_with_a_token_that_lacks_the_source_asks_for_another(gate: Asked) -> None:
    path = "/v2/team/x/blobs/uploads/?mount=x&from=team/y"

    assert gate.challenge("POST", path, gate.token("ann", PUSH)).endswith(
        f'scope="{PUSH} repository:team/y:pull",error="insufficient_scope"'
    )
    assert gate.ask("POST", path, gate.token("ann", PUSH, "repository:team/y:pull")).status == 200


def test_the_root_asks_whoever_could_log_in(gate: Asked, public: Asked, make: Make) -> None:
    for asked in (gate, public):
        assert asked.challenge("GET", "/v2/") == REALM
        assert asked.challenge("GET", "/v2") == REALM
        assert asked.ask("GET", "/v2/", asked.token("bob")).status == 200
        assert asked.ask("GET", "/v2/", "bob").status == 200

    assert make('[auth]\nanonymous = "pull"').ask("GET", "/v2/").status == 200


def test_the_list_of_repositories_is_for_who_may_read_some(gate: Asked, public: Asked, make: Make) -> None:
    for asked in (gate, public):
        assert asked.challenge("GET", "/v2/_catalog") == f'{REALM},scope="registry:catalog:*"'
    anonymous = document(public.ask("GET", "/token?scope=registry:catalog:*"))["token"]
    assert public.granted("/v2/_catalog", f"Bearer {anonymous}", repository="public/x") == "None: pull"
    assert public.granted("/v2/_catalog", f"Bearer {anonymous}", repository="team/x") == "None: "
    assert gate.granted("/v2/_catalog", "bob") == "bob: pull"
    assert make('[auth]\nanonymous = "pull"').granted("/v2/_catalog") == "None: pull"


def test_an_empty_name_and_password_show_nothing(public: Asked) -> None:
    item = "/v2/public/x/manifests/x"

    assert public.granted(item, ":", repository="public/x") == "None: pull"
    assert public.ask("GET", "/token?scope=repository:public/x:pull", ":").status == 200
    assert public.ask("GET", item, "x:").status == 401


def test_a_token_for_the_list_shows_what_its_user_may_read_and_opens_nothing(gate: Asked) -> None:
    token = gate.token("ann", "registry:catalog:*")

    assert gate.granted("/v2/_catalog", token) == "ann: pull"
    assert gate.granted("/v2/_catalog", token, repository="secret") == "ann: "
    assert gate.ask("GET", ITEM, token).status == 401
    for page in ("/", "/ui/r/team/x", "/ui/raw/team/x@sha256:00", "/v2/"):
        assert gate.granted(page, token) == "ann: "


def test_everybody_may_what_is_allowed_to_everybody(public: Asked) -> None:
    item = "/v2/public/a/manifests/x"

    assert public.granted(item, repository="public/a") == "None: pull"
    assert public.granted(item, "bob", repository="public/a") == "bob: pull"
    assert public.ask("PUT", item).status == 401
    anonymous = document(public.ask("GET", "/token?scope=repository:public/a:pull,push"))["token"]
    assert public.granted(item, f"Bearer {anonymous}", repository="public/a") == "None: pull"
    assert "insufficient_scope" in public.challenge("PUT", item, f"Bearer {anonymous}")


def test_a_registry_that_is_only_read_has_no_logins(make: Make) -> None:
    asked = make('[auth]\nanonymous = "pull"')

    assert asked.granted(ITEM) == "None: pull"
    assert asked.challenge("PUT", ITEM) == 'Basic realm="distore"'
    assert asked.ask("GET", ITEM, "ann").status == 401


def test_too_many_wrong_passwords_make_a_client_wait(gate: Asked) -> None:
    answers = [gate.ask("GET", ITEM, "ann:no") for _ in range(12)]

    assert [answer.status for answer in answers] == [401] * 10 + [429] * 2
    assert answers[-1].headers["retry-after"] == "30"
    assert document(answers[-1])["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert gate.ask("GET", "/token", "ann").status == 429


def test_a_secret_is_made_once_and_shared(make: Make, tmp_path: Path) -> None:
    one, two = make(RULES), make(RULES)

    assert two.ask("GET", ITEM, one.token("ann", PUSH)).status == 200
    assert (tmp_path / "serve.key").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_replaced_ends_what_it_signed(gate: Asked, tmp_path: Path) -> None:
    token = gate.token("ann", PUSH)
    assert gate.ask("GET", ITEM, token).status == 200

    os.unlink(tmp_path / "serve.key")
    (tmp_path / "serve.key").write_text("x" * 40)
    gate.clock.now += 1

    assert gate.ask("GET", ITEM, token).status == 401
    assert gate.ask("GET", ITEM, gate.token("ann", PUSH)).status == 200


paths = st.lists(
    st.sampled_from(
        [
            "v2",
            "team",
            "x",
            "secret",
            "..",
            ".",
            "",
            "blobs",
            "manifests",
            "uploads",
            "tags",
            "list",
            "é",
            "a\0b",
            "%2F",
        ]
    ),
    max_size=9,
).map(lambda parts: "/" + "/".join(parts))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=paths,
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]),
    shown=st.sampled_from(["", "bob", "token"]),
)
def test_nothing_gets_through_to_a_repository_that_it_may_not_use(
    gate: Asked, path: str, method: str, shown: str
) -> None:
    gate.inner.seen.clear()
    if shown == "token":
        shown = gate.token("bob", "repository:team/x:*", "repository:secret:*", "registry:catalog:*")

    response = gate.gate.handle(Request(method=method, path=path, headers=_headers(shown)))

    repository = target_of(path).repository
    allowed = method in ("GET", "HEAD") and repository in ("team/x", "team", "shared") and bool(shown)
    if "/uploads/" in path and target_of(path).kind == "upload":
        allowed = False
    if repository and not allowed and not _is_below_team(repository, shown):
        assert response.status in (401, 403)
        assert gate.inner.seen == []
    if not shown and path.strip("/").startswith("v2"):
        assert gate.inner.seen == []


def _is_below_team(repository: str, shown: str) -> bool:
    parts = repository.split("/")
    return bool(shown) and parts[0] == "team" and not set(parts) & {"", ".", "..", "a\0b"}


def _headers(shown: str) -> dict[str, str]:
    headers = {"host": "h:1"}
    if shown:
        headers["authorization"] = shown if " " in shown else basic(shown)
    return headers
