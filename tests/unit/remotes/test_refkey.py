"""Ref keys: the names that containerd gives the same downloads."""

from __future__ import annotations

import pytest

from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.remotes.refkey import ref_key

DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        (mediatypes.OCI_MANIFEST, "manifest"),
        (mediatypes.DOCKER_MANIFEST, "manifest"),
        (mediatypes.OCI_INDEX, "index"),
        (mediatypes.DOCKER_INDEX, "index"),
        (mediatypes.OCI_LAYER, "layer"),
        (mediatypes.OCI_LAYER_ZSTD, "layer"),
        (mediatypes.DOCKER_LAYER_GZIP, "layer"),
        (mediatypes.DOCKER_LAYER_FOREIGN, "layer"),
        (mediatypes.OCI_CONFIG, "config"),
        (mediatypes.DOCKER_CONFIG, "config"),
        (mediatypes.DOCKER_SCHEMA1, "unknown"),
        ("text/plain", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_ref_of_a_download_is_its_kind_and_digest(media_type: str | None, kind: str) -> None:
    assert ref_key(media_type, DIGEST) == f"{kind}-{DIGEST}"
