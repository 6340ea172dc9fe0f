"""Push: images to a registry and to other pushers: in which order, and what happens when it fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import family, make_image, manifest_of, put, read

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.content.store import Provider
from distore.errors import DataLoss, DistoreError, FailedPrecondition, NotFound, PermissionDenied
from distore.images.select import Selection
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.oci.reference import Reference
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.testing import server
from distore.testing.server import FakeRegistry
from distore.transfer.progress import Done, Event, Finished, Noted, Planned, Resolved, Started
from distore.transfer.push import PushOptions, push

Push = Callable[..., list[Event]]
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"


class Recorder:
    """A Pusher that keeps what it gets, and can be told to fail."""

    name = "recorder"
    parallel: int | None = None

    def __init__(self, *, fails_at: Digest | None = None, error: DistoreError | None = None) -> None:
        self.got: list[Digest] = []
        self.tagged: list[Digest] = []
        self.sources: dict[Digest, list[str]] = {}
        self._guard = threading.Lock()
        self._fails_at = fails_at
        self._error = error or PermissionDenied("no")

    def exists(self, descriptor: Descriptor, /) -> bool:
        return False

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> str:
        if descriptor.digest == self._fails_at:
            raise self._error
        with provider.reader(descriptor.digest) as reader:
            for at in range(0, reader.size + 1, max(1, reader.size // 2)):
                on_progress(at)
        with self._guard:
            self.got.append(descriptor.digest)
            self.sources[descriptor.digest] = list(sources)
        return "pushed"

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        if descriptor.digest == self._fails_at:
            raise self._error
        self.tagged.append(descriptor.digest)


def index_of(store: MemoryStore, *children: Descriptor, **more: object) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [child.to_json() for child in children],
        **more,
    }
    return put(store, json.dumps(document).encode(), mediatypes.OCI_INDEX)


def joined(*seeds: int) -> tuple[MemoryStore, list[Descriptor]]:
    """Images in one store, each for a platform of its own."""
    everything, roots = MemoryStore(), []
    for seed, architecture in zip(seeds, ("amd64", "arm64", "s390x"), strict=False):
        store, root = make_image(seed)
        for one in (*family(store, root), root):
            put(everything, read(store, one.digest), one.media_type)
        platform = Platform(os="linux", architecture=architecture)
        roots.append(
            Descriptor(media_type=root.media_type, digest=root.digest, size=root.size, platform=platform)
        )
    return everything, roots


@pytest.fixture
def nested() -> tuple[MemoryStore, Descriptor, Descriptor, list[Descriptor]]:
    """An index of an image and an index of two images: the store, the root, the inner index, the images."""
    store, images = joined(1, 2, 3)
    inner = index_of(store, *images[1:])
    return store, index_of(store, images[0], inner), inner, images


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def send(registry: FakeRegistry) -> Iterator[Push]:
    """Push to ``demo:v1`` of the registry."""
    with HttpResolver(RegistryOptions()) as resolver:

        def run(store: MemoryStore | LocalStore, root: Descriptor, **options: object) -> list[Event]:
            pusher = resolver.pusher(Reference.parse(f"{registry.address}/demo:v1"))
            given = PushOptions(**options)  # type: ignore[arg-type]  # as given
            return list(push(store, root, pusher, options=given, abort=resolver.abort))

        yield run


def written(registry: FakeRegistry) -> list[str]:
    """What was finished, in the order in which it was: blobs by digest, manifests by name."""
    return [
        seen.query.get("digest") or seen.path.rpartition("/")[2]
        for seen in registry.requests
        if seen.method == "PUT"
    ]


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
        send(store, root)

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
        send(store, root)

    assert registry.repositories.get("demo", {}) == {}
    assert not registry.has("demo", victim)


def test_a_blob_that_is_missing_is_named_and_nothing_is_tagged(registry: FakeRegistry, send: Push) -> None:
    store, root = make_image(1)
    victim = family(store, root)[1].digest
    store.delete(victim)

    with pytest.raises(NotFound, match=victim):
        send(store, root)

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


def test_a_rate_holds_for_all_workers_together() -> None:
    now = 0.0
    store, root = make_image(1)
    size = sum(child.size for child in family(store, root))

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
            nonlocal now
            with provider.reader(descriptor.digest) as reader:
                reader.read_at(reader.size, 0)
                now += reader.size / 1_000_000
            return "pushed"

    events = list(
        push(
            store,
            root,
            Reads(),
            options=PushOptions(concurrency=1, limit_rate=1_000_000),
            clock=lambda: now,
        )
    )

    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.moved == size
