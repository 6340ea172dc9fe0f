"""Pulls over networks that break, and from registries that misbehave."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.transfer.conftest import Puller
from tests.unit.transfer.pull_images import (
    BIG,
    LAYERS,
    Kept,
    blob_requests,
    check,
    keep,
    of,
    ref,
    total,
)

from distore.content.memory import MemoryStore
from distore.errors import (
    DigestMismatch,
    NotFound,
    SizeMismatch,
    Unavailable,
)
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.remotes.http.body import Limits
from distore.testing import server
from distore.testing.server import FakeRegistry
from distore.transfer.pace import Stop
from distore.transfer.progress import Noted, Planned


def test_only_the_missing_bytes_travel_after_an_interruption(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    keep(kept, BIG, BIG[:60_000])

    events = bring(registry, kept, root)

    check(kept, root)
    assert blob_requests(registry, BIG) == ["bytes=60000-"]
    assert registry.bytes_sent == total() + root.size - 60_000
    (planned,) = of(events, Planned)
    assert (planned.missing, planned.kept) == (total() - 60_000, 60_000)
    assert events[-1].moved == total() - 60_000  # type: ignore[attr-defined]  # it is Finished
    assert f"demo@{Digest.of(BIG)}: resuming" in of(events, Noted)[0].text


@pytest.mark.parametrize("kept_bytes", [BIG, BIG + b"more"], ids=["all", "too many"])
def test_kept_bytes_may_be_all_or_too_many(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept, kept_bytes: bytes
) -> None:
    keep(kept, BIG, kept_bytes)

    bring(registry, kept, root)

    check(kept, root)
    assert len(blob_requests(registry, BIG)) == (0 if kept_bytes == BIG else 1)


@pytest.mark.parametrize("at", [1, 64 * 1024, 69_999])
@pytest.mark.usefixtures("no_pauses")
def test_a_connection_that_drops_is_taken_up_where_it_broke(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept, at: int
) -> None:
    registry.inject(server.drop_at(at), path=f"/blobs/{Digest.of(BIG)}")

    events = bring(registry, kept, root)

    check(kept, root)
    assert registry.bytes_sent == total() + root.size
    assert blob_requests(registry, BIG) == [None, f"bytes={at}-"]
    assert "trying again in 0.0 s (4 left)" in of(events, Noted)[0].text


@pytest.mark.usefixtures("no_pauses")
def test_a_connection_that_keeps_dropping_is_given_up_and_everything_kept(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    registry.inject(server.drop_at(50_000), path=f"/blobs/{Digest.of(BIG)}", times=None)

    with pytest.raises(Unavailable, match="the connection broke off"):
        bring(registry, kept, root)

    assert kept.status(ref(BIG)).offset == 50_000
    assert kept.status(ref(BIG)).owner is None


def test_damaged_kept_bytes_are_given_up_and_the_blob_comes_right(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    keep(kept, BIG, b"x" * 1000)

    events = bring(registry, kept, root)

    check(kept, root)
    assert [note.text.rpartition("; ")[2] for note in of(events, Noted)][-1] == "starting over"
    assert blob_requests(registry, BIG) == ["bytes=1000-", None]


def test_wrong_bytes_once_after_a_resume_are_fetched_again(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    keep(kept, BIG, BIG[:1000])
    registry.inject(server.other_bytes(), path=f"/blobs/{Digest.of(BIG)}")

    bring(registry, kept, root)

    check(kept, root)


@pytest.mark.parametrize("before", [b"", BIG[:1000]], ids=["fresh", "resumed"])
def test_wrong_bytes_are_refused_and_nothing_of_them_is_kept(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept, before: bytes
) -> None:
    if before:
        keep(kept, BIG, before)
    registry.inject(server.other_bytes(), path=f"/blobs/{Digest.of(BIG)}", times=None)

    with pytest.raises(DigestMismatch, match=rf"demo@{Digest.of(BIG)}: sent other bytes"):
        bring(registry, kept, root)

    assert Digest.of(BIG) not in [info.digest for info in kept.walk()]
    assert kept.status(ref(BIG)).offset == 0
    assert len(blob_requests(registry, BIG)) == (2 if before else 1)


@pytest.mark.parametrize("length", [7, 1_000_000])
@pytest.mark.usefixtures("no_pauses")
def test_another_length_than_promised_is_refused(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept, length: int
) -> None:
    registry.inject(server.lie_about_length(length), path=f"/blobs/{Digest.of(BIG)}", times=None)

    with pytest.raises(SizeMismatch, match=f"has {length} bytes there, 70000 were promised"):
        bring(registry, kept, root)


@pytest.mark.parametrize("offset", [0, 1000])
def test_a_layer_that_is_compressed_on_the_way_arrives_as_it_was(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept, offset: int
) -> None:
    if offset:
        keep(kept, BIG, BIG[:offset])
    registry.inject(server.gzipped(), path="/blobs/", times=None)

    bring(registry, kept, root)

    check(kept, root)


def test_a_blob_may_lie_with_another_host(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept
) -> None:
    with FakeRegistry() as other:
        path = f"/v2/demo/blobs/{other.put('demo', BIG)}"
        registry.inject(server.redirect(f"{other.url}{path}"), path=path)

        bring(registry, kept, root)

        check(kept, root)
        assert (len(blob_requests(registry, BIG)), len(other.requests)) == (1, 1)
        assert other.bytes_sent == len(BIG)


def test_a_registry_that_is_busy_is_left_alone_for_as_long_as_it_asks(
    registry: FakeRegistry,
    root: Descriptor,
    bring: Puller,
    memory: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    no_pauses: None,
) -> None:
    naps: list[float] = []

    def sleep(stop: Stop, seconds: float) -> None:
        naps.append(seconds)
        stop.check()

    monkeypatch.setattr(Stop, "sleep", sleep)
    registry.inject(server.throttled(7), path="/blobs/")
    registry.inject(server.throttled(8), path="/manifests/")

    events = bring(registry, memory, root)

    check(memory, root)
    assert [nap for nap in naps if nap >= 1] == [8.0, 7.0]
    assert ["7.0 s" in note.text or "8.0 s" in note.text for note in of(events, Noted)] == [True, True]


@pytest.mark.slow
def test_a_connection_that_trickles_is_given_up(
    root: Descriptor, puller: Callable[..., Puller], memory: MemoryStore, no_pauses: None
) -> None:
    with FakeRegistry(rate=20_000) as slow:
        slow.image("demo", "latest", LAYERS)
        bring = puller(min_speed=1_000_000, limits=Limits(window=0.1))

        with pytest.raises(Unavailable, match="the floor is 1000000"):
            bring(slow, memory, root)


@pytest.mark.parametrize("missing", ["blob", "manifest"])
def test_what_the_registry_lacks_is_named(
    registry: FakeRegistry, root: Descriptor, bring: Puller, kept: Kept, missing: str
) -> None:
    path = f"/blobs/{Digest.of(BIG)}" if missing == "blob" else "/manifests/"
    digest = Digest.of(BIG) if missing == "blob" else root.digest
    registry.inject(server.refuse(404), path=path, times=None)
    registry.inject(server.refuse(404), path=str(digest), times=None)

    with pytest.raises(NotFound, match=rf"demo@{digest}: not found \(asked {registry.address}\)"):
        bring(registry, kept, root)
