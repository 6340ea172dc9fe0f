"""The table of the specification, its program, and what it finds in registries that are wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from distore.content.memory import MemoryStore
from distore.registry.app import RegistryServer
from distore.registry.message import Request, Response
from distore.registry.routes import PushRegistry
from distore.testing.memory_repositories import MemoryRepositories
from distore.testing.registry_conformance import expected
from distore.testing.registry_conformance.asking import Asking
from distore.testing.registry_conformance.row import MAY, MUST, SHOULD, Outcome
from distore.testing.registry_conformance.table import TABLE, markdown, run
from distore.testing.server import FakeRegistry

PAGE = Path(__file__).parents[3] / "docs/reference/conformance.md"
ROWS = {row.name: row for row in TABLE}


def test_every_row_has_a_name_a_level_and_a_section() -> None:
    assert len(ROWS) == len(TABLE) > 100
    assert {row.level for row in TABLE} == {MUST, SHOULD, MAY}
    assert all(row.section and row.says.endswith(".") and "|" not in row.says for row in TABLE)


@pytest.mark.parametrize("known", [expected.DIST_SERVE, expected.DOCKER_REGISTRY])
def test_what_is_known_is_of_rows_that_are_there(known: dict[str, Outcome]) -> None:
    assert set(known) <= set(ROWS)


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text() == markdown(expected.DIST_SERVE, expected.DOCKER_REGISTRY)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("manifest-by-tag", lambda response: replace(response, body=b"other")),
        ("manifest-digest-header", lambda response: replace(response, headers={})),
        ("blob-unknown", lambda response: replace(response, status=204 if response.status == 404 else 200)),
        ("error-documents", lambda response: replace(response, body=b"not found")),
        ("tags-in-order", lambda response: replace(response, body=b'{"tags": ["b", "a"]}')),
        ("status", lambda response: Response(status=204)),
    ],
)
def test_a_registry_that_is_wrong_fails(name: str, spoil: object) -> None:
    registry = PushRegistry(MemoryStore(), MemoryRepositories())

    def answer(request: Request) -> Response:
        response = registry.handle(request)
        if request.method != "GET":
            return response
        response.close()
        assert callable(spoil)
        spoilt = spoil(response)
        assert isinstance(spoilt, Response)
        return replace(spoilt, body=b"") if not isinstance(spoilt.body, bytes) else spoilt

    with RegistryServer(answer) as server:
        result = run(
            ROWS[name], Asking(f"http://{server.address}"), prefix="a", unique=iter("bcdefgh").__next__
        )

    assert result.outcome is Outcome.FAILED
    assert result.why


def test_a_registry_that_is_not_there_fails() -> None:
    result = run(ROWS["support"], Asking("http://127.0.0.1:1/"), prefix="a", unique=lambda: "b")

    assert result.outcome is Outcome.FAILED


@pytest.mark.slow
@pytest.mark.parametrize("with_tokens", [True, False])
def test_strangers_ask_with_a_program_and_a_password(with_tokens: bool) -> None:
    with FakeRegistry(users={"ann": "secret"}, with_tokens=with_tokens) as fake:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "distore.testing.registry_conformance",
                fake.url,
                "--json",
                "--user=ann",
                "--repository=mine",
            ],
            env={"CONFORMANCE_PASSWORD": "secret"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

        found = [json.loads(line) for line in ended.stdout.splitlines()]
        assert [entry["name"] for entry in found] == list(ROWS)
        assert {entry["name"]: entry["why"] for entry in found if entry["outcome"] == "no"} == {}
        assert ended.returncode == 0
        assert all(name.startswith("mine/") for name in fake.repositories)
