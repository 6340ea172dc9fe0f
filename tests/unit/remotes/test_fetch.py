"""Fetch: into a store, resuming, over a network and from servers that do everything wrong."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from distore._internal.retry import Retrier
from distore.content.blobs import read_blob
from distore.content.memory import MemoryStore
from distore.content.store import MAX_LABEL_SIZE, Status
from distore.errors import (
    DeadlineExceeded,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    SizeMismatch,
    Unavailable,
)
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.registry.message import Handler, Request, Response
from distore.remotes.fetch import (
    MAX_MANIFEST_SIZE,
    Watch,
    fetch,
    fetch_document,
    source_label,
    stream,
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
def memory() -> MemoryStore:
    return MemoryStore()


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


def test_a_connection_that_drops_is_taken_up_where_it_broke(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier, naps: list[float]
) -> None:
    registry.inject(server.drop_at(100_000))
    registry.inject(server.drop_at(200_000))

    assert fetch(memory, demo, LAYER, retrier=retrier) == DIGEST

    assert stored(memory) == BLOB
    assert registry.bytes_sent == len(BLOB)
    ranges = [seen.headers.get("range") for seen in registry.requests]
    assert ranges == [None, "bytes=100000-", "bytes=200000-"]
    assert registry.requests[1].headers["if-range"] == f'"{DIGEST}"'
    assert len(naps) == 2


def test_a_connection_that_keeps_dropping_is_given_up_and_everything_kept(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier, naps: list[float]
) -> None:
    registry.inject(server.drop_at(100_000), times=None)

    with pytest.raises(Unavailable, match=f"{registry.address}: the connection broke off"):
        fetch(memory, demo, LAYER, retrier=retrier)

    assert memory.status(REF).offset == 100_000
    assert len(registry.requests) == 3


@pytest.mark.parametrize("fault", [server.throttled(7), server.unavailable()])
def test_a_server_that_is_busy_is_asked_again(
    registry: FakeRegistry,
    demo: HttpFetcher,
    memory: MemoryStore,
    retrier: Retrier,
    naps: list[float],
    fault: server.Fault,
) -> None:
    registry.inject(fault, times=2)

    assert fetch(memory, demo, LAYER, retrier=retrier) == DIGEST

    assert len(naps) == 2


def test_the_server_s_own_wait_is_honoured(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier, naps: list[float]
) -> None:
    registry.inject(server.throttled(7))

    fetch(memory, demo, LAYER, retrier=retrier)

    assert naps == [7.0]


def test_a_busy_server_comes_out_as_the_error_in_the_end(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier
) -> None:
    registry.inject(server.throttled(7), times=None)

    with pytest.raises(Unavailable, match="answered 429: toomanyrequests slow down"):
        fetch(memory, demo, LAYER, retrier=retrier)


def test_other_bytes_than_promised_are_refused_and_not_kept(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier
) -> None:
    registry.inject(server.other_bytes(), times=None)

    with pytest.raises(
        DigestMismatch, match=rf"demo@{DIGEST}: sent other bytes: expected {DIGEST}, got sha256:"
    ):
        fetch(memory, demo, LAYER, retrier=retrier)

    assert memory.status(REF).offset == 0
    assert list(memory.walk()) == []
    assert len(registry.requests) == 1


def test_other_bytes_after_a_resume_are_tried_once_more_and_then_refused(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier
) -> None:
    registry.inject(server.other_bytes(), times=None)
    keep(memory, BLOB[:1000])

    with pytest.raises(DigestMismatch):
        fetch(memory, demo, LAYER, retrier=retrier)

    assert len(registry.requests) == 2
    assert list(memory.walk()) == []


@pytest.mark.parametrize("length", [len(BLOB) - 1, len(BLOB) + 1])
def test_a_size_that_is_not_the_promised_one_is_refused_before_any_byte(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier, length: int
) -> None:
    target = Target(digest=DIGEST, size=length)

    with pytest.raises(
        SizeMismatch, match=rf"demo@{DIGEST} from {registry.address}: has 300000 bytes there, {length} were"
    ):
        fetch(memory, demo, target, retrier=retrier)

    assert list(memory.walk()) == []


def test_a_length_that_promises_too_much_costs_a_request_and_no_bytes(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier, naps: list[float]
) -> None:
    registry.inject(server.lie_about_length(len(BLOB) + 10), times=None)

    assert fetch(memory, demo, Target(digest=DIGEST), retrier=retrier) == DIGEST

    assert stored(memory) == BLOB
    assert [seen.status for seen in registry.requests] == [200, 416]
    assert len(naps) == 1


def test_a_length_that_is_not_the_promised_size_is_refused(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier
) -> None:
    registry.inject(server.lie_about_length(len(BLOB) + 10), times=None)

    with pytest.raises(SizeMismatch, match="has 300010 bytes there, 300000 were promised"):
        fetch(memory, demo, LAYER, retrier=retrier)


def test_a_length_that_is_too_small_is_found_out(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier
) -> None:
    registry.inject(server.lie_about_length(1000), times=None)

    with pytest.raises(DigestMismatch, match="sent other bytes"):
        fetch(memory, demo, Target(digest=DIGEST), retrier=retrier)

    assert list(memory.walk()) == []


def test_a_body_compressed_on_the_way_is_stored_as_it_should_be(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    registry.inject(server.gzipped(), times=None)

    assert fetch(memory, demo, LAYER) == DIGEST

    assert stored(memory) == BLOB


def test_a_body_compressed_on_the_way_cannot_be_resumed_but_is_had(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    registry.inject(server.gzipped(), times=None)
    keep(memory, BLOB[:1000])

    assert fetch(memory, demo, LAYER) == DIGEST


def test_a_body_that_grows_when_decompressed_is_stopped_at_its_size(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier
) -> None:
    bomb = registry.put("demo", bytes(10_000_000))
    registry.blobs.data[DIGEST] = registry.blobs.data.pop(bomb)
    registry.inject(server.gzipped(), times=None)

    with pytest.raises(SizeMismatch, match="sends more than the 300000 bytes it should have"):
        fetch(memory, demo, LAYER, retrier=retrier)

    assert memory.status(REF).offset <= len(BLOB)


def test_a_trickle_is_put_together(registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore) -> None:
    registry.inject(server.trickle(7), path="/manifests/")

    assert fetch(memory, demo, Target(tag="latest")) == Digest.of(MANIFEST)


def test_a_redirect_to_another_server_is_followed(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    with FakeRegistry() as other:
        other.put("elsewhere", BLOB)
        registry.inject(server.redirect(f"{other.url}/v2/elsewhere/blobs/{DIGEST}"))

        assert fetch(memory, demo, LAYER) == DIGEST

    assert memory.info(DIGEST).labels == source_label(demo.repository)


def test_a_tag_whose_claimed_digest_is_wrong_is_refused(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    registry.inject(server.claim_digest(OTHER))

    with pytest.raises(DigestMismatch, match=rf"demo:latest from .*: sent other bytes: expected {OTHER}"):
        fetch(memory, demo, Target(tag="latest"))

    assert list(memory.walk()) == []


def test_a_tag_without_a_claimed_digest_is_computed(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    registry.inject(server.claim_digest(""))

    assert fetch(memory, demo, Target(tag="latest")) == Digest.of(MANIFEST)


def test_a_claim_for_a_blob_that_was_asked_for_by_digest_changes_nothing(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore
) -> None:
    registry.inject(server.claim_digest(OTHER))

    assert fetch(memory, demo, LAYER) == DIGEST


def test_what_is_not_there_makes_no_blob(demo: HttpFetcher, memory: MemoryStore) -> None:
    with pytest.raises(NotFound):
        fetch(memory, demo, Target(digest=OTHER))
    with pytest.raises(NotFound):
        fetch(memory, demo, Target(tag="gone"))

    assert list(memory.walk()) == []
    assert [status.offset for status in memory.statuses()] == [0]  # empty, for prune to drop


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


def test_a_stream_is_the_blob_over_however_many_connections(
    registry: FakeRegistry, demo: HttpFetcher, retrier: Retrier
) -> None:
    registry.inject(server.drop_at(100_000))
    registry.inject(server.drop_at(200_000))

    assert b"".join(stream(demo, LAYER, retrier=retrier)) == BLOB

    assert registry.bytes_sent == len(BLOB)


def test_a_stream_skips_what_a_server_without_ranges_repeats(
    registry: FakeRegistry, demo: HttpFetcher, retrier: Retrier
) -> None:
    registry.inject(server.drop_at(100_000))
    registry.inject(server.ignore_range(), times=None)

    assert b"".join(stream(demo, LAYER, retrier=retrier)) == BLOB


def test_a_stream_of_other_bytes_fails_when_it_ends(
    registry: FakeRegistry, demo: HttpFetcher, retrier: Retrier
) -> None:
    registry.inject(server.other_bytes())
    size = 0

    with pytest.raises(DigestMismatch, match="sent other bytes"):
        for piece in stream(demo, LAYER, retrier=retrier):
            size += len(piece)

    assert size == len(BLOB)


def test_a_stream_of_another_size_fails(demo: HttpFetcher, retrier: Retrier) -> None:
    with pytest.raises(SizeMismatch):
        b"".join(stream(demo, Target(digest=DIGEST, size=5), retrier=retrier))


def test_only_a_digest_can_be_streamed(demo: HttpFetcher) -> None:
    with pytest.raises(InvalidArgument, match="only a digest can be streamed"):
        next(stream(demo, Target(tag="latest")))


def test_a_document_is_whole_and_verified(demo: HttpFetcher) -> None:
    document = fetch_document(demo, Target(tag="latest"))

    assert document == (Digest.of(MANIFEST), mediatypes.OCI_MANIFEST, MANIFEST)


@pytest.mark.parametrize("fault", [server.drop_at(20), server.unavailable()])
def test_a_document_that_breaks_off_is_asked_for_again(
    registry: FakeRegistry, demo: HttpFetcher, retrier: Retrier, fault: server.Fault
) -> None:
    registry.inject(fault)

    assert fetch_document(demo, Target(tag="latest"), retrier=retrier).data == MANIFEST


def test_a_tag_that_moves_while_its_document_breaks_off_is_read_whole(
    registry: FakeRegistry, demo: HttpFetcher, retrier: Retrier
) -> None:
    moved = MANIFEST.replace(b"{}", b'{"moved": true}')

    def move(request: Request, handler: Handler) -> Response:
        response = server.drop_at(20)(request, handler)
        registry.tag("demo", "latest", moved)
        return response

    registry.inject(move)

    assert fetch_document(demo, Target(tag="latest"), retrier=retrier).data == moved


def test_a_document_has_a_largest_size(registry: FakeRegistry, demo: HttpFetcher) -> None:
    registry.tag("demo", "large", b" " * (MAX_MANIFEST_SIZE + 1))
    registry.tag("demo", "full", b" " * MAX_MANIFEST_SIZE)

    with pytest.raises(ResourceExhausted, match=f"demo:large from .*: larger than {MAX_MANIFEST_SIZE} bytes"):
        fetch_document(demo, Target(tag="large"))

    assert len(fetch_document(demo, Target(tag="full")).data) == MAX_MANIFEST_SIZE


def test_a_document_of_another_size_is_refused(demo: HttpFetcher) -> None:
    with pytest.raises(SizeMismatch):
        fetch_document(demo, Target(tag="latest", size=5))


def test_a_label_that_would_be_too_long_is_left_out() -> None:
    long = Reference(domain="a.example", path="b")
    object.__setattr__(long, "path", "b" * MAX_LABEL_SIZE)

    assert source_label(long) == {}
    assert source_label(Reference.parse("redis")) == {
        "containerd.io/distribution.source.docker.io": "library/redis"
    }
