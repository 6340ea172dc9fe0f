"""The distribution specification, row by row, over our registry in every shape."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.e2e.serving import served

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.metadata.db import Metadata
from distore.registry.app import RegistryServer
from distore.registry.routes import PushRegistry
from distore.testing.memory_repositories import MemoryRepositories
from distore.testing.registry_conformance.asking import Asking
from distore.testing.registry_conformance.expected import DIST_SERVE
from distore.testing.registry_conformance.row import Outcome, Row
from distore.testing.registry_conformance.table import TABLE, run

SHAPES = ("memory", "store", "dist serve", "dist serve, two workers")


@pytest.fixture(scope="module", params=SHAPES)
def asking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """Asks one of SHAPES."""
    folder = tmp_path_factory.mktemp("registry")
    with ExitStack() as running:
        if request.param == "memory":
            registry = PushRegistry(MemoryStore(), MemoryRepositories())
            server = running.enter_context(RegistryServer(registry.handle))
            yield Asking(f"http://{server.address}/")
        elif request.param == "store":
            store = LocalStore(str(folder / "store"))
            running.callback(store.close)
            metadata = Metadata(store, command="test")
            running.callback(metadata.close)
            kept = PushRegistry(metadata.content, metadata.repositories)
            server = running.enter_context(RegistryServer(kept.handle))
            yield Asking(f"http://{server.address}/")
        else:
            words = ("--workers", "2") if "two" in request.param else ()
            started = running.enter_context(served(folder, *words))
            yield Asking(f"http://{started.address}/")


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_registry_does_what_the_specification_says(asking: Asking, row: Row) -> None:
    result = run(row, asking, prefix="conformance", unique=lambda: uuid.uuid4().hex)

    assert result.outcome == DIST_SERVE.get(row.name, Outcome.PASSED), result.why
