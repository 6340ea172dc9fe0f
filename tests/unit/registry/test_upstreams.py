"""Which upstream a repository is a copy of, and what requests are called."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.registry.cachekit import Clock, upstream

from distore.errors import InvalidArgument
from distore.registry.cachenames import Naming
from distore.registry.cachesettings import CacheSettings
from distore.registry.message import Request, Response
from distore.registry.table import Table
from distore.registry.upstreams import Upstreams, credentials_of
from distore.testing.memory_repositories import MemoryRepositories

HUB = upstream("docker.io")
LOCAL = upstream("localhost:5001")
NESTED = upstream("quay.io", prefix="docker.io/quay")


def upstreams(*given: object, default: str | None = None) -> Upstreams:
    def connect(_upstream: object) -> None:
        raise AssertionError("nobody is asked")

    settings = CacheSettings(upstreams=given, default=default)  # type: ignore[arg-type] # as given
    return Upstreams(settings, connect)  # type: ignore[arg-type] # never called


@pytest.mark.parametrize(
    ("repository", "reference", "name"),
    [
        ("docker.io/library/redis", "docker.io/library/redis", "docker.io/library/redis"),
        ("docker.io/redis", "docker.io/library/redis", "docker.io/library/redis"),
        ("localhost_5001/a/b", "localhost:5001/a/b", "localhost_5001/a/b"),
        ("docker.io/quay/coreos/etcd", "quay.io/coreos/etcd", "docker.io/quay/coreos/etcd"),
    ],
)
def test_a_prefix_names_an_upstream(repository: str, reference: str, name: str) -> None:
    copy = upstreams(HUB, LOCAL, NESTED).copy(repository)

    assert copy is not None
    assert (copy.reference.name, copy.repository) == (reference, name)


def test_hosts_that_are_no_upstreams_of_their_own_wait_for_few_others() -> None:
    asked = upstreams(HUB, upstream("*"))
    lanes = {copy.lane for number in range(200) if (copy := asked.copy(f"r{number}.example/a/b"))}
    hub = {copy.lane for name in ("a", "b") if (copy := asked.copy(f"docker.io/{name}"))}

    assert 8 <= len(lanes) <= 16
    assert len(hub) == 1 and not hub & lanes


@pytest.mark.parametrize(
    "repository", ["redis", "docker.io", "docker.iox/redis", "quay.io/a/b", "docker.io/A"]
)
def test_other_repositories_are_copies_of_nothing(repository: str) -> None:
    assert upstreams(HUB).copy(repository) is None


@pytest.mark.parametrize(
    ("repository", "reference"),
    [
        ("ghcr.io/a/b", "ghcr.io/a/b"),
        ("localhost_5001/a", "localhost:5001/a"),
        ("team/app", None),
        ("a_b.example/x", None),
        ("x_5000/app", "x:5000/app"),
        ("docker.io/redis", "docker.io/library/redis"),
    ],
)
def test_any_host_is_an_upstream_when_somebody_said_so(repository: str, reference: str | None) -> None:
    copy = upstreams(upstream("*")).copy(repository)

    assert (copy and copy.reference.name) == reference


class Echo:
    """Says what it was asked for."""

    def handle(self, request: Request) -> Response:
        return Response(status=200, body=request.path.encode())

    quick = handle


@pytest.fixture
def asked() -> Callable[..., str]:
    repositories = MemoryRepositories()
    repositories.shown["mine/app"] = {}
    naming = Naming(
        Echo(),
        upstreams(HUB, LOCAL, default="docker.io"),
        repositories,
        names=("cache.example",),
        now=Clock(),
    )

    def ask(path: str, ns: str = "", method: str = "GET") -> str:
        request = Request(method=method, path=path, query={"ns": ns} if ns else {})
        answer = naming.handle(request)
        quick = naming.quick(request)
        assert isinstance(answer.body, bytes)
        # The quick way leads to the same place, or says nothing.
        assert answer.status == 404 or quick is None or quick.body == answer.body
        return answer.body.decode() if answer.status == 200 else str(answer.status)

    return ask


@pytest.mark.parametrize(
    ("path", "ns", "name"),
    [
        ("/v2/library/redis/manifests/7", "docker.io", "/v2/docker.io/library/redis/manifests/7"),
        ("/v2/redis/manifests/7", "docker.io", "/v2/docker.io/library/redis/manifests/7"),
        ("/v2/library/redis/blobs/x", "registry-1.docker.io", "/v2/docker.io/library/redis/blobs/x"),
        ("/v2/a/tags/list", "localhost:5001", "/v2/localhost_5001/a/tags/list"),
        ("/v2/a/tags/list", "quay.io", "404"),
        ("/v2/mine/app/tags/list", "cache.example", "/v2/mine/app/tags/list"),
        ("/v2/docker.io/redis/tags/list", "cache.example", "/v2/docker.io/library/redis/tags/list"),
        ("/v2/mine/app/tags/list", "", "/v2/mine/app/tags/list"),
        ("/v2/docker.io/redis/tags/list", "", "/v2/docker.io/library/redis/tags/list"),
        ("/v2/library/redis/manifests/7", "", "/v2/docker.io/library/redis/manifests/7"),
        ("/v2/redis/manifests/7", "", "/v2/docker.io/library/redis/manifests/7"),
        ("/v2/../etc/manifests/7", "", "/v2/../etc/manifests/7"),
        ("/v2/", "docker.io", "/v2/"),
        ("/v2/", "", "/v2/"),
        ("/", "docker.io", "/"),
        ("/v2/_catalog", "", "/v2/_catalog"),
    ],
)
def test_a_request_gets_the_name_that_its_repository_has_here(
    asked: Callable[..., str], path: str, ns: str, name: str
) -> None:
    assert asked(path, ns) == name


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_is_written_does_not_go_to_the_default_upstream(asked: Callable[..., str], method: str) -> None:
    path = "/v2/new/app/manifests/1"

    assert asked(path, method=method) == path


def test_a_head_of_a_blob_before_a_push_does_not_go_to_the_default_upstream(
    asked: Callable[..., str],
) -> None:
    path = "/v2/new/app/blobs/sha256:00"

    assert asked(path, method="HEAD") == path


def test_a_password_is_for_its_server_alone() -> None:
    given = upstream("docker.io", server="https://hub.example:8443/v2", username="ann", password="secret")

    credentials = credentials_of(given)

    assert credentials is not None
    assert credentials.credential("hub.example:8443", "x") is not None
    assert credentials.credential("docker.io", "x") is None
    assert credentials.credential("mirror.example", "x") is None
    assert "secret" not in repr(given)


def read(values: dict[str, object], folder: str = ".") -> CacheSettings:
    return CacheSettings.read(Table(values, where="serve.toml: [cache]", folder=folder))


def test_nothing_is_copied_by_default() -> None:
    assert read({}) == CacheSettings()


def test_settings_say_how_an_upstream_is_reached() -> None:
    settings = read(
        {
            "tags_fresh": "5m",
            "budget": "50G",
            "default": "docker.io",
            "upstream": [{"host": "docker.io"}, {"host": "localhost:5001", "prefix": "dev", "tags_fresh": 0}],
        }
    )

    hub, local = settings.upstreams
    assert (hub.prefix, hub.tags_fresh, local.prefix, local.tags_fresh) == ("docker.io", 300, "dev", 0)
    assert settings.budget == 50 * 10**9


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"upstream": [{}]}, "host"),
        ({"upstream": [{"host": "not a host"}]}, "host"),
        ({"upstream": [{"host": "docker.io", "prefix": "Bad"}]}, "prefix"),
        ({"upstream": [{"host": "docker.io"}, {"host": "docker.io"}]}, "upstream"),
        ({"upstream": [{"host": "docker.io", "username": "ann"}]}, "username"),
        ({"upstream": [{"host": "docker.io", "password_file": "gone"}]}, "password_file"),
        ({"upstream": [{"host": "docker.io", "ca": "gone"}]}, "ca"),
        ({"upstream": [{"host": "docker.io", "server": "docker.example"}]}, "server"),
        ({"upstream": [{"host": "*", "prefix": "all"}]}, "prefix"),
        ({"upstream": [{"host": "*", "server": "https://x.example"}]}, "host"),
        ({"upstream": [{"host": "docker.io", "hots": 1}]}, "hots"),
        ({"default": "docker.io"}, "default"),
        ({"budget": "much"}, "budget"),
        ({"offlin": True}, "offlin"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_key(values: dict[str, object], key: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{key!r}"):
        read(values)
