"""Images of a store, as what unpacks them finds them."""

from __future__ import annotations

import json

import pytest
from tests.unit.transfer.ends_images import family, make_image, manifest_of, put

from distore.content.memory import MemoryStore
from distore.errors import FailedPrecondition, NotFound
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.platform import Platform
from distore.unpack.layers import ImageLayers, image_layers

AMD64 = Platform(os="linux", architecture="amd64")


def found(store: MemoryStore, root: Descriptor) -> ImageLayers:
    return image_layers(store, root, AMD64, subject="image x")


def test_missing_layers_are_named() -> None:
    store, root = make_image(1)
    layers = family(store, root)[:2]
    for layer in layers:
        store.delete(layer.digest)

    with pytest.raises(NotFound) as caught:
        found(store, root)

    assert all(layer.digest in str(caught.value) for layer in layers)
    assert "dist pull --platform linux/amd64" in str(caught.value)


def test_the_platform_is_found_in_an_index() -> None:
    store, root = make_image(1)
    entry = {**root.to_json(), "platform": {"os": "linux", "architecture": "amd64"}}
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [entry]}
    index = put(store, json.dumps(document).encode(), mediatypes.OCI_INDEX)

    assert found(store, index).manifest.digest == root.digest
    with pytest.raises(NotFound, match=r"has nothing for linux/s390x; it has linux/amd64"):
        image_layers(store, index, Platform(os="linux", architecture="s390x"), subject="image x")


def test_what_is_no_image_is_refused() -> None:
    store = MemoryStore()
    empty = put(store, b"{}", mediatypes.OCI_EMPTY)
    none = put(
        store, b'{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}', mediatypes.OCI_CONFIG
    )
    artifact = put(store, manifest_of(empty, []), mediatypes.OCI_MANIFEST)
    scratch = put(store, manifest_of(none, []), mediatypes.OCI_MANIFEST)
    odd = put(store, manifest_of(none, [empty]), mediatypes.OCI_MANIFEST)

    for root, says in ((artifact, "an artifact"), (scratch, "without layers"), (odd, "tells of 0")):
        with pytest.raises(FailedPrecondition, match=says):
            found(store, root)
