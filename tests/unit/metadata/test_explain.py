"""Why a blob is kept."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from distore.errors import NotFound
from distore.images.gclabels import gc_labels
from distore.leases import Resource
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import parse_manifest

if TYPE_CHECKING:
    from distore.content.local.store import LocalStore

NAME = "docker.io/library/redis:7"


def put(store: LocalStore, data: bytes, media_type: str, **labels: str) -> Descriptor:
    with store.writer("r") as writer:
        writer.write(data)
        digest = writer.commit(labels=labels)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def document(store: LocalStore, media_type: str, **parts: object) -> Descriptor:
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, **parts}).encode()
    labels = gc_labels(parse_manifest(data, media_type=None, subject="it"))
    return put(store, data, media_type, **labels)


def image(store: LocalStore) -> tuple[Descriptor, Descriptor, Descriptor]:
    """Index, manifest, layer."""
    layer = put(store, b"layer", mediatypes.OCI_LAYER_GZIP)
    config = put(store, b"{}", mediatypes.OCI_CONFIG)
    manifest = document(store, mediatypes.OCI_MANIFEST, config=config.to_json(), layers=[layer.to_json()])
    return document(store, mediatypes.OCI_INDEX, manifests=[manifest.to_json()]), manifest, layer


def explain(store: LocalStore, *digests: Digest) -> list[str]:
    return [str(each) for each in Metadata(store, command="t").collector.explain(digests)]


def test_the_way_from_an_image_is_told_with_the_kinds_of_all_on_it(store: LocalStore) -> None:
    index, manifest, layer = image(store)
    Metadata(store, command="t").images.put(NAME, index)

    assert explain(store, layer.digest, index.digest) == [
        f"kept: image {NAME} -> index {index.digest} -> manifest {manifest.digest} -> layer {layer.digest}",
        f"kept: image {NAME} -> index {index.digest}",
    ]


def test_a_shorter_way_is_preferred(store: LocalStore) -> None:
    index, manifest, layer = image(store)
    Metadata(store, command="t").images.put(NAME, index)
    Metadata(store, command="t").images.put("short", manifest)

    (text,) = explain(store, layer.digest)

    assert text == f"kept: image short -> manifest {manifest.digest} -> layer {layer.digest}"


def test_what_names_a_blob_that_nothing_keeps_is_told(store: LocalStore) -> None:
    index, manifest, layer = image(store)

    assert explain(store, layer.digest) == [
        f"not kept: content {layer.digest}: named by manifest {manifest.digest}, which nothing keeps either"
    ]
    (text,) = explain(store, index.digest)
    nothing = "no image, repository, lease or label leads to it"
    assert text.startswith(f"not kept: content {index.digest}: {nothing}")


def test_a_lease_is_named_with_its_process(store: LocalStore) -> None:
    blob = put(store, b"x", mediatypes.OCTET_STREAM).digest
    leases = Metadata(store, command="dist pull").leases
    with leases.held("pull") as lease:
        leases.add(lease.id, Resource(type="content", key=blob))

        assert explain(store, blob) == [
            f"kept: lease {lease.id} of pid {os.getpid()} (dist pull) -> content {blob}"
        ]


def test_a_root_label_and_an_ingest_are_named(store: LocalStore) -> None:
    rooted = put(store, b"rooted", mediatypes.OCTET_STREAM, **{"containerd.io/gc.root": "1"}).digest
    expected = put(store, b"expected", mediatypes.OCTET_STREAM).digest
    with store.writer("getting it") as writer:
        writer.write(b"e")
    with open(store.paths.ingest("getting it").expected, "w") as file:
        file.write(expected)

    assert explain(store, rooted, expected) == [
        f"kept: label containerd.io/gc.root -> content {rooted}",
        f"kept: ingest getting it -> content {expected}",
    ]


def test_each_namespace_has_its_own_answer(store: LocalStore) -> None:
    blob = put(store, b"x", mediatypes.OCTET_STREAM)
    other = store.view(namespace="other")
    assert other.visibility.share(blob.digest)
    Metadata(other, command="t").images.put(NAME, blob)

    first, second = explain(store, blob.digest)

    assert first.startswith("not kept")
    assert second == f"namespace other: kept: image {NAME} -> content {blob.digest}"


def test_a_digest_that_is_not_there_is_not_found_after_the_others(store: LocalStore) -> None:
    blob = put(store, b"x", mediatypes.OCTET_STREAM).digest
    found = Metadata(store, command="t").collector.explain([Digest.of(b"none"), blob])

    assert next(found).digest == blob
    with pytest.raises(NotFound):
        next(found)
