"""HttpPusher: objects of an image into a repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.remotes.pushing import Clients
from tests.unit.transfer.ends_images import family, make_image, manifest_of, put, read

from distore.content.memory import MemoryStore
from distore.content.slices import BytesReader
from distore.errors import (
    DataLoss,
    DigestMismatch,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.remotes.http.pusher import HttpPusher
from distore.remotes.options import RegistryOptions
from distore.testing import server
from distore.testing.server import FakeRegistry

BLOB = bytes(range(256)) * 10
LAYER = Descriptor(media_type=mediatypes.OCI_LAYER, digest=Digest.of(BLOB), size=len(BLOB))


class Damaged:
    """A Provider whose blobs are not those of their digests."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def reader(self, digest: Digest, /) -> BytesReader:
        return BytesReader(self._data)


@pytest.fixture
def pusher(clients: Clients, registry: FakeRegistry) -> HttpPusher:
    """Into ``demo:v1``."""
    return clients.pusher(f"{registry.address}/demo:v1")


@pytest.fixture
def image() -> tuple[MemoryStore, Descriptor]:
    return make_image(1)


def push_blobs(pusher: HttpPusher, store: MemoryStore, root: Descriptor) -> None:
    for child in family(store, root):
        pusher.push(child, store)


def writes(registry: FakeRegistry) -> list[tuple[str, str]]:
    return [(seen.method, seen.path) for seen in registry.requests if seen.method not in ("GET", "HEAD")]


def test_a_blob_that_is_there_is_not_sent(
    registry: FakeRegistry, pusher: HttpPusher, memory: MemoryStore
) -> None:
    registry.put("demo", BLOB)

    assert pusher.exists(LAYER)
    assert pusher.push(LAYER, memory) == "present"

    assert {seen.method for seen in registry.requests} == {"HEAD"}


def test_a_blob_is_pushed_once(registry: FakeRegistry, pusher: HttpPusher, memory: MemoryStore) -> None:
    put(memory, BLOB, mediatypes.OCI_LAYER)

    assert not pusher.exists(LAYER)
    assert [pusher.push(LAYER, memory) for _ in range(2)] == ["pushed", "present"]

    assert registry.blobs.data[LAYER.digest] == BLOB
    assert registry.bytes_received == len(BLOB)


def test_a_blob_of_another_size_under_the_same_digest_is_not_taken_for_it(
    registry: FakeRegistry, pusher: HttpPusher
) -> None:
    registry.blobs.data[LAYER.digest] = b"short"

    assert not pusher.exists(LAYER)


@pytest.mark.parametrize(("status", "error"), [(401, Unauthenticated), (403, PermissionDenied)])
def test_a_registry_that_does_not_say_whether_it_has_it_ends_the_push(
    status: int, error: type[Exception], registry: FakeRegistry, pusher: HttpPusher, memory: MemoryStore
) -> None:
    registry.inject(server.refuse(status), method="HEAD")

    with pytest.raises(error):
        pusher.push(LAYER, memory)


def test_a_busy_registry_is_asked_again_whether_it_has_it(
    registry: FakeRegistry, pusher: HttpPusher, clients: Clients
) -> None:
    registry.put("demo", BLOB)
    registry.inject(server.throttled(2), method="HEAD")

    assert pusher.exists(LAYER)
    assert clients.naps == [2.0]


def test_a_missing_blob_is_named(pusher: HttpPusher, memory: MemoryStore) -> None:
    with pytest.raises(NotFound, match=LAYER.digest):
        pusher.push(LAYER, memory)


def test_the_own_repository_is_not_mounted_from(
    registry: FakeRegistry, pusher: HttpPusher, memory: MemoryStore
) -> None:
    put(memory, BLOB, mediatypes.OCI_LAYER)
    registry.put("other", BLOB)

    assert pusher.push(LAYER, memory, sources=["demo", "other"]) == "mounted"

    (post,) = registry.seen("/blobs/uploads/")
    assert post.query["from"] == "other"


@pytest.mark.parametrize("size", [100, 5000])
def test_damage_in_the_store_is_told_apart_from_a_registry_that_errs(
    size: int, registry: FakeRegistry, pusher: HttpPusher
) -> None:
    right = b"x" * size
    descriptor = Descriptor(media_type=mediatypes.OCI_LAYER, digest=Digest.of(right), size=size)

    with pytest.raises(DataLoss, match=rf"content {descriptor.digest}: damaged.* dist fsck"):
        pusher.push(descriptor, Damaged(b"y" * size))

    assert not registry.has("demo", descriptor.digest)


def test_a_registry_that_refuses_right_bytes_is_the_one_who_errs(
    registry: FakeRegistry, pusher: HttpPusher, memory: MemoryStore
) -> None:
    small = put(memory, b"small", mediatypes.OCI_LAYER)
    registry.inject(server.refuse(400, "DIGEST_INVALID", "no"), method="PUT")

    with pytest.raises(FailedPrecondition, match=r"answered 400: digest_invalid no"):
        pusher.push(small, memory)


def test_a_blob_of_another_size_than_its_manifest_says_is_not_sent(
    registry: FakeRegistry, pusher: HttpPusher
) -> None:
    with pytest.raises(DataLoss, match="5 bytes are here, its manifest says 2560"):
        pusher.push(LAYER, Damaged(b"short"))

    assert writes(registry) == []


def test_an_image_is_there_once_it_is_tagged(
    registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image
    push_blobs(pusher, store, root)
    assert registry.repositories["demo"] == {}

    pusher.tag(root, store)

    assert registry.repositories["demo"] == {"v1": root}
    assert registry.requests[-1].path == "/v2/demo/manifests/v1"
    assert registry.requests[-1].headers["content-type"] == mediatypes.OCI_MANIFEST
    assert registry.blobs.data[root.digest] == read(store, root.digest)


def test_without_a_tag_the_root_goes_under_its_digest(
    registry: FakeRegistry, clients: Clients, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image
    pusher = clients.pusher(f"{registry.address}/demo")
    push_blobs(pusher, store, root)

    pusher.tag(root, store)

    assert registry.requests[-1].path == f"/v2/demo/manifests/{root.digest}"
    assert registry.repositories["demo"] == {}


def test_a_manifest_that_is_there_is_not_sent(
    registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image
    push_blobs(pusher, store, root)
    assert [pusher.push(root, store) for _ in range(2)] == ["pushed", "present"]

    asked = [seen for seen in registry.seen("/manifests/") if seen.method == "HEAD"]
    assert {seen.headers["accept"] for seen in asked} == {mediatypes.OCI_MANIFEST}


def test_a_manifest_whose_blobs_are_missing_is_refused_and_they_are_named(
    registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image

    with pytest.raises(FailedPrecondition, match=r"demo:v1: .*push its blobs first: sha256:.*refuses"):
        pusher.tag(root, store)

    assert registry.repositories.get("demo", {}) == {}


@pytest.mark.parametrize("status", [400, 404])
def test_a_manifest_that_is_refused_is_no_fault_of_the_call(
    status: int, registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image
    registry.inject(server.refuse(status, "MANIFEST_INVALID", "bad"), method="PUT")

    with pytest.raises(FailedPrecondition, match=rf"demo@{root.digest}: .*refuses the manifest"):
        pusher.push(root, store)


def test_a_manifest_that_is_too_large_for_the_registry_is_an_error_of_room(
    registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image
    registry.inject(server.refuse(413), method="PUT")

    with pytest.raises(ResourceExhausted):
        pusher.push(root, store)


def test_a_busy_registry_gets_the_manifest_again(
    registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor], clients: Clients
) -> None:
    store, root = image
    push_blobs(pusher, store, root)
    registry.inject(server.drop_answer(), path="/manifests/", method="PUT")

    pusher.tag(root, store)

    assert registry.repositories["demo"] == {"v1": root}
    assert len(clients.naps) == 1


def test_damage_in_a_manifest_is_found_before_it_is_sent(registry: FakeRegistry, pusher: HttpPusher) -> None:
    data = b'{"schemaVersion": 2}'
    descriptor = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(data), size=len(data))

    for give in (pusher.push, pusher.tag):
        with pytest.raises(DataLoss, match="damaged in the store; run dist fsck"):
            give(descriptor, Damaged(b'{"schemaVersion": 3}'))

    assert writes(registry) == []


def test_a_registry_that_stored_something_else_is_found_out(
    registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image
    push_blobs(pusher, store, root)
    registry.inject(server.claim_digest(Digest.of(b"other")), path="/manifests/", method="PUT")

    with pytest.raises(DigestMismatch, match="demo:v1: "):
        pusher.tag(root, store)


@pytest.mark.parametrize("text", ["nonsense", "sha256:123"])
def test_a_registry_that_tells_no_digest_where_one_belongs_is_an_error(
    text: str, registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image
    push_blobs(pusher, store, root)
    registry.inject(server.claim_digest(text), path="/manifests/", method="PUT")

    with pytest.raises(FailedPrecondition, match="docker-content-digest"):
        pusher.tag(root, store)


def test_a_digest_of_another_algorithm_says_nothing(
    registry: FakeRegistry, pusher: HttpPusher, image: tuple[MemoryStore, Descriptor]
) -> None:
    store, root = image
    push_blobs(pusher, store, root)
    other = Digest.of(b"other", algorithm="sha512")
    registry.inject(server.claim_digest(other), path="/manifests/", method="PUT")

    pusher.tag(root, store)


def test_a_document_that_came_inside_its_descriptor_needs_no_store(
    registry: FakeRegistry, pusher: HttpPusher, memory: MemoryStore
) -> None:
    config = put(memory, b"{}", mediatypes.OCI_EMPTY)
    data = manifest_of(config, [])
    pusher.push(config, memory)

    pusher.push(
        Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(data), size=len(data), data=data),
        MemoryStore(),
    )

    assert registry.has("demo", Digest.of(data))


def test_only_a_host_that_may_be_pushed_to_is(
    clients: Clients, registry: FakeRegistry, tmp_path: Path
) -> None:
    (tmp_path / "far.example").mkdir()
    file = tmp_path / "far.example" / "hosts.toml"
    mirror = '[host."http://127.0.0.1:1"]\ncapabilities = ["pull", "resolve"]\n'
    file.write_text(f'server = "{registry.url}"\n{mirror}')
    options = RegistryOptions(hosts_dir=str(tmp_path))
    registry.put("demo", BLOB)

    assert clients.pusher("far.example/demo", options).exists(LAYER)


def test_the_name_of_a_pusher_is_that_of_the_image(pusher: HttpPusher, registry: FakeRegistry) -> None:
    assert pusher.name == f"{registry.address}/demo:v1"
    assert pusher.parallel is None


def test_a_registry_that_is_down_is_unavailable(clients: Clients, memory: MemoryStore) -> None:
    with pytest.raises(Unavailable):
        clients.pusher("127.0.0.1:1/demo").push(LAYER, memory)


def test_an_index_is_a_manifest_too(registry: FakeRegistry, pusher: HttpPusher) -> None:
    store, child = make_image(2)
    push_blobs(pusher, store, child)
    pusher.push(child, store)
    data = json.dumps(
        {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [child.to_json()]}
    ).encode()
    index = put(store, data, mediatypes.OCI_INDEX)

    pusher.tag(index, store)

    assert registry.repositories["demo"]["v1"] == index
