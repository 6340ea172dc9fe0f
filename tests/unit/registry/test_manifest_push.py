"""Manifests put and deleted, and who refers to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.registry.message import Response

Ask = Callable[..., Response]
CONFIG, LAYER = b"{}", b"layer"
OTHER = Digest.of(b"other")
SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature"


@pytest.fixture
def ready(ask: Ask, push: Callable[..., Digest]) -> Ask:
    """A registry whose repository ``demo`` has a config and a layer."""
    for blob in (CONFIG, LAYER):
        push(ask, "demo", blob)
    return ask


def put(ask: Ask, data: bytes, name: str = "latest", media_type: str = mediatypes.OCI_MANIFEST) -> Response:
    return ask("PUT", f"demo/manifests/{name}", data, content_type=media_type)


def document(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def code(response: Response) -> str:
    return str(document(response)["errors"][0]["code"])


def index(*children: dict[str, object], **fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": children, **fields}).encode()


def described(digest: Digest, media_type: str = mediatypes.OCI_MANIFEST) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(digest), "size": 5}


def test_a_manifest_is_there_under_its_tag_and_its_digest(ready: Ask, manifest: Callable[..., bytes]) -> None:
    data = manifest(CONFIG, LAYER)
    digest = Digest.of(data)

    response = put(ready, data, media_type=mediatypes.OCI_MANIFEST + "; charset=utf-8")

    assert (response.status, response.headers) == (
        201,
        {"location": f"/v2/demo/manifests/{digest}", "docker-content-digest": digest},
    )
    for name in ("latest", digest):
        found = ready("GET", f"demo/manifests/{name}")
        assert (found.status, found.length) == (200, len(data))
        assert found.headers["content-type"] == mediatypes.OCI_MANIFEST
        assert found.headers["docker-content-digest"] == digest
    assert document(ready("GET", "demo/tags/list"))["tags"] == ["latest"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_manifest_may_come_under_its_digest_alone(
    ready: Ask, manifest: Callable[..., bytes], algorithm: str
) -> None:
    data = manifest(CONFIG)
    digest = Digest.of(data, algorithm=algorithm)

    assert put(ready, data, digest).status == 201

    assert ready("HEAD", f"demo/manifests/{digest}").status == 200
    assert document(ready("GET", "demo/tags/list"))["tags"] == []


def test_a_tag_moves(ready: Ask, manifest: Callable[..., bytes]) -> None:
    first, second = manifest(CONFIG), manifest(CONFIG, LAYER)
    put(ready, first)
    put(ready, second)

    assert ready("HEAD", "demo/manifests/latest").headers["docker-content-digest"] == Digest.of(second)
    assert ready("HEAD", f"demo/manifests/{Digest.of(first)}").status == 200


def test_a_manifest_keeps_the_type_it_was_put_as(ready: Ask) -> None:
    plain = {"schemaVersion": 2, "config": described(Digest.of(CONFIG), mediatypes.DOCKER_CONFIG)}
    data = json.dumps(plain).encode()

    put(ready, data, Digest.of(data), media_type=mediatypes.DOCKER_MANIFEST)

    found = ready("HEAD", f"demo/manifests/{Digest.of(data)}")
    assert found.headers["content-type"] == mediatypes.DOCKER_MANIFEST


def test_a_manifest_needs_its_blobs(ready: Ask, manifest: Callable[..., bytes]) -> None:
    response = put(ready, manifest(CONFIG, LAYER, b"other"))

    assert (response.status, code(response)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert OTHER in document(response)["errors"][0]["message"]
    assert ready("HEAD", "demo/manifests/latest").status == 404


def test_blobs_of_another_repository_do_not_count(ready: Ask, manifest: Callable[..., bytes]) -> None:
    response = ready(
        "PUT", "other/manifests/x", manifest(CONFIG, LAYER), content_type=mediatypes.OCI_MANIFEST
    )

    assert code(response) == "MANIFEST_BLOB_UNKNOWN"


@pytest.mark.parametrize(
    "layer",
    [
        described(OTHER, mediatypes.OCI_LAYER_NONDISTRIBUTABLE + "+gzip"),
        described(OTHER, mediatypes.DOCKER_LAYER_FOREIGN + ".gzip"),
        {**described(OTHER, mediatypes.OCI_LAYER), "urls": ["https://example.com/layer"]},
    ],
)
def test_layers_that_are_had_elsewhere_need_not_be_there(
    ready: Ask, manifest: Callable[..., bytes], layer: dict[str, object]
) -> None:
    assert put(ready, manifest(CONFIG, layers=[layer])).status == 201


@pytest.mark.parametrize("media_type", [mediatypes.OCI_INDEX, mediatypes.DOCKER_INDEX])
def test_an_index_may_be_sparse(ready: Ask, media_type: str) -> None:
    data = index(described(OTHER), described(OTHER, mediatypes.OCI_INDEX), mediaType=media_type)

    assert put(ready, data, media_type=media_type).status == 201


def test_a_blob_in_an_index_must_be_there(ready: Ask) -> None:
    there = index(described(Digest.of(LAYER), mediatypes.OCI_LAYER))
    missing = index(described(OTHER, mediatypes.OCI_LAYER))

    assert put(ready, there, media_type=mediatypes.OCI_INDEX).status == 201
    assert code(put(ready, missing, media_type=mediatypes.OCI_INDEX)) == "MANIFEST_BLOB_UNKNOWN"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"", mediatypes.OCI_MANIFEST),
        (b"{", mediatypes.OCI_MANIFEST),
        (b"[" * 100_000, mediatypes.OCI_MANIFEST),
        (b"[]", mediatypes.OCI_MANIFEST),
        (b"\xff", mediatypes.OCI_MANIFEST),
        (b'{"schemaVersion": 2}', mediatypes.OCI_MANIFEST),
        (b'{"schemaVersion": 2, "config": {}}', mediatypes.OCI_MANIFEST),
        (b'{"schemaVersion": 1, "manifests": []}', mediatypes.OCI_INDEX),
        (b'{"schemaVersion": 2, "manifests": {}}', mediatypes.OCI_INDEX),
        (b'{"schemaVersion": 2, "manifests": []}', mediatypes.OCI_MANIFEST),
        (b'{"schemaVersion": 2, "manifests": [], "artifactType": 1}', mediatypes.OCI_INDEX),
        (b'{"schemaVersion": 2, "manifests": [], "annotations": {"a": 1}}', mediatypes.OCI_INDEX),
        (b'{"schemaVersion": 2, "manifests": [], "subject": "x"}', mediatypes.OCI_INDEX),
        (b'{"schemaVersion": 2, "manifests": [], "mediaType": "x/y"}', mediatypes.OCI_INDEX),
        (b'{"schemaVersion": 2, "manifests": [], "mediaType": 1}', mediatypes.OCI_INDEX),
        (b'{"schemaVersion": 2, "manifests": []}', "application/json"),
        (b'{"schemaVersion": 2, "manifests": []}', ""),
        (b'{"schemaVersion": 1}', mediatypes.DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_what_is_no_manifest_is_refused(ready: Ask, data: bytes, media_type: str) -> None:
    response = put(ready, data, media_type=media_type)

    assert (response.status, code(response)) == (400, "MANIFEST_INVALID")
    assert response.length < 1000


def test_a_document_may_say_itself_what_it_is(ready: Ask, manifest: Callable[..., bytes]) -> None:
    assert ready("PUT", "demo/manifests/latest", manifest(CONFIG)).status == 201


@pytest.mark.parametrize("told", [True, False])
def test_a_manifest_has_a_largest_size(ready: Ask, told: bool) -> None:
    headers = {"content_length": str(MAX_MANIFEST_SIZE + 1)} if told else {}

    response = ready("PUT", "demo/manifests/latest", b" " * (MAX_MANIFEST_SIZE + 1), **headers)

    assert (response.status, code(response)) == (413, "SIZE_INVALID")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (OTHER, "DIGEST_INVALID"),
        ("sha256:12", "DIGEST_INVALID"),
        ("-x", "MANIFEST_INVALID"),
        ("x" * 129, "MANIFEST_INVALID"),
        ("x y", "MANIFEST_INVALID"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(
    ready: Ask, manifest: Callable[..., bytes], name: str, why: str
) -> None:
    response = put(ready, manifest(CONFIG), name)

    assert (response.status, code(response)) == (400, why)


def test_a_tag_goes_and_its_manifest_stays(ready: Ask, manifest: Callable[..., bytes]) -> None:
    data = manifest(CONFIG)
    put(ready, data, "one")
    put(ready, data, "two")

    assert ready("DELETE", "demo/manifests/one").status == 202

    names = ["one", "two", Digest.of(data)]
    assert [ready("HEAD", f"demo/manifests/{name}").status for name in names] == [404, 200, 200]
    assert ready("DELETE", "demo/manifests/one").status == 404


def test_a_manifest_goes_with_its_tags(ready: Ask, manifest: Callable[..., bytes]) -> None:
    data, other = manifest(CONFIG), manifest(CONFIG, LAYER)
    put(ready, data, "one")
    put(ready, data, "two")
    put(ready, other, "three")

    assert ready("DELETE", f"demo/manifests/{Digest.of(data)}").status == 202

    assert document(ready("GET", "demo/tags/list"))["tags"] == ["three"]
    again = ready("DELETE", f"demo/manifests/{Digest.of(data)}")
    assert (again.status, code(again)) == (404, "MANIFEST_UNKNOWN")
    assert ready("DELETE", "demo/manifests/x:y").status == 400
    assert ready("DELETE", f"gone/manifests/{OTHER}").status == 404


def test_a_manifest_is_not_deleted_as_a_blob(ready: Ask, manifest: Callable[..., bytes]) -> None:
    data = manifest(CONFIG)
    put(ready, data)

    assert ready("DELETE", f"demo/blobs/{Digest.of(data)}").status == 404
    assert ready("DELETE", f"demo/manifests/{Digest.of(LAYER)}").status == 404


def refer(ask: Ask, manifest: Callable[..., bytes], number: int, artifact_type: str = SBOM) -> Digest:
    """Push a manifest about OTHER."""
    data = manifest(
        CONFIG, subject=described(OTHER), artifactType=artifact_type, annotations={"number": str(number)}
    )
    response = put(ask, data, Digest.of(data))
    assert response.headers["oci-subject"] == OTHER
    return Digest.of(data)


def test_a_subject_lists_who_refers_to_it(ready: Ask, manifest: Callable[..., bytes]) -> None:
    digest = refer(ready, manifest, 1)

    response = ready("GET", f"demo/referrers/{OTHER}")

    assert (response.status, response.headers) == (200, {"content-type": mediatypes.OCI_INDEX})
    assert document(response) == {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [
            {
                "mediaType": mediatypes.OCI_MANIFEST,
                "digest": digest,
                "size": ready("HEAD", f"demo/manifests/{digest}").length,
                "annotations": {"number": "1"},
                "artifactType": SBOM,
            }
        ],
    }


@pytest.mark.parametrize("name", ["demo", "gone"])
def test_nobody_refers_to_it_is_an_empty_list(ready: Ask, name: str) -> None:
    response = ready("GET", f"{name}/referrers/{OTHER}")

    assert (response.status, document(response)["manifests"]) == (200, [])


def test_an_artifact_without_a_type_has_that_of_its_config(
    ready: Ask, manifest: Callable[..., bytes]
) -> None:
    put(ready, manifest(CONFIG, subject=described(OTHER)))
    put(ready, index(subject=described(OTHER)), media_type=mediatypes.OCI_INDEX)

    found = document(ready("GET", f"demo/referrers/{OTHER}"))["manifests"]

    assert {entry["mediaType"]: entry.get("artifactType") for entry in found} == {
        mediatypes.OCI_MANIFEST: mediatypes.OCI_CONFIG,
        mediatypes.OCI_INDEX: None,
    }


def test_referrers_are_filtered_by_type(ready: Ask, manifest: Callable[..., bytes]) -> None:
    refer(ready, manifest, 1, SBOM)
    signature = refer(ready, manifest, 2, SIGNATURE)

    response = ready("GET", f"demo/referrers/{OTHER}?artifactType={SIGNATURE}")

    assert [entry["digest"] for entry in document(response)["manifests"]] == [signature]
    assert response.headers["oci-filters-applied"] == "artifactType"


def test_referrers_come_page_by_page(
    make: Callable[..., Ask], push: Callable[..., Digest], manifest: Callable[..., bytes]
) -> None:
    ask = make(page=2)
    push(ask, "demo", CONFIG)
    expected = {refer(ask, manifest, number) for number in range(5)}
    refer(ask, manifest, 9, SIGNATURE)

    found: list[str] = []
    path = f"/v2/demo/referrers/{OTHER}?artifactType={SBOM}"
    while path:
        response = ask("GET", path)
        found += [entry["digest"] for entry in document(response)["manifests"]]
        link = response.headers.get("link", "<>")
        parts = urlsplit(link[1 : link.index(">")])
        path = parts.path and f"{parts.path}?" + "&".join(f"{n}={v}" for n, v in parse_qsl(parts.query))

    assert (len(found), set(found)) == (5, expected)


def test_who_is_deleted_refers_no_more(ready: Ask, manifest: Callable[..., bytes]) -> None:
    digest = refer(ready, manifest, 1)

    ready("DELETE", f"demo/manifests/{digest}")

    assert document(ready("GET", f"demo/referrers/{OTHER}"))["manifests"] == []


@pytest.mark.parametrize("path", ["demo/referrers/x", f"demo/referrers/{OTHER}?n=x"])
def test_a_question_for_referrers_may_be_wrong(ready: Ask, path: str) -> None:
    assert ready("GET", path).status == 400


def test_a_registry_may_not_know_referrers(
    make: Callable[..., Ask], push: Callable[..., Digest], manifest: Callable[..., bytes]
) -> None:
    ask = make(referrers=False)
    push(ask, "demo", CONFIG)

    response = put(ask, manifest(CONFIG, subject=described(OTHER)))

    assert response.status == 201 and "oci-subject" not in response.headers
    assert ask("GET", f"demo/referrers/{OTHER}").status == 404


def test_the_catalog_has_every_repository(ask: Ask, push: Callable[..., Digest]) -> None:
    for name in ("b", "a/c", "a"):
        push(ask, name, CONFIG)

    first = ask("GET", "_catalog?n=2")

    assert document(first) == {"repositories": ["a", "a/c"]}
    assert first.headers["link"] == '</v2/_catalog?n=2&last=a%2Fc>; rel="next"'
    assert document(ask("GET", "_catalog?n=2&last=a/c")) == {"repositories": ["b"]}
    assert ask("GET", "_catalog?n=x").status == 400


def test_an_upload_that_is_not_finished_makes_no_repository(ask: Ask) -> None:
    ask("POST", "a/blobs/uploads/")

    assert document(ask("GET", "_catalog")) == {"repositories": []}
