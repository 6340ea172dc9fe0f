"""``dist serve`` with a gate: what no spelling of a request opens, and what it says of its settings."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import bcrypt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.e2e.serving import DIST, Answer, Served, served

from distore.oci.digest import Digest

pytestmark = pytest.mark.slow

SECRET, CONFIG = b"a very secret layer", b'{"architecture":"secretarch","os":"linux"}'
SETTINGS = """
[auth]
htpasswd = "users"
[[auth.rule]]
repositories = ["**"]
users = ["ann"]
[[auth.rule]]
repositories = ["public/**"]
users = ["*", "anonymous"]
actions = ["pull"]
[[auth.rule]]
repositories = ["bob/**"]
users = ["bob"]
"""
INDEX = "application/vnd.oci.image.index.v1+json"


def basic(user: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{user}-pw'.encode()).decode()}"}


def ask(server: Served, method: str, path: str, user: str | None = None, **headers: str) -> Answer:
    return server.ask(method, path, b"", **(basic(user) if user else {}), **headers)


def write(folder: Path, text: str = SETTINGS) -> Path:
    salt = bcrypt.gensalt(4)
    lines = [f"{user}:{bcrypt.hashpw(f'{user}-pw'.encode(), salt).decode()}\n" for user in ("ann", "bob")]
    (folder / "users").write_text("".join(lines))
    (folder / "serve.toml").write_text(text)
    return folder / "serve.toml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """It has secret/x:1 and public/x:1."""
    folder = tmp_path_factory.mktemp("serve")
    with served(folder, "--config", str(write(folder))) as running:
        for repository in ("secret/x", "public/x"):
            push(running, repository)
        yield running


def push(server: Served, repository: str) -> None:
    data = SECRET + repository.encode()
    path = f"/v2/{repository}/blobs/uploads/?digest={Digest.of(data)}"
    assert server.ask("POST", path, data, **basic("ann")).status == 201
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"n": repository}}
    )
    answer = server.ask(
        "PUT", f"/v2/{repository}/manifests/1", index.encode(), **basic("ann"), content_type=INDEX
    )
    assert answer.status == 201, answer


def raw(server: Served, method: str, path: bytes, user: str | None, *, host: str = "h") -> bytes:
    """Everything that a server says to bytes that no library would send."""
    lines = [method.encode() + b" " + path + b" HTTP/1.1", f"Host: {host}".encode(), b"Connection: close"]
    if user is not None:
        lines += [f"{name}: {value}".encode() for name, value in basic(user).items()]
    with server.plug() as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except (TimeoutError, ConnectionError):
            pass
    return found


NAMES = ("secret/x", "secret/none")
SPELLINGS = (
    "/v2/{}/manifests/1",
    "/v2/{}/manifests/1/",
    "/v2/{}/manifests/%31",
    "/v2/{}/tags/list",
    "/v2/{}/blobs/{digest}",
    "/v2/{}/referrers/{digest}",
    "/v2/{}/blobs/uploads/x",
    "//v2/{}/manifests/1",
    "/v2//{}/manifests/1",
    "/v2/{quoted}/manifests/1",
    "/v2/public/../{}/manifests/1",
    "/v2/public/%2e%2e/{}/manifests/1",
    "/v2/public/x/..%2f..%2f{quoted}/manifests/1",
    "/v2/public/x/manifests/1/../../../../{}/manifests/1",
    "/v2/./{}/manifests/1",
    "/%76%32/{}/manifests/1",
    "/v2/{}%00/manifests/1",
    "/v2/{}\\/manifests/1",
    "/v2/{};x/manifests/1",
    "/v2/{}/manifests/1?ns=public",
    "/v2/{}/manifests/1?scope=repository:{}:pull",
    "/v2/public/x/blobs/{digest}",
    "http://h/v2/{}/manifests/1",
    "/ui/r/{}",
    "/ui/repository/{}",
    "/ui/raw/{}",
    "/ui/../v2/{}/manifests/1",
    "/token/../v2/{}/manifests/1",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("user", [None, "bob"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_no_spelling_opens_a_repository_or_tells_that_it_is_there(
    server: Served, spelling: str, user: str | None, method: str
) -> None:
    answers = []
    for name in NAMES:
        digest = str(Digest.of(SECRET + b"secret/x"))
        path = spelling.format(name, name, digest=digest, quoted=quote(name, safe=""))
        found = raw(server, method, path.encode(), user)
        answers.append(
            _told(found).replace(name.encode(), b"NAME").replace(quote(name, safe="").encode(), b"NAME")
        )
        assert SECRET not in found
        assert b"annotations" not in found

    assert answers[0] == answers[1]
    assert not answers[0].startswith(b"HTTP/1.1 5")


def _told(answer: bytes) -> bytes:
    """What does not differ by chance."""
    skipped = (b"date:", b"x-request-id:", b"content-length:")
    return b"\n".join(line for line in answer.split(b"\r\n") if not line.lower().startswith(skipped))


def test_the_owner_sees_it(server: Served) -> None:
    assert ask(server, "GET", "/v2/secret/x/manifests/1", "ann").status == 200
    assert ask(server, "GET", f"/v2/secret/x/blobs/{Digest.of(SECRET + b'secret/x')}", "ann").status == 200
    assert server.ask("GET", "/v2/public/x/manifests/1").status == 200


def test_lists_have_only_what_may_be_pulled(server: Served) -> None:
    def listed(user: str) -> object:
        return json.loads(ask(server, "GET", "/v2/_catalog", user).body)["repositories"]

    for _ in range(2):  # what was answered to one is no answer for another
        assert listed("ann") == ["public/x", "secret/x"]
        assert listed("bob") == ["public/x"]
        assert b"secret/x" in ask(server, "GET", "/", "ann").body
        assert b"secret/x" not in ask(server, "GET", "/", "bob").body
        assert b"secret/x" not in server.ask("GET", "/").body


@pytest.mark.parametrize(
    "source", ["&from=secret/x", "", "&from=secret%2fx", "&from=/secret/x", "&from=secret/x/"]
)
def test_a_blob_is_mounted_from_nowhere_that_one_may_not_pull(server: Served, source: str) -> None:
    digest = Digest.of(SECRET + b"secret/x")

    answer = ask(server, "POST", f"/v2/bob/x/blobs/uploads/?mount={digest}{source}", "bob")

    assert answer.status == 202  # an upload instead, as for a blob that is not there
    assert ask(server, "GET", f"/v2/bob/x/blobs/{digest}", "bob").status == 404


def test_who_may_pull_the_source_mounts(server: Served) -> None:
    digest = Digest.of(SECRET + b"public/x")

    answer = ask(server, "POST", f"/v2/bob/y/blobs/uploads/?mount={digest}&from=public/x", "bob")

    assert answer.status == 201


PARTS = [
    *("v2", "secret", "x", "public", "bob", "manifests", "blobs", "uploads", "tags", "list", "1"),
    *("_catalog", "ui", "token", "..", ".", "", "%2F", "%2e%2e", "%00", "%", "é", "%C3%A9", "%FF"),
    *("~", ";", "*", "a" * 300),
]
QUERIES = [
    "",
    "?",
    "?n=-1",
    "?n=x&last=%00",
    "?digest=sha256:0",
    "?mount=%00&from=..",
    "?ns=",
    "?scope=x&scope=y",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "X"]),
    parts=st.lists(st.sampled_from(PARTS), max_size=8),
    query=st.sampled_from(QUERIES),
    user=st.sampled_from([None, "bob"]),
    host=st.sampled_from(["h", "h:1", "", 'h"', "h/../x"]),
)
def test_no_request_breaks_the_server_or_finds_the_secret(
    server: Served, method: str, parts: list[str], query: str, user: str | None, host: str
) -> None:
    found = raw(server, method, ("/" + "/".join(parts) + query).encode(), user, host=host)

    assert found.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
    assert found[9:10] != b"5", found
    assert SECRET + b"secret/x" not in found
    assert b"secret/x" not in found.replace("/".join(parts).encode(), b"")


def test_the_settings_are_told_without_serving(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*DIST, "serve", "--check-config", "--config", str(write(tmp_path))],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ended.stdout.splitlines() == [
        f"users: 2, of {tmp_path}/users",
        "tokens: given out at /token, for 300 s",
        "ann may pull, push, delete: **",
        "*, anonymous may pull: public/**",
        "bob may pull, push, delete: bob/**",
    ]
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[auth]\nhtpasswd = "none"', "none: no such file"),
        ('[auth]\nhtpasswd = "serve.toml"', "serve.toml: line 1: user 'listen"),
        ("[auth]\nx = 1", "serve.toml [auth]: 'x': no such setting"),
    ],
)
def test_settings_that_are_wrong_are_told_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    ended = subprocess.run(
        [
            *DIST,
            "serve",
            "--root",
            str(tmp_path / "store"),
            "--config",
            str(write(tmp_path, f'listen = "127.0.0.1:0"\n{text}')),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode not in (0, 70)
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_certificate_that_is_missing_is_told_without_serving(tmp_path: Path) -> None:
    config = write(tmp_path, '[tls]\ncertificate = "none.pem"')

    ended = subprocess.run(
        [*DIST, "serve", "--check-config", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"dist: tls: {tmp_path}/none.pem: no such file or directory\n"


def test_tokens_of_one_worker_are_good_for_all(tmp_path: Path) -> None:
    with served(tmp_path, "--config", str(write(tmp_path)), "--workers", "2") as server:
        answer = ask(server, "GET", "/token?scope=repository:bob/x:pull,push", "bob")
        token = {"Authorization": f"Bearer {json.loads(answer.body)['token']}"}

        statuses = {ask(server, "GET", "/v2/bob/x/tags/list", **token).status for _ in range(20)}

        assert statuses == {404}
        assert ask(server, "GET", "/v2/secret/x/tags/list", **token).status == 401


@pytest.mark.parametrize(
    ("question", "status", "answer"),
    [
        ("bob push bob/x", 0, "yes: bob may pull, push, delete: bob/**"),
        ("bob push public/x", 16, "no: no rule allows it"),
        ("anonymous pull public/x", 0, "yes: *, anonymous may pull: public/**"),
        ("anonymous pull secret/x", 16, "no: no rule allows it"),
        ("bop pull public/x", 16, "no: {folder}/users has no user 'bop'"),
        ("bob write bob/x", 2, ""),
        ("bob push", 2, ""),
    ],
)
def test_one_question_is_answered_without_serving(
    tmp_path: Path, question: str, status: int, answer: str
) -> None:
    command = [*DIST, "registry", "may", "--config", str(write(tmp_path)), *question.split()]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout.strip()) == (status, answer.format(folder=tmp_path))


def test_behind_a_proxy_that_is_trusted_clients_are_sent_where_they_came_to(tmp_path: Path) -> None:
    forwarded = {"x_forwarded_proto": "https", "host": "r.example.com"}

    with served(
        tmp_path, "--config", str(write(tmp_path, f'trusted_proxies = ["127.0.0.1"]\n{SETTINGS}'))
    ) as one:
        trusted = ask(one, "GET", "/v2/", **forwarded)
    with served(tmp_path, "--config", str(write(tmp_path))) as other:
        unknown = ask(other, "GET", "/v2/", **forwarded)

    assert 'realm="https://r.example.com/token"' in trusted.headers["www-authenticate"]
    assert 'realm="http://r.example.com/token"' in unknown.headers["www-authenticate"]


def test_a_copy_of_another_registry_has_one_name_for_rules_however_it_is_asked_for(tmp_path: Path) -> None:
    cache = '[cache]\noffline = true\ndefault = "docker.io"\n[[cache.upstream]]\nhost = "docker.io"\n'
    rules = (
        '[auth]\nhtpasswd = "users"\n[[auth.rule]]\nrepositories = ["docker.io/library/open"]\n'
        'users = ["anonymous"]\nactions = ["pull"]\n'
        '[[auth.rule]]\nrepositories = ["library/**"]\nusers = ["anonymous"]\nactions = ["pull"]\n'
    )

    with served(tmp_path, "--config", str(write(tmp_path, cache + rules))) as server:
        for name, status in (("open", 404), ("closed", 401)):
            for path in (
                f"/v2/library/{name}/manifests/1?ns=docker.io",
                f"/v2/docker.io/library/{name}/manifests/1",
                f"/v2/docker.io/{name}/manifests/1",
                f"/v2/library/{name}/manifests/1",
            ):
                answer = ask(server, "GET", path)
                assert answer.status == status, path
                scope = f'scope="repository:docker.io/library/{name}:pull"'
                assert status == 404 or scope in answer.headers["www-authenticate"]
