"""Trees of images: made once, whole or not at all."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import family, make_image, manifest_of, put, read

from distore.content.memory import MemoryStore
from distore.diff.entry import ApplyOptions, Devices
from distore.errors import DataLoss, FailedPrecondition, NotFound
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.platform import Platform
from distore.unpack.layers import ImageLayers, image_layers
from distore.unpack.tree import Trees

AMD64 = Platform(os="linux", architecture="amd64")
OPTIONS = ApplyOptions(as_root=False, devices=Devices.SKIP)


def no_sleep(_seconds: float) -> None:
    threading.Event().wait(0.001)


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(str(tmp_path / "store" / "trees"), sleep=no_sleep)


def make(trees: Trees, store: MemoryStore, image: ImageLayers) -> str:
    with trees.locked(image.chain_id):
        return trees.make(store, image, OPTIONS)


def found(store: MemoryStore, root: Descriptor) -> ImageLayers:
    return image_layers(store, root, AMD64, subject="image x")


def test_an_image_is_unpacked_under_its_chain_id(trees: Trees) -> None:
    store, root = make_image(1)
    image = found(store, root)

    path = make(trees, store, image)

    assert path == os.path.join(trees.folder, image.chain_id.encoded)
    assert sorted(os.listdir(path)) == ["file-0", "file-1", "file-2"]
    assert os.listdir(trees.folder) == [image.chain_id.encoded]
    assert os.stat(trees.folder).st_mode & 0o777 == 0o700


def test_a_tree_is_made_once(trees: Trees) -> None:
    store, root = make_image(1)
    inode = os.stat(make(trees, store, found(store, root))).st_ino

    assert os.stat(make(trees, store, found(store, root))).st_ino == inode


def test_what_a_crash_left_counts_for_nothing(trees: Trees) -> None:
    store, root = make_image(1)
    image = found(store, root)
    left = Path(trees.path(image.chain_id) + ".partial")
    (left / "half").mkdir(parents=True)

    path = make(trees, store, image)

    assert "half" not in os.listdir(path)
    assert not left.exists()


def test_a_layer_that_is_not_what_the_config_promises_leaves_no_tree(trees: Trees) -> None:
    store, root = make_image(1)
    *layers, config = family(store, root)
    document = json.loads(read(store, config.digest))
    document["rootfs"]["diff_ids"][2] = f"sha256:{'0' * 64}"
    other = put(store, json.dumps(document).encode(), mediatypes.OCI_CONFIG)
    wrong = put(store, manifest_of(other, layers), mediatypes.OCI_MANIFEST)

    with pytest.raises(DataLoss, match="the image's config promises sha256:000"):
        make(trees, store, found(store, wrong))

    assert os.listdir(trees.folder) == []


def test_removal_leaves_nothing_and_may_be_repeated(trees: Trees) -> None:
    store, root = make_image(1)
    image = found(store, root)
    make(trees, store, image)

    for _ in range(2):
        with trees.locked(image.chain_id):
            trees.remove(image.chain_id)

    assert os.listdir(trees.folder) == []


def test_two_that_want_a_tree_make_it_one_after_the_other(trees: Trees) -> None:
    store, root = make_image(1)
    image = found(store, root)
    paths: list[str] = []
    with trees.locked(image.chain_id):
        other = threading.Thread(target=lambda: paths.append(make(trees, store, image)))
        other.start()
        trees.make(store, image, OPTIONS)
        assert paths == []
    other.join()

    assert paths == [trees.path(image.chain_id)]


def test_missing_layers_are_named(trees: Trees) -> None:
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
