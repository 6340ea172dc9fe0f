"""Descriptors: the fields of the specification in its order, and shapes that nobody should send."""

from __future__ import annotations

import base64
import json

import pytest

from distore.errors import InvalidArgument
from distore.oci import mediatypes
from distore.oci.descriptor import MAX_SIZE, Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform

BLOB = b"{}"
DIGEST = Digest.of(BLOB)
SMALLEST: dict[str, object] = {"mediaType": mediatypes.OCI_EMPTY, "digest": str(DIGEST), "size": 2}
FULLEST: dict[str, object] = {
    "mediaType": mediatypes.OCI_MANIFEST,
    "digest": str(DIGEST),
    "size": 2,
    "urls": ["https://example.com/a"],
    "annotations": {"org.opencontainers.image.title": "a b", "": ""},
    "data": base64.b64encode(BLOB).decode(),
    "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"},
    "artifactType": "application/vnd.example+json",
}


@pytest.mark.parametrize("document", [SMALLEST, FULLEST], ids=["smallest", "fullest"])
def test_json_comes_back_with_its_fields_in_the_order_of_the_specification(
    document: dict[str, object],
) -> None:
    descriptor = Descriptor.from_json(document)

    assert json.dumps(descriptor.to_json()) == json.dumps(document)


def test_fields_have_their_own_types() -> None:
    descriptor = Descriptor.from_json(FULLEST)

    assert isinstance(descriptor.digest, Digest)
    assert descriptor.platform == Platform(os="linux", architecture="arm64", variant="v8")
    assert (descriptor.size, descriptor.data, descriptor.urls) == (2, BLOB, ("https://example.com/a",))
    assert descriptor.annotations["org.opencontainers.image.title"] == "a b"
    assert descriptor.artifact_type == "application/vnd.example+json"


def test_what_may_be_left_out_may_be_null_and_what_is_unknown_is_passed_over() -> None:
    optional = ["urls", "annotations", "data", "platform", "artifactType"]

    descriptor = Descriptor.from_json({**SMALLEST, **dict.fromkeys(optional), "newField": [1]})

    assert descriptor == Descriptor.from_json(SMALLEST)
    assert descriptor.to_json() == SMALLEST


def test_equal_descriptors_are_one_in_a_set() -> None:
    assert len({Descriptor.from_json(FULLEST), Descriptor.from_json(FULLEST)}) == 1


def test_sizes_end_where_those_of_go_do() -> None:
    assert Descriptor.from_json({**SMALLEST, "size": MAX_SIZE}).size == 2**63 - 1
    assert Descriptor.from_json({**SMALLEST, "size": 0}).size == 0


def test_data_is_checked_with_the_algorithm_of_the_digest() -> None:
    digest = Digest.of(BLOB, algorithm="sha512")

    descriptor = Descriptor.from_json({**FULLEST, "digest": str(digest)})

    assert descriptor.data == BLOB


@pytest.mark.parametrize("document", [None, [], "x", 5, {}])
def test_what_is_no_object_or_empty_is_refused(document: object) -> None:
    with pytest.raises(InvalidArgument, match="descriptor"):
        Descriptor.from_json(document)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("mediaType", None, "mediaType is missing"),
        ("mediaType", 5, "mediaType is missing"),
        ("mediaType", "", "bad media type"),
        ("mediaType", "text/plain\r\nCookie: a", "bad media type"),
        ("mediaType", "text/plàin", "bad media type"),
        ("mediaType", "a" * 256, "bad media type"),
        ("digest", None, "digest is missing"),
        ("digest", ["sha256"], "digest is missing"),
        ("digest", "sha256:beef", "digest"),
        ("size", None, "whole number"),
        ("size", "2", "whole number"),
        ("size", 2.0, "whole number"),
        ("size", True, "whole number"),
        ("size", -1, "the size is not in"),
        ("size", 2**63, "the size is not in"),
        ("size", 10**4000, "the size is not in"),
        ("urls", "https://example.com", "urls is not a list"),
        ("urls", {}, "urls is not a list"),
        ("urls", [None], "urls is not a list"),
        ("annotations", [], "annotations is not an object"),
        ("annotations", {"a": 1}, "annotations has a value"),
        ("annotations", {"a": None}, "annotations has a value"),
        ("data", "@@@@", "not base64"),
        ("data", "e30", "not base64"),
        ("data", "e3\u00f80", "not base64"),
        ("data", 5, "data is missing or not a string"),
        ("data", "", "not the blob"),
        ("data", base64.b64encode(b"[]").decode(), "not the blob"),
        ("data", base64.b64encode(b"{} ").decode(), "not the blob"),
        ("platform", [], "platform: want a JSON object"),
        ("platform", {"os": 5}, "platform: os"),
        ("artifactType", 0, "artifactType"),
        ("artifactType", "a\nb", "bad media type"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_field_of_another_shape_is_refused_in_one_line(name: str, value: object, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        Descriptor.from_json({**FULLEST, name: value})

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_an_empty_artifact_type_is_none() -> None:
    assert Descriptor.from_json({**SMALLEST, "artifactType": ""}).artifact_type is None


def test_a_descriptor_made_by_hand_is_checked_too() -> None:
    with pytest.raises(InvalidArgument, match="not the blob"):
        Descriptor(media_type="text/plain", digest=DIGEST, size=3, data=BLOB)
    with pytest.raises(InvalidArgument, match="size"):
        Descriptor(media_type="text/plain", digest=DIGEST, size=-1)
