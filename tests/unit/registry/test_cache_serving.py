"""The cache as ``dist serve`` puts it together: behind the gate, before the store's images."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.registry.cachekit import Clock, read, upstream

from distore.app import App
from distore.config import Config
from distore.registry.cachenames import Naming
from distore.registry.cachesettings import CacheSettings
from distore.registry.message import Request, Response
from distore.registry.metrics import Metrics
from distore.registry.settings import ServeSettings
from distore.registry.table import Table
from distore.registry.upstreams import Upstreams
from distore.testing.memory_repositories import MemoryRepositories
from distore.testing.server import FakeRegistry


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry(users={"robot": "upstream-secret"}) as registry:
        registry.image("library/redis", "7", [b"layer"])
        registry.image("secret/app", "7", [b"hidden"])
        yield registry


Ask = Callable[..., Response]


@pytest.fixture
def ask(tmp_path: Path, fake: FakeRegistry) -> Iterator[Ask]:
    bcrypt = pytest.importorskip("bcrypt")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "users").write_text(f"ann:{hashed}\n")
    (tmp_path / "password").write_text("upstream-secret\n")
    values = {
        "auth": {
            "htpasswd": "users",
            "rule": [
                {"users": ["ann"], "repositories": ["docker.io/library/**"], "actions": ["pull", "push"]}
            ],
        },
        "cache": {
            "default": "docker.io",
            "upstream": [
                {
                    "host": "docker.io",
                    "server": fake.url,
                    "username": "robot",
                    "password_file": "password",
                }
            ],
        },
    }
    serve = ServeSettings.read(Table(values, where="serve.toml", folder=str(tmp_path)))
    app = App(Config(root=str(tmp_path / "store")))

    with app.serving(serve, Metrics()) as composed:

        def asked(path: str, ns: str = "", method: str = "GET", user: str = "ann:secret") -> Response:
            headers = {"host": "cache.example"}
            if user:
                headers["authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
            request = Request(
                method=method, path=f"/v2/{path}", query={"ns": ns} if ns else {}, headers=headers
            )
            return composed.service.quick(request) or composed.service.handle(request)

        yield asked
    app.close()


@pytest.mark.parametrize(
    ("path", "ns"),
    [
        ("docker.io/library/redis/manifests/7", ""),
        ("docker.io/redis/manifests/7", ""),
        ("library/redis/manifests/7", "docker.io"),
        ("library/redis/manifests/7", ""),
    ],
)
def test_the_gate_judges_by_the_name_here(ask: Ask, path: str, ns: str) -> None:
    nobody = ask(path, ns, user="")
    ann = ask(path, ns)

    assert (nobody.status, ann.status) == (401, 200)
    assert b"layers" in read(ann)


@pytest.mark.parametrize(
    ("path", "ns"),
    [
        ("docker.io/secret/app/manifests/7", ""),
        ("secret/app/manifests/7", "docker.io"),
        ("secret/app/manifests/7", ""),
    ],
)
def test_no_spelling_gets_past_a_rule(ask: Ask, fake: FakeRegistry, path: str, ns: str) -> None:
    assert ask(path, ns).status in (401, 403)
    assert not fake.seen("/secret/")


def test_nothing_is_pushed_to_a_copy(ask: Ask, fake: FakeRegistry) -> None:
    assert ask("docker.io/library/redis/blobs/uploads/", method="POST").status == 403
    assert not fake.requests


TLS = Path(__file__).parents[1] / "remotes" / "tls"


@pytest.mark.parametrize(("ca", "status"), [(str(TLS / "ca.pem"), 200), (None, 502)])
def test_an_upstream_may_have_an_authority_of_its_own(tmp_path: Path, ca: str | None, status: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    with FakeRegistry(tls=context) as fake:
        fake.image("library/redis", "7", [b"layer"])
        table = {"host": "corp.example", "server": fake.url, **({"ca": ca} if ca else {})}
        serve = ServeSettings.read(
            Table({"cache": {"upstream": [table]}}, where="serve.toml", folder=str(tmp_path))
        )
        app = App(Config(root=str(tmp_path / "store")))

        with app.serving(serve, Metrics()) as composed:
            request = Request(method="GET", path="/v2/corp.example/library/redis/manifests/7")
            answer = composed.service.handle(request)
            answer.close()
        app.close()

    assert answer.status == status


class Echo:
    """Says what it was asked for."""

    def handle(self, request: Request) -> Response:
        return Response(status=200, body=request.path.encode(errors="replace"))

    quick = handle


NAMING = Naming(
    Echo(),
    Upstreams(CacheSettings(upstreams=(upstream("docker.io"), upstream("*"))), lambda _upstream: None),  # type: ignore[arg-type, return-value] # nobody is asked
    MemoryRepositories(),
    names=(),
    now=Clock(),
)
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            ["v2", "docker.io", "redis", "manifests", "blobs", "uploads", "..", "", ".", "a_1", "%2e"]
        ),
        st.text(max_size=12),
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(pieces=PIECES, ns=st.one_of(st.none(), st.sampled_from(["docker.io", "a.example:5000"]), st.text()))
def test_no_path_leaves_its_upstream(pieces: list[str], ns: str | None) -> None:
    path = "/" + "/".join(pieces)

    answer = NAMING.handle(Request(method="GET", path=path, query={} if ns is None else {"ns": ns}))

    assert isinstance(answer.body, bytes)
    named = answer.body.decode()
    if answer.status == 200 and named != path.encode(errors="replace").decode():
        # A host is never taken out of the middle of what somebody sent.
        host = "docker.io" if ns is None else ns.lower().replace(":", "_")
        assert named.startswith((f"/v2/{host}/", "/v2/docker.io/", path))
