"""New documents and layers in a store."""

from __future__ import annotations

import gzip
import io
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import manifest_of, read

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import DataLoss, InvalidArgument, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.transfer.newimage import (
    UNCOMPRESSED_LABEL,
    LayerFormat,
    LayerWriter,
    add_labels,
    layer_media_type,
    put_document,
    put_layer,
)

if TYPE_CHECKING:
    from distore.content.store import Input

Kept = MemoryStore | LocalStore
PLAIN = random.Random(1).randbytes(20_000) + bytes(300_000)


def source(data: bytes = PLAIN) -> Input:
    return io.BytesIO(data)


@pytest.mark.parametrize("compression", ["gzip", "zstd", None])
def test_a_layer_has_both_digests_and_says_its_diff_id(kept: Kept, compression: str | None) -> None:
    layer = put_layer(kept, source(), LayerFormat(compression=compression), subject="layer")

    stored = read(kept, layer.descriptor.digest)
    assert (layer.diff_id, layer.size) == (Digest.of(PLAIN), len(PLAIN))
    assert (layer.descriptor.digest, layer.descriptor.size) == (Digest.of(stored), len(stored))
    assert layer.descriptor.media_type == layer_media_type("oci", compression)
    assert kept.info(layer.descriptor.digest).labels[UNCOMPRESSED_LABEL] == layer.diff_id
    assert list(kept.statuses()) == []
    if compression == "gzip":
        assert gzip.decompress(stored) == PLAIN


def test_a_layer_that_is_there_is_found_and_labelled(kept: Kept) -> None:
    first = put_layer(kept, source(), LayerFormat(), subject="layer")
    info = kept.info(first.descriptor.digest)
    kept.update(info._replace(labels={"mine": "1"}), "labels")

    again = put_layer(kept, source(), LayerFormat(threads=2), subject="layer")

    assert again == first
    labels = kept.info(first.descriptor.digest).labels
    assert dict(labels) == {"mine": "1", UNCOMPRESSED_LABEL: first.diff_id}


def test_another_diff_id_is_data_loss_and_leaves_nothing(kept: Kept) -> None:
    with pytest.raises(DataLoss, match=r"^layer 1: unpacks to sha256:.*, its config says sha256:"):
        put_layer(kept, source(), LayerFormat(), subject="layer 1", expected=Digest.of(b"other"))

    assert (list(kept.walk()), list(kept.statuses())) == ([], [])


def test_a_writer_that_was_not_committed_leaves_nothing(kept: Kept) -> None:
    with LayerWriter(kept, LayerFormat(threads=2), subject="layer") as writer:
        writer.write(PLAIN * 5)

    assert (list(kept.walk()), list(kept.statuses())) == ([], [])


def test_two_that_write_the_same_layer_at_once_do_not_meet(kept: Kept) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: put_layer(kept, source(), LayerFormat(), subject="x"), range(4)))

    assert len(set(made)) == 1
    assert len(list(kept.walk())) == 1


@pytest.mark.parametrize(
    ("flavour", "compression", "message"),
    [
        ("docker", "zstd", "docker's media types have none"),
        ("other", "gzip", "no such thing"),
        ("oci", "lzma", "want one of"),
    ],
)
def test_a_format_that_does_not_exist_is_refused(flavour: str, compression: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        LayerFormat(flavour=flavour, compression=compression)


def test_a_document_has_labels_for_its_children(kept: Kept) -> None:
    config = put_document(kept, b"{}", mediatypes.OCI_CONFIG)
    layer = put_layer(kept, source(), LayerFormat(), subject="layer").descriptor
    data = manifest_of(config, [layer])

    manifest = put_document(kept, data, mediatypes.OCI_MANIFEST, labels={"mine": "1"})

    assert read(kept, manifest.digest) == data
    assert dict(kept.info(manifest.digest).labels) == {
        "mine": "1",
        "containerd.io/gc.ref.content.config": config.digest,
        "containerd.io/gc.ref.content.l.0": layer.digest,
    }


def test_a_document_that_is_there_gets_the_labels_it_lacks(kept: Kept) -> None:
    config = put_document(kept, b"{}", mediatypes.OCI_CONFIG, labels={"old": "1", "other": "2"})

    again = put_document(kept, b"{}", mediatypes.OCI_CONFIG, labels={"old": "2", "new": "3"})

    assert again == config
    assert dict(kept.info(config.digest).labels) == {"old": "2", "other": "2", "new": "3"}


def test_labels_that_are_there_are_no_change(memory: MemoryStore) -> None:
    config = put_document(memory, b"{}", mediatypes.OCI_CONFIG, labels={"a": "1"})
    before = memory.info(config.digest).updated

    add_labels(memory, config.digest, {"a": "1"})

    assert memory.info(config.digest).updated == before


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"{}", InvalidArgument), (b" " * (MAX_MANIFEST_SIZE + 1), ResourceExhausted)],
    ids=["no manifest", "too large"],
)
def test_a_manifest_that_is_none_is_not_stored(
    data: bytes, error: type[Exception], memory: MemoryStore
) -> None:
    with pytest.raises(error):
        put_document(memory, data, mediatypes.OCI_MANIFEST)

    assert list(memory.walk()) == []


def test_a_source_that_fails_leaves_no_ingest(kept: Kept) -> None:
    class Failing:
        reads = 0

        def readinto(self, buffer: memoryview, /) -> int:
            self.reads += 1
            if self.reads > 3:
                raise ResourceExhausted("a bomb")
            return len(buffer)

    with pytest.raises(ResourceExhausted):
        put_layer(kept, Failing(), LayerFormat(threads=2), subject="layer")

    assert list(kept.statuses()) == []


def test_json_goes_in_as_it_is(memory: MemoryStore) -> None:
    data = json.dumps({"a": "ü"}, indent=3).encode()

    assert read(memory, put_document(memory, data, mediatypes.OCI_CONFIG).digest) == data
