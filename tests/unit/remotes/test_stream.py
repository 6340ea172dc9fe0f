"""Streams and documents: objects that pass by, verified, without a store."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from distore._internal.retry import Retrier
from distore.content.store import MAX_LABEL_SIZE
from distore.errors import (
    DigestMismatch,
    InvalidArgument,
    ResourceExhausted,
    SizeMismatch,
)
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.oci.reference import Reference
from distore.registry.message import Handler, Request, Response
from distore.remotes.fetch import (
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


@pytest.fixture
def demo(registry: FakeRegistry, connect: Connect) -> HttpFetcher:
    """A repository with BLOB and the tag ``latest``."""
    registry.put("demo", BLOB)
    registry.tag("demo", "latest", MANIFEST)
    return connect(f"{registry.address}/demo")


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


@pytest.mark.parametrize("etag", [{}, {"etag": ""}], ids=["etag", "no etag"])
def test_a_tag_that_moves_while_its_document_breaks_off_is_read_whole(
    registry: FakeRegistry, demo: HttpFetcher, retrier: Retrier, etag: dict[str, str]
) -> None:
    moved = MANIFEST.replace(b"2", b"3")  # before the byte where it breaks off

    def move(request: Request, handler: Handler) -> Response:
        response = server.drop_at(20)(request, handler)
        registry.tag("demo", "latest", moved)
        return replace(response, headers={**response.headers, **etag})

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
