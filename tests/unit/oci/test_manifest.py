"""Manifest, Index and ImageConfig: what is read, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from distore.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.manifest import (
    MAX_CONFIG_SIZE,
    MAX_MANIFEST_SIZE,
    Index,
    Manifest,
    parse_config,
    parse_manifest,
)
from distore.oci.platform import Platform

Json = dict[str, Any]
LAYER = b"layer"
CONFIG = b"{}"


def described(data: bytes, kind: str, /, **more: object) -> Json:
    return {"mediaType": kind, "digest": str(Digest.of(data)), "size": len(data), **more}


def manifest(**more: object) -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": described(CONFIG, mediatypes.OCI_CONFIG),
        "layers": [described(LAYER, mediatypes.OCI_LAYER_GZIP)],
        **more,
    }


def index(**more: object) -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [
            described(b"m", mediatypes.OCI_MANIFEST, platform={"os": "linux", "architecture": "arm64"})
        ],
        **more,
    }


def without(document: Json, *names: str) -> Json:
    return {name: value for name, value in document.items() if name not in names}


def parse(document: object, media_type: str | None = None) -> Manifest | Index:
    return parse_manifest(json.dumps(document).encode(), media_type=media_type, subject="it")


@pytest.mark.parametrize(
    ("kind", "config", "layer"),
    [
        (mediatypes.OCI_MANIFEST, mediatypes.OCI_CONFIG, mediatypes.OCI_LAYER_ZSTD),
        (mediatypes.DOCKER_MANIFEST, mediatypes.DOCKER_CONFIG, mediatypes.DOCKER_LAYER_GZIP),
    ],
)
def test_a_manifest_of_either_family_has_a_config_and_layers(kind: str, config: str, layer: str) -> None:
    parsed = parse(
        manifest(mediaType=kind, config=described(CONFIG, config), layers=[described(LAYER, layer)]), kind
    )

    assert isinstance(parsed, Manifest)
    assert (parsed.media_type, parsed.config.media_type) == (kind, config)
    assert [(each.media_type, each.digest, each.size) for each in parsed.layers] == [
        (layer, Digest.of(LAYER), len(LAYER))
    ]
    assert (parsed.subject, parsed.artifact_type, parsed.annotations) == (None, None, {})


@pytest.mark.parametrize("kind", mediatypes.INDEXES)
def test_an_index_of_either_family_has_manifests_with_platforms(kind: str) -> None:
    parsed = parse(index(mediaType=kind), kind)

    assert isinstance(parsed, Index)
    assert parsed.media_type == kind
    assert [child.platform for child in parsed.manifests] == [Platform(os="linux", architecture="arm64")]


@pytest.mark.parametrize("told", [None, "application/octet-stream", "text/plain"])
def test_an_oci_document_that_does_not_say_its_type_is_read_by_what_it_has(told: str | None) -> None:
    assert isinstance(parse(without(manifest(), "mediaType"), told), Manifest)
    assert isinstance(parse(without(index(), "mediaType"), told), Index)


def test_the_type_of_the_descriptor_counts_when_the_document_has_none() -> None:
    parsed = parse(without(manifest(), "mediaType"), mediatypes.DOCKER_MANIFEST)

    assert parsed.media_type == mediatypes.DOCKER_MANIFEST


def test_subject_annotations_and_artifact_type_are_read() -> None:
    subject = described(b"s", mediatypes.OCI_MANIFEST)

    parsed = parse(manifest(subject=subject, artifactType="a/b", annotations={"k": "v"}))

    assert parsed.subject is not None
    assert (parsed.subject.digest, parsed.artifact_type) == (Digest.of(b"s"), "a/b")
    assert parsed.annotations == {"k": "v"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (mediatypes.OCI_CONFIG, None),
        (mediatypes.OCI_EMPTY, None),
        ("application/vnd.example+json", "application/vnd.example+json"),
    ],
)
def test_the_type_of_an_artifact_may_be_that_of_its_config(config: str, expected: str | None) -> None:
    assert parse(manifest(config=described(CONFIG, config))).artifact_type == expected


@pytest.mark.parametrize("empty", [None, []])
def test_lists_may_be_null_as_go_writes_them(empty: object) -> None:
    image, several = parse(manifest(layers=empty, annotations=None)), parse(index(manifests=empty))

    assert isinstance(image, Manifest)
    assert isinstance(several, Index)
    assert (image.layers, several.manifests) == ((), ())


def test_data_in_a_descriptor_is_kept_when_it_is_the_blob() -> None:
    config = described(CONFIG, mediatypes.OCI_CONFIG, data=base64.b64encode(CONFIG).decode())

    parsed = parse(manifest(config=config))

    assert isinstance(parsed, Manifest)
    assert parsed.config.data == CONFIG


@pytest.mark.parametrize(
    ("document", "told", "why"),
    [
        (manifest(), mediatypes.OCI_INDEX, "its descriptor says"),
        (index(), mediatypes.OCI_MANIFEST, "its descriptor says"),
        (manifest(), mediatypes.DOCKER_MANIFEST, "its descriptor says"),
        (manifest(manifests=[]), None, "could be read as an index"),
        (manifest(manifests=None), None, "could be read as an index"),
        (index(layers=[]), None, "could be read as a manifest"),
        (index(config=None), None, "could be read as a manifest"),
        (without(index(layers=[]), "mediaType"), None, "could be read as a manifest"),
        (without(manifest(manifests=[]), "mediaType"), mediatypes.OCI_MANIFEST, "could be read as an index"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(document: Json, told: str | None, why: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^manifest it: .*{why}"):
        parse(document, told)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, None),
        ({"schemaVersion": 1, "mediaType": mediatypes.DOCKER_SCHEMA1_SIGNED}, None),
        ({"fsLayers": []}, mediatypes.DOCKER_SCHEMA1),
        (manifest(mediaType=mediatypes.DOCKER_SCHEMA1), None),
    ],
)
def test_schema_1_says_what_to_do(document: Json, told: str | None) -> None:
    with pytest.raises(FailedPrecondition, match=r"^manifest it: an image of Docker's schema 1.* convert it"):
        parse(document, told)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "neither a manifest nor an index"),
        (manifest(mediaType="text/html"), "'text/html' is neither"),
        (manifest(mediaType=5), "mediaType is not a string"),
        (without(manifest(), "schemaVersion"), "schemaVersion is not 2"),
        (manifest(schemaVersion=3), "schemaVersion is not 2"),
        (manifest(schemaVersion="2"), "schemaVersion is not 2"),
        (without(manifest(), "config"), "descriptor: want a JSON object"),
        (manifest(config="x"), "descriptor: want a JSON object"),
        (manifest(config=described(CONFIG, "")), "bad media type"),
        (manifest(config=described(CONFIG, "a/b\nc")), "bad media type"),
        (manifest(layers={}), "layers is not a list"),
        (manifest(layers=[None]), "descriptor: want a JSON object"),
        (manifest(layers=[described(LAYER, "a/b", size=-1)]), "the size is not in"),
        (manifest(layers=[described(LAYER, "a/b", size=2**63)]), "the size is not in"),
        (manifest(layers=[described(LAYER, "a/b", size=1.5)]), "size is not a whole number"),
        (manifest(layers=[described(LAYER, "a/b", size=True)]), "size is not a whole number"),
        (manifest(layers=[described(LAYER, "a/b", digest="sha256:../../x")]), "digest"),
        (manifest(layers=[described(LAYER, "a/b", data="b3RoZXI=")]), "its data is not the blob"),
        (manifest(layers=[described(LAYER, "a/b", data="%%%")]), "data is not base64"),
        (manifest(layers=[described(LAYER, "a/b", urls="http://a")]), "urls is not a list"),
        (manifest(subject=1), "descriptor: want a JSON object"),
        (manifest(artifactType=1), "artifactType is not a string"),
        (manifest(annotations=[]), "annotations is not an object"),
        (manifest(annotations={"a": 1}), "annotations is not an object"),
        (index(manifests=7), "manifests is not a list"),
        (index(manifests=[described(b"m", "a/b", platform="linux")]), "platform: want a JSON object"),
        (index(manifests=[described(b"m", "a/b", platform={"os": 1})]), "platform: os is not a string"),
        (index(manifests=[described(b"m", "a/b", platform={"os": "\n"})]), "platform: bad field"),
    ],
)
def test_what_is_wrong_is_named(document: Json, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why) as caught:
        parse(document)

    assert str(caught.value).startswith("manifest it: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion":' + b"9" * 10_000 + b"}",
        b"<html>",
        json.dumps(manifest()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(manifest()).encode(),
    ],
    ids=["empty", "half", "not-utf8", "nul", "lists", "objects", "number", "html", "utf16", "bom"],
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"^manifest it: not JSON$"):
        parse_manifest(data, media_type=None, subject="it")
    with pytest.raises(InvalidArgument, match=r"^config it: not JSON$"):
        parse_config(data, subject="it")


@pytest.mark.parametrize("data", [b"[]", b"null", b'"text"', b"5"])
def test_what_is_not_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="not a JSON object"):
        parse_manifest(data, media_type=None, subject="it")


def test_sizes_over_the_limits_are_refused_unread() -> None:
    with pytest.raises(ResourceExhausted, match=f"the limit is {MAX_MANIFEST_SIZE}"):
        parse_manifest(b" " * (MAX_MANIFEST_SIZE + 1), media_type=None, subject="it")
    with pytest.raises(ResourceExhausted, match=f"the limit is {MAX_CONFIG_SIZE}"):
        parse_config(b" " * (MAX_CONFIG_SIZE + 1), subject="it")


def test_a_manifest_of_the_largest_size_is_read() -> None:
    data = json.dumps(manifest()).encode()

    parsed = parse_manifest(data.ljust(MAX_MANIFEST_SIZE), media_type=None, subject="it")

    assert isinstance(parsed, Manifest)


def test_a_config_has_a_platform_diff_ids_and_all_the_rest() -> None:
    document = {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b"a"))]},
        "config": {"Env": ["SECRET=1"]},
    }

    parsed = parse_config(json.dumps(document).encode(), subject="it")

    assert parsed.platform == Platform(os="linux", architecture="arm64", variant="v8")
    assert parsed.diff_ids == (Digest.of(b"a"),)
    assert parsed.document == document
    assert "SECRET" not in repr(parsed)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "rootfs.diff_ids is not a list"),
        ({"rootfs": []}, "rootfs.diff_ids is not a list"),
        ({"rootfs": {"diff_ids": [1]}}, "rootfs.diff_ids is not a list"),
        ({"rootfs": {"diff_ids": ["sha256:x"]}}, "digest"),
        ({"rootfs": {"diff_ids": []}, "os": []}, "platform: os is not a string"),
    ],
)
def test_a_config_that_is_none_is_refused(document: Json, why: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^config it: .*{why}"):
        parse_config(json.dumps(document).encode(), subject="it")
