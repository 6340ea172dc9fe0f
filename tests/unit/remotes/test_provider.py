"""RemoteProvider and suppliers: a repository read like a store, for repair."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distore._internal.retry import Retrier
from distore.content import blobs
from distore.content.memory import MemoryStore
from distore.errors import InvalidArgument, NotFound, OutOfRange, Unavailable
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.provider import RemoteProvider
from distore.remotes.suppliers import labelled
from distore.testing import server
from distore.testing.server import FakeRegistry

Connect = Callable[..., HttpFetcher]
BLOB = random.Random(2).randbytes(100_000)
DIGEST = Digest.of(BLOB)
LABEL = "containerd.io/distribution.source."


@pytest.fixture
def provider(registry: FakeRegistry, connect: Connect, naps: list[float]) -> RemoteProvider:
    registry.put("demo", BLOB)
    return RemoteProvider(
        connect(f"{registry.address}/demo"),
        new_retrier=lambda: Retrier(sleep=naps.append, random=lambda: 0.0),
    )


def test_a_blob_is_copied_over_one_connection(registry: FakeRegistry, provider: RemoteProvider) -> None:
    store = MemoryStore()

    with store.writer("repair") as writer:
        blobs.copy(provider, DIGEST, writer)
        writer.commit(expected=DIGEST)

    assert blobs.read_blob(store, DIGEST, max_size=1 << 20) == BLOB
    assert len(registry.requests) == 1


def test_a_copy_goes_on_where_the_connection_broke(registry: FakeRegistry, provider: RemoteProvider) -> None:
    registry.inject(server.drop_at(40_000))
    store = MemoryStore()

    with store.writer("repair") as writer:
        blobs.copy(provider, DIGEST, writer)
        writer.commit(expected=DIGEST)

    assert registry.bytes_sent == len(BLOB)


def test_a_copy_goes_on_behind_a_server_without_ranges(
    registry: FakeRegistry, provider: RemoteProvider
) -> None:
    registry.inject(server.drop_at(40_000))
    registry.inject(server.ignore_range(), times=None)

    assert blobs.read_blob(provider, DIGEST, max_size=1 << 20) == BLOB


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, len(BLOB) + 10)), max_size=6))
def test_any_part_reads_as_it_would_from_a_file(
    provider: RemoteProvider, reads: list[tuple[int, int]]
) -> None:
    with provider.reader(DIGEST) as reader:
        assert reader.size == len(BLOB)
        for length, offset in reads:
            assert reader.read_at(length, offset) == BLOB[offset : offset + length]


@pytest.mark.parametrize(("length", "offset"), [(-1, 0), (1, -1)])
def test_a_read_before_the_beginning_is_out_of_range(
    provider: RemoteProvider, length: int, offset: int
) -> None:
    with provider.reader(DIGEST) as reader, pytest.raises(OutOfRange):
        reader.read_at(length, offset)


def test_what_is_not_there_is_not_found(provider: RemoteProvider) -> None:
    with pytest.raises(NotFound):
        provider.reader(Digest.of(b"other"))


def test_a_server_that_tells_no_size_is_of_no_use(registry: FakeRegistry, provider: RemoteProvider) -> None:
    registry.inject(server.gzipped())

    with pytest.raises(Unavailable, match="does not tell its size"):
        provider.reader(DIGEST)


def test_a_provider_is_named_after_its_repository(registry: FakeRegistry, provider: RemoteProvider) -> None:
    assert str(provider) == f"{registry.address}/demo"


class Resolver:
    """Knows the registry of the test only."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    def fetcher(self, repository: Reference) -> HttpFetcher:
        if repository.domain == "broken.example":
            raise InvalidArgument("broken.example/hosts.toml: not TOML")
        return self._connect(repository.name)


def test_labels_name_every_repository_that_had_the_blob(connect: Connect) -> None:
    found = labelled(
        Resolver(connect),
        {
            f"{LABEL}a.example:5000": "one,two/three",
            f"{LABEL}docker.io": "library/redis",
            "containerd.io/gc.root": "x",
        },
    )

    assert [str(provider) for provider in found] == [
        "a.example:5000/one",
        "a.example:5000/two/three",
        "docker.io/library/redis",
    ]


@pytest.mark.parametrize(
    ("host", "paths"),
    [
        ("", "a"),
        ("a.example", ""),
        ("a.example", "../../etc,,UPPER,a b,\n"),
        ("a.example", "b:latest,b@sha256:0,\x00"),
        ("a.example/b", "c"),
        ("library", "redis"),
        ("u:pw@a.example", "b"),
        ("http://a.example", "b"),
        ("broken.example", "b"),
        ("a" * 500, "b" * 5000),
    ],
)
def test_a_label_that_makes_no_sense_is_passed_over(connect: Connect, host: str, paths: str) -> None:
    assert list(labelled(Resolver(connect), {LABEL + host: paths})) == []


def test_a_supplier_supplies(registry: FakeRegistry, connect: Connect) -> None:
    registry.put("demo", BLOB)
    (provider,) = labelled(Resolver(connect), {LABEL + registry.address: "demo"})

    assert blobs.read_blob(provider, DIGEST, max_size=1 << 20) == BLOB
