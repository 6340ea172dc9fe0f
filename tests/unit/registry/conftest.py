"""A registry that takes pushes, asked without a network."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from distore.content.memory import MemoryStore
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry.features import Features
from distore.registry.message import BytesBody, Request, Response
from distore.registry.routes import PushRegistry
from distore.testing.memory_repositories import MemoryRepositories


@pytest.fixture
def kept() -> MemoryStore:
    """Where the registry keeps what is pushed."""
    return MemoryStore()


@pytest.fixture
def make(kept: MemoryStore) -> Callable[..., Callable[..., Response]]:
    """Make an ``ask`` for a registry with other features than usual."""

    def build(**features: object) -> Callable[..., Response]:
        numbers = itertools.count()
        registry = PushRegistry(
            kept,
            MemoryRepositories(),
            features=Features(**features),  # type: ignore[arg-type] # as given
            new_id=lambda: f"id-{next(numbers)}",
        )

        def ask(method: str, path: str, body: bytes = b"", **headers: str) -> Response:
            """``path`` begins behind /v2/ and may have a query; underscores in names mean dashes."""
            bare, _, query = path.partition("?")
            pairs = [part.partition("=") for part in query.split("&") if part]
            response = registry.handle(
                Request(
                    method=method,
                    path=bare if bare.startswith("/") else f"/v2/{bare}",
                    query={name: value for name, _, value in reversed(pairs)},
                    repeated={
                        name: values
                        for name in {name for name, _, _ in pairs}
                        if len(values := tuple(value for other, _, value in pairs if other == name)) > 1
                    },
                    headers={name.replace("_", "-"): value for name, value in headers.items()},
                    body=BytesBody(body),
                )
            )
            headers = dict(response.headers)
            assert headers.pop("docker-distribution-api-version") == "registry/2.0"
            return replace(response, headers=headers)

        return ask

    return build


@pytest.fixture
def ask(make: Callable[..., Callable[..., Response]]) -> Callable[..., Response]:
    """``ask("PUT", "demo/manifests/latest", body, content_type=...)``."""
    return make()


@pytest.fixture
def push() -> Callable[..., Digest]:
    """``push(ask, "demo", b"bytes")``: the whole blob in one request."""

    def whole(ask: Callable[..., Response], repository: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        assert ask("POST", f"{repository}/blobs/uploads/?digest={digest}", data).status == 201
        return digest

    return whole


@pytest.fixture
def manifest() -> Callable[..., bytes]:
    """An image manifest of ``parts``, the first of which is the config; other fields as given."""

    def document(*parts: bytes, **fields: object) -> bytes:
        kinds = [mediatypes.OCI_CONFIG, *[mediatypes.OCI_LAYER] * len(parts)]
        described = [
            {"mediaType": kind, "digest": Digest.of(part), "size": len(part)}
            for kind, part in zip(kinds, parts, strict=False)
        ]
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.OCI_MANIFEST,
                "config": described[0],
                "layers": described[1:],
                **fields,
            }
        ).encode()

    return document
