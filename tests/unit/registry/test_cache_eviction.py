"""Copies of upstreams that give way."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.registry.cachekit import Clock, Kit, running, upstream

from distore.app import App
from distore.config import Config
from distore.content.blobs import write_blob
from distore.errors import AlreadyExists
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.cachesettings import CacheSettings
from distore.repositories import ManifestRecord, Pull
from distore.testing.server import FakeRegistry

SIZE = 100_000


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    draw = random.Random(3)
    with FakeRegistry() as registry:
        for number in range(4):
            registry.image("library/app", str(number), [b"base" * 1000, draw.randbytes(SIZE)])
        yield registry


@pytest.fixture
def kit(tmp_path: Path, fake: FakeRegistry) -> Iterator[Kit]:
    settings = CacheSettings(upstreams=(upstream(fake.address, prefix="hub"),), budget=3 * SIZE)
    app = App(Config(root=str(tmp_path / "store")))
    with running(app.content, settings, repositories=app.repositories, clock=Clock.real()) as kit:
        for number in range(4):
            pull(kit, str(number))
        yield kit
    app.close()


def pull(kit: Kit, tag: str) -> None:
    document = json.loads(kit.get(f"hub/library/app/manifests/{tag}"))
    for part in (document["config"], *document["layers"]):
        kit.get(f"hub/library/app/blobs/{part['digest']}")
    digest = kit.repositories.tag("hub/library/app", tag)
    assert digest is not None
    kit.repositories.note_pulled(
        [Pull(repository="hub/library/app", digest=digest.descriptor.digest, when=kit.clock(), tag=tag)]
    )
    kit.clock.now += 1000


def there(kit: Kit) -> list[str]:
    return [tag.name for tag in kit.repositories.tags("hub/library/app")]


def test_what_was_not_asked_for_the_longest_gives_way(kit: Kit) -> None:
    pull(kit, "0")

    went = kit.cache.evict()

    assert there(kit) == ["0", "3"]
    assert went > 2 * SIZE
    assert kit.repositories.size(["hub/library/app"]) <= 3 * SIZE


def test_what_gave_way_comes_again(kit: Kit, fake: FakeRegistry) -> None:
    kit.cache.evict()

    pull(kit, "0")

    assert "0" in there(kit)


def test_what_others_still_name_stays(kit: Kit) -> None:
    kit.cache.evict()

    assert kit.repositories.has("hub/library/app", Digest.of(b"base" * 1000))


def test_what_was_asked_for_just_now_stays(kit: Kit) -> None:
    kit.clock.now -= 900

    kit.cache.evict(short=100 * SIZE)

    assert there(kit) == ["3"]


def test_a_full_disk_makes_copies_give_way_too(kit: Kit) -> None:
    kit.cache.evict()

    kit.cache.evict(short=SIZE)

    assert len(there(kit)) == 1


def test_what_was_pushed_stays(kit: Kit) -> None:
    blob = Digest.of(b"mine" * SIZE)
    kit.ask(f"mine/blobs/uploads/?digest={blob}", "POST", b"mine" * SIZE)

    kit.cache.evict(short=100 * SIZE)

    assert kit.repositories.has("mine", blob)


def put(kit: Kit, data: bytes, **record: object) -> Digest:
    """Push a manifest to a copy, by its digest; no tag leads to it."""
    digest = Digest.of(data)
    with kit.repositories.keeping(digest):
        with suppress(AlreadyExists):
            write_blob(kit.store, f"put-{digest}", data, size=len(data), expected=digest)
        about = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(data))
        pushed = ManifestRecord(descriptor=about, **record)  # type: ignore[arg-type] # of a test
        assert kit.repositories.put_manifest("hub/library/app", pushed) == []
    return digest


def test_what_was_pushed_to_a_copy_without_a_tag_stays(kit: Kit) -> None:
    tag = kit.repositories.tag("hub/library/app", "0")
    assert tag is not None
    signature = put(kit, b"signature", subject=tag.descriptor.digest)
    kit.clock.now += 1000

    kit.cache.evict(short=100 * SIZE)

    assert kit.repositories.has("hub/library/app", signature)
    assert there(kit) == []


@pytest.mark.parametrize("moment", ["retire", "delete_blob"])
def test_what_somebody_pushes_meanwhile_keeps_its_blobs(
    kit: Kit, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = kit.repositories.tag("hub/library/app", "0")
    assert tag is not None
    record = kit.repositories.manifest("hub/library/app", tag.descriptor.digest)
    assert record is not None
    change = getattr(kit.repositories, moment)

    def late(*arguments: object, **options: object) -> object:
        put(kit, b"late", children=record.children)
        return change(*arguments, **options)

    monkeypatch.setattr(kit.repositories, moment, late)
    kit.cache.evict(short=100 * SIZE)

    assert tag.name not in there(kit)
    if kit.repositories.has("hub/library/app", Digest.of(b"late")):
        assert all(kit.repositories.has("hub/library/app", digest) for digest, _ in record.children)
