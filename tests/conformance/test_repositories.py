"""The contract of repositories on every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from distore.content.blobs import write_blob
from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists
from distore.metadata.db import Metadata
from distore.metadata.repositories import StoredRepositories
from distore.oci.digest import Digest
from distore.testing.lease_suite import Clock
from distore.testing.memory_repositories import MemoryRepositories
from distore.testing.repository_suite import RepositorySuite


class TestMemoryRepositories(RepositorySuite):
    @pytest.fixture
    def repositories(self, clock: Clock) -> MemoryRepositories:
        return MemoryRepositories(now=clock)

    @pytest.fixture
    def stored(self) -> Callable[[bytes], Digest]:
        return Digest.of


@pytest.mark.parametrize("namespace", ["default", "team"], indirect=True)
class TestStoredRepositories(RepositorySuite):
    @pytest.fixture
    def namespace(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def store(self, tmp_path: Path, namespace: str) -> Iterator[LocalStore]:
        store = LocalStore(str(tmp_path / "store"), namespace=namespace)
        yield store
        store.close()

    @pytest.fixture
    def repositories(self, store: LocalStore, clock: Clock) -> Iterator[StoredRepositories]:
        metadata = Metadata(store, command="dist test", now=clock)
        yield metadata.repositories
        metadata.close()

    @pytest.fixture
    def stored(self, store: LocalStore) -> Callable[[bytes], Digest]:
        def put(data: bytes) -> Digest:
            digest = Digest.of(data)
            with suppress(AlreadyExists):
                write_blob(store, f"put-{digest}", data, expected=digest)
            return digest

        return put
