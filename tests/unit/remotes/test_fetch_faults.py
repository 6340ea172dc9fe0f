"""Fetch over a network that breaks, and from servers that do everything wrong."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

import pytest

from distore._internal.retry import Retrier
from distore.content.blobs import read_blob
from distore.content.memory import MemoryStore
from distore.errors import (
    DigestMismatch,
    NotFound,
    SizeMismatch,
    Unavailable,
)
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry.message import Response
from distore.remotes.fetch import (
    fetch,
    source_label,
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


def test_a_body_that_ends_early_unnoticed_is_taken_up_where_it_ended(
    registry: FakeRegistry, demo: HttpFetcher, memory: MemoryStore, retrier: Retrier, naps: list[float]
) -> None:
    short = Response(status=200, headers={"content-encoding": "gzip"}, body=gzip.compress(BLOB[:1000]))
    registry.inject(lambda request, handler: short)

    assert fetch(memory, demo, LAYER, retrier=retrier) == DIGEST

    assert [seen.headers.get("range") for seen in registry.requests] == [None, "bytes=1000-"]
    assert len(naps) == 1


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
