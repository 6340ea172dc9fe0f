"""Push: which parts of an image go along: platforms, foreign layers, referrers."""

from __future__ import annotations

import json

import pytest
from tests.unit.transfer.ends_images import make_image, manifest_of, put
from tests.unit.transfer.pushing import FOREIGN, Push, index_of, joined, written

from distore.content.memory import MemoryStore
from distore.errors import (
    FailedPrecondition,
    NotFound,
)
from distore.images.select import Selection
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.testing import server
from distore.testing.server import FakeRegistry
from distore.transfer.progress import Noted


def test_an_index_may_go_without_the_images_that_are_not_here(registry: FakeRegistry, send: Push) -> None:
    store, images = joined(1, 2)
    absent = Descriptor(
        media_type=mediatypes.OCI_MANIFEST,
        digest=Digest.of(b"absent"),
        size=6,
        platform=Platform(os="linux", architecture="riscv64"),
    )
    root = index_of(store, *images, absent)

    events = send(store, root)

    assert registry.repositories["demo"] == {"v1": root}
    (note,) = [event.text for event in events if isinstance(event, Noted)]
    assert note == f"{absent.digest} (linux/riscv64): not here; passed over"


def test_a_registry_that_wants_whole_indexes_is_told_apart_by_what_to_do(
    registry: FakeRegistry, send: Push
) -> None:
    store, images = joined(1)
    absent = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"absent"), size=6)
    root = index_of(store, *images, absent)
    registry.inject(server.refuse(404, "MANIFEST_BLOB_UNKNOWN"), path="/manifests/v1", method="PUT")

    with pytest.raises(FailedPrecondition, match=r"1 of the manifests it names are not here"):
        send(store, root)


def test_of_an_index_only_what_is_chosen_goes_along(registry: FakeRegistry, send: Push) -> None:
    store, images = joined(1, 2, 3)
    root = index_of(store, *images)
    chosen = tuple(Platform(os="linux", architecture=name) for name in ("amd64", "s390x"))

    send(store, root, selection=Selection(platforms=chosen))

    assert registry.has("demo", images[0].digest)
    assert registry.has("demo", images[2].digest)
    assert not registry.has("demo", images[1].digest)
    assert registry.repositories["demo"] == {"v1": root}


def test_a_chosen_platform_that_is_not_here_is_an_error(registry: FakeRegistry, send: Push) -> None:
    store, images = joined(1, 2)
    root = index_of(store, *images)
    store.delete(images[1].digest)

    with pytest.raises(NotFound, match=images[1].digest):
        send(store, root, selection=Selection(platforms=(Platform(os="linux", architecture="arm64"),)))

    assert registry.requests == []


def test_layers_that_are_only_to_be_had_elsewhere_stay_there(registry: FakeRegistry, send: Push) -> None:
    store = MemoryStore()
    config = put(store, b"{}", mediatypes.OCI_CONFIG)
    foreign = Descriptor(
        media_type=FOREIGN, digest=Digest.of(b"far"), size=3, urls=("https://far.example/layer",)
    )
    root = put(store, manifest_of(config, [foreign]), mediatypes.OCI_MANIFEST)

    events = send(store, root)

    assert registry.repositories["demo"] == {"v1": root}
    assert any(isinstance(event, Noted) and foreign.digest in event.text for event in events)


def test_what_refers_to_an_image_goes_before_it(registry: FakeRegistry, send: Push) -> None:
    store, root = make_image(1)
    config = put(store, b"{}", mediatypes.OCI_EMPTY)
    document = {**json.loads(manifest_of(config, [])), "subject": root.to_json()}
    signature = put(store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)

    send(store, root, referrers=lambda digest: [signature] if digest == root.digest else [])

    assert written(registry)[-2:] == [signature.digest, "v1"]
    assert registry.has("demo", config.digest)


def test_a_blob_alone_can_be_pushed(registry: FakeRegistry, send: Push) -> None:
    store = MemoryStore()
    blob = put(store, b"just a blob", mediatypes.OCTET_STREAM)

    send(store, blob)

    assert registry.has("demo", blob.digest)
    assert registry.repositories["demo"] == {}
