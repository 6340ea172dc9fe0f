"""Rewriting: manifests and indexes with other layers, types or children; what is not known here stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci import mediatypes
from distore.transfer.newimage import DOCKER, OCI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.oci.descriptor import Descriptor

JsonObject = dict[str, object]

_TO_OCI: Final[Mapping[str, str]] = {
    mediatypes.DOCKER_INDEX: mediatypes.OCI_INDEX,
    mediatypes.DOCKER_MANIFEST: mediatypes.OCI_MANIFEST,
    mediatypes.DOCKER_CONFIG: mediatypes.OCI_CONFIG,
    mediatypes.DOCKER_LAYER: mediatypes.OCI_LAYER,
    mediatypes.DOCKER_LAYER_GZIP: mediatypes.OCI_LAYER_GZIP,
    mediatypes.DOCKER_LAYER_ZSTD: mediatypes.OCI_LAYER_ZSTD,  # nobody specifies it, some write it
    mediatypes.DOCKER_LAYER_FOREIGN: mediatypes.OCI_LAYER_NONDISTRIBUTABLE,
    mediatypes.DOCKER_LAYER_FOREIGN + ".gzip": mediatypes.OCI_LAYER_NONDISTRIBUTABLE + "+gzip",
}
_TO_DOCKER: Final[Mapping[str, str]] = {
    oci: docker for docker, oci in _TO_OCI.items() if docker != mediatypes.DOCKER_LAYER_ZSTD
}
# Of the compressed bytes of a layer (tables of contents, checksums): wrong for other bytes.
_OF_THE_BYTES: Final = (
    "containerd.io/snapshot/stargz/",
    "containerd.io/snapshot/nydus-",
    "io.containers.estargz.",
    "io.github.containers.zstd-chunked.",
)


def flavour_of(media_type: str) -> str:
    """``docker`` or ``oci``."""
    return DOCKER if mediatypes.is_docker(media_type) else OCI


def in_flavour(media_type: str, flavour: str) -> str:
    """What a flavour calls a media type; oci takes any, as image-spec says.

    Raises:
        InvalidArgument: Docker has none for it.
    """
    if flavour == OCI:
        return _TO_OCI.get(media_type, media_type)
    if media_type in _TO_DOCKER:
        return _TO_DOCKER[media_type]
    if media_type in _TO_OCI and media_type != mediatypes.DOCKER_LAYER_ZSTD:
        return media_type
    if mediatypes.is_layer(media_type) and mediatypes.layer_compression(media_type) == "zstd":
        raise InvalidArgument("docker's media types have no zstd: choose gzip, or oci's media types")
    raise InvalidArgument(f"docker's media types have none for {media_type}")


def loaded(data: bytes) -> JsonObject:
    """A document that was parsed before as what it is."""
    document = json.loads(data)
    if not isinstance(document, dict):
        raise InvalidArgument("not a JSON object")
    return document


def dumped(document: JsonObject) -> bytes:
    """Its bytes, the same every time."""
    return json.dumps(document, separators=(",", ":")).encode()


def pointed(item: object, target: Descriptor) -> JsonObject:
    """A descriptor of a document, pointed at another object; platform, annotations and the rest stay.

    What holds only for the old bytes goes: where else they are, their copy in ``data``, and what
    annotations say about their inside.
    """
    new: JsonObject = dict(item) if isinstance(item, dict) else {}
    if new.get("digest") != target.digest:
        new.pop("data", None)
        new.pop("urls", None)
        notes = new.get("annotations")
        if isinstance(notes, dict):
            kept = {key: value for key, value in notes.items() if not key.startswith(_OF_THE_BYTES)}
            new["annotations"] = kept
            if not kept:
                del new["annotations"]
    new["mediaType"], new["digest"], new["size"] = target.media_type, str(target.digest), target.size
    return new


def typed(document: JsonObject, media_type: str) -> JsonObject:
    """A document that says its type; OCI's need not, and where they do not, they still do not."""
    if "mediaType" not in document and media_type in (mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX):
        return dict(document)
    # Where it was it stays; a new one stands where others write it, too.
    first = {"schemaVersion": document.get("schemaVersion"), "mediaType": media_type}
    return {**document, "mediaType": media_type} if "mediaType" in document else {**first, **document}
