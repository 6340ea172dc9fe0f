"""The read side of a registry: endpoints, headers, and refusals."""

from __future__ import annotations

import json
from typing import NoReturn

import pytest

from distore.content.blobs import write_blob
from distore.content.local.reader import LocalReader
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import (
    DataLoss,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.features import Features
from distore.registry.message import Request, Response, Slice
from distore.registry.routes import PushRegistry, PushStore
from distore.testing.memory_repositories import MemoryRepositories

BLOB = b"0123456789" * 10
OTHER = Digest.of(b"other")
REPOSITORY = "library/redis"


class Content(MemoryStore):
    """A store that takes a blob in one call."""

    def put(self, data: bytes) -> Digest:
        return write_blob(self, f"put-{Digest.of(data)}", data)


@pytest.fixture
def content() -> Content:
    return Content()


@pytest.fixture
def repositories() -> dict[str, dict[str, Descriptor]]:
    return {REPOSITORY: {}}


@pytest.fixture
def registry(content: Content, repositories: dict[str, dict[str, Descriptor]]) -> PushRegistry:
    return offering(content, repositories)


class Everything:
    """Every digest there is."""

    def __contains__(self, digest: object) -> bool:
        return True


def offering(content: PushStore, repositories: dict[str, dict[str, Descriptor]]) -> PushRegistry:
    """Every repository offers all of ``content``, and what reads as a manifest is one."""
    offers = MemoryRepositories(repositories, everywhere=Everything())
    return PushRegistry(content, offers, features=Features(guess=True))


def get(registry: PushRegistry, path: str, *, method: str = "GET", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return registry.handle(Request(method=method, path=path, headers=named))


def body(response: Response) -> bytes:
    if isinstance(response.body, Slice):
        with response.body.reader as reader:
            return reader.read_at(response.body.length, response.body.start)
    return response.body


def code(response: Response) -> str:
    """The error code of the document, which must be one."""
    assert response.headers["content-type"] == "application/json"
    (error,) = json.loads(body(response))["errors"]
    assert error["message"]
    return str(error["code"])


def manifest(registry: PushRegistry, content: Content, data: bytes) -> str:
    """The media type that a manifest is served with, by its digest."""
    response = get(registry, f"/v2/{REPOSITORY}/manifests/{content.put(data)}")
    response.close()
    return response.headers["content-type"]


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_root_says_that_this_is_a_registry(registry: PushRegistry, path: str) -> None:
    response = get(registry, path)

    assert (response.status, body(response)) == (200, b"{}")


def test_a_blob_is_served_under_its_digest(registry: PushRegistry, content: Content) -> None:
    digest = content.put(BLOB)

    response = get(registry, f"/v2/{REPOSITORY}/blobs/{digest}")

    assert (response.status, response.length, body(response)) == (200, 100, BLOB)
    assert response.headers["docker-content-digest"] == digest
    assert response.headers["etag"] == f'"{digest}"'
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-type"] == mediatypes.OCTET_STREAM


def test_a_head_is_answered_like_a_get(registry: PushRegistry, content: Content) -> None:
    path = f"/v2/{REPOSITORY}/blobs/{content.put(BLOB)}"

    head, whole = get(registry, path, method="HEAD"), get(registry, path)

    assert (head.status, head.headers, head.length) == (whole.status, whole.headers, whole.length)
    head.close()
    whole.close()


def test_a_part_of_a_blob_says_which(registry: PushRegistry, content: Content) -> None:
    response = get(registry, f"/v2/{REPOSITORY}/blobs/{content.put(BLOB)}", range="bytes=95-")

    assert (response.status, response.headers["content-range"]) == (206, "bytes 95-99/100")
    assert (response.length, body(response)) == (5, BLOB[95:])


def test_a_part_past_the_end_says_how_long_the_blob_is(registry: PushRegistry, content: Content) -> None:
    response = get(registry, f"/v2/{REPOSITORY}/blobs/{content.put(BLOB)}", range="bytes=100-")

    assert (response.status, response.headers["content-range"]) == (416, "bytes */100")
    assert code(response) == "UNSUPPORTED"


def test_a_blob_that_the_client_has_is_not_sent(registry: PushRegistry, content: Content) -> None:
    digest = content.put(BLOB)

    response = get(registry, f"/v2/{REPOSITORY}/blobs/{digest}", if_none_match=f'"x", "{digest}"')

    assert (response.status, body(response)) == (304, b"")


def test_a_tag_names_a_manifest_that_may_change(
    registry: PushRegistry, content: Content, repositories: dict[str, dict[str, Descriptor]]
) -> None:
    data = b'{"schemaVersion": 2}'
    digest = content.put(data)
    repositories[REPOSITORY]["7"] = Descriptor(
        media_type=mediatypes.DOCKER_MANIFEST, digest=digest, size=len(data)
    )

    by_tag = get(registry, f"/v2/{REPOSITORY}/manifests/7")
    by_digest = get(registry, f"/v2/{REPOSITORY}/manifests/{digest}")

    assert body(by_tag) == body(by_digest) == data
    assert by_tag.headers == by_digest.headers
    assert by_tag.headers["content-type"] == mediatypes.DOCKER_MANIFEST
    assert by_tag.headers["docker-content-digest"] == digest
    assert "cache-control" not in by_tag.headers


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"mediaType": mediatypes.DOCKER_INDEX, "manifests": []}, mediatypes.DOCKER_INDEX),
        ({"mediaType": mediatypes.OCI_MANIFEST}, mediatypes.OCI_MANIFEST),
        ({"manifests": []}, mediatypes.OCI_INDEX),
        ({"config": {}, "layers": []}, mediatypes.OCI_MANIFEST),
        ({"mediaType": "text/html", "config": {}, "layers": []}, mediatypes.OCI_MANIFEST),
    ],
)
def test_an_untagged_manifest_is_what_it_says_it_is(
    registry: PushRegistry, content: Content, document: object, media_type: str
) -> None:
    assert manifest(registry, content, json.dumps(document).encode()) == media_type


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1f\x8b",
        b"[]",
        b"{}",
        b'{"layers": []}',
        b"[" * 100_000,
        b'{"mediaType": 1}',
        b" " * (4 << 20) + b"x",
    ],
    ids=range(8),
)
def test_a_blob_that_is_no_manifest_is_not_served_as_one(
    registry: PushRegistry, content: Content, data: bytes
) -> None:
    response = get(registry, f"/v2/{REPOSITORY}/manifests/{content.put(data)}")

    assert (response.status, code(response)) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        (f"/v2/{REPOSITORY}/blobs/{OTHER}", 404, "BLOB_UNKNOWN"),
        (f"/v2/{REPOSITORY}/blobs/latest", 400, "DIGEST_INVALID"),
        (f"/v2/{REPOSITORY}/blobs/md5:12", 400, "DIGEST_INVALID"),
        (f"/v2/{REPOSITORY}/blobs/sha256:../../etc/passwd", 404, "NAME_UNKNOWN"),
        (f"/v2/{REPOSITORY}/manifests/gone", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/{REPOSITORY}/manifests/{OTHER}", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/{REPOSITORY}/manifests/x:y", 400, "DIGEST_INVALID"),
        (f"/v2/gone/blobs/{OTHER}", 404, "NAME_UNKNOWN"),
        ("/v2/gone/manifests/latest", 404, "NAME_UNKNOWN"),
        ("/v2/gone/tags/list", 404, "NAME_UNKNOWN"),
        (f"/v2/{REPOSITORY}/tags/all", 404, "UNSUPPORTED"),
        (f"/v2/{REPOSITORY}", 404, "UNSUPPORTED"),
        ("/v2/blobs/x", 404, "UNSUPPORTED"),
        ("/v1/search", 404, "UNSUPPORTED"),
        ("/", 404, "UNSUPPORTED"),
        ("", 404, "UNSUPPORTED"),
        ("/v2/" + "a/" * 5000 + "blobs/x", 404, "NAME_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_refused_with_the_code_of_the_specification(
    registry: PushRegistry, path: str, status: int, error: str
) -> None:
    response = get(registry, path)

    assert (response.status, code(response)) == (status, error)
    assert response.length < 1000


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("GET", {"range": "bytes=1-2"}, 206),
        ("GET", {"range": "bytes=100-"}, 416),
        ("GET", {"if_none_match": f'"{Digest.of(BLOB)}"'}, 304),
    ],
)
def test_no_answer_leaves_a_file_open(
    store: LocalStore, method: str, headers: dict[str, str], status: int
) -> None:
    readers: list[LocalReader] = []

    class Watched(LocalStore):
        def reader(self, digest: Digest, /) -> LocalReader:
            readers.append(super().reader(digest))
            return readers[-1]

    digest = write_blob(store, "put", BLOB)
    response = get(
        offering(Watched(store.root), {"a": {}}), f"/v2/a/blobs/{digest}", method=method, **headers
    )
    response.close()

    assert response.status == status
    with pytest.raises(FailedPrecondition):
        readers[0].fileno()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_nothing_can_be_changed(registry: PushRegistry, method: str) -> None:
    response = get(registry, "/v2/", method=method)

    assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")
    assert code(response) == "UNSUPPORTED"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidArgument("x"), 400),
        (Unauthenticated("x"), 401),
        (PermissionDenied("x"), 403),
        (Unimplemented("x"), 405),
        (ResourceExhausted("x"), 429),
        (Unavailable("x"), 503),
        (DataLoss("x"), 500),
        (DistoreError("x"), 500),
    ],
)
def test_a_store_that_cannot_is_answered_for(error: DistoreError, status: int) -> None:
    class Broken(MemoryStore):
        def reader(self, digest: Digest, /) -> NoReturn:
            raise error

    response = get(offering(Broken(), {"a": {}}), f"/v2/a/blobs/{OTHER}")

    assert response.status == status
    assert code(response)
