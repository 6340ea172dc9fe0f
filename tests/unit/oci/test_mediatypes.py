"""Media types: which family and kind each one is of."""

from __future__ import annotations

import pytest

from distore.oci import mediatypes

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."


def kinds(media_type: str) -> str:
    predicates = {
        "index": mediatypes.is_index,
        "manifest": mediatypes.is_manifest,
        "schema1": mediatypes.is_schema1,
        "config": mediatypes.is_config,
        "layer": mediatypes.is_layer,
        "elsewhere": mediatypes.is_nondistributable,
        "docker": mediatypes.is_docker,
    }
    return " ".join(name for name, predicate in predicates.items() if predicate(media_type))


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (OCI + "index.v1+json", "index"),
        (OCI + "manifest.v1+json", "manifest"),
        (OCI + "config.v1+json", "config"),
        (OCI + "layer.v1.tar", "layer"),
        (OCI + "layer.v1.tar+gzip", "layer"),
        (OCI + "layer.v1.tar+zstd", "layer"),
        (OCI + "layer.nondistributable.v1.tar", "layer elsewhere"),
        (OCI + "layer.nondistributable.v1.tar+gzip", "layer elsewhere"),
        (OCI + "layer.nondistributable.v1.tar+zstd", "layer elsewhere"),
        ("application/vnd.oci.empty.v1+json", ""),
        (DOCKER + "distribution.manifest.list.v2+json", "index docker"),
        (DOCKER + "distribution.manifest.v2+json", "manifest docker"),
        (DOCKER + "distribution.manifest.v1+json", "schema1 docker"),
        (DOCKER + "distribution.manifest.v1+prettyjws", "schema1 docker"),
        (DOCKER + "container.image.v1+json", "config docker"),
        (DOCKER + "image.rootfs.diff.tar", "layer docker"),
        (DOCKER + "image.rootfs.diff.tar.gzip", "layer docker"),
        (DOCKER + "image.rootfs.diff.tar.zstd", "layer docker"),
        (DOCKER + "image.rootfs.foreign.diff.tar", "layer elsewhere docker"),
        (DOCKER + "image.rootfs.foreign.diff.tar.gzip", "layer elsewhere docker"),
        ("application/octet-stream", ""),
        (OCI + "layer.v1.tar+lz4", ""),
        (OCI + "manifest.v1+json; charset=utf-8", ""),
        ("", ""),
    ],
)
def test_each_media_type_is_of_one_kind(media_type: str, expected: str) -> None:
    assert kinds(media_type) == expected


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        (mediatypes.OCI_LAYER, None),
        (mediatypes.OCI_LAYER_GZIP, "gzip"),
        (mediatypes.OCI_LAYER_ZSTD, "zstd"),
        (mediatypes.DOCKER_LAYER, None),
        (mediatypes.DOCKER_LAYER_GZIP, "gzip"),
        (mediatypes.DOCKER_LAYER_ZSTD, "zstd"),
        (mediatypes.DOCKER_LAYER_FOREIGN + ".gzip", "gzip"),
    ],
)
def test_a_layer_says_how_it_is_compressed(media_type: str, compression: str | None) -> None:
    assert mediatypes.layer_compression(media_type) == compression
