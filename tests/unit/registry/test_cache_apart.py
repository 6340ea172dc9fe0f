"""A cache whose clients, repositories and upstreams do not stand in each other's way."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.registry.cachekit import Clock, Kit, read, running, upstream

from distore.app import App
from distore.config import Config
from distore.content.local.store import LocalStore
from distore.errors import Unavailable
from distore.oci.digest import Digest
from distore.registry.cachesettings import CacheSettings
from distore.registry.message import LATER, Handler, Request, Response
from distore.registry.upstreams import credentials_of
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.testing import server
from distore.testing.server import FakeRegistry

LAYERS = (random.Random(7).randbytes(300_000), b"small")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.image("library/redis", "7", LAYERS)
        yield registry


@pytest.fixture
def kit(tmp_path: Path, fake: FakeRegistry) -> Iterator[Kit]:
    app = App(Config(root=str(tmp_path / "served")))
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),))
    with running(app.content, settings, repositories=app.repositories, clock=Clock.real()) as kit:
        yield kit
    app.close()


def test_a_thread_that_may_not_wait_asks_no_upstream(kit: Kit, fake: FakeRegistry) -> None:
    paths = ["manifests/7", f"blobs/{Digest.of(LAYERS[1])}", "tags/list"]

    def hasty(path: str) -> int:
        request = Request(method="GET", path=f"/v2/hub/library/redis/{path}", patient=False)
        response = kit.service.handle(request)
        response.close()
        return response.status

    before = [hasty(path) for path in paths]
    asked = len(fake.requests)
    for path in paths:
        kit.get(f"hub/library/redis/{path}")

    assert (before, asked) == ([LATER] * 3, 0)
    assert [hasty(path) for path in paths[:2]] == [200, 200]


def test_what_fails_for_another_repository_is_asked_for_here(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    kit.get("hub/library/redis/manifests/7")
    stranger = {
        **json.loads(kit.get("hub/library/redis/manifests/7")),
        "annotations": {"names": "what another repository has"},
    }
    kind = "application/vnd.oci.image.manifest.v1+json"
    fake.tag("library/stranger", "7", json.dumps({**stranger, "mediaType": kind}).encode(), kind)
    asked, go_on = threading.Event(), threading.Event()

    def late(request: Request, handler: Handler) -> Response:
        asked.set()
        go_on.wait(30)
        return handler(request)

    fake.inject(late, path=f"stranger/blobs/{digest}", times=1)
    kit.get("hub/library/stranger/manifests/7")
    answers: list[Response] = []
    paths = [f"hub/library/{name}/blobs/{digest}" for name in ("stranger", "redis")]
    threads = [threading.Thread(target=lambda path=path: answers.append(kit.ask(path))) for path in paths]
    threads[0].start()
    assert asked.wait(30)
    threads[1].start()
    while not any(request.path.endswith(f"redis/blobs/{digest}") for request in fake.requests):
        threads[1].join(0.01)
    go_on.set()
    for thread in threads:
        thread.join()

    assert sorted(answer.status for answer in answers) == [200, 404]
    assert [read(answer) for answer in answers if answer.status == 200] == [LAYERS[0]]


@pytest.mark.slow
def test_two_upstreams_that_have_the_same_blob_do_not_wait_for_each_other(
    store: LocalStore, fake: FakeRegistry
) -> None:
    digest, over = Digest.of(LAYERS[0]), threading.Event()
    with FakeRegistry() as other:
        other.image("library/redis", "7", LAYERS)
        settings = CacheSettings(
            upstreams=(upstream(fake.address, prefix="hub"), upstream(other.address, prefix="other"))
        )

        def stuck(request: Request, handler: Handler) -> Response:
            over.wait(30)
            return handler(request)

        other.inject(stuck, path="/blobs/")
        with running(store, settings, clock=Clock.real()) as kit:
            kit.get("other/library/redis/manifests/7")
            kit.get("hub/library/redis/manifests/7")
            held = kit.ask(f"other/library/redis/blobs/{digest}")

            assert kit.get(f"hub/library/redis/blobs/{digest}") == LAYERS[0]

            over.set()
            assert read(held) == LAYERS[0]


def test_who_sees_a_manifest_first_asks_for_no_size_of_its_blobs(
    store: LocalStore, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"hub/library/redis/blobs/{Digest.of(LAYERS[0])}"
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),))
    with running(store, settings, clock=Clock.real()) as kit:
        put, got = kit.repositories.put_manifest, []

        def seen_at_once(*words: Any, **more: Any) -> object:
            done = put(*words, **more)
            got.append(kit.get(path))
            return done

        monkeypatch.setattr(kit.repositories, "put_manifest", seen_at_once)
        kit.get("hub/library/redis/manifests/7")

    assert got == [LAYERS[0]]
    assert [request.headers.get("range") for request in fake.seen("/blobs/")] == [None]


def test_a_blob_that_its_upstream_calls_encoded_is_had_by_a_process_that_saw_no_manifest(
    kit: Kit, fake: FakeRegistry
) -> None:
    kit.get("hub/library/redis/manifests/7")
    fake.inject(server.with_headers(content_encoding="gzip"), path="/blobs/", times=None)
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),))

    with running(kit.store, settings, repositories=kit.repositories, clock=Clock.real()) as other:
        assert other.get(f"hub/library/redis/blobs/{Digest.of(LAYERS[0])}") == LAYERS[0]


def test_a_refusal_tells_clients_nothing_of_who_was_refused(store: LocalStore) -> None:
    with FakeRegistry(users={"robot": "right"}) as guarded:
        guarded.image("library/redis", "7", LAYERS)
        hub = upstream(guarded.address, prefix="hub", username="robot", password="wrong")
        settings, options = CacheSettings(upstreams=(hub,)), RegistryOptions(credentials=credentials_of(hub))
        with (
            HttpResolver(options) as resolver,
            running(store, settings, connect=lambda _upstream: resolver) as kit,
        ):
            answer = kit.ask("hub/library/redis/manifests/7")

    assert answer.status == 403
    assert b"robot" not in read(answer)
    assert "robot" in kit.notes[0]


def test_the_end_does_not_wait_for_another_process_that_downloads(
    store: LocalStore, fake: FakeRegistry
) -> None:
    digest = Digest.of(LAYERS[0])
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),))
    other = App(Config(root=store.root))
    with other.content.writer(f"cache-{fake.address}-{digest}") as writer:
        writer.write(LAYERS[0][:1000])
        with running(store, settings, clock=Clock.real()) as kit:
            kit.get("hub/library/redis/manifests/7")
            answer = kit.ask(f"hub/library/redis/blobs/{digest}")

        with pytest.raises(Unavailable, match="about to end"):
            read(answer)
    other.close()


def test_a_tag_that_was_checked_in_the_future_is_not_fresh(kit: Kit, fake: FakeRegistry) -> None:
    kit.get("hub/library/redis/manifests/7")
    kit.clock.now -= 86400

    kit.get("hub/library/redis/manifests/7")

    assert len(fake.seen("/manifests/7")) == 2


def test_a_failure_that_many_wait_for_is_one_line_of_the_log(kit: Kit, fake: FakeRegistry) -> None:
    fake.inject(server.refuse(403), path="/manifests/", times=None)

    threads = [threading.Thread(target=kit.ask, args=("hub/library/redis/manifests/8",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(kit.notes) == 1
