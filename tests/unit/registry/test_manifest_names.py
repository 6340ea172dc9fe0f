"""Manifests under many names, with two faces, or with blobs that are lost."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from distore.content.memory import MemoryStore
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry.manifestpush import MAX_TAGS
from distore.registry.message import Response

Ask = Callable[..., Response]
CONFIG, LAYER = b"{}", b"layer"


@pytest.fixture
def ready(ask: Ask, push: Callable[..., Digest]) -> Ask:
    """Asks a registry whose repository "demo" has CONFIG and LAYER."""
    push(ask, "demo", CONFIG)
    push(ask, "demo", LAYER)
    return ask


def put(ask: Ask, data: bytes, name: str, media_type: str = mediatypes.OCI_MANIFEST) -> Response:
    return ask("PUT", f"demo/manifests/{name}", data, content_type=media_type)


def code(response: Response) -> str:
    assert isinstance(response.body, bytes)
    (error,) = json.loads(response.body)["errors"]
    return str(error["code"])


def test_a_digest_is_pushed_with_its_tags(ready: Ask, manifest: Callable[..., bytes]) -> None:
    data = manifest(CONFIG, LAYER)
    digest = Digest.of(data)

    response = put(ready, data, f"{digest}?tag=1&tag=1.2&tag=1")

    assert (response.status, response.headers["oci-tag"]) == (201, "1, 1.2")
    for tag in ("1", "1.2"):
        assert ready("HEAD", f"demo/manifests/{tag}").headers["docker-content-digest"] == digest


def test_tags_come_with_a_digest_of_any_algorithm(ready: Ask, manifest: Callable[..., bytes]) -> None:
    data = manifest(CONFIG)
    digest = Digest.of(data, algorithm="sha512")

    put(ready, data, f"{digest}?tag=long")

    found = ready("GET", "demo/manifests/long")
    assert found.headers["docker-content-digest"] == digest
    assert found.body == data


def test_one_bad_tag_stops_them_all(ready: Ask, manifest: Callable[..., bytes]) -> None:
    data = manifest(CONFIG)

    response = put(ready, data, f"{Digest.of(data)}?tag=good&tag=-bad")

    assert (response.status, code(response)) == (400, "MANIFEST_INVALID")
    assert ready("HEAD", "demo/manifests/good").status == 404
    assert ready("HEAD", f"demo/manifests/{Digest.of(data)}").status == 404


@pytest.mark.parametrize(("count", "status"), [(MAX_TAGS, 201), (MAX_TAGS + 1, 414)])
def test_only_so_many_tags_at_once(
    ready: Ask, manifest: Callable[..., bytes], count: int, status: int
) -> None:
    data = manifest(CONFIG)
    query = "&".join(f"tag={number}-{'x' * 120}" for number in range(count))

    response = put(ready, data, f"{Digest.of(data)}?{query}")

    assert response.status == status
    assert len(response.headers.get("oci-tag", "")) < 8000  # what a line of a header may have


@pytest.mark.parametrize(
    ("media_type", "more"),
    [
        (mediatypes.OCI_MANIFEST, {"manifests": []}),
        (mediatypes.DOCKER_MANIFEST, {"manifests": [], "mediaType": None}),
    ],
)
def test_an_image_that_is_an_index_too_is_refused(
    ready: Ask, manifest: Callable[..., bytes], media_type: str, more: dict[str, object]
) -> None:
    response = put(ready, manifest(CONFIG, LAYER, **more), "latest", media_type)

    assert (response.status, code(response)) == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize("name", ["config", "layers"])
def test_an_index_that_is_an_image_too_is_refused(ready: Ask, name: str) -> None:
    data = json.dumps({"schemaVersion": 2, "manifests": [], name: []}).encode()

    assert put(ready, data, "latest", mediatypes.OCI_INDEX).status == 400


def test_half_a_character_is_refused(ready: Ask, manifest: Callable[..., bytes]) -> None:
    response = put(ready, manifest(CONFIG, annotations={"a": "\ud800"}), "latest")

    assert (response.status, code(response)) == (400, "MANIFEST_INVALID")


def test_data_that_is_not_the_blob_is_refused(ready: Ask, manifest: Callable[..., bytes]) -> None:
    described = {"mediaType": mediatypes.OCI_EMPTY, "digest": Digest.of(CONFIG), "size": 2}

    right = put(ready, manifest(CONFIG, config={**described, "data": "e30="}), "right")
    wrong = put(ready, manifest(CONFIG, config={**described, "data": "W10="}), "wrong")

    assert (right.status, wrong.status, code(wrong)) == (201, 400, "MANIFEST_INVALID")


def test_a_document_that_does_not_say_what_it_is_is_warned_about(ready: Ask) -> None:
    document = {"schemaVersion": 2, "manifests": []}

    quiet = {**document, "mediaType": mediatypes.OCI_INDEX}
    assert "warning" not in put(ready, json.dumps(quiet).encode(), "1", mediatypes.OCI_INDEX).headers
    warned = put(ready, json.dumps(document).encode(), "2", mediatypes.OCI_INDEX)

    assert warned.headers["warning"].startswith('299 - "')


def test_a_blob_whose_bytes_are_lost_is_pushed_again(
    ready: Ask, manifest: Callable[..., bytes], kept: MemoryStore, push: Callable[..., Digest]
) -> None:
    data = manifest(CONFIG, LAYER)
    kept.delete(Digest.of(LAYER))

    lost = [
        ready("HEAD", f"demo/blobs/{Digest.of(LAYER)}"),
        ready("POST", f"other/blobs/uploads/?mount={Digest.of(LAYER)}&from=demo"),
        put(ready, data, "latest"),
    ]
    push(ready, "demo", LAYER)

    assert [response.status for response in lost] == [404, 202, 404]
    assert put(ready, data, "latest").status == 201


def test_a_manifest_whose_bytes_are_lost_is_unknown(
    ready: Ask, manifest: Callable[..., bytes], kept: MemoryStore
) -> None:
    data = manifest(CONFIG)
    put(ready, data, "latest")

    kept.delete(Digest.of(data))

    for name in ("latest", Digest.of(data)):
        response = ready("GET", f"demo/manifests/{name}")
        assert (response.status, code(response)) == (404, "MANIFEST_UNKNOWN")
    assert put(ready, data, "latest").status == 201


def test_a_blob_that_reads_as_a_manifest_is_none(
    ready: Ask, manifest: Callable[..., bytes], push: Callable[..., Digest]
) -> None:
    digest = push(ready, "demo", manifest(CONFIG))

    assert ready("GET", f"demo/manifests/{digest}").status == 404


@pytest.mark.parametrize("condition", ["*", 'W/"{}"', '"x", "{}"'])
def test_a_manifest_that_the_client_has_is_not_sent(
    ready: Ask, manifest: Callable[..., bytes], condition: str
) -> None:
    data = manifest(CONFIG)
    put(ready, data, "latest")

    response = ready("GET", "demo/manifests/latest", if_none_match=condition.format(Digest.of(data)))

    assert (response.status, response.length) == (304, 0)
