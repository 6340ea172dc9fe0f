"""Push: images to a registry and to other pushers: in which order, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import family, make_image, manifest_of, put, read
from tests.unit.transfer.pushing import Push, Recorder, index_of, joined, written

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.content.store import Provider
from distore.errors import (
    Cancelled,
    DataLoss,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.testing import server
from distore.testing.server import FakeRegistry
from distore.transfer.progress import Done, Finished, Planned, Resolved, Started
from distore.transfer.push import PushOptions, push


@pytest.fixture
def nested() -> tuple[MemoryStore, Descriptor, Descriptor, list[Descriptor]]:
    """An index of an image and an index of two images: the store, the root, the inner index, the images."""
    store, images = joined(1, 2, 3)
    inner = index_of(store, *images[1:])
    return store, index_of(store, images[0], inner), inner, images


def test_an_image_arrives_with_everything(registry: FakeRegistry, send: Push) -> None:
    store, root = make_image(1)

    send(store, root)

    assert registry.repositories["demo"] == {"v1": root}
    for one in (root, *family(store, root)):
        assert registry.has("demo", one.digest)
        assert registry.blobs.data[one.digest] == read(store, one.digest)


def test_blobs_go_before_manifests_children_before_parents_and_the_tag_last(
    registry: FakeRegistry,
    send: Push,
    nested: tuple[MemoryStore, Descriptor, Descriptor, list[Descriptor]],
) -> None:
    store, root, inner, images = nested

    send(store, root)

    order = written(registry)
    manifests = [image.digest for image in images]
    blobs = {child.digest for image in images for child in family(store, image)}
    assert set(order[: len(blobs)]) == blobs
    assert set(order[len(blobs) : -2]) == set(manifests)
    assert order[-2:] == [inner.digest, "v1"]
    assert registry.requests[-1].method == "PUT"


def test_a_second_push_sends_nothing_but_the_name(registry: FakeRegistry, send: Push) -> None:
    store, root = make_image(1)
    send(store, root)
    before = len(written(registry))

    events = send(store, root)

    assert written(registry)[before:] == ["v1"]
    assert {event.how for event in events if isinstance(event, Done)} == {"present", "pushed"}
    assert isinstance(events[-1], Finished)
    assert events[-1].moved == 0


def test_the_biggest_blob_goes_first() -> None:
    store, recorder = MemoryStore(), Recorder()
    config = put(store, b"{}", mediatypes.OCI_CONFIG)
    layers = [put(store, bytes([size]) * size, mediatypes.OCI_LAYER) for size in (10, 200, 50)]
    root = put(store, manifest_of(config, layers), mediatypes.OCI_MANIFEST)

    list(push(store, root, recorder, options=PushOptions(concurrency=1)))

    assert recorder.got == [layers[1].digest, layers[2].digest, layers[0].digest, config.digest]
    assert recorder.tagged == [root.digest]


def test_events_come_in_the_order_in_which_things_happen() -> None:
    store, root = make_image(1)
    ticks = iter(range(1000))

    events = list(push(store, root, Recorder(), clock=lambda: float(next(ticks))))

    assert [type(event) for event in events[:2]] == [Resolved, Planned]
    assert isinstance(events[-1], Finished)
    planned, finished = events[1], events[-1]
    assert isinstance(planned, Planned)
    assert (planned.blobs, planned.missing_blobs, planned.missing) == (4, 4, planned.size)
    done = [event for event in events if isinstance(event, Done)]
    assert {event.digest for event in done} == {one.digest for one in (root, *family(store, root))}
    assert done[-1].digest == root.digest
    assert finished.moved == planned.size
    assert finished.size == planned.size + root.size
    assert finished.seconds > 0
    for event in done[:-1]:
        begun = [at for at, other in enumerate(events) if isinstance(other, Started)]
        assert min(begun) < events.index(event)


def test_blobs_of_several_images_go_once() -> None:
    store, (one, _) = joined(1, 2)
    again = put(store, read(store, one.digest) + b"\n", mediatypes.OCI_MANIFEST)
    root = index_of(store, one, again)
    recorder = Recorder()

    list(push(store, root, recorder))

    assert len(recorder.got) == len(set(recorder.got)) == 4 + 2


@pytest.mark.parametrize("which", ["blob", "manifest", "inner"])
def test_nothing_is_tagged_when_anything_fails(
    which: str,
    registry: FakeRegistry,
    send: Push,
    nested: tuple[MemoryStore, Descriptor, Descriptor, list[Descriptor]],
) -> None:
    store, root, inner, images = nested
    victim = {"blob": family(store, images[1])[0], "manifest": images[1], "inner": inner}[which]
    path = "/blobs/uploads/" if which == "blob" else f"/manifests/{victim.digest}"
    registry.inject(server.refuse(403, "DENIED"), path=path, method="PUT", times=None)

    with pytest.raises(PermissionDenied):
        send(store, root, concurrency=1)

    assert registry.repositories.get("demo", {}) == {}
    assert "v1" not in written(registry)
    if which == "manifest":
        assert inner.digest not in written(registry)


def test_a_tag_that_is_refused_is_the_error(registry: FakeRegistry, send: Push) -> None:
    store, root = make_image(1)
    registry.inject(server.refuse(403, "DENIED"), path="/manifests/v1", method="PUT")

    with pytest.raises(PermissionDenied):
        send(store, root)


def test_damage_in_the_store_ends_the_push_before_the_tag(
    registry: FakeRegistry, send: Push, tmp_path: Path
) -> None:
    image, root = make_image(1)
    store = LocalStore(str(tmp_path / "store"))
    for one in (*family(image, root), root):
        with store.writer("put") as writer:
            writer.write(read(image, one.digest))
            writer.commit()
    victim = family(image, root)[0].digest
    file = tmp_path / "store" / "blobs" / "sha256" / victim.encoded
    file.chmod(0o644)
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))

    with pytest.raises(DataLoss, match=rf"content {victim}: damaged.*dist fsck"):
        send(store, root, concurrency=1)

    assert registry.repositories.get("demo", {}) == {}
    assert not registry.has("demo", victim)


def test_a_blob_that_is_missing_is_named_and_nothing_is_tagged(registry: FakeRegistry, send: Push) -> None:
    store, root = make_image(1)
    victim = family(store, root)[1].digest
    store.delete(victim)

    with pytest.raises(NotFound, match=victim):
        send(store, root, concurrency=1)

    assert registry.repositories.get("demo", {}) == {}


def test_the_first_failure_stops_the_other_workers() -> None:
    store, root = make_image(1, layers=12)
    layers = sorted(family(store, root), key=lambda child: -child.size)
    recorder = Recorder(fails_at=layers[0].digest)
    stopped: list[bool] = []

    with pytest.raises(PermissionDenied):
        list(
            push(
                store,
                root,
                recorder,
                options=PushOptions(concurrency=2),
                abort=lambda: stopped.append(True),
            )
        )

    assert stopped == [True]
    assert recorder.tagged == []


def test_who_stops_listening_stops_the_push() -> None:
    store, root = make_image(1)
    recorder = Recorder()
    events = push(store, root, recorder)
    next(event for event in events if isinstance(event, Done))

    assert isinstance(events, Generator)
    events.close()

    assert recorder.tagged == []


def test_other_repositories_are_named_to_the_pusher() -> None:
    store, root = make_image(1)
    layer = family(store, root)[0].digest
    recorder = Recorder()

    list(push(store, root, recorder, sources=lambda digest: ["base"] if digest == layer else []))

    assert recorder.sources[layer] == ["base"]
    assert [names for digest, names in recorder.sources.items() if digest != layer] == [[]] * 3


def test_a_pusher_that_takes_one_at_a_time_gets_one_at_a_time() -> None:
    store, root = make_image(1, layers=6)
    busy, most = 0, 0

    class Single(Recorder):
        parallel = 1

        def push(
            self,
            descriptor: Descriptor,
            provider: Provider,
            /,
            *,
            sources: Sequence[str] = (),
            on_progress: Callable[[int], None] = lambda _: None,
        ) -> str:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            result = super().push(descriptor, provider)
            busy -= 1
            return result

    list(push(store, root, Single(), options=PushOptions(concurrency=8)))

    assert most == 1


@pytest.mark.slow
def test_a_rate_holds_for_all_workers_together() -> None:
    store, root = make_image(1)
    size, rate = sum(child.size for child in family(store, root)), 20_000

    class Reads(Recorder):
        def push(
            self,
            descriptor: Descriptor,
            provider: Provider,
            /,
            *,
            sources: Sequence[str] = (),
            on_progress: Callable[[int], None] = lambda _: None,
        ) -> str:
            with provider.reader(descriptor.digest) as reader:
                for at in range(0, reader.size, 100):
                    reader.read_at(100, at)
            return "pushed"

    events = list(push(store, root, Reads(), options=PushOptions(concurrency=4, limit_rate=rate)))

    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.moved == size
    assert finished.seconds >= size / rate - 0.2  # a tenth of a second's worth goes at once


def test_what_was_broken_off_is_neither_tried_again_nor_talked_about() -> None:
    told: list[object] = []
    with HttpResolver(RegistryOptions(), on_retry=lambda *words: told.append(words)) as resolver:
        retrier = resolver.retrier()
        resolver.abort()

        def fail() -> None:
            raise Unavailable("the connection broke off")

        with pytest.raises(Cancelled):
            retrier.run(fail)

    assert told == []
