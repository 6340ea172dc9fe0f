"""What a client may pull decides what it is shown and what it may mount."""

from __future__ import annotations

import json

import pytest

from distore.content.memory import MemoryStore
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry.grants import PULL
from distore.registry.message import BytesBody, Request, Response
from distore.registry.routes import PushRegistry
from distore.registry.tags import list_repositories
from distore.testing.memory_repositories import MemoryRepositories

BLOB = b"{}"
DIGEST = Digest.of(BLOB)
INDEX = json.dumps({"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}).encode()


class Only:
    """May pull from some repositories, and do all else everywhere."""

    user = "ann"

    def __init__(self, *names: str) -> None:
        self.names = names

    def may(self, action: str, repository: str, /) -> bool:
        return action != PULL or repository in self.names


@pytest.fixture
def registry() -> PushRegistry:
    """Repositories a to f; b and d have BLOB."""
    made = PushRegistry(MemoryStore(), MemoryRepositories())
    for name in "abcdef":
        assert (
            made.handle(Request(method="PUT", path=f"/v2/{name}/manifests/1", body=BytesBody(INDEX))).status
            == 201
        )
    for name in "bd":
        path, query = f"/v2/{name}/blobs/uploads/", {"digest": str(DIGEST)}
        made.handle(Request(method="POST", path=path, query=query, body=BytesBody(BLOB)))
    return made


def ask(registry: PushRegistry, method: str, path: str, grants: Only, **query: str) -> Response:
    return registry.handle(Request(method=method, path=path, query=query, grants=grants))


def listed(response: Response) -> list[str]:
    assert isinstance(response.body, bytes)
    return list(json.loads(response.body)["repositories"])


def test_only_what_may_be_pulled_is_in_the_catalog(registry: PushRegistry) -> None:
    assert listed(ask(registry, "GET", "/v2/_catalog", Only("a", "d", "gone"))) == ["a", "d"]
    assert listed(ask(registry, "GET", "/v2/_catalog", Only())) == []


def test_pages_of_the_catalog_are_full_all_the_same(registry: PushRegistry) -> None:
    grants = Only("a", "d", "f")

    first = ask(registry, "GET", "/v2/_catalog", grants, n="2")
    second = ask(registry, "GET", "/v2/_catalog", grants, n="2", last="d")

    assert (listed(first), listed(second)) == (["a", "d"], ["f"])
    assert first.headers["link"] == '</v2/_catalog?n=2&last=d>; rel="next"'
    assert "link" not in second.headers


def test_a_name_among_many_that_are_not_shown_is_found_in_a_few_steps() -> None:
    every = [f"r{number:05}" for number in range(20_000)]
    asked = []

    def names(after: str, limit: int) -> list[str]:
        asked.append(limit)
        start = every.index(after) + 1 if after else 0
        return every[start : start + limit]

    request = Request(method="GET", path="/v2/_catalog", query={"n": "1"}, grants=Only("r19999"))

    assert listed(list_repositories(request, names)) == ["r19999"]
    assert len(asked) < 20


@pytest.mark.parametrize(
    ("grants", "query", "status"),
    [
        (Only("b"), {"from": "b"}, 201),
        (Only("d"), {"from": "b"}, 202),
        (Only("d"), {}, 201),
        (Only("a"), {}, 202),
        (Only(), {}, 202),
    ],
)
def test_a_blob_is_mounted_from_where_it_may_be_pulled(
    registry: PushRegistry, grants: Only, query: dict[str, str], status: int
) -> None:
    response = ask(registry, "POST", "/v2/new/blobs/uploads/", grants, mount=DIGEST, **query)

    assert response.status == status
    there = registry.handle(Request(method="HEAD", path=f"/v2/new/blobs/{DIGEST}"))
    assert there.status == (200 if status == 201 else 404)
