"""What is at hand: the same answers as ever, for as long as they hold."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from distore.content.memory import MemoryStore
from distore.errors import Unavailable
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry import pulls, recent
from distore.registry.message import BytesBody, Request, Response
from distore.registry.recent import MAX_AGE, Recent
from distore.registry.routes import PushRegistry
from distore.repositories import Pull
from distore.testing.memory_repositories import MemoryRepositories

BLOB = b"{}"
DIGEST = Digest.of(BLOB)
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": mediatypes.OCI_EMPTY, "digest": DIGEST, "size": 2},
        "layers": [],
    }
).encode()
NAME = Digest.of(MANIFEST)


class Steady(MemoryRepositories):
    """Has the same version until ``changed``, and remembers what it was told of pulls."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = 0
        self.pulls: list[Pull] = []
        self.used = 0
        self.busy = False

    def version(self) -> int:
        return self.changed

    def use(self, repository: str, digest: Digest, /) -> bool:
        self.used += 1
        return super().use(repository, digest)

    def note_pulled(self, pulls: Iterable[Pull], /) -> None:
        if self.busy:
            raise Unavailable("x")
        self.pulls += pulls


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def offers() -> Steady:
    return Steady()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(store: MemoryStore, offers: Steady, clock: Clock) -> PushRegistry:
    """With one manifest, "latest" of "a"."""
    made = PushRegistry(store, offers, now=clock)
    for method, path, query, body in [
        ("POST", "/v2/a/blobs/uploads/", {"digest": str(DIGEST)}, BLOB),
        ("PUT", "/v2/a/manifests/latest", {}, MANIFEST),
    ]:
        assert made.handle(Request(method=method, path=path, query=query, body=BytesBody(body))).status == 201
    return made


def ask(path: str, method: str = "GET", **headers: str) -> Request:
    return Request(method=method, path=path, headers={k.replace("_", "-"): v for k, v in headers.items()})


EVERY = [
    ask("/v2/"),
    ask("/v2/a/manifests/latest"),
    ask("/v2/a/manifests/latest", "HEAD"),
    ask(f"/v2/a/manifests/{NAME}"),
    ask(f"/v2/a/blobs/{DIGEST}", "HEAD"),
    ask("/v2/a/tags/list"),
]


def same(one: Response, other: Response) -> bool:
    """Whether a client could tell them apart, but for the connection."""
    length = [answer.headers.get("content-length", str(answer.length)) for answer in (one, other)]
    plain = [{k: v for k, v in answer.headers.items() if k != "content-length"} for answer in (one, other)]
    return (one.status, length[0], plain[0]) == (other.status, length[1], plain[1])


@pytest.mark.parametrize("request_", EVERY, ids=lambda request: f"{request.method} {request.path[:25]}")
def test_what_was_answered_is_at_hand(registry: PushRegistry, request_: Request) -> None:
    assert registry.quick(request_) is None
    slow = registry.handle(request_)

    quick = registry.quick(request_)

    assert quick is not None
    assert same(slow, quick)


@pytest.mark.parametrize("request_", EVERY, ids=lambda request: f"{request.method} {request.path[:25]}")
def test_a_change_ends_what_is_at_hand(registry: PushRegistry, offers: Steady, request_: Request) -> None:
    registry.handle(request_)

    offers.changed += 1

    assert registry.quick(request_) is None


def test_a_file_that_is_deleted_under_it_is_served_for_a_moment_at_most(
    registry: PushRegistry, store: MemoryStore, clock: Clock
) -> None:
    request = ask("/v2/a/manifests/latest")
    registry.handle(request)
    store.delete(NAME)

    clock.now += MAX_AGE

    assert registry.quick(request) is None
    assert registry.handle(request).status == 404
    assert registry.quick(request) is None


def test_a_clock_that_goes_back_ends_it(registry: PushRegistry, clock: Clock) -> None:
    registry.handle(ask("/v2/"))

    clock.now -= 1

    assert registry.quick(ask("/v2/")) is None


def test_a_change_during_the_look_up_is_not_missed(
    registry: PushRegistry, offers: Steady, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, real = ask("/v2/a/manifests/latest"), offers.tag

    def racing(repository: str, name: str, /) -> object:
        found = real(repository, name)
        offers.changed += 1
        return found

    monkeypatch.setattr(offers, "tag", racing)
    registry.handle(request)

    assert registry.quick(request) is None


def test_who_is_told_that_a_blob_is_there_relies_on_its_being_used(
    registry: PushRegistry, offers: Steady, clock: Clock
) -> None:
    request = ask(f"/v2/a/blobs/{DIGEST}", "HEAD")
    registry.handle(request)
    used = offers.used

    clock.now += MAX_AGE
    assert registry.quick(request) is None
    registry.handle(request).close()

    assert offers.used > used


@pytest.mark.parametrize(
    "request_",
    [
        ask(f"/v2/a/blobs/{DIGEST}"),
        ask("/v2/a/manifests/gone"),
        ask("/v2/a/manifests/latest", range="bytes=0-1"),
        ask("/v2/a/manifests/latest", if_none_match=f'"{NAME}"'),
        Request(method="GET", path="/v2/a/tags/list", query={"n": "1"}),
        ask("/v2/_catalog"),
        ask(f"/v2/a/referrers/{NAME}"),
        ask("/v2/a/manifests/latest", "DELETE"),
        ask("/v2/", "POST"),
    ],
    ids=lambda request: f"{request.method} {request.path[:25]}",
)
def test_nothing_else_is_kept(registry: PushRegistry, request_: Request) -> None:
    registry.handle(request_).close()

    assert registry.quick(request_) is None


@pytest.mark.parametrize("header", ["range", "if-none-match", "if-range"])
def test_a_condition_is_not_passed_over(registry: PushRegistry, header: str) -> None:
    registry.handle(ask("/v2/a/manifests/latest"))

    request = Request(method="GET", path="/v2/a/manifests/latest", headers={header: "x"})

    assert registry.quick(request) is None


def test_memory_has_an_end(clock: Clock) -> None:
    kept = Recent(lambda: 1, clock, capacity=100_000)
    for number in range(50):
        kept.keep(ask(f"/{number}"), Response(status=200, body=b"x" * 8000), version=1)

    held = [number for number in range(50) if kept.get(ask(f"/{number}")) is not None]

    assert held == list(range(41, 50))
    kept.keep(ask("/large"), Response(status=200, body=bytes(recent.MAX_BODY + 1)), version=1)
    assert kept.get(ask("/large")) is None


def test_pulls_are_written_down_together(registry: PushRegistry, offers: Steady, clock: Clock) -> None:
    for path in ["/v2/a/manifests/latest", f"/v2/a/manifests/{NAME}", "/v2/a/manifests/latest"]:
        registry.quick(ask(path)) or registry.handle(ask(path))
    assert offers.pulls == []

    registry.close()

    assert {(pull.repository, pull.digest, pull.tag) for pull in offers.pulls} == {
        ("a", NAME, "latest"),
        ("a", NAME, None),
    }


def test_pulls_are_written_down_every_minute(registry: PushRegistry, offers: Steady, clock: Clock) -> None:
    registry.handle(ask("/v2/a/manifests/latest", "HEAD"))
    clock.now += pulls.INTERVAL

    registry.handle(ask("/v2/a/manifests/latest", "HEAD"))

    assert [pull.when for pull in offers.pulls] == [clock.now]


def test_pulls_wait_for_a_busy_disk(registry: PushRegistry, offers: Steady) -> None:
    registry.handle(ask("/v2/a/manifests/latest"))
    offers.busy = True
    registry.expire(0)

    offers.busy = False
    registry.expire(0)

    assert len(offers.pulls) == 1
