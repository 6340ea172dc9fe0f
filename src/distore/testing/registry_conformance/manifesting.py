"""What the specification says of pushing manifests, and what kinds of content must pass."""

from __future__ import annotations

from typing import Final

from distore.oci import mediatypes
from distore.testing.registry_conformance.place import (
    CONFIG,
    Place,
    described,
    digest_of,
    encoded,
    expect,
    expect_code,
    expect_equal,
    expect_header,
)
from distore.testing.registry_conformance.row import MAY, MUST, SHOULD, Absent, Failed, row

_PUSH: Final = "Pushing Manifests (end-7a)"
_TAGS: Final = "Pushing Manifests (end-7b)"
_SUBJECT: Final = "Pushing Manifests with Subject (end-7)"
_CONTENT: Final = "Pushing Manifests (image-spec)"
_LIMIT: Final = 4 * 1024 * 1024  # bytes that a manifest may have at least


@row(MUST, _PUSH, "PUT under a tag is answered with 201 and a Location to pull from.")
def push_by_tag(place: Place) -> None:
    data = encoded(place.image())
    place.expect_pullable(expect(place.put("latest", data), 201), data)


@row(MUST, _PUSH, "PUT under a digest is answered with 201 and a Location to pull from.")
def push_by_digest(place: Place) -> None:
    data = encoded(place.image())
    place.expect_pullable(expect(place.put(digest_of(data), data), 201), data)


@row(MUST, _PUSH, "The answer to PUT has the digest in Docker-Content-Digest.")
def push_digest_header(place: Place) -> None:
    data = encoded(place.image())
    answer = expect(place.put("latest", data), 201)
    expect_header(answer, "docker-content-digest", digest_of(data))


@row(MUST, _PUSH, "The bytes are kept as they are, blanks and fields of other specifications too.")
def push_exact_bytes(place: Place) -> None:
    document = encoded(place.image(**{"org.example.more": {"a": [1, None]}}))
    data = b"\n " + document.replace(b"\n", b"\r\n") + b"\t"
    expect(place.put("latest", data), 201)
    place.expect_stored("latest", data)


@row(MUST, _PUSH, "A tag that is pushed again names the new manifest.")
def push_moves_tag(place: Place) -> None:
    first, second = place.pushed("latest"), place.pushed("latest")
    place.expect_stored("latest", second)
    place.expect_stored(digest_of(first), first)


@row(MUST, _PUSH, "Another digest than the bytes have is refused.")
def push_wrong_digest(place: Place) -> None:
    wrong = digest_of(place.fresh())
    answer = place.put(wrong, place.image())
    expect_code(expect(answer, 400), "DIGEST_INVALID")
    expect(place.get("manifests", wrong), 404)


@row(MUST, _PUSH, "A tag that is none is refused.")
def push_bad_tag(place: Place) -> None:
    data = encoded(place.image())
    for tag in (".a", "-a", "a" * 129):
        answer = place.put(tag, data)
        if not 400 <= answer.status < 500:
            raise Failed(f"{answer.asked}: want a refusal, got {answer.status}")


@row(MUST, _PUSH, "What is no manifest is refused with MANIFEST_INVALID.")
def push_nonsense(place: Place) -> None:
    place.blob(CONFIG)
    for data in (b"nonsense", b"[]"):
        expect_code(expect(place.put("latest", data), 400), "MANIFEST_INVALID")


@row(SHOULD, _PUSH, "Parameters of Content-Type are passed over.")
def push_content_type_parameters(place: Place) -> None:
    data = encoded(place.image())
    expect(place.put("latest", data, media_type=f"{mediatypes.OCI_MANIFEST}; charset=utf-8"), 201)
    place.expect_stored("latest", data)


@row(MAY, "Push", "A manifest whose blobs are missing is refused, and then with MANIFEST_BLOB_UNKNOWN.")
def push_missing_blobs(place: Place) -> None:
    place.blob(CONFIG)
    answer = place.put("latest", place.unpushed(place.fresh()))
    if answer.status == 201:
        raise Absent("taken all the same")
    expect_code(answer, "MANIFEST_BLOB_UNKNOWN")


@row(SHOULD, _PUSH, "A manifest of four megabytes is taken.")
def push_large(place: Place) -> None:
    data = encoded(place.image()).ljust(_LIMIT)
    expect(place.put("large", data), 201)
    place.expect_stored("large", data)


@row(SHOULD, _PUSH, "A manifest over the limit is answered with 413.")
def push_too_large(place: Place) -> None:
    answer = place.put("large", encoded(place.image()).ljust(16 * _LIMIT))
    if answer.status == 201:
        raise Absent("there is no limit")
    expect(answer, 413)


@row(MAY, _TAGS, "A push by digest sets the tags of its query, and OCI-Tag names them.")
def push_with_tags(place: Place) -> None:
    data = encoded(place.image())
    tags = [f"t{number}" for number in range(10)]
    answer = expect(place.put(digest_of(data), data, query=tuple(("tag", tag) for tag in tags)), 201)
    found = answer.header("oci-tag")
    if found is None:
        raise Absent("no OCI-Tag")
    expect_equal("OCI-Tag", [tag.strip() for tag in found.split(",")], tags)
    for tag in tags:
        place.expect_stored(tag, data)


@row(MUST, _SUBJECT, "A manifest with a subject is answered with OCI-Subject where there is a referrers API.")
def subject(place: Place) -> None:
    data = place.pushed("1")
    place.referrers(digest_of(data))
    document = place.image(subject=described(data, mediatypes.OCI_MANIFEST))
    answer = expect(place.put(digest_of(encoded(document)), document), 201)
    expect_header(answer, "oci-subject", digest_of(data))


@row(MUST, "Push", "A manifest may come before its subject.")
def subject_missing(place: Place) -> None:
    missing = described(place.fresh(), mediatypes.OCI_MANIFEST)
    document = place.image(subject=missing)
    expect(place.put("1", document), 201)
    place.expect_stored("1", encoded(document))


def _taken(place: Place, document: dict[str, object], *, algorithm: str = "sha256") -> None:
    data = encoded(document)
    digest, media_type = digest_of(data, algorithm), str(document["mediaType"])
    expect(place.put(digest, data, media_type=media_type), 201)
    place.expect_stored(digest, data, media_type)


@row(MUST, _CONTENT, "An OCI image with layers is taken.")
def content_image(place: Place) -> None:
    _taken(place, place.image(place.fresh(), place.fresh()))


@row(MUST, _CONTENT, "A manifest without layers is taken.")
def content_no_layers(place: Place) -> None:
    _taken(place, place.image())


@row(MUST, _CONTENT, "An artifact with a config of an unknown media type is taken.")
def content_artifact_config(place: Place) -> None:
    config = place.fresh()
    place.blob(config)
    _taken(place, place.image(config=described(config, "application/vnd.example.config+json")))


@row(MUST, _CONTENT, "Layers of any media type are taken.")
def content_any_layer(place: Place) -> None:
    layer = place.fresh()
    place.blob(layer)
    _taken(place, place.image(layers=[described(layer, "model/vnd.example.weights")]))


@row(MUST, _CONTENT, "A layer without a byte is taken.")
def content_empty_layer(place: Place) -> None:
    _taken(place, place.image(b""))


@row(MUST, _CONTENT, "Layers that are not to be distributed need not be there.")
def content_nondistributable(place: Place) -> None:
    layer = described(place.fresh(), mediatypes.OCI_LAYER_NONDISTRIBUTABLE + "+gzip")
    _taken(place, place.image(layers=[{**layer, "urls": ["https://example.com/layer"]}]))


@row(MUST, _CONTENT, "Descriptors with their data in them are taken.")
def content_data(place: Place) -> None:
    config = {**described(CONFIG, mediatypes.OCI_EMPTY), "data": "e30="}
    _taken(place, place.image(config=config))


@row(MUST, _CONTENT, "An index of manifests that are there is taken.")
def content_index(place: Place) -> None:
    children = [described(place.pushed(), mediatypes.OCI_MANIFEST) for _ in range(2)]
    platforms = [{"architecture": name, "os": "linux"} for name in ("amd64", "arm64")]
    described_children = [
        {**child, "platform": platform} for child, platform in zip(children, platforms, strict=True)
    ]
    _taken(place, place.index(*described_children))


@row(MUST, _CONTENT, "An index of an index is taken.")
def content_nested_index(place: Place) -> None:
    inner = place.index(described(place.pushed(), mediatypes.OCI_MANIFEST))
    _taken(place, inner)
    _taken(place, place.index(described(encoded(inner), mediatypes.OCI_INDEX)))


@row(MUST, _CONTENT, "An index without manifests is taken.")
def content_empty_index(place: Place) -> None:
    _taken(place, place.index())


@row(MUST, _CONTENT, "An index with an artifact type is taken.")
def content_artifact_index(place: Place) -> None:
    _taken(place, place.index(artifactType="application/vnd.example.set"))


@row(MAY, _CONTENT, "An index of manifests that are missing (a sparse index) is taken.")
def content_sparse_index(place: Place) -> None:
    place.blob(place.fresh())
    document = place.index(described(place.fresh(), mediatypes.OCI_MANIFEST))
    answer = place.put("sparse", document)
    if answer.status != 201:
        expect_code(answer, "MANIFEST_BLOB_UNKNOWN")
        raise Absent("refused, as it may be")
    place.expect_stored("sparse", encoded(document), mediatypes.OCI_INDEX)


@row(MAY, _CONTENT, "A manifest of Docker's schema 2 is taken.")
def content_docker_manifest(place: Place) -> None:
    config, layer = b'{"architecture":"amd64","os":"linux"}', place.fresh()
    place.blob(config)
    place.blob(layer)
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.DOCKER_MANIFEST,
        "config": described(config, mediatypes.DOCKER_CONFIG),
        "layers": [described(layer, mediatypes.DOCKER_LAYER_GZIP)],
    }
    _taken(place, document)


@row(MAY, _CONTENT, "A manifest list of Docker's is taken.")
def content_docker_list(place: Place) -> None:
    child = {
        **described(place.pushed(), mediatypes.OCI_MANIFEST),
        "platform": {"architecture": "amd64", "os": "linux"},
    }
    _taken(place, {"schemaVersion": 2, "mediaType": mediatypes.DOCKER_INDEX, "manifests": [child]})


@row(SHOULD, _CONTENT, "A manifest of blobs under sha512 is taken under its sha512.")
def content_sha512(place: Place) -> None:
    layer = place.fresh()
    place.blob(CONFIG, algorithm="sha512")
    place.blob(layer, algorithm="sha512")
    document = place.unpushed(
        config=described(CONFIG, mediatypes.OCI_EMPTY, algorithm="sha512"),
        layers=[described(layer, algorithm="sha512")],
    )
    _taken(place, document, algorithm="sha512")
