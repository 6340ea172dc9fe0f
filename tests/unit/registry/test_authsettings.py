"""The table [auth]: what it may say, and what it means in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.registry.gates import settings_of, write_users

from distore.errors import InvalidArgument, NotFound, Unimplemented
from distore.registry import authsettings
from distore.registry.authsettings import AuthSettings
from distore.registry.gatewords import decide, describe, exposed

TLS = Path(__file__).parents[1] / "remotes" / "tls"
EXTERNAL = '[auth.token]\nrealm = "https://a/token"\nissuer = "them"\nkeys = ["k.pem"]\n'


def test_nothing_means_everything_is_allowed(tmp_path: Path) -> None:
    settings = settings_of("", tmp_path)

    assert settings == AuthSettings()
    assert not settings.enabled
    assert describe(settings) == ["everybody may pull, push and delete everything"]
    assert decide(settings, user=None, action="delete", repository="x")[0]


def test_without_what_checks_passwords_there_is_no_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authsettings, "find_spec", lambda name: None)

    assert not settings_of("", tmp_path).enabled
    with pytest.raises(Unimplemented, match=r"needs bcrypt and PyJWT; pip install 'distore\[server\]'"):
        settings_of('[auth]\nanonymous = "pull"', tmp_path)


def test_files_are_looked_for_beside_the_configuration(tmp_path: Path) -> None:
    settings = settings_of('[auth]\nhtpasswd = "users"\nrules = "/etc/rules"\n', tmp_path)

    assert settings.htpasswd == str(tmp_path / "users")
    assert settings.rules_file == "/etc/rules"
    assert settings_of(EXTERNAL, tmp_path).token.keys == (str(tmp_path / "k.pem"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[auth]\nx = 1", r"\[auth\]: 'x': no such setting"),
        ("[auth]\nhtpasswd = 1", "'htpasswd': want a text"),
        ('[auth]\nanonymous = "write"', "'anonymous': 'write': want pull, push, delete"),
        ('[auth]\nurl = "r.example.com"', "'url': want an http or https URL"),
        ("[auth]\nurl = 'http://h\"x'", "'url'"),
        ('[auth]\nurl = "http://[x"', "'url'"),
        ('[auth]\nurl = "http://h:99999"', "'url'"),
        ('[auth]\nremember = "2d"', "'remember': want a duration from 1 s to 86400 s"),
        ("[auth]\nfailures = 0", "'failures'"),
        ("[auth]\nchecks = 65", "'checks'"),
        ("[auth]\nrule = 1", r"'rule': want tables, written as \[\[rule\]\]"),
        ("[[auth.rule]]", r"\[\[rule\]\] 1: 'repositories'"),
        ("[auth.groups]\nci = 1", r"\[groups\]: 'ci'"),
        ("[auth.token]\nx = 1", r"\[token\]: 'x': no such setting"),
        ("[auth.token]\nservice = 'a\"b'", "'service'"),
        ('[auth.token]\nlifetime = "0s"', "'lifetime'"),
        ('[auth.token]\nkeys = ["k"]', "'realm': want the URL"),
        ('[auth.token]\nrealm = "https://a"', "'keys': want the files"),
        ('[auth.token]\nrealm = "https://a"\nkeys = ["k"]', "'issuer': want the name"),
        (f'{EXTERNAL}key = "x"', "'key': no tokens are given out here"),
        (f'{EXTERNAL}algorithms = ["none"]', "'algorithms': 'none'"),
        (f'{EXTERNAL}algorithms = ["HS256"]', "'algorithms': 'HS256'"),
    ],
)
def test_what_is_wrong_is_refused_by_file_table_and_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=f"^serve.toml: .*{message}"):
        settings_of(text, tmp_path)


def test_the_settings_are_told_in_words(tmp_path: Path) -> None:
    write_users(tmp_path)
    (tmp_path / "rules").write_text('[[rule]]\nrepositories = ["x", "!x/y"]\nusers = ["@ci"]\n')
    text = """
[auth]
htpasswd = "users"
anonymous = "pull"
rules = "rules"
[auth.groups]
ci = ["bot", "ann"]
[[auth.rule]]
repositories = ["team/**"]
users = ["bob", "*"]
actions = ["push", "pull"]
"""

    lines = describe(settings_of(text, tmp_path))

    assert lines == [
        f"users: 3, of {tmp_path}/users",
        "tokens: given out at /token, for 300 s",
        "bob, * may pull, push: team/**",
        "anonymous may pull: **",
        "ann, bot may pull, push, delete: x, !x/y",
    ]


def test_what_a_token_of_another_server_allows_is_told(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_bytes((TLS / "ca.pem").read_bytes())
    settings = settings_of(EXTERNAL, tmp_path)

    assert describe(settings) == [
        "tokens: of them, from https://a/token, proved by 1 public key",
        "a token allows what it says",
    ]
    question = decide(settings, user="ann", action="pull", repository="x")
    assert question == (False, "no rule allows it; a token of them may")


@pytest.mark.parametrize("word", ["none", "nothing"])
def test_anonymous_may_do_nothing_in_words(word: str, tmp_path: Path) -> None:
    assert settings_of(f'[auth]\nanonymous = "{word}"', tmp_path).anonymous == frozenset()


def test_settings_that_let_nobody_in_are_told(tmp_path: Path) -> None:
    assert describe(settings_of("[auth]\nchecks = 1", tmp_path))[-1].startswith("nobody can do anything")


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="users: no such file"):
        describe(settings_of('[auth]\nhtpasswd = "users"', tmp_path))


@pytest.mark.parametrize(
    ("user", "action", "repository", "answer"),
    [
        ("ann", "push", "team/x", (True, "ann may pull, push, delete: team/**")),
        ("bob", "push", "team/x", (False, "no rule allows it")),
        (None, "pull", "team/x", (True, "anonymous may pull: **")),
        ("bob", "pull", "../x", (False, "no rule allows it")),
    ],
)
def test_one_question_is_answered_with_the_rule_that_decides(
    user: str | None, action: str, repository: str, answer: tuple[bool, str], tmp_path: Path
) -> None:
    text = '[auth]\nanonymous = "pull"\n[[auth.rule]]\nrepositories = ["team/**"]\nusers = ["ann"]\n'

    assert decide(settings_of(text, tmp_path), user=user, action=action, repository=repository) == answer


def test_a_question_about_no_action_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="action 'write'"):
        decide(AuthSettings(), user=None, action="write", repository="x")


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["localhost", "::1", "[::1]"], ["unix:/run/x"], []])
def test_a_registry_that_only_this_machine_reaches_is_not_warned_about(hosts: list[str]) -> None:
    assert exposed(AuthSettings(), hosts) is None


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1", "r.example.com"])
def test_a_registry_that_all_may_write_to_from_afar_is_warned_about(host: str, tmp_path: Path) -> None:
    warning = exposed(AuthSettings(), ["127.0.0.1", host])

    assert warning is not None
    assert ("every address" if host in ("", "0.0.0.0", "::") else host) in warning
    assert exposed(settings_of('[auth]\nanonymous = "pull"', tmp_path), [host]) is None
