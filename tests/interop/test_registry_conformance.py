"""The rows of the specification over Debian's docker-registry: what it is known not to do, and no more."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from tests.interop.registries import served

from distore.testing.registry_conformance.asking import Asking
from distore.testing.registry_conformance.expected import DOCKER_REGISTRY
from distore.testing.registry_conformance.row import Outcome, Row
from distore.testing.registry_conformance.table import TABLE, run


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """Asks a docker-registry of its own."""
    with served(tmp_path_factory.mktemp("docker-registry")) as registry:
        yield Asking(f"http://{registry.host}/")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_docker_registry_is_as_we_say(asking: Asking, row: Row) -> None:
    result = run(row, asking, prefix="conformance", unique=lambda: uuid.uuid4().hex)

    assert result.outcome == DOCKER_REGISTRY.get(row.name, Outcome.PASSED), result.why
