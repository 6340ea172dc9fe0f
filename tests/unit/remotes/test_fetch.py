"""Fetch: a blob into a store, resuming what is kept and following who is at it already."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from distore.content.blobs import read_blob
from distore.content.memory import MemoryStore
from distore.content.store import Status
from distore.errors import (
    DeadlineExceeded,
)
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.remotes.fetch import (
    Watch,
    fetch,
)
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.refkey import ref_key
from distore.remotes.resolver import Target
from distore.testing import server
from distore.testing.server import FakeRegistry

Connect = Callable[..., HttpFetcher]
BLOB = random.Random(1).randbytes(300_000)
DIGEST = Digest.of(BLOB)
OTHER = Digest.of(b"other")
MANIFEST = b'{"schemaVersion": 2, "config": {}, "layers": []}'
LAYER = Target(digest=DIGEST, size=len(BLOB), media_type=mediatypes.OCI_LAYER_GZIP)
REF = ref_key(LAYER.media_type, DIGEST)


class Notes(list[str]):
    """Collects what people are told."""

    @property
    def watch(self) -> Watch:
        return Watch(note=self.append)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def demo(registry: FakeRegistry, connect: Connect) -> HttpFetcher:
    """A repository with BLOB and the tag ``latest``."""
    registry.put("demo", BLOB)
    registry.tag("demo", "latest", MANIFEST)
    return connect(f"{registry.address}/demo")


def keep(store: MemoryStore, data: bytes) -> None:
    """What an interrupted download has left."""
    with store.writer(REF, total=len(BLOB), expected=DIGEST) as writer:
        writer.write(data)


def stored(store: MemoryStore, digest: Digest = DIGEST) -> bytes:
    return read_blob(store, digest, max_size=1 << 30)


def test_a_blob_is_in_the_store_with_where_it_came_from(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    assert fetch(memory, demo, LAYER) == DIGEST

    assert stored(memory) == BLOB
    assert memory.info(DIGEST).labels == {f"containerd.io/distribution.source.{registry.address}": "demo"}
    assert list(memory.statuses()) == []


def test_a_blob_that_is_there_is_not_asked_for(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    fetch(memory, demo, LAYER)
    requests = len(registry.requests)

    assert fetch(memory, demo, LAYER) == DIGEST

    assert len(registry.requests) == requests


def test_a_tag_is_fetched_as_what_it_names(demo: HttpFetcher, memory: MemoryStore) -> None:
    digest = fetch(memory, demo, Target(tag="latest"))

    assert digest == Digest.of(MANIFEST)
    assert stored(memory, digest) == MANIFEST


def test_an_empty_blob_is_a_blob(registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore) -> None:
    digest = registry.put("demo", b"")

    assert fetch(memory, demo, Target(digest=digest)) == digest

    assert stored(memory, digest) == b""


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_digest_may_be_of_another_algorithm(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, algorithm: str
) -> None:
    digest = Digest.of(BLOB, algorithm=algorithm)
    registry.blobs.data[digest] = BLOB

    assert fetch(memory, demo, Target(digest=digest)) == digest

    assert stored(memory, digest) == BLOB


def test_kept_bytes_are_not_fetched_again(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, notes: Notes
) -> None:
    keep(memory, BLOB[:250_000])

    assert fetch(memory, demo, LAYER, watch=notes.watch) == DIGEST

    assert registry.bytes_sent == 50_000
    assert registry.requests[0].headers["range"] == "bytes=250000-"
    assert notes == [f"{registry.address}/demo@{DIGEST}: resuming at byte 250000 of 300000"]


def test_a_whole_blob_that_was_kept_needs_no_registry(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    keep(memory, BLOB)

    assert fetch(memory, demo, LAYER) == DIGEST

    assert registry.requests == []


def test_a_whole_blob_of_unknown_size_that_was_kept_is_only_asked_about(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    keep(memory, BLOB)

    assert fetch(memory, demo, Target(digest=DIGEST), ref=REF) == DIGEST

    assert [seen.status for seen in registry.requests] == [416]


def test_a_server_that_cannot_resume_sends_everything(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, notes: Notes
) -> None:
    registry.inject(server.ignore_range(), times=None)
    keep(memory, BLOB[:1000])

    assert fetch(memory, demo, LAYER, watch=notes.watch) == DIGEST

    assert stored(memory) == BLOB
    assert notes[-1].endswith("the registry cannot resume; starting over")


def test_damaged_kept_bytes_are_given_up_once_and_fetched_whole(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, notes: Notes
) -> None:
    keep(memory, b"\0" * 1000)

    assert fetch(memory, demo, LAYER, watch=notes.watch) == DIGEST

    assert stored(memory) == BLOB
    assert notes[-1] == f"{registry.address}/demo@{DIGEST}: the kept bytes are damaged; starting over"
    assert [seen.headers.get("range") for seen in registry.requests] == ["bytes=1000-", None]


def test_more_kept_bytes_than_the_blob_has_are_given_up(
    demo: HttpFetcher, memory: MemoryStore, notes: Notes
) -> None:
    with memory.writer(REF) as writer:
        writer.write(BLOB + b"more")

    assert fetch(memory, demo, LAYER, watch=notes.watch) == DIGEST

    assert notes[0].endswith("300004 bytes are kept, it has 300000; starting over")


def test_a_download_by_somebody_else_is_followed(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    seen: list[Status] = []
    running = threading.Event()

    def follow(status: Status) -> None:
        seen.append(status)
        running.set()

    other = memory.writer(REF, total=len(BLOB), expected=DIGEST)
    results: list[Digest] = []
    thread = threading.Thread(
        target=lambda: results.append(fetch(memory, demo, LAYER, watch=Watch(follow=follow)))
    )
    thread.start()
    assert running.wait(10)
    other.write(BLOB)
    other.commit(expected=DIGEST)
    thread.join(10)

    assert results == [DIGEST]
    assert registry.requests == []
    assert {status.ref for status in seen} == {REF}


def test_a_download_that_somebody_else_gives_up_is_taken_over(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    running = threading.Event()
    other = memory.writer(REF, total=len(BLOB), expected=DIGEST)
    results: list[Digest] = []
    watch = Watch(follow=lambda status: running.set())
    thread = threading.Thread(target=lambda: results.append(fetch(memory, demo, LAYER, watch=watch)))
    thread.start()
    assert running.wait(10)
    other.write(BLOB[:1000])
    other.close()
    thread.join(10)

    assert results == [DIGEST]
    assert registry.requests[0].headers["range"] == "bytes=1000-"


def test_somebody_else_is_not_waited_for_longer_than_asked(demo: HttpFetcher, memory: MemoryStore) -> None:
    with memory.writer(REF, expected=DIGEST), pytest.raises(DeadlineExceeded):
        fetch(memory, demo, LAYER, timeout=0.01)


def test_progress_goes_from_the_kept_bytes_to_the_size(demo: HttpFetcher, memory: MemoryStore) -> None:
    keep(memory, BLOB[:1000])
    seen: list[tuple[int, int | None]] = []

    fetch(memory, demo, LAYER, watch=Watch(progress=lambda kept, size: seen.append((kept, size))))

    assert seen == sorted(seen)
    assert seen[0][0] > 1000
    assert seen[-1] == (len(BLOB), len(BLOB))
