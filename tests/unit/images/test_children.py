"""What documents name, and the labels that keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distore.content.memory import MemoryStore
from distore.errors import InvalidArgument, NotFound, ResourceExhausted
from distore.images.children import children, is_elsewhere, read_manifest
from distore.images.gclabels import gc_labels
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE, Index

if TYPE_CHECKING:
    from tests.unit.images.conftest import Library


def stored(store: MemoryStore, data: bytes, media_type: str = mediatypes.OCI_INDEX) -> Descriptor:
    with store.writer("r") as writer:
        writer.write(data)
        digest = writer.commit()
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def test_labels_name_config_layers_and_manifests_as_containerd_does(library: Library) -> None:
    one, two = library.blob("one"), library.blob("two")
    root = library.manifest("root", (one, two))
    config = library.blob("root-config", mediatypes.OCI_CONFIG)
    index = Index(media_type=mediatypes.OCI_INDEX, manifests=(root,))

    assert gc_labels(library.documents[root.digest]) == {
        "containerd.io/gc.ref.content.config": config.digest,
        "containerd.io/gc.ref.content.l.0": one.digest,
        "containerd.io/gc.ref.content.l.1": two.digest,
    }
    assert gc_labels(index) == {"containerd.io/gc.ref.content.m.0": root.digest}


def test_what_is_left_out_is_not_kept_and_the_others_keep_their_numbers(library: Library) -> None:
    one, two = library.manifest("one"), library.manifest("two")
    index = Index(media_type=mediatypes.OCI_INDEX, manifests=(one, two))

    assert gc_labels(index, leaving_out={one.digest}) == {"containerd.io/gc.ref.content.m.1": two.digest}


def test_children_are_in_the_order_of_the_document(library: Library) -> None:
    one, two = library.blob("one"), library.blob("two")
    root = library.manifest("root", (two, one))

    assert list(children(library.documents[root.digest]))[1:] == [two, one]


def test_only_layers_with_urls_that_may_not_be_distributed_are_elsewhere(library: Library) -> None:
    urls = ("https://a.example/x",)

    assert is_elsewhere(library.blob("a", mediatypes.OCI_LAYER_NONDISTRIBUTABLE + "+zstd", urls=urls))
    assert not is_elsewhere(library.blob("a", mediatypes.OCI_LAYER, urls=urls))
    assert not is_elsewhere(library.blob("a", mediatypes.DOCKER_LAYER_FOREIGN))


def test_a_manifest_is_read_from_a_store() -> None:
    store = MemoryStore()
    at = stored(store, b'{"schemaVersion":2,"manifests":[]}')

    assert read_manifest(store, at) == Index(media_type=mediatypes.OCI_INDEX, manifests=())


def test_what_is_missing_too_large_or_no_manifest_is_told_apart() -> None:
    store = MemoryStore()
    large = stored(store, b" " * (MAX_MANIFEST_SIZE + 1))
    bad = stored(store, b"{}", mediatypes.OCI_MANIFEST)
    gone = Descriptor(media_type=mediatypes.OCI_INDEX, digest=Digest.of(b"gone"), size=4)

    with pytest.raises(NotFound):
        read_manifest(store, gone)
    with pytest.raises(ResourceExhausted):
        read_manifest(store, large)
    with pytest.raises(InvalidArgument, match=f"manifest {bad.digest}"):
        read_manifest(store, bad)
