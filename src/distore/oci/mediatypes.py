"""Media types of the OCI image-spec and of Docker's image manifest v2 family."""

from __future__ import annotations

from typing import Final

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD: Final = OCI_LAYER + "+zstd"
# Deprecated by image-spec 1.1, still found in the wild.
OCI_LAYER_NONDISTRIBUTABLE: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"

DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD: Final = DOCKER_LAYER + ".zstd"
DOCKER_LAYER_FOREIGN: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

OCTET_STREAM: Final = "application/octet-stream"

MANIFESTS: Final = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES: Final = (OCI_INDEX, DOCKER_INDEX)
_SCHEMA1: Final = (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)
_LAYERS: Final = (OCI_LAYER, OCI_LAYER_NONDISTRIBUTABLE, DOCKER_LAYER, DOCKER_LAYER_FOREIGN)
_COMPRESSIONS: Final = {"gzip": "gzip", "zstd": "zstd"}


def is_manifest(media_type: str) -> bool:
    """An image manifest of either family."""
    return media_type in MANIFESTS


def is_index(media_type: str) -> bool:
    """An image index or manifest list."""
    return media_type in INDEXES


def is_schema1(media_type: str) -> bool:
    """Docker's first image format, which nothing here reads."""
    return media_type in _SCHEMA1


def is_config(media_type: str) -> bool:
    """An image configuration of either family."""
    return media_type in (OCI_CONFIG, DOCKER_CONFIG)


def is_docker(media_type: str) -> bool:
    """Of Docker's family."""
    return media_type.startswith("application/vnd.docker.")


def is_layer(media_type: str) -> bool:
    """A layer of either family, whatever its compression."""
    return _bare_layer(media_type) in _LAYERS


def is_nondistributable(media_type: str) -> bool:
    """A layer that may only be had from its own URLs."""
    return _bare_layer(media_type) in (OCI_LAYER_NONDISTRIBUTABLE, DOCKER_LAYER_FOREIGN)


def layer_compression(media_type: str) -> str | None:
    """``gzip``, ``zstd`` or None for a plain tar; meaningful only for layers."""
    return _COMPRESSIONS.get(media_type.replace("+", ".").rpartition(".")[2])


def _bare_layer(media_type: str) -> str:
    for suffix in ("+gzip", "+zstd", ".gzip", ".zstd"):
        if media_type.endswith(suffix):
            return media_type.removesuffix(suffix)
    return media_type
