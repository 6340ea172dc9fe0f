"""``dist login``, ``logout`` and ``registry explain``: what they say, keep and forget."""

from __future__ import annotations

import base64
import getpass
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distore.cli.main import main
from distore.oci.digest import Digest
from distore.registry.message import Handler, Request, Response
from distore.testing import server
from distore.testing.server import FakeRegistry

Dist = Callable[..., subprocess.CompletedProcess[bytes]]
BODY = b"content"
PAIR = base64.b64encode(b"bob:hunter22").decode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "home"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """One that lets only bob in."""
    refuse = server.refuse(401, "UNAUTHORIZED", "no", www_authenticate='Basic realm="x"')

    def act(request: Request, handler: Handler) -> Response:
        good = request.headers.get("authorization") == f"Basic {PAIR}"
        return handler(request) if good else refuse(request, handler)

    with FakeRegistry() as fake:
        fake.put("demo", BODY)
        fake.inject(act, times=None)
        yield fake


def login(
    dist: Dist, host: str, *words: str, password: bytes = b"hunter22\n"
) -> subprocess.CompletedProcess[bytes]:
    return dist("login", host, "-u", "bob", "--password-stdin", *words, input=password)


def test_a_login_is_used_from_then_on(dist: Dist, registry: FakeRegistry, home: Path) -> None:
    name, host = f"{registry.address}/demo", registry.address
    kept = home / ".docker" / "config.json"

    before = dist("fetch", name, Digest.of(BODY))
    done = login(dist, host)
    after = dist("fetch", name, Digest.of(BODY))

    assert before.returncode == 17
    assert f"dist login {host}" in before.stderr.decode()
    assert done.stdout.decode() == f"logged in to {host} as bob; kept in {kept}, unencrypted\n"
    assert (after.returncode, after.stdout) == (0, BODY)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert b"hunter22" not in done.stdout + done.stderr


def test_a_logout_ends_it(dist: Dist, registry: FakeRegistry, home: Path) -> None:
    kept = home / ".docker" / "config.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"auths": {registry.address: {"auth": PAIR}}}))

    out = dist("logout", registry.address)
    after = dist("fetch", f"{registry.address}/demo", Digest.of(BODY))

    assert out.stdout.decode() == f"logged out of {registry.address}; it was kept in {kept}\n"
    assert after.returncode == 17


def test_a_wrong_password_is_not_kept(dist: Dist, registry: FakeRegistry, home: Path) -> None:
    done = login(dist, registry.address, password=b"wrong-one")

    assert done.returncode == 17
    assert b"answered 401 to user 'bob'" in done.stderr
    assert b"wrong-one" not in done.stderr
    assert not home.exists()


def test_json_says_where_it_is_kept_and_forgotten(dist: Dist, registry: FakeRegistry, tmp_path: Path) -> None:
    file = str(tmp_path / "auth.json")

    kept = login(dist, registry.address, "--json", "--authfile", file)
    gone = dist("logout", "--all", "--json", "--authfile", file)

    assert json.loads(kept.stdout) == {
        "host": registry.address,
        "user": "bob",
        "file": file,
        "helper": None,
        "verified": True,
    }
    assert json.loads(gone.stdout) == {"host": registry.address, "file": file, "helper": None}


def test_a_helper_that_is_configured_keeps_it(
    dist: Dist, registry: FakeRegistry, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "docker-credential-one"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/kept; echo $* > {tmp_path}/words\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (home / ".docker").mkdir(parents=True)
    (home / ".docker" / "config.json").write_text('{"credsStore": "one"}')

    done = login(dist, registry.address)

    assert done.stdout.decode().endswith("kept in docker-credential-one\n")
    assert json.loads((tmp_path / "kept").read_text()) == {
        "ServerURL": registry.address,
        "Username": "bob",
        "Secret": "hunter22",
    }
    assert (tmp_path / "words").read_text() == "store\n"


def test_a_token_is_asked_for_with_the_password(dist: Dist, tmp_path: Path) -> None:
    def act(request: Request, handler: Handler) -> Response:
        if request.headers.get("authorization") != f"Basic {PAIR}":
            return server.refuse(401, "DENIED", "who are you")(request, handler)
        return handler(request)

    with FakeRegistry(with_tokens=True) as gated:
        digest = gated.put("a/b", BODY)
        gated.inject(act, path="/token", times=None)
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {f"{gated.address}/a": {"auth": PAIR}}}))

        done = dist("fetch", "--authfile", "auth.json", f"{gated.address}/a/b", digest)
        without = dist("fetch", f"{gated.address}/a/b", digest)

    assert (done.returncode, done.stdout) == (0, BODY)
    assert without.returncode == 17
    assert f"answered 401: denied who are you; if it knows you: dist login {gated.address}" in (
        without.stderr.decode()
    )


@pytest.mark.parametrize(
    ("words", "input", "why"),
    [
        (["a.example", "-u", "bob"], b"", "give the password with --password-stdin"),
        (["a.example", "--password-stdin"], b"x", "give it with -u USER"),
        (["a.example", "-u", "bob", "--password-stdin"], b"", "want a password of one line"),
        (["a.example", "-u", "bob", "--password-stdin"], b"a\nb\n", "want a password of one line"),
        (["a.example", "-u", "bob", "--password-stdin"], b"\xff", "want a password of one line"),
        (["a.example", "-u", "bob", "--password-stdin"], b"x" * 40_000, "up to 32768 bytes"),
        (["a.example", "-u", "b:b", "--password-stdin"], b"x", "no colon"),
        (["quay", "-u", "bob", "--password-stdin"], b"x", "host 'quay': want HOST[:PORT]"),
        (["a.example", "-u", "bob", "--password", "x"], b"", "unrecognized arguments: --password"),
    ],
)
def test_a_wrong_login_is_one_clear_line(dist: Dist, words: list[str], input: bytes, why: str) -> None:
    done = dist("login", *words, input=input)

    assert (done.returncode, done.stdout) == (2, b"")
    assert why in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ([], 2, "want a host or --all, and not both"),
        (["a.example", "--all"], 2, "want a host or --all, and not both"),
        (["a.example"], 11, "logout a.example: no credentials are kept for it in "),
    ],
)
def test_a_wrong_logout_is_one_clear_line(dist: Dist, words: list[str], status: int, why: str) -> None:
    done = dist("logout", *words)

    assert (done.returncode, done.stdout) == (status, b"")
    assert why in done.stderr.decode()


def test_on_a_terminal_name_and_password_are_asked_for(
    registry: FakeRegistry, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("bob\n"))
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "hunter22")

    status = main(["login", registry.address])

    said = capsys.readouterr()
    assert (status, said.err) == (0, "User name: ")
    assert said.out.startswith(f"logged in to {registry.address} as bob")
    assert (home / ".docker" / "config.json").exists()


def test_files_are_looked_for_where_podman_and_docker_have_them(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def user(host: str, **env: str) -> object:
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            main(["registry", "explain", "--offline", "--json", f"{host}/x"])
        return json.loads(capsys.readouterr().out)["user"]

    places = {
        "run": tmp_path / "run" / "containers" / "auth.json",
        "podman": home / ".config" / "containers" / "auth.json",
        "docker": home / ".docker" / "config.json",
        "own": tmp_path / "own" / "config.json",
        "named": tmp_path / "named.json",
    }
    for name, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        pair = base64.b64encode(f"{name}:x".encode()).decode()
        path.write_text(
            json.dumps({"auths": {f"{name}.example": {"auth": pair}, "all.example": {"auth": pair}}})
        )

    assert user("all.example") == user("run.example") == "run"
    assert user("podman.example") == "podman"
    assert user("docker.example") == "docker"
    assert user("own.example", DOCKER_CONFIG=str(tmp_path / "own")) == "own"
    assert user("docker.example", DOCKER_CONFIG=str(tmp_path / "own")) is None
    assert user("all.example", REGISTRY_AUTH_FILE=str(places["named"])) == "named"


def test_explain_is_for_people_and_for_programs(dist: Dist, registry: FakeRegistry, home: Path) -> None:
    login(dist, registry.address)
    name = f"{registry.address}/demo"

    text = dist("registry", "explain", name)
    fields = json.loads(dist("registry", "explain", "--json", name).stdout)

    lines = text.stdout.decode().splitlines()
    assert (text.returncode, text.stderr) == (0, b"")
    assert lines[:-1] == [
        f"1  {registry.url}/v2",
        "   decided by   nothing: the default",
        "   may          pull, push, resolve",
        f"   credential   bob, from {home}/.docker/config.json",
        "   tls          none: plain HTTP",
        "   proxy        none",
    ]
    assert lines[-1].startswith("   answers      200, in ")
    assert lines[-1].endswith(" ms, asks for basic")
    assert isinstance(fields.pop("ms"), int)
    assert fields == {
        "host": f"{registry.url}/v2",
        "decided_by": None,
        "capabilities": ["pull", "push", "resolve"],
        "namespace": None,
        "headers": [],
        "user": "bob",
        "source": f"{home}/.docker/config.json",
        "verify": None,
        "ca": [],
        "client": [],
        "proxy": None,
        "status": 200,
        "auth": ["basic"],
        "error": None,
    }


def test_explain_ends_with_the_status_of_what_is_wrong(dist: Dist, registry: FakeRegistry) -> None:
    done = dist("registry", "explain", f"{registry.address}/demo")

    assert done.returncode == 17
    assert (
        f"   error        {registry.url}: wants a user name and a password; dist login"
        in done.stdout.decode()
    )
