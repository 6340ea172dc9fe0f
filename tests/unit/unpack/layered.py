"""Images of given layers in memory, for the tests of files in them."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.unit.transfer.ends_images import manifest_of, put

from distore.content.memory import MemoryStore
from distore.errors import AlreadyExists
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.unpack.fileaccess import LayerFiles
from distore.unpack.layers import image_layers

if TYPE_CHECKING:
    from distore.content.store import Ingester
    from distore.unpack.layers import Blobs, ImageLayers
    from distore.unpack.listingfiles import ListingFiles

AMD64 = Platform(os="linux", architecture="amd64")


def put_image(store: Ingester, *layers: bytes, packed: tuple[int, ...] = (0,)) -> Descriptor:
    """An image of plain layers; those whose numbers are ``packed`` are kept as gzip."""
    found = [
        _put(store, gzip.compress(layer, 1, mtime=0), mediatypes.OCI_LAYER_GZIP)
        if number in packed
        else _put(store, layer, mediatypes.OCI_LAYER)
        for number, layer in enumerate(layers)
    ]
    rootfs = {"type": "layers", "diff_ids": [Digest.of(layer) for layer in layers]}
    config = {"architecture": "amd64", "os": "linux", "rootfs": rootfs}
    return put(
        store,
        manifest_of(put(store, json.dumps(config).encode(), mediatypes.OCI_CONFIG), found),
        mediatypes.OCI_MANIFEST,
    )


def _put(store: Ingester, data: bytes, media_type: str) -> Descriptor:
    with suppress(AlreadyExists):  # two layers may be the same
        put(store, data, media_type)
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def layers_of(store: Blobs, root: Descriptor) -> ImageLayers:
    return image_layers(store, root, AMD64, subject="image x")


def files_of(*layers: bytes, packed: tuple[int, ...] = (0,), kept: ListingFiles | None = None) -> LayerFiles:
    store = MemoryStore()
    root = put_image(store, *layers, packed=packed)
    return opened(store, root, kept=kept)


def opened(store: MemoryStore, root: Descriptor, *, kept: ListingFiles | None = None) -> LayerFiles:
    return LayerFiles(store, layers_of(store, root), kept=kept, subject="image x")
