"""Manifests of any shape: they are read, or refused with an error of ours."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from distore.errors import DistoreError
from distore.images.children import children
from distore.images.gclabels import gc_labels
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.manifest import Index, Manifest, parse_config, parse_manifest

NAMES = st.sampled_from(
    [
        *("schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations"),
        *("artifactType", "digest", "size", "platform", "os", "architecture", "data", "urls"),
        *("rootfs", "diff_ids", "variant", "os.features"),
    ]
)
TYPES = st.sampled_from(
    [*mediatypes.MANIFESTS, *mediatypes.INDEXES, mediatypes.DOCKER_SCHEMA1, mediatypes.OCI_CONFIG, "", "a/b"]
)
DIGESTS = st.sampled_from([str(Digest.of(b"")), "sha256:", "sha512:" + "0" * 128, "md5:0"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), TYPES, DIGESTS, st.just(2)
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=6)),
    max_leaves=20,
)


@st.composite
def nearly_right(draw: st.DrawFn) -> dict[str, Any]:
    """A document with all fields, of which some are anything."""
    descriptor = {"mediaType": "a/b", "digest": str(Digest.of(b"")), "size": 0}
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": draw(TYPES)}
    document |= draw(
        st.sampled_from(
            [
                {"config": descriptor, "layers": [descriptor, descriptor]},
                {"manifests": [descriptor]},
                {"config": descriptor, "layers": None, "manifests": None},
            ]
        )
    )
    return document | draw(st.dictionaries(NAMES, ANYTHING, max_size=2))


@given(st.one_of(ANYTHING, nearly_right()), st.one_of(st.none(), TYPES))
def test_any_json_is_a_document_or_an_error_of_ours(document: Any, told: str | None) -> None:
    data = json.dumps(document).encode()

    try:
        parsed = parse_manifest(data, media_type=told, subject="it")
    except DistoreError as error:
        assert "\n" not in str(error)
        assert str(error).isprintable()
        return

    assert isinstance(parsed, Manifest if mediatypes.is_manifest(parsed.media_type) else Index)
    assert len(gc_labels(parsed)) == len(list(children(parsed)))


@given(ANYTHING)
def test_any_json_is_a_config_or_an_error_of_ours(document: Any) -> None:
    try:
        parse_config(json.dumps(document).encode(), subject="it")
    except DistoreError as error:
        assert str(error).isprintable()


@given(st.binary(max_size=200), st.one_of(st.none(), TYPES))
def test_any_bytes_are_a_document_or_an_error_of_ours(data: bytes, told: str | None) -> None:
    try:
        parse_manifest(data, media_type=told, subject="it")
    except DistoreError as error:
        assert str(error).isprintable()
