"""``Store.images``: names, labels, what is there and what it needs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import distore
from distore import aio
from distore.api.images import Images
from distore.errors import AlreadyExists, InvalidArgument, NotFound
from distore.images.usage import Usage
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.testing.content_contract import put as put_blob

APP = "docker.io/library/app:1"


@pytest.fixture
def store(tmp_path: Path) -> distore.Store:
    return distore.Store(tmp_path / "store")


def put(store: distore.Store, data: bytes, media_type: str = mediatypes.OCI_LAYER) -> Descriptor:
    digest = put_blob(store.content, data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def manifest(store: distore.Store, *layers: bytes) -> Descriptor:
    """An image that nothing names and no label keeps."""
    parts = [put(store, data).to_json() for data in (b"config of " + b" ".join(layers), *layers)]
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {**parts[0], "mediaType": mediatypes.OCI_CONFIG},
        "layers": parts[1:],
    }
    return put(store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)


def name(store: distore.Store, text: str, target: Descriptor) -> None:
    store._metadata.images.put(text, target)


def test_an_image_gets_another_name_with_its_labels(store: distore.Store) -> None:
    root = manifest(store, b"layer")
    name(store, APP, root)
    store.images.update("app:1", labels={"a": "1", "b": "2"})

    made = store.images.tag("app:1", "r.example/app")

    assert (made.name, made.target, made.labels) == ("r.example/app:latest", root, {"a": "1", "b": "2"})
    assert list(store.images) == [APP, "r.example/app:latest"]


def test_a_name_that_is_taken_is_taken_away_by_force_alone(store: distore.Store) -> None:
    one, two = manifest(store, b"one"), manifest(store, b"two")
    name(store, APP, one)
    name(store, "docker.io/library/other:1", two)
    store.images.update("other:1", labels={"a": "1"})

    with pytest.raises(AlreadyExists, match="other:1: exists already"):
        store.images.tag("app:1", "other:1")
    assert store.images["other:1"].target == two
    store.images.tag("app:1", "other:1", force=True)

    assert (store.images["other:1"].target, store.images["other:1"].labels) == (one, {})
    assert store.images.tag("app:1", "app:1", force=True).target == one


def test_a_digest_gets_a_name_that_keeps_all_below_it(store: distore.Store) -> None:
    root = manifest(store, b"layer", b"other")
    loose = put(store, b"loose").digest

    store.images.tag(root.digest, "app:1")
    store.gc()

    checked = store.images.check("app:1")
    assert (checked.is_whole, len(checked.objects)) == (True, 4)
    with pytest.raises(NotFound):
        store.content.info(loose)
    assert list(store.leases.list()) == []


@pytest.mark.parametrize("source", ["none", "Bad", f"sha256:{'0' * 64}", "sha256:1"])
def test_what_is_not_there_gets_no_name_and_makes_no_store(
    store: distore.Store, tmp_path: Path, source: str
) -> None:
    with pytest.raises((NotFound, InvalidArgument)):
        store.images.tag(source, "app:1")

    assert list(tmp_path.iterdir()) == []


def test_a_digest_is_no_name_and_a_layer_no_image(store: distore.Store) -> None:
    root, layer = manifest(store, b"layer"), put(store, b"another")
    name(store, APP, root)

    with pytest.raises(InvalidArgument, match="a digest, want a name"):
        store.images.tag("app:1", root.digest)
    with pytest.raises(InvalidArgument, match=r"a digest, want a name; dist images --filter target\.digest"):
        store.images.delete(root.digest)
    for ask in (store.images.check, store.images.usage, store.images.target):
        with pytest.raises(InvalidArgument, match=str(layer.digest)):
            ask(layer.digest)


def test_labels_are_set_and_removed_one_by_one(store: distore.Store) -> None:
    name(store, APP, manifest(store, b"layer"))

    store.images.update("app:1", labels={"a": "1", "b.c/d": "2"})
    changed = store.images.update("app:1", labels={"a": "", "none": "", "e": "3"})

    assert changed.labels == {"b.c/d": "2", "e": "3"}
    assert store.images.update("app:1", labels={}).labels == changed.labels
    with pytest.raises(InvalidArgument, match="the limit is 4096"):
        store.images.update("app:1", labels={"f": "4", "g": "x" * 5000})
    assert store.images["app:1"].labels == changed.labels
    assert [image.name for image in store.images.list("labels.e==3")] == [APP]
    assert list(store.images.list("labels.e==4")) == []


def test_a_name_is_forgotten_and_what_it_alone_kept_goes_with_sync(store: distore.Store) -> None:
    root = manifest(store, b"layer")
    store.images.tag(root.digest, "app:1")
    store.images.tag(root.digest, "app:2")

    assert store.images.delete("app:1", sync=True) == APP
    assert store.images.check("app:2").is_whole
    store.images.delete("app:2")
    assert store.content.info(root.digest)
    store.images.tag(root.digest, "app:3")
    del store.images["app:3"]
    with pytest.raises(NotFound):
        store.images.delete("app:3", sync=True)
    name(store, APP, root)
    store.images.delete("app:1", sync=True)

    assert list(store.content.digests()) == []


def test_a_name_that_is_no_reference_is_found_as_it_is(store: distore.Store) -> None:
    name(store, "Some Name", manifest(store, b"layer"))

    assert store.images["Some Name"].name == "Some Name"
    assert "Some Name" in store.images
    del store.images["Some Name"]
    with pytest.raises(InvalidArgument, match="reference 'Some Name'"):
        _ = store.images["Some Name"]


def test_bytes_are_shared_with_images_of_other_namespaces_too(store: distore.Store) -> None:
    root = manifest(store, b"layer", b"more")
    name(store, APP, root)
    sizes = store.images.check("app:1").size
    assert store.images.usage("app:1") == Usage(total=sizes, shared=0, unique=sizes)

    team = store.namespace("team")
    manifest(team, b"layer")
    other = manifest(team, b"layer")
    name(team, APP, other)

    assert store.images.usage("app:1") == Usage(total=sizes, shared=5, unique=sizes - 5)
    assert store.images.usage(root.digest) == store.images.usage("app:1")
    assert [(image.target, usage.shared) for image, usage in team.images.usages()] == [(other, 5)]


def test_an_image_that_cannot_be_measured_is_left_out(
    store: distore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distore.images import check

    name(store, APP, manifest(store, b"1", b"2", b"3"))
    name(store, "docker.io/library/small:1", manifest(store, b"1"))
    monkeypatch.setattr(check, "MAX_OBJECTS", 4)
    told: list[str] = []

    found = list(store.images.usages(report=lambda name, error: told.append(f"{name}: {error}")))

    assert [image.name for image, _ in found] == ["docker.io/library/small:1"]
    assert len(told) == 1 and told[0].startswith(f"{APP}: manifest sha256:")
    assert len(list(store.images.usages())) == 1


def test_every_method_has_an_asynchronous_face(store: distore.Store, tmp_path: Path) -> None:
    own = {each for each in vars(Images) if not each.startswith("_")} - {"interruptible"}
    assert own <= set(vars(aio.Images))
    root = manifest(store, b"layer")

    async def main() -> None:
        async with aio.Store(tmp_path / "store") as face:
            await face.images.tag(root.digest, "app:1")
            assert (await face.images.check("app:1")).is_complete
            assert (await face.images.usage("app:1")).shared == 0
            assert [image.name async for image in face.images.list("name~=/app/")] == [APP]
            await face.images.delete("app:1", sync=True)

    asyncio.run(main())

    assert list(store.images) == []
