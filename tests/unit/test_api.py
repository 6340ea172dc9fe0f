"""distore.Store and distore.copy against a registry on loopback."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import distore
from distore import errors
from distore.api import transfers
from distore.api.interrupt import Interrupt
from distore.api.settings import Settings
from distore.api.transfers import CopyKeywords, TransferKeywords
from distore.oci import mediatypes
from distore.registry.message import Handler, Request, Response
from distore.testing.server import FakeRegistry, Fault

LAYERS = [b"one layer", b"another" * 100]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[distore.Store]:
    with distore.Store(tmp_path / "store") as store:
        yield store


@pytest.fixture
def stalled() -> Iterator[Fault]:
    """Answers nothing until the test ends."""
    over = threading.Event()

    def act(request: Request, handler: Handler) -> Response:
        over.wait(20)
        return handler(request)

    yield act
    over.set()


def soon(act: Callable[[], object]) -> threading.Thread:
    """Do it in 50 ms, when the other thread waits."""
    timer = threading.Timer(0.05, act)
    timer.start()
    return timer


def test_a_pull_tells_what_happens_and_names_the_image(
    registry: FakeRegistry, store: distore.Store, capfd: pytest.CaptureFixture[str]
) -> None:
    root = registry.image("team/app", "1", LAYERS)

    events = list(store.pull(f"{registry.address}/team/app:1"))

    assert isinstance(events[0], distore.Resolved)
    last = events[-1]
    assert isinstance(last, distore.Finished)
    assert last.descriptor.digest == root.digest
    assert last.moved == sum(event.size for event in events if isinstance(event, distore.Done))
    assert list(store.images) == [f"{registry.address}/team/app:1"]
    assert store.content.info(root.digest).size == root.size
    assert capfd.readouterr() == ("", "")


def test_nothing_happens_before_the_first_event_is_asked_for(
    registry: FakeRegistry, store: distore.Store
) -> None:
    events = store.pull(f"{registry.address}/team/app:1")

    events.close()

    assert registry.requests == []


def test_closing_the_events_stops_and_what_came_is_not_fetched_again(
    registry_factory: Callable[..., FakeRegistry], store: distore.Store
) -> None:
    registry = registry_factory(rate=4_000_000)
    registry.image("team/app", "1", [bytes(2_000_000)])
    reference = f"{registry.address}/team/app:1"

    with closing(store.pull(reference)) as events:
        for event in events:
            if isinstance(event, distore.Moved) and event.size > 1000:
                break

    (kept,) = store.content.statuses()
    assert 0 < kept.offset < 2_000_000
    assert kept.owner is None
    assert list(store.images) == []


def test_a_push_sends_what_a_pull_brought(registry: FakeRegistry, store: distore.Store) -> None:
    root = registry.image("team/app", "1", LAYERS)
    reference = f"{registry.address}/team/app:1"
    *_, _ = store.pull(reference)

    *_, named = store.push(f"{registry.address}/mirror/app:2", reference)
    *_, by_digest = store.push(f"{registry.address}/mirror/app:3", root.digest)

    assert isinstance(named, distore.Finished)
    assert isinstance(by_digest, distore.Finished)
    assert registry.repositories["mirror/app"] == {"2": root, "3": root}


def test_a_push_of_the_same_name_needs_no_second_one(registry: FakeRegistry, store: distore.Store) -> None:
    registry.image("team/app", "1", LAYERS)
    reference = f"{registry.address}/team/app:1"
    *_, _ = store.pull(reference)

    events = list(store.push(reference))

    assert {event.how for event in events if isinstance(event, distore.Done)} == {"present", "pushed"}


def test_a_store_copies_to_any_end(registry: FakeRegistry, store: distore.Store, tmp_path: Path) -> None:
    root = registry.image("team/app", "1", LAYERS)
    *_, _ = store.copy(f"{registry.address}/team/app:1", "store:app:1")

    *_, finished = store.copy("store:app:1", f"oci:{tmp_path}/layout:1")

    assert isinstance(finished, distore.Finished)
    assert store.images["app:1"].target.digest == root.digest
    assert (tmp_path / "layout" / "blobs" / "sha256" / root.digest.encoded).exists()


def test_copy_needs_no_store_between_other_ends(registry: FakeRegistry, tmp_path: Path) -> None:
    root = registry.image("team/app", "1", LAYERS)
    source = f"{registry.address}/team/app:1"

    *_, copied = distore.copy(source, f"{registry.address}/mirror/app:1")
    *_, packed = distore.copy(source, f"oci-archive:{tmp_path}/app.tar")
    *_, unpacked = distore.copy(f"oci-archive:{tmp_path}/app.tar", "store:app", store=tmp_path / "other")

    assert [type(event) for event in (copied, packed, unpacked)] == [distore.Finished] * 3
    assert registry.repositories["mirror/app"] == {"1": root}
    with distore.Store(tmp_path / "other") as other:
        assert other.images["app"].target.digest == root.digest


def test_copy_takes_a_store_and_another_way_to_registries(
    registry_factory: Callable[..., FakeRegistry], store: distore.Store
) -> None:
    registry = registry_factory(users={"ann": "secret"})
    registry.image("team/app", "1", LAYERS)
    source = f"{registry.address}/team/app:1"

    with pytest.raises(errors.Unauthenticated):
        list(distore.copy(source, "store:app", store=store))
    with distore.Registry(credentials={registry.address: ("ann", "secret")}) as client:
        list(distore.copy(source, "store:app", store=store, registry=client))

    assert "app" in store.images


def test_an_end_in_the_store_needs_a_store(registry: FakeRegistry) -> None:
    registry.image("team/app", "1", LAYERS)

    with pytest.raises(errors.InvalidArgument, match="store="):
        list(distore.copy(f"{registry.address}/team/app:1", "store:app"))


def test_an_archive_is_replaced_only_on_request(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.image("team/app", "1", LAYERS)
    ends = f"{registry.address}/team/app:1", f"oci-archive:{tmp_path}/app.tar"
    list(distore.copy(*ends))

    with pytest.raises(errors.AlreadyExists):
        list(distore.copy(*ends))
    *_, finished = distore.copy(*ends, overwrite=True)

    assert isinstance(finished, distore.Finished)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"concurrency": 0}, "concurrency 0"),
        ({"concurrency": 65}, "concurrency 65"),
        ({"limit_rate": 0}, "limit_rate 0"),
        ({"platforms": "linux/amd64", "all_platforms": True}, "one of them"),
        ({"platforms": ["no platform at all"]}, "platform"),
    ],
)
def test_a_bad_choice_is_refused_at_the_call(
    store: distore.Store, keywords: dict[str, object], said: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=said):
        store.pull("redis", **keywords)  # type: ignore[arg-type] # as a program without types does
    with pytest.raises(errors.InvalidArgument, match=said):
        distore.copy("redis", "oci:there", **keywords)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="platfroms"):
        store.pull("redis", platfroms="linux/amd64")  # type: ignore[call-arg]


def test_a_chosen_platform_is_what_comes(registry: FakeRegistry, store: distore.Store) -> None:
    children = []
    for architecture in ("amd64", "arm64"):
        child = registry.image("team/app", architecture, [architecture.encode()])
        platform = {"os": "linux", "architecture": architecture}
        children.append({**child.to_json(), "platform": platform})
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": children}
    registry.tag("team/app", "1", json.dumps(index).encode(), mediatypes.OCI_INDEX)
    reference = f"{registry.address}/team/app:1"

    def there() -> list[bool]:
        digests = {str(info.digest) for info in store.content.walk()}
        return [child["digest"] in digests for child in children]

    list(store.pull(reference, platforms="linux/arm64"))
    one = there()
    list(store.pull(reference, all_platforms=True))

    assert one == [False, True]
    assert there() == [True, True]


def test_an_interrupt_ends_a_pull_of_another_thread(
    registry: FakeRegistry, store: distore.Store, stalled: Fault
) -> None:
    registry.image("team/app", "1", LAYERS)
    registry.inject(stalled, path="/blobs/", times=None)
    interrupt = Interrupt()

    thread = soon(interrupt.set)
    with pytest.raises(errors.Cancelled):
        list(store.interruptible(interrupt).pull(f"{registry.address}/team/app:1"))
    thread.join()

    with pytest.raises(errors.Cancelled):
        next(store.interruptible(interrupt).pull(f"{registry.address}/team/app:1"))


def test_closing_one_transfer_leaves_the_others_alone(registry: FakeRegistry, store: distore.Store) -> None:
    for name in ("a", "b"):
        registry.image(name, "1", [name.encode() * 1000])
    other = store.pull(f"{registry.address}/b:1")
    next(other)

    with closing(store.pull(f"{registry.address}/a:1")) as events:
        next(events)
    rest = list(other)

    assert isinstance(rest[-1], distore.Finished)
    assert not [event for event in rest if isinstance(event, distore.Noted)]


def test_connections_and_tokens_serve_the_next_call(registry_factory: Callable[..., FakeRegistry]) -> None:
    registry = registry_factory(with_tokens=True)
    registry.image("team/app", "1", LAYERS)

    with distore.Registry() as client:
        for _ in range(3):
            client.resolve(f"{registry.address}/team/app:1")

    assert len(registry.seen("/token")) == 1


def test_images_are_found_by_any_spelling_and_forgotten(store: distore.Store) -> None:
    digest = distore.Digest.of(b"{}")
    target = distore.Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=2)
    store._metadata.images.put("docker.io/library/redis:latest", target)

    assert list(store.images) == ["docker.io/library/redis:latest"]
    assert len(store.images) == 1
    assert "redis" in store.images
    assert distore.Reference.parse("redis:latest") in store.images
    assert "redis:8" not in store.images
    assert "No Name" not in store.images
    assert [image.target for image in store.images.values()] == [store.images["redis"].target]
    del store.images["redis"]
    with pytest.raises(errors.NotFound):
        _ = store.images["redis"]
    with pytest.raises(errors.NotFound):
        del store.images["redis"]


def test_the_content_store_is_in_reach(store: distore.Store) -> None:
    with store.content.writer("r") as writer:
        writer.write(b"x")
        digest = writer.commit()

    assert store.content.info(digest).size == 1
    assert (store.free_space() or 0) > 0


def test_keywords_and_signatures_agree() -> None:
    def names(function: Callable[..., object]) -> set[str]:
        return set(inspect.signature(function).parameters)

    assert names(distore.Registry) == set(Settings.__annotations__)
    assert names(transfers.copy_options) - {"default"} == CopyKeywords.__optional_keys__
    assert CopyKeywords.__optional_keys__ - TransferKeywords.__optional_keys__ == {"overwrite"}
