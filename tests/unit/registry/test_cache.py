"""A registry that keeps copies of others, in front of one that can be told to misbehave."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.registry.cachekit import Clock, Kit, read, running, upstream

from distore.app import App
from distore.config import Config
from distore.content.local.store import LocalStore
from distore.errors import DistoreError
from distore.oci.digest import Digest
from distore.registry.cachesettings import CacheSettings
from distore.registry.message import Slice
from distore.testing import server
from distore.testing.server import FakeRegistry

LAYERS = (random.Random(7).randbytes(3 << 20), b"small")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.image("library/redis", "7", LAYERS)
        yield registry


@pytest.fixture
def settings(fake: FakeRegistry) -> CacheSettings:
    return CacheSettings(
        upstreams=(upstream(fake.address, prefix="hub"),), default=fake.address, patience=5.0
    )


@pytest.fixture
def kit(tmp_path: Path, settings: CacheSettings) -> Iterator[Kit]:
    app = App(Config(root=str(tmp_path / "served")))
    with running(app.content, settings, repositories=app.repositories, clock=Clock.real()) as kit:
        yield kit
    app.close()


def layers(kit: Kit, repository: str = "hub/library/redis") -> list[Digest]:
    document = json.loads(kit.get(f"{repository}/manifests/7"))
    return [Digest(layer["digest"]) for layer in document["layers"]]


def test_an_image_is_had_from_the_upstream_once(kit: Kit, fake: FakeRegistry) -> None:
    first = [kit.get(f"hub/library/redis/blobs/{digest}") for digest in layers(kit)]
    second = [kit.get(f"hub/library/redis/blobs/{digest}") for digest in layers(kit)]

    assert first == second == list(LAYERS)
    assert len(fake.seen("/manifests/")) == 1
    assert len(fake.seen("/blobs/")) == 2
    assert kit.repositories.is_cached("hub/library/redis")


def test_many_clients_at_once_cost_one_download(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    got: list[bytes] = []
    fake.inject(server.trickle(16 * 1024), path=f"/blobs/{digest}", times=None)

    def pull() -> None:
        layers(kit)
        got.append(kit.get(f"hub/library/redis/blobs/{digest}"))

    threads = [threading.Thread(target=pull) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert got == [LAYERS[0]] * 32
    assert len(fake.seen(f"/blobs/{digest}")) == 1
    assert len(fake.seen("/manifests/")) == 1


def test_bytes_are_served_while_they_arrive(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    layers(kit)
    fake.inject(server.drop_at(1 << 20), path=f"/blobs/{digest}", times=None)

    response = kit.ask(f"hub/library/redis/blobs/{digest}")

    assert isinstance(response.body, Slice)
    assert response.body.reader.read_at(1000, 0) == LAYERS[0][:1000]
    assert not kit.repositories.has("hub/library/redis", digest)
    response.close()


def test_a_range_of_what_is_on_its_way_is_served(kit: Kit) -> None:
    digest = Digest.of(LAYERS[0])
    layers(kit)

    response = kit.ask(f"hub/library/redis/blobs/{digest}", range="bytes=2000000-2000099")

    assert response.status == 206
    assert response.headers["content-range"] == f"bytes 2000000-2000099/{len(LAYERS[0])}"
    assert read(response) == LAYERS[0][2000000:2000100]


def test_head_of_a_blob_downloads_nothing(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])

    response = kit.ask(f"hub/library/redis/blobs/{digest}", "HEAD")

    assert (response.status, response.length) == (200, len(LAYERS[0]))
    assert fake.bytes_sent < 1000
    assert not kit.repositories.exists("hub/library/redis")


def test_wrong_bytes_never_look_whole_and_are_not_kept(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    layers(kit)
    fake.inject(server.other_bytes(), path=f"/blobs/{digest}")

    response = kit.ask(f"hub/library/redis/blobs/{digest}")
    with pytest.raises(DistoreError):
        read(response)

    assert list(kit.store.walk(f"digest=={digest}")) == []
    assert not kit.repositories.has("hub/library/redis", digest)


def test_a_blob_that_failed_is_had_by_a_later_request(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    layers(kit)
    fake.inject(server.other_bytes(), path=f"/blobs/{digest}")
    with pytest.raises(DistoreError):
        read(kit.ask(f"hub/library/redis/blobs/{digest}"))
    kit.cache.settle()

    assert kit.get(f"hub/library/redis/blobs/{digest}") == LAYERS[0]


def test_a_client_that_goes_away_ends_no_download(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    layers(kit)

    kit.ask(f"hub/library/redis/blobs/{digest}").close()
    kit.cache.settle()

    assert kit.repositories.has("hub/library/redis", digest)


def test_a_fresh_tag_is_served_without_asking(kit: Kit, fake: FakeRegistry) -> None:
    kit.get("hub/library/redis/manifests/7")
    kit.clock.now += 45
    kit.get("hub/library/redis/manifests/7")

    assert len(fake.seen("/manifests/")) == 1


def test_a_tag_that_is_not_fresh_is_asked_for_by_head(kit: Kit, fake: FakeRegistry) -> None:
    kit.get("hub/library/redis/manifests/7")
    kit.clock.now += 75
    kit.get("hub/library/redis/manifests/7")

    assert [request.method for request in fake.seen("/manifests/")] == ["GET", "HEAD"]


def test_a_tag_that_moved_moves_here_too(kit: Kit, fake: FakeRegistry) -> None:
    old = kit.get("hub/library/redis/manifests/7")
    fake.image("library/redis", "7", [b"newer"])
    kit.clock.now += 75

    new = kit.get("hub/library/redis/manifests/7")

    assert new != old
    assert kit.get(f"hub/library/redis/manifests/{Digest.of(old)}") == old


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_known_tag_is_served_when_the_upstream_does_not_answer(
    kit: Kit, fake: FakeRegistry, status: int
) -> None:
    known = kit.get("hub/library/redis/manifests/7")
    fake.inject(server.refuse(status, retry_after="600"), times=None)
    kit.clock.now += 75

    response = kit.ask("hub/library/redis/manifests/7")

    assert read(response) == known
    assert response.headers["warning"].startswith('299 - "')
    assert kit.counted("stale") == 1
    assert kit.notes


def test_without_stale_a_tag_is_not_served_when_the_upstream_does_not_answer(
    store: LocalStore, fake: FakeRegistry
) -> None:
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),), stale=False)
    with running(store, settings) as kit:
        kit.get("hub/library/redis/manifests/7")
        fake.inject(server.refuse(503, retry_after="600"), times=None)
        kit.clock.now += 75

        assert kit.ask("hub/library/redis/manifests/7").status == 503


def test_what_the_upstream_does_not_have_is_not_asked_for_again(kit: Kit, fake: FakeRegistry) -> None:
    statuses = [kit.ask("hub/library/nothing/manifests/1").status for _ in range(3)]
    asked = len(fake.seen("/manifests/"))
    kit.clock.now += 31
    kit.ask("hub/library/nothing/manifests/1")

    assert statuses == [404] * 3
    assert asked == 1
    assert len(fake.seen("/manifests/")) == 2


def test_a_tag_that_the_upstream_has_lost_is_lost_here(kit: Kit, fake: FakeRegistry) -> None:
    kit.get("hub/library/redis/manifests/7")
    del fake.repositories["library/redis"]["7"]
    kit.clock.now += 75

    assert kit.ask("hub/library/redis/manifests/7").status == 404


@pytest.mark.parametrize(("status", "answer"), [(401, 403), (403, 403), (500, 503), (418, 502)])
def test_a_refusal_of_the_upstream_is_none_of_ours(
    kit: Kit, fake: FakeRegistry, status: int, answer: int
) -> None:
    fake.inject(server.refuse(status, retry_after="600"), times=None)

    assert kit.ask("hub/library/redis/manifests/7").status == answer


def test_a_page_that_is_no_manifest_is_not_kept(kit: Kit, fake: FakeRegistry) -> None:
    fake.tag("library/redis", "7", b"<html>please log in</html>", "text/html")

    assert kit.ask("hub/library/redis/manifests/7").status == 502
    assert not kit.repositories.exists("hub/library/redis")


def test_offline_nobody_is_asked(store: LocalStore, fake: FakeRegistry) -> None:
    offline = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),), offline=True)
    with running(store, offline) as kit:
        assert kit.ask("hub/library/redis/manifests/7").status == 404

    assert fake.requests == []


def test_a_digest_that_another_repository_has_is_asked_for(kit: Kit, fake: FakeRegistry) -> None:
    secret = Digest.of(b"secret")
    assert kit.ask(f"private/blobs/uploads/?digest={secret}", "POST", b"secret").status == 201

    response = kit.ask(f"hub/library/redis/blobs/{secret}")

    assert response.status == 404
    assert len(fake.seen(f"/blobs/{secret}")) == 1


def test_what_two_repositories_of_an_upstream_have_comes_once(kit: Kit, fake: FakeRegistry) -> None:
    fake.image("library/other", "7", LAYERS)
    digest = Digest.of(LAYERS[0])
    layers(kit)
    kit.get(f"hub/library/redis/blobs/{digest}")
    layers(kit, "hub/library/other")
    sent = fake.bytes_sent

    assert kit.get(f"hub/library/other/blobs/{digest}") == LAYERS[0]
    assert fake.bytes_sent - sent < 100


def test_ns_says_which_upstream_is_meant(kit: Kit, fake: FakeRegistry) -> None:
    manifest = kit.get(f"library/redis/manifests/7?ns={fake.address}")

    assert kit.get("hub/library/redis/manifests/7") == manifest
    assert kit.ask("library/redis/manifests/7?ns=elsewhere.example").status == 404


def test_the_default_upstream_has_what_is_not_here(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(b"mine")
    kit.ask(f"mine/blobs/uploads/?digest={digest}", "POST", b"mine")

    assert kit.ask("library/redis/manifests/7").status == 200
    assert kit.get(f"mine/blobs/{digest}") == b"mine"
    assert kit.ask("mine/manifests/7").status == 404
    assert not fake.seen("/v2/mine/")


def test_a_push_to_a_new_name_does_not_meet_the_default_upstream(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[1])

    assert kit.ask(f"library/redis/blobs/{digest}", "HEAD").status == 404
    assert kit.ask(f"library/redis/blobs/uploads/?digest={digest}", "POST", LAYERS[1]).status == 201
    assert fake.requests == []


def test_a_copy_takes_no_push(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(b"x")
    response = kit.ask(f"hub/library/redis/blobs/uploads/?digest={digest}", "POST", b"x")

    by_mirror = kit.ask(f"library/redis/blobs/uploads/?ns={fake.address}", "POST")

    assert (response.status, by_mirror.status) == (403, 403)
    assert fake.requests == []


def test_with_push_a_tag_that_was_pushed_stays(store: LocalStore, fake: FakeRegistry) -> None:
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),), push=True)
    with running(store, settings) as kit:
        manifest = kit.get("hub/library/redis/manifests/7")
        for digest in (Digest(part["digest"]) for part in json.loads(manifest)["layers"]):
            kit.get(f"hub/library/redis/blobs/{digest}")
        kit.get(f"hub/library/redis/blobs/{json.loads(manifest)['config']['digest']}")
        kind = "application/vnd.oci.image.manifest.v1+json"
        pushed = kit.ask("hub/library/redis/manifests/mine", "PUT", manifest, content_type=kind)
        kit.clock.now += 1000

        assert pushed.status == 201
        assert kit.get("hub/library/redis/manifests/mine") == manifest
        assert not fake.seen("/manifests/mine")


def test_tags_are_those_of_the_upstream(kit: Kit, fake: FakeRegistry) -> None:
    fake.image("library/redis", "8", [b"eight"])

    first = json.loads(kit.get("hub/library/redis/tags/list?n=1"))
    rest = json.loads(kit.get("hub/library/redis/tags/list?last=7"))

    assert (first["tags"], rest["tags"]) == (["7"], ["8"])
    assert len(fake.seen("/tags/list")) == 1


def test_known_tags_are_listed_when_the_upstream_does_not_answer(kit: Kit, fake: FakeRegistry) -> None:
    kit.get("hub/library/redis/manifests/7")
    fake.inject(server.refuse(503, retry_after="600"), times=None)

    assert json.loads(kit.get("hub/library/redis/tags/list"))["tags"] == ["7"]


def test_referrers_are_those_of_the_upstream(kit: Kit, fake: FakeRegistry) -> None:
    image = fake.repositories["library/redis"]["7"]
    signature = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/x-signature",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": str(fake.put("library/redis", b"{}")),
            "size": 2,
        },
        "layers": [],
        "subject": image.to_json(),
    }
    fake.tag("library/redis", "signed", json.dumps(signature).encode())

    found = json.loads(kit.get(f"hub/library/redis/referrers/{image.digest}"))
    none = json.loads(kit.get(f"hub/library/redis/referrers/{image.digest}?artifactType=other/kind"))

    assert [each["artifactType"] for each in found["manifests"]] == ["application/x-signature"]
    assert none["manifests"] == []


def test_a_download_that_was_broken_off_goes_on_where_it_was(
    store: LocalStore, settings: CacheSettings, fake: FakeRegistry
) -> None:
    digest = Digest.of(LAYERS[0])
    with running(store, settings) as kit:
        layers(kit)
        fake.inject(server.drop_at(2 << 20), path=f"/blobs/{digest}", times=1)
        fake.inject(server.refuse(503, retry_after="600"), path=f"/blobs/{digest}", times=1)
        with pytest.raises(DistoreError):
            kit.get(f"hub/library/redis/blobs/{digest}")
    sent = fake.bytes_sent

    with running(store, settings) as kit:
        layers(kit)
        assert kit.get(f"hub/library/redis/blobs/{digest}") == LAYERS[0]

    assert fake.bytes_sent - sent < (1 << 20) + 10_000


def test_a_hostile_name_is_refused(kit: Kit, fake: FakeRegistry) -> None:
    for name in ("hub/../../etc", "hub/UPPER", "hub/a//b", "hub/", "hub/" + "a" * 300):
        assert kit.ask(f"{name}/manifests/7").status in (400, 404)

    assert fake.requests == []


def test_a_known_tag_waits_no_longer_than_its_patience(store: LocalStore, fake: FakeRegistry) -> None:
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),), patience=0.05)
    with running(store, settings) as kit:
        known = kit.get("hub/library/redis/manifests/7")
        fake.inject(server.throttled(100), times=None)
        kit.clock.now += 75

        first = kit.ask("hub/library/redis/manifests/7")
        second = kit.ask("hub/library/redis/manifests/7")

        assert read(first) == read(second) == known
        assert "warning" in first.headers


def test_an_upstream_that_is_gone_is_no_end_of_what_is_known(kit: Kit, fake: FakeRegistry) -> None:
    known = kit.get("hub/library/redis/manifests/7")
    fake.stop()
    kit.clock.now += 75

    stale = kit.ask("hub/library/redis/manifests/7")
    unknown = kit.ask("hub/library/redis/manifests/8")

    assert read(stale) == known
    assert (unknown.status, unknown.headers["retry-after"]) == (503, "5")


def test_a_blob_whose_size_nobody_tells_is_served_when_it_is_whole(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    fake.inject(server.gzipped(), path=f"/blobs/{digest}", times=None)

    assert kit.get(f"hub/library/redis/blobs/{digest}") == LAYERS[0]


def test_an_upstream_that_knows_no_ranges_is_read_from_the_start(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    layers(kit)
    fake.inject(server.drop_at(1 << 20), path=f"/blobs/{digest}", times=1)
    fake.inject(server.ignore_range(), path=f"/blobs/{digest}", times=None)

    kit.ask(f"hub/library/redis/blobs/{digest}").close()
    kit.cache.settle()

    assert kit.get(f"hub/library/redis/blobs/{digest}") == LAYERS[0]


def test_a_blob_that_is_on_its_way_for_another_repository_is_asked_for(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    layers(kit)
    fake.inject(server.trickle(16 * 1024), path=f"redis/blobs/{digest}", times=1)
    first = kit.ask(f"hub/library/redis/blobs/{digest}")

    stranger = kit.ask(f"hub/library/stranger/blobs/{digest}")

    assert stranger.status == 404
    assert read(first) == LAYERS[0]
    assert not kit.repositories.has("hub/library/stranger", digest)


def test_a_blob_that_is_on_its_way_for_another_repository_comes_once(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    fake.image("library/other", "7", LAYERS)
    layers(kit)
    fake.inject(server.trickle(16 * 1024), path=f"redis/blobs/{digest}", times=1)
    first = kit.ask(f"hub/library/redis/blobs/{digest}")

    second = kit.ask(f"hub/library/other/blobs/{digest}")

    assert read(first) == read(second) == LAYERS[0]
    kit.cache.settle()
    assert kit.repositories.has("hub/library/other", digest)
    assert [request.headers.get("range") for request in fake.seen(f"other/blobs/{digest}")] == ["bytes=0-0"]


def test_an_index_is_kept_though_its_children_are_not(kit: Kit, fake: FakeRegistry) -> None:
    child = fake.repositories["library/redis"]["7"]
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [child.to_json()],
    }
    kind = "application/vnd.oci.image.index.v1+json"
    fake.tag("library/redis", "all", json.dumps(index).encode(), kind)

    response = kit.ask("hub/library/redis/manifests/all")
    manifest = kit.get(f"hub/library/redis/manifests/{child.digest}")

    assert response.headers["content-type"] == kind
    assert Digest.of(manifest) == child.digest
    assert len(fake.seen(f"/manifests/{child.digest}")) == 1


def test_a_hostile_size_in_a_manifest_brings_nothing(kit: Kit, fake: FakeRegistry) -> None:
    manifest = json.loads(fake.blobs.reader(fake.repositories["library/redis"]["7"].digest).read_at(9999, 0))
    manifest["layers"][0]["size"] = 5
    fake.tag("library/redis", "lie", json.dumps(manifest).encode())
    kit.get("hub/library/redis/manifests/lie")

    assert kit.ask(f"hub/library/redis/blobs/{manifest['layers'][0]['digest']}").status >= 500
    assert list(kit.store.walk(f"digest=={manifest['layers'][0]['digest']}")) == []


def test_a_manifest_over_the_limit_is_not_taken(kit: Kit, fake: FakeRegistry) -> None:
    fake.tag("library/redis", "large", b'{"schemaVersion": 2, "x": "' + b"x" * (5 << 20) + b'"}')

    assert kit.ask("hub/library/redis/manifests/large").status == 502


def test_a_wrong_digest_of_a_manifest_is_not_taken(kit: Kit, fake: FakeRegistry) -> None:
    fake.inject(server.claim_digest(str(Digest.of(b"other"))), path="/manifests/", times=None)

    assert kit.ask("hub/library/redis/manifests/7").status == 502
    assert not kit.repositories.exists("hub/library/redis")


def test_the_end_of_the_registry_breaks_off_who_waits(store: LocalStore, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),), downloads=1)
    fake.inject(server.trickle(1), path=f"/blobs/{digest}", times=None)
    with running(store, settings) as kit:
        layers(kit)
        response = kit.ask(f"hub/library/redis/blobs/{digest}")

    with pytest.raises(DistoreError):
        read(response)


def test_an_upstream_that_holds_everybody_up_holds_up_no_other_one(
    store: LocalStore, fake: FakeRegistry
) -> None:
    with FakeRegistry() as other:
        other.image("library/quick", "1", [b"quick"])
        settings = CacheSettings(
            upstreams=(upstream(fake.address, prefix="slow"), upstream(other.address, prefix="quick")),
            downloads=1,
        )
        with running(store, settings) as kit:
            layers(kit, "slow/library/redis")
            fake.inject(server.trickle(1), path="/blobs/", times=None)
            held = [kit.ask(f"slow/library/redis/blobs/{Digest.of(LAYERS[0])}") for _ in range(2)]

            manifest = json.loads(kit.get("quick/library/quick/manifests/1"))

            assert kit.get(f"quick/library/quick/blobs/{manifest['layers'][0]['digest']}") == b"quick"
            for response in held:
                response.close()


def test_an_image_of_schema_1_is_passed_on(kit: Kit, fake: FakeRegistry) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    old = b'{"schemaVersion": 1, "name": "library/redis", "tag": "old", "fsLayers": []}'
    fake.tag("library/redis", "old", old, kind)

    response = kit.ask("hub/library/redis/manifests/old")

    assert (read(response), response.headers["content-type"]) == (old, kind)


def test_a_blob_may_have_a_digest_of_sha512(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0], algorithm="sha512")
    with fake.store.writer("sha512", expected=digest) as writer:
        writer.write(LAYERS[0])
        writer.commit()
    fake.offer("library/redis", digest)

    assert kit.get(f"hub/library/redis/blobs/{digest}") == LAYERS[0]
    assert kit.get(f"hub/library/redis/blobs/{digest}") == LAYERS[0]
    assert len([seen for seen in fake.seen(f"/blobs/{digest}") if not seen.headers.get("range")]) == 1


def test_a_tag_stays_when_the_upstream_lacks_what_it_says_the_tag_names(kit: Kit, fake: FakeRegistry) -> None:
    known = kit.get("hub/library/redis/manifests/7")
    moved = fake.image("library/redis", "7", [b"newer"])
    fake.inject(server.refuse(404), path=f"/{moved.digest}", times=None)
    kit.clock.now += 75

    response = kit.ask("hub/library/redis/manifests/7")

    assert read(response) == known
    assert "warning" in response.headers


def test_what_came_of_a_download_is_given_up_after_a_day(kit: Kit, fake: FakeRegistry) -> None:
    digest = Digest.of(LAYERS[0])
    layers(kit)
    fake.inject(server.drop_at(1 << 20), path=f"/blobs/{digest}", times=1)
    fake.inject(server.refuse(503, retry_after="600"), path=f"/blobs/{digest}", times=None)
    kit.ask(f"hub/library/redis/blobs/{digest}").close()
    kit.cache.settle()

    kit.cache.evict()
    before = [status.offset for status in kit.store.statuses()]
    kit.clock.now += 90_000
    kit.cache.evict()

    assert before == [1 << 20]
    assert list(kit.store.statuses()) == []
