"""What a new database has of a registry's repositories."""

from __future__ import annotations

import json

import pytest
from tests.unit.metadata.repository_world import World
from tests.unit.metadata.test_rebuild import Image, put, run, zero

from distore.content.local.store import LocalStore
from distore.images.gclabels import referrers_of
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.repositories import ManifestRecord


@pytest.mark.parametrize("table", ["repository_links", "repository_blobs"])
def test_what_a_pushed_manifest_names_is_offered_and_not_swept_where_rows_are_lost(
    store: LocalStore, table: str
) -> None:
    image, world = Image(store), World(store)
    blobs = (image.config, image.layer)
    for digest in blobs:
        world.repositories.add_blob("app", digest, 1)
    about = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=image.manifest, size=300)
    record = ManifestRecord(descriptor=about, children=tuple((digest, 1) for digest in blobs))
    assert world.repositories.put_manifest("app", record, tags=("v1",), needed=blobs) == []
    world.metadata.close()
    store.database.change(f"DELETE FROM {table}")
    zero(store)

    run(store)

    again = World(LocalStore(store.root))
    again.clock.now += 10**9
    assert list(again.metadata.repository_sweep(grace=0.0)) == []
    assert [again.repositories.has("app", digest) for digest in (*blobs, image.manifest)] == [True] * 3
    assert not again.repositories.has("app", image.index)
    again.metadata.close()
    again.store.close()


def test_what_was_pushed_about_an_image_does_not_come_to_be_about_that_of_the_store(
    store: LocalStore,
) -> None:
    image, world = Image(store), World(store)
    subject = {"mediaType": mediatypes.OCI_MANIFEST, "digest": image.manifest, "size": 300}
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [], "subject": subject}
    pulled = put(store, json.dumps({**index, "annotations": {"of": "the store"}}).encode())
    data = json.dumps(index).encode()
    pushed = Descriptor(media_type=mediatypes.OCI_INDEX, digest=put(store, data), size=len(data))
    record = ManifestRecord(descriptor=pushed, subject=image.manifest)
    assert world.repositories.put_manifest("secret", record, tags=("v1",)) == []
    world.metadata.close()
    zero(store)

    run(store)

    again = LocalStore(store.root)
    assert referrers_of(again.info(image.manifest).labels) == [pulled]
    again.close()
