"""Images into stores: what travels, what is there afterwards, and what events tell of it."""

from __future__ import annotations

import base64
import os

import pytest
from tests.unit.transfer.conftest import Puller
from tests.unit.transfer.pull_images import (
    BIG,
    CONFIG,
    LAYERS,
    SOURCE,
    Kept,
    blob_requests,
    check,
    described,
    hows,
    image,
    index,
    keep,
    of,
    total,
    workers,
)

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import (
    DataLoss,
    DiskFull,
    InvalidArgument,
    NotFound,
)
from distore.images.select import Selection
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.testing.server import FakeRegistry
from distore.transfer.progress import Done, Finished, Noted, Planned, Resolved, Started


def test_a_fresh_store_has_all_of_it_and_events_tell_how(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    events = bring(registry, kept, root)

    check(kept, root)
    assert events[0] == Resolved(name="demo:latest", descriptor=root)
    assert events[1] == Planned(blobs=4, size=total(), missing_blobs=4, missing=total())
    assert set(hows(events).values()) == {"fetched"} and len(hows(events)) == 4
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.size, last.moved) == (total() + root.size, total())
    assert registry.bytes_sent == total() + root.size
    assert workers() == []


def test_the_biggest_blob_goes_first(
    registry: FakeRegistry, root: Descriptor, bring: Puller, memory: MemoryStore
) -> None:
    events = bring(registry, memory, root, concurrency=1)

    assert [event.size for event in of(events, Started)] == [70_000, 30_000, len(CONFIG), 5]


def test_what_is_there_does_not_travel_again(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    bring(registry, kept, root)
    asked, sent = len(registry.requests), registry.bytes_sent

    events = bring(registry, kept, root)

    assert (len(registry.requests), registry.bytes_sent) == (asked, sent)
    assert [type(event) for event in events] == [Resolved, Done, Done, Done, Done, Planned, Finished]
    assert set(hows(events).values()) == {"present"}
    assert of(events, Planned) == [Planned(blobs=4, size=total(), missing_blobs=0, missing=0)]
    assert events[-1].moved == 0  # type: ignore[attr-defined]  # it is Finished


def test_an_empty_layer_needs_no_connection(registry: FakeRegistry, bring: Puller, kept: Kept) -> None:
    root = image(registry, [described(b"")])

    events = bring(registry, kept, root)

    check(kept, root)
    assert hows(events)[Digest.of(b"")] == "fetched"
    assert blob_requests(registry, b"") == []


def test_bytes_in_a_descriptor_need_no_connection(registry: FakeRegistry, bring: Puller, kept: Kept) -> None:
    data = base64.b64encode(b"inline").decode()
    root = image(registry, [described(b"inline", data=data)])

    bring(registry, kept, root)

    check(kept, root)
    assert blob_requests(registry, b"inline") == []


def test_a_manifest_in_the_descriptor_of_an_index_needs_no_connection(
    registry: FakeRegistry, bring: Puller, kept: Kept
) -> None:
    child = image(registry, [])
    with registry.blobs.reader(child.digest) as reader:
        data = reader.read_at(reader.size, 0)
    root = index(
        registry,
        [Descriptor(media_type=child.media_type, digest=child.digest, size=child.size, data=data)],
    )

    bring(registry, kept, root)

    check(kept, root)
    assert registry.seen(child.digest) == []


def test_bytes_in_a_descriptor_that_are_not_the_blob_are_refused(
    registry: FakeRegistry, bring: Puller, memory: MemoryStore
) -> None:
    root = image(registry, [described(b"inline", data=base64.b64encode(b"enilni").decode())])

    with pytest.raises(InvalidArgument, match=f"manifest {root.digest}: .* its data is not the blob"):
        bring(registry, memory, root)


def test_what_two_images_share_travels_once(registry: FakeRegistry, bring: Puller, kept: Kept) -> None:
    layers = [described(data) for data in LAYERS]
    for data in LAYERS:
        registry.put("demo", data)
    one = image(registry, [*layers, *layers], tag="one")
    two = image(registry, layers[:1], tag="two")
    root = index(registry, [one, two, one])

    events = bring(registry, kept, root)

    check(kept, root)
    assert len(of(events, Done)) == 4
    assert registry.bytes_sent == total() + one.size + two.size + root.size


def test_only_the_chosen_platform_comes_and_the_index_stays_whole(
    registry: FakeRegistry, bring: Puller, kept: Kept
) -> None:
    for data in LAYERS:
        registry.put("demo", data)
    intel = image(registry, [described(LAYERS[0])], tag="intel")
    arm = image(registry, [described(BIG)], tag="arm")
    root = index(registry, [intel, arm], "linux/amd64", "linux/arm64")
    wanted = Selection(platforms=(Platform.parse("linux/arm64"),))

    bring(registry, kept, root, selection=wanted)

    there = {info.digest for info in kept.walk()}
    assert there == {root.digest, arm.digest, Digest.of(BIG), Digest.of(CONFIG)}
    labels = kept.info(root.digest).labels
    assert labels["containerd.io/gc.ref.content.m.0"] == intel.digest
    assert labels["containerd.io/gc.ref.content.m.1"] == arm.digest


def test_a_platform_that_is_not_there_is_named_before_any_blob_moves(
    registry: FakeRegistry, bring: Puller, memory: MemoryStore
) -> None:
    root = index(registry, [image(registry, [])], "linux/amd64")
    wanted = Selection(platforms=(Platform.parse("linux/s390x"),))

    with pytest.raises(NotFound, match="has nothing for linux/s390x; it has linux/amd64"):
        bring(registry, memory, root, selection=wanted)

    assert registry.seen("/blobs/") == []


def test_a_sparse_index_is_pulled_as_far_as_it_goes(
    registry: FakeRegistry, bring: Puller, kept: Kept
) -> None:
    there = image(registry, [])
    gone = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"gone"), size=4)
    root = index(registry, [there, gone], "linux/amd64", "linux/arm64")

    events = bring(registry, kept, root)

    assert {info.digest for info in kept.walk()} == {root.digest, there.digest, Digest.of(CONFIG)}
    (note,) = of(events, Noted)
    assert note.text == f"{registry.address}/demo@{gone.digest} (linux/arm64): not there; passed over"


def test_a_layer_that_only_its_urls_have_is_passed_over(
    registry: FakeRegistry, bring: Puller, kept: Kept
) -> None:
    url = "https://a.example/\x1b[31mlayer"
    root = image(registry, [described(b"foreign", mediatypes.DOCKER_LAYER_FOREIGN, urls=[url])])

    events = bring(registry, kept, root)

    assert {info.digest for info in kept.walk()} == {root.digest, Digest.of(CONFIG)}
    (note,) = of(events, Noted)
    assert note.text.startswith(
        f"layer {Digest.of(b'foreign')}: only to be had from 'https://a.example/\\x1b"
    )


def test_blobs_say_where_they_came_from_and_manifests_what_they_keep(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    bring(registry, kept, root)

    source = {f"{SOURCE}{registry.address}": "demo"}
    assert kept.info(Digest.of(BIG)).labels == source
    assert kept.info(root.digest).labels == {
        **source,
        "containerd.io/gc.ref.content.config": Digest.of(CONFIG),
        **{f"containerd.io/gc.ref.content.l.{n}": Digest.of(data) for n, data in enumerate(LAYERS)},
    }


def test_without_labels_there_are_none(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    bring(registry, kept, root, labels=False)
    bring(registry, kept, root, labels=False)

    assert all(not info.labels for info in kept.walk())


def test_a_manifest_that_somebody_else_stored_gets_the_labels_it_lacks(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    with registry.blobs.reader(root.digest) as reader, kept.writer("r") as writer:
        writer.write(reader.read_at(reader.size, 0))
        writer.commit(labels={"mine": "1", "containerd.io/gc.ref.content.config": "sha256:theirs"})

    bring(registry, kept, root)

    labels = kept.info(root.digest).labels
    assert labels["mine"] == "1"
    assert labels["containerd.io/gc.ref.content.config"] == "sha256:theirs"
    assert labels["containerd.io/gc.ref.content.l.0"] == Digest.of(LAYERS[0])


class Tiny(MemoryStore):
    """A store with little room."""

    def free_space(self) -> int | None:
        return total() - 60_001


def test_what_does_not_fit_is_refused_before_the_first_byte_of_a_blob(
    registry: FakeRegistry, root: Descriptor, bring: Puller
) -> None:
    store = Tiny()

    with pytest.raises(DiskFull, match=rf"demo: {total()} bytes are missing and {total() - 60_001} are free"):
        bring(registry, store, root)

    assert registry.seen("/blobs/") == []
    keep(store, BIG, BIG[:60_001])  # what is kept needs no room
    bring(registry, store, root)
    check(store, root)


def test_a_blob_that_is_damaged_in_the_store_is_not_passed_off_as_there(
    registry: FakeRegistry, root: Descriptor, bring: Puller, store: LocalStore
) -> None:
    bring(registry, store, root)
    path = store.path(Digest.of(BIG))
    os.chmod(path, 0o644)
    os.truncate(path, 10)

    with pytest.raises(DataLoss, match=rf"content {Digest.of(BIG)}: 10 bytes .* 70000; run dist fsck"):
        bring(registry, store, root)


def test_a_root_that_is_no_document_is_one_blob(registry: FakeRegistry, bring: Puller, kept: Kept) -> None:
    data = b"an artifact"
    root = Descriptor(media_type="application/x", digest=registry.put("demo", data), size=len(data))

    events = bring(registry, kept, root)

    assert read_blob(kept, root.digest, max_size=100) == data
    assert events[-1].size == len(data)  # type: ignore[attr-defined]  # it is Finished


@pytest.mark.slow
def test_fifty_small_layers_come_over_a_few_connections(
    registry: FakeRegistry, bring: Puller, kept: Kept
) -> None:
    layers = [b"%d" % n for n in range(50)]
    root = registry.image("demo", "latest", layers)

    events = bring(registry, kept, root, concurrency=8)

    check(kept, root)
    assert len(of(events, Done)) == 51
    assert registry.bytes_sent == total(layers) + root.size


@pytest.mark.slow
def test_an_index_of_a_thousand_manifests_is_pulled(
    registry: FakeRegistry, bring: Puller, memory: MemoryStore
) -> None:
    registry.put("demo", BIG)
    children = [image(registry, [described(BIG)], config=b'{"n":%d}' % n, tag=f"t{n}") for n in range(1000)]
    root = index(registry, children)

    events = bring(registry, memory, root, concurrency=16)

    check(memory, root)
    assert len(of(events, Done)) == 1001
    assert len(blob_requests(registry, BIG)) == 1
