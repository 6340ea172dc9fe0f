"""Credential helpers: when they are asked, what they keep, and what they get wrong."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.errors import DeadlineExceeded, FailedPrecondition
from distore.remotes import helpers
from distore.remotes.credentials import Credential, FileCredentials, Found
from distore.remotes.helpers import Helper
from distore.remotes.logins import forget, forget_all, keep

Write = Callable[..., str]
PASSWORD = Credential(username="bob", secret="hunter22")
# A helper that keeps its secrets in a file beside it and writes down what it was asked.
HELPER = """#!{python} -I
import json, pathlib, sys
here = pathlib.Path(__file__)
log, kept = here.with_suffix(".log"), here.with_suffix(".json")
verb, said = sys.argv[1:], sys.stdin.read()
with log.open("a") as file:
    file.write(" ".join(verb) + " " + said + "\\n")
sys.stderr.write("secrets: hunter22\\n")
known = json.loads(kept.read_text()) if kept.exists() else {{}}
if verb == ["store"]:
    document = json.loads(said)
    known[document["ServerURL"]] = [document["Username"], document["Secret"]]
elif verb == ["erase"]:
    del known[said]
elif verb == ["list"]:
    print(json.dumps({{server: pair[0] for server, pair in known.items()}}))
elif said not in known:
    sys.exit(print("credentials not found in native keychain") or 1)
else:
    print(json.dumps(dict(ServerURL=said, Username=known[said][0], Secret=known[said][1])))
kept.write_text(json.dumps(known))
"""


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


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a helper on PATH; without ``script`` one that works, knowing ``known``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, *, script: str | None = None, known: dict[str, list[str]] | None = None) -> Path:
        path = folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n" if script else HELPER.format(python=sys.executable))
        path.chmod(0o755)
        path.with_suffix(".json").write_text(json.dumps(known or {}))
        return path

    return make


def ask(netloc: str, repository: str, *files: str) -> Credential | None:
    found = FileCredentials(files).credential(netloc, repository)
    return None if found is None else found.credential


def test_a_helper_for_the_host_comes_first_and_is_asked_once(
    write: Write, helper: Callable[..., Path]
) -> None:
    program = helper("one", known={"a.example": ["bob", "hunter22"]})
    file = write({"credHelpers": {"a.example": "one"}, "auths": {"a.example": pair("eve:x")}})
    credentials = FileCredentials([file])
    found: list[Found | None] = []

    def look(repository: str) -> None:
        found.append(credentials.credential("a.example", repository))

    threads = [threading.Thread(target=look, args=(name,)) for name in ("a", "b", "a", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [Found(credential=PASSWORD, source=f"docker-credential-one, named by {file}")] * 4
    assert program.with_suffix(".log").read_text() == "get a.example\n"


def test_a_helper_for_all_hosts_comes_before_the_file_and_after_longer_keys(
    write: Write, helper: Callable[..., Path]
) -> None:
    program = helper("all", known={"https://index.docker.io/v1/": ["<token>", "refresh-me"]})
    file = write(
        {
            "credsStore": "all",
            "auths": {
                "https://index.docker.io/v1/": {},
                "a.example": pair("bob:hunter22"),
                "docker.io/team": pair("eve:x"),
            },
        }
    )

    assert ask("registry-1.docker.io", "library/redis", file) == Credential(
        username="<token>", identity_token="refresh-me"
    )
    assert ask("docker.io", "team/app", file) == Credential(username="eve", secret="x")
    assert ask("a.example", "b", file) == PASSWORD  # the helper does not know it
    assert program.with_suffix(".log").read_text().splitlines() == [
        "get https://index.docker.io/v1/",
        "get a.example",
    ]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo hunter22; echo hunter22 >&2; exit 3", "get ended with status 3"),
        ("echo hunter22", "get ended with an answer that is no JSON object"),
        ('echo \'{"Secret": "hunter22"}\'', "get ended with an answer without Username and Secret"),
        ("exec head -c 1000000 /dev/zero", "get ended with more than 262144 bytes"),
    ],
)
def test_a_helper_that_fails_is_named_and_never_quoted(
    write: Write, helper: Callable[..., Path], capfd: pytest.CaptureFixture[str], script: str, why: str
) -> None:
    helper("bad", script=script)
    file = write({"credsStore": "bad"})

    with pytest.raises(FailedPrecondition) as caught:
        ask("a.example", "b", file)

    assert str(caught.value) == f"credential helper docker-credential-bad: {why}; {file} names it"
    assert caught.value.__cause__ is None
    assert capfd.readouterr() == ("", "")


def test_a_helper_that_is_missing_is_named_with_the_file(write: Write) -> None:
    file = write({"credsStore": "no-such-helper"})

    with pytest.raises(FailedPrecondition, match=f"not on PATH; install it, or take it out of {file}"):
        ask("a.example", "b", file)


def test_a_helper_that_takes_too_long_is_ended(helper: Callable[..., Path]) -> None:
    helper("slow", script="exec sleep 60")

    with pytest.raises(DeadlineExceeded, match="docker-credential-slow: get takes too long"):
        Helper(name="slow", named_by="x").get("a.example", timeout=0.05)


def test_a_helper_that_does_not_read_is_no_trouble(helper: Callable[..., Path]) -> None:
    helper("deaf", script='exec 0<&-; echo \'{"Username": "bob", "Secret": "hunter22"}\'')

    assert Helper(name="deaf", named_by="x").get("a.example") == PASSWORD


def test_a_helper_keeps_a_login_and_no_argument_has_it(write: Write, helper: Callable[..., Path]) -> None:
    program = helper("one")
    path = write({"credsStore": "one", "auths": {"a.example": pair("old:old")}})

    login = keep("a.example", PASSWORD, [path])

    assert (login.file, login.helper) == (path, "one")
    assert "hunter22" not in Path(path).read_text()
    assert json.loads(program.with_suffix(".json").read_text()) == {"a.example": ["bob", "hunter22"]}
    assert program.with_suffix(".log").read_text().startswith('store {"ServerURL": "a.example"')
    assert ask("a.example", "b", path) == PASSWORD


def test_a_logout_forgets_every_spelling_everywhere(write: Write, helper: Callable[..., Path]) -> None:
    program = helper("one", known={"a.example": ["bob", "hunter22"], "b.example": ["bob", "x"]})
    first = write(
        {"auths": {"a.example": pair("bob:x"), "https://a.example/v2/": pair("bob:y"), "c.example": {}}},
        "1.json",
    )
    second = write({"credsStore": "one", "auths": {"a.example": {}}}, "2.json")

    gone = forget("a.example", [first, second])

    assert [(login.file, login.helper) for login in gone] == [(first, None), (second, "one")]
    assert json.loads(Path(first).read_text()) == {"auths": {"c.example": {}}}
    assert json.loads(program.with_suffix(".json").read_text()) == {"b.example": ["bob", "x"]}
    assert forget("a.example", [first, second]) == []


def test_a_logout_of_all_forgets_everything_but_settings(write: Write, helper: Callable[..., Path]) -> None:
    helper("one", known={"a.example": ["bob", "hunter22"]})
    helper("own", known={"o.example": ["bob", "x"]})
    path = write(
        {"credsStore": "one", "credHelpers": {"o.example": "own"}, "auths": {"b.example": pair("bob:x")}}
    )

    gone = forget_all([path])

    assert [(login.server, login.helper) for login in gone] == [
        ("o.example", "own"),
        ("a.example", "one"),
        ("b.example", None),
    ]
    assert json.loads(Path(path).read_text()) == {
        "credsStore": "one",
        "credHelpers": {"o.example": "own"},
        "auths": {},
    }


def test_a_helper_has_time_for_a_passphrase() -> None:
    assert helpers.TIMEOUT >= 30
