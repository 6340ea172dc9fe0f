"""Credentials: the files of Docker and podman, and what a login changes in them."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from distore._internal import fsops
from distore.errors import InvalidArgument, PermissionDenied
from distore.remotes.credentials import Credential, FileCredentials, Found
from distore.remotes.logins import keep, parse_server

Write = Callable[..., str]
PASSWORD = Credential(username="bob", secret="hunter22")


def pair(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an auth file and give its path."""

    def make(document: object, name: str = "config.json") -> str:
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    return make


def ask(netloc: str, repository: str, *files: str) -> Credential | None:
    found = FileCredentials(files).credential(netloc, repository)
    return None if found is None else found.credential


@pytest.mark.parametrize(
    ("entry", "credential"),
    [
        (pair("bob:hunter22"), PASSWORD),
        (pair("bob:a:b"), Credential(username="bob", secret="a:b")),
        (pair("bob:hunter22\0\0"), PASSWORD),
        (pair("bj\u00f6rn:\u00e4"), Credential(username="bj\u00f6rn", secret="\u00e4")),
        ({"username": "bob", "password": "hunter22"}, PASSWORD),
        (
            {**pair("bob:"), "identitytoken": "refresh-me"},
            Credential(username="bob", identity_token="refresh-me"),
        ),
        ({"identitytoken": "refresh-me"}, Credential(username="<token>", identity_token="refresh-me")),
        ({}, None),
        (None, None),
        ({"email": "bob@a.example"}, None),
    ],
)
def test_an_entry_has_one_of_several_forms(
    write: Write, entry: object, credential: Credential | None
) -> None:
    assert ask("a.example", "b", write({"auths": {"a.example": entry}})) == credential


@pytest.mark.parametrize(
    ("key", "netloc", "known"),
    [
        ("a.example", "a.example", True),
        ("A.example", "a.EXAMPLE", True),
        ("a.example", "b.a.example", False),
        ("a.example:5000", "a.example", False),
        ("https://a.example", "a.example", True),
        ("http://a.example/v1/", "a.example", True),
        ("https://a.example/v2/", "a.example", True),
        ("https://a.example/whatever", "a.example", True),
        ("a.example/v2/", "a.example", True),
        ("https://index.docker.io/v1/", "registry-1.docker.io", True),
        ("index.docker.io", "docker.io", True),
        ("docker.io", "registry-1.docker.io", True),
        ("https://index.docker.io/v1/access-token", "docker.io", False),
    ],
)
def test_a_key_names_a_host_in_many_spellings(write: Write, key: str, netloc: str, known: bool) -> None:
    file = write({"auths": {key: pair("bob:hunter22")}})

    assert ask(netloc, "a/b", file) == (PASSWORD if known else None)


def test_the_longest_key_that_holds_for_the_repository_wins(write: Write) -> None:
    keys = ["a.example", "a.example/team", "a.example/team/app", "docker.io/library/redis"]
    file = write({"auths": {key: pair(f"bob:{key}") for key in keys}})

    def secret(netloc: str, repository: str) -> str | None:
        found = ask(netloc, repository, file)
        return found.secret if found else None

    assert secret("a.example", "team/app") == "a.example/team/app"
    assert secret("a.example", "team/app/part") == "a.example/team/app"
    assert secret("a.example", "team/application") == "a.example/team"
    assert secret("a.example", "teams") == secret("a.example", "") == "a.example"
    assert secret("registry-1.docker.io", "library/redis") == "docker.io/library/redis"
    assert secret("registry-1.docker.io", "library/busybox") is None


def test_the_first_file_that_knows_wins_and_is_named(write: Write, tmp_path: Path) -> None:
    absent = str(tmp_path / "gone" / "auth.json")
    nothing = write({"auths": {"a.example": {}}}, "empty.json")
    first = write({"auths": {"a.example": pair("bob:hunter22")}}, "first.json")
    second = write({"auths": {"a.example": pair("eve:other")}}, "second.json")

    found = FileCredentials([absent, nothing, first, second]).credential("a.example", "b")

    assert found == Found(credential=PASSWORD, source=first)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{hunter22", "not JSON (line 1)"),
        ("[" * 100_000, "nested too deep"),
        ('"hunter22"', "want one JSON object"),
        ('{"auths": []}', "auths: want a JSON object"),
        ('{"auths": {"a.example": "hunter22"}}', "auths.'a.example': want a JSON object"),
        ('{"auths": {"a.example": {"auth": "hunter22!"}}}', "auths.'a.example'.auth: want base64 of"),
        ('{"auths": {"a.example": {"auth": "aHVudGVyMjI="}}}', "auths.'a.example'.auth: want base64 of"),
        ('{"auths": {"a.example": {"auth": "/////w=="}}}', "auths.'a.example'.auth: want base64 of"),
        ('{"auths": {"a.example": {"auth": 7}}}', "auths.'a.example'.auth: want a string"),
        ('{"auths": {"a.example": {"username": "a:b", "password": "hunter22"}}}', "has no colon"),
        ('{"credHelpers": {"a.example": "../../evil"}}', "credHelpers.'a.example': want NAME"),
        ('{"credsStore": 5}', "credsStore: want NAME"),
        (" " * (1 << 20) + " ", "larger than 1048576 bytes"),
    ],
    ids=range(13),
)
def test_a_damaged_file_is_named_with_its_key_and_without_its_secrets(
    write: Write, text: str, why: str
) -> None:
    path = write(text)

    with pytest.raises(InvalidArgument) as caught:
        ask("a.example", "b", path)

    assert str(caught.value).startswith(f"auth file {path}: ")
    assert why in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter22" not in repr(error.args) + repr(getattr(error, "doc", ""))
        error = error.__cause__


def test_damage_that_is_about_another_host_does_not_matter(write: Write) -> None:
    file = write({"auths": {"x.example": "?", "a.example": pair("bob:hunter22")}, "psFormat": 1})

    assert ask("a.example", "b", file) == PASSWORD


def test_nothing_is_read_before_it_is_asked_for_and_then_once(write: Write) -> None:
    path = write("damaged")
    credentials = FileCredentials([path])
    write({"auths": {"a.example": pair("bob:hunter22")}})

    first = credentials.credential("a.example", "b")
    Path(path).unlink()

    assert first is not None
    assert credentials.credential("a.example", "c") == first


def test_a_login_is_kept_for_its_owner_alone_and_everything_else_stays(write: Write) -> None:
    before = {
        "psFormat": "x",
        "auths": {"https://a.example/v1/": pair("old:old"), "b.example": {"email": "e"}},
    }
    path = write(before)

    login = keep("a.example", PASSWORD, [path])

    assert (login.server, login.file, login.helper) == ("a.example", path, None)
    assert json.loads(Path(path).read_text()) == {
        "psFormat": "x",
        "auths": {"b.example": {"email": "e"}, "a.example": pair("bob:hunter22")},
    }
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert ask("a.example", "b", path) == PASSWORD
    assert os.listdir(os.path.dirname(path)) == ["config.json"]


def test_a_login_goes_to_the_first_file_that_is_there_or_makes_the_last(tmp_path: Path, write: Write) -> None:
    first, last = str(tmp_path / "run" / "auth.json"), str(tmp_path / "new" / "config.json")

    assert keep("docker.io", PASSWORD, [first, last]).file == last
    there = write({}, "there.json")
    assert keep("docker.io", PASSWORD, [first, there, last]).file == there

    assert json.loads(Path(last).read_text()) == {
        "auths": {"https://index.docker.io/v1/": pair("bob:hunter22")}
    }
    assert not os.path.exists(first)


def test_a_login_with_an_identity_token_keeps_no_password(write: Write) -> None:
    path = write({})
    given = Credential(username="bob", secret="hunter22", identity_token="refresh-me")

    keep("a.example/team", given, [path])

    assert json.loads(Path(path).read_text())["auths"] == {
        "a.example/team": {**pair("bob:"), "identitytoken": "refresh-me"}
    }
    assert ask("a.example", "team/x", path) == Credential(username="bob", identity_token="refresh-me")


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path, write: Write) -> None:
    real = write({}, "real.json")
    link = tmp_path / "link.json"
    link.symlink_to(real)

    keep("a.example", PASSWORD, [str(link)])

    assert link.is_symlink()
    assert ask("a.example", "b", real) == PASSWORD


def test_a_damaged_file_is_left_as_it_is(write: Write) -> None:
    path = write("{damaged")

    with pytest.raises(InvalidArgument):
        keep("a.example", PASSWORD, [path])

    assert Path(path).read_text() == "{damaged"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write({"auths": {}})

    def fail(fd: int) -> None:
        raise PermissionError(1, "no")

    monkeypatch.setattr(fsops, "sync_file", fail)
    with pytest.raises(PermissionDenied, match=f"auth file {path}"):
        keep("a.example", PASSWORD, [path])

    assert os.listdir(os.path.dirname(path)) == ["config.json"]
    assert json.loads(Path(path).read_text()) == {"auths": {}}


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("quay.io", "quay.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://a.example/", "a.example"),
        ("a.example/team/app", "a.example/team/app"),
        ("", None),
        ("quay", None),
        ("a b.example", None),
        ("bob@a.example", None),
        ("a.example/UPPER", None),
    ],
)
def test_a_login_is_for_a_host_or_a_namespace(text: str, server: str | None) -> None:
    if server is not None:
        assert parse_server(text) == server
        return
    with pytest.raises(InvalidArgument, match="want HOST"):
        parse_server(text)
