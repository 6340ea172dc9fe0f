"""What strangers wrote is no page of ours, whatever they call it."""

from __future__ import annotations

import json

import pytest

from distore.content.memory import MemoryStore
from distore.errors import FailedPrecondition
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry.cachemanifests import record_of
from distore.registry.message import BytesBody, Request
from distore.registry.routes import PushRegistry
from distore.remotes.fetch import Document
from distore.testing.memory_repositories import MemoryRepositories


def document(media_type: str, *, inside: bool) -> Document:
    content = {"schemaVersion": 1, "name": "<script>alert(1)</script>"}
    data = json.dumps(content | {"mediaType": media_type} if inside else content).encode()
    return Document(Digest.of(data), None if inside else media_type, data)


@pytest.mark.parametrize(
    "media_type",
    [
        "text/html;json",
        "text/html; charset=json",
        "text/json",
        "image/svg+xml;json",
        "application/json+xml",
        "application/xhtml+xml; x=+json",
        "application/xml,application/json",
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_what_a_browser_may_show_is_no_manifest_of_an_upstream(media_type: str, inside: bool) -> None:
    with pytest.raises(FailedPrecondition, match="no manifest"):
        record_of(document(media_type, inside=inside), subject="docker.io/evil/x")


@pytest.mark.parametrize(
    ("media_type", "kept"),
    [
        ("application/json; charset=utf-8", "application/json"),
        ("application/vnd.later.v3+json", "application/vnd.later.v3+json"),
        (mediatypes.DOCKER_SCHEMA1_SIGNED, mediatypes.DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_manifests_of_other_kinds_are_handed_on(media_type: str, kept: str) -> None:
    record = record_of(document(media_type, inside=False), subject="docker.io/a/x")

    assert record.descriptor.media_type == kept


def test_what_was_pushed_has_no_rights_of_a_page() -> None:
    registry = PushRegistry(MemoryStore(), MemoryRepositories())
    index = json.dumps({"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}).encode()
    registry.handle(Request(method="PUT", path="/v2/a/manifests/1", body=BytesBody(index)))

    headers = registry.handle(Request(method="GET", path="/v2/a/manifests/1")).headers

    assert headers["content-security-policy"] == "sandbox"
    assert headers["x-content-type-options"] == "nosniff"
