"""Who may do what, told to real clients: skopeo, podman, ctr, oras, python-dxf, and our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.interop import registries
from tests.interop.conftest import DIST, Containerd, program
from tests.interop.guarded import PASSWORDS, RULES, environment, serving, write_layout, write_users

# For 127.0.0.1, valid to 2120; its key protects nothing.
TLS = Path(__file__).parents[1] / "unit" / "remotes" / "tls"
pytestmark = [pytest.mark.interop, pytest.mark.slow]

Run = Callable[..., subprocess.CompletedProcess[str]]
SETTINGS = f'[auth]\nhtpasswd = "users"\n{RULES}'
# With tokens as most registries do it, and with the password in every request.
SHAPES = {"tokens": SETTINGS, "passwords": f"{SETTINGS}\n[auth.token]\nissue = false\n"}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image") / "layout"
    write_layout(folder)
    return folder


@pytest.fixture(scope="module", params=list(SHAPES))
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that knows ann, who may push, and bob, who may pull from team."""
    folder = tmp_path_factory.mktemp("serve")
    write_users(program("htpasswd"), folder / "users")
    with serving(folder, SHAPES[request.param]) as address:
        yield address


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder without logins; podman takes no long paths."""
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run(home: Path) -> Run:
    """Run a client; its exit status is looked at unless ``check`` says otherwise."""

    def call(*words: str | Path, check: bool = True, typed: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program(str(words[0])), *map(str, words[1:])],
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            env=environment(home),
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return call


def test_skopeo_logs_in_pushes_pulls_and_deletes(host: str, layout: Path, run: Run, home: Path) -> None:
    auth = ["--authfile", home / "auth.json"]
    run(
        "skopeo",
        "login",
        "--tls-verify=false",
        *auth,
        "-u",
        "ann",
        "--password-stdin",
        host,
        typed=PASSWORDS["ann"],
    )

    image = f"docker://{host}/team/skopeo:1"
    run("skopeo", "copy", *auth, "--dest-tls-verify=false", f"oci:{layout}:latest", image)

    shown = json.loads(run("skopeo", "inspect", *auth, "--tls-verify=false", image).stdout)
    assert shown["Architecture"] == "amd64"
    run("skopeo", "copy", *auth, "--src-tls-verify=false", image, f"oci:{home / 'back'}:1")
    # Between two repositories the blobs are mounted.
    other = f"docker://{host}/public/skopeo:1"
    run("skopeo", "copy", *auth, "--src-tls-verify=false", "--dest-tls-verify=false", image, other)
    run("skopeo", "delete", *auth, "--tls-verify=false", image)
    assert run("skopeo", "inspect", *auth, "--tls-verify=false", image, check=False).returncode != 0


def test_skopeo_is_told_of_a_wrong_password(host: str, run: Run, home: Path) -> None:
    words = ["login", "--tls-verify=false", "--authfile", home / "auth.json", "-u", "ann", "--password-stdin"]

    done = run("skopeo", *words, host, typed="wrong", check=False)

    assert done.returncode != 0
    assert "invalid username/password" in done.stderr


def test_a_user_who_may_only_pull_cannot_push(host: str, layout: Path, run: Run) -> None:
    ann, bob = (f"{user}:{PASSWORDS[user]}" for user in ("ann", "bob"))
    image = f"docker://{host}/team/shared:1"
    push = ["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest", image]

    refused = run(*push, "--dest-creds", bob, check=False)
    run(*push, "--dest-creds", ann)

    assert refused.returncode != 0
    assert "denied" in refused.stderr or "unauthorized" in refused.stderr
    run("skopeo", "inspect", "--tls-verify=false", "--creds", bob, image)
    hidden = run("skopeo", "inspect", "--tls-verify=false", image, check=False)
    assert hidden.returncode != 0


def test_everybody_reads_what_is_public(host: str, layout: Path, run: Run, home: Path) -> None:
    image = f"{host}/public/read:1"
    ann = f"ann:{PASSWORDS['ann']}"
    run(
        "skopeo",
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        ann,
        f"oci:{layout}:latest",
        f"docker://{image}",
    )

    assert json.loads(
        run("skopeo", "inspect", "--no-creds", "--tls-verify=false", f"docker://{image}").stdout
    )

    run(DIST, "--root", home / "store", "pull", "--plain-http", image)


def test_podman_logs_in_pushes_and_pulls(host: str, layout: Path, run: Run, home: Path) -> None:
    podman = ["podman", "--root", home / "r", "--runroot", home / "x", "--storage-driver", "vfs"]
    image = f"{host}/team/podman:1"
    run(*podman, "login", "--tls-verify=false", "-u", "ann", "--password-stdin", host, typed=PASSWORDS["ann"])
    pulled = run(*podman, "pull", "-q", f"oci:{layout}:latest").stdout.strip()

    run(*podman, "push", "--tls-verify=false", pulled, f"docker://{image}")
    run(*podman, "rmi", "-f", pulled)
    run(*podman, "pull", "-q", "--tls-verify=false", image)

    run(*podman, "logout", host)
    assert (
        run(*podman, "pull", "-q", "--tls-verify=false", f"{host}/team/none:1", check=False).returncode != 0
    )


def test_containerd_pushes_and_pulls(
    host: str, layout: Path, run: Run, containerd: Containerd, home: Path
) -> None:
    archive, image = home / "image.tar", f"{host}/team/ctr:1"
    run("skopeo", "copy", f"oci:{layout}:latest", f"oci-archive:{archive}:{image}")
    credential = ["--plain-http", "--user", f"ann:{PASSWORDS['ann']}"]
    done = containerd.ctr("images", "import", "--snapshotter", "native", "--no-unpack", str(archive))
    assert done.returncode == 0, done.stderr

    pushed = containerd.ctr("images", "push", *credential, image)
    containerd.ctr("images", "rm", image)
    pulled = containerd.ctr("content", "fetch", *credential, image)

    assert pushed.returncode == 0, pushed.stderr
    assert pulled.returncode == 0, pulled.stderr
    assert containerd.ctr("content", "fetch", "--plain-http", f"{host}/team/ctr:1").returncode != 0


def test_oras_logs_in_pushes_and_pulls(host: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client_class = import_module("oras.client").OrasClient
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    (home / "artifact.txt").write_text("artifact")
    # Its other backend gets a token to look whether a blob is there, and then pushes with that one.
    client = client_class(hostname=host, insecure=True, auth_backend="basic")
    client.login("ann", PASSWORDS["ann"], tls_verify=False, hostname=host)

    target = f"{host}/team/oras:1"
    pushed = client.push(target=target, files=["artifact.txt"])
    pulled = client.pull(target=target, outdir=str(home / "out"))

    assert pushed.status_code == 201
    assert [Path(path).read_text() for path in pulled] == ["artifact"]


@pytest.mark.parametrize("shape", SHAPES)
def test_dxf_pushes_and_pulls_over_tls(shape: str, tmp_path: Path) -> None:
    dxf: Any = import_module("dxf")
    write_users(program("htpasswd"), tmp_path / "users")
    pair = f'[tls]\ncertificate = "{TLS}/server.pem"\nkey = "{TLS}/server.pem"\n'

    def login(client: Any, response: object) -> None:
        client.authenticate("ann", PASSWORDS["ann"], response=response)

    with (
        serving(tmp_path, f"{pair}{SHAPES[shape]}") as host,
        dxf.DXF(host, "team/dxf", login, tlsverify=f"{TLS}/ca.pem") as client,
        dxf.DXF(host, "team/dxf", tlsverify=f"{TLS}/ca.pem") as stranger,
    ):
        pushed = client.push_blob(__file__)
        client.set_alias("1", pushed)

        assert client.list_aliases() == ["1"]
        assert b"".join(client.pull_blob(pushed)) == Path(__file__).read_bytes()
        with pytest.raises(dxf.exceptions.DXFUnauthorizedError):
            stranger.list_aliases()


def test_our_own_client_logs_in_pushes_and_pulls(host: str, layout: Path, run: Run, home: Path) -> None:
    store, image = ["--root", home / "store"], f"{host}/team/dist:1"
    run(DIST, "login", "--plain-http", "-u", "ann", "--password-stdin", host, typed=PASSWORDS["ann"])
    run(DIST, *store, "import", "--name", image, layout)

    run(DIST, *store, "push", "--plain-http", image)
    run(DIST, "--root", home / "other", "pull", "--plain-http", image)

    assert "team/dist" in run(DIST, "catalog", "--plain-http", host).stdout
    run(DIST, "logout", host)
    assert run(DIST, "--root", home / "third", "pull", "--plain-http", image, check=False).returncode != 0


def test_a_wrong_login_of_our_own_is_told(host: str, run: Run) -> None:
    done = run(DIST, "login", "--plain-http", "-u", "ann", "--password-stdin", host, typed="no", check=False)

    assert done.returncode != 0


def test_a_token_server_that_others_use_is_believed_as_well(
    tmp_path: Path, layout: Path, run: Run, home: Path
) -> None:
    text = (TLS / "server.pem").read_text()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n"
    (tmp_path / "keys.pem").write_text(begin + text.partition(begin)[2].partition(end)[0] + end)
    creds = f"{registries.USER}:{registries.PASSWORD}"
    with registries.token_server() as realm:
        token = f'realm = "{realm}"\nissuer = "{registries.SERVICE}"\nservice = "{registries.SERVICE}"\n'
        settings = f'[auth.token]\n{token}keys = ["keys.pem"]\nalgorithms = ["ES256"]\n'
        with serving(tmp_path, settings) as host:
            image = f"docker://{host}/team/app:1"
            push = ["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest", image]
            refused = run(*push, "--dest-creds", "eve:x", check=False)
            run(*push, "--dest-creds", creds)
            run("skopeo", "inspect", "--tls-verify=false", "--creds", creds, image)

            anonymous = run("skopeo", "inspect", "--tls-verify=false", image, check=False)

    assert refused.returncode != 0
    assert anonymous.returncode != 0
