"""Ref keys: the ingest of a remote object is named as containerd names it (remotes.MakeRefKey)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.oci import mediatypes

if TYPE_CHECKING:
    from distore.oci.digest import Digest


def ref_key(media_type: str | None, digest: Digest) -> str:
    """``layer-sha256:...``: two downloads of one object are one ingest, whoever runs them."""
    return f"{kind(media_type or '')}-{digest}"


def kind(media_type: str) -> str:
    """``manifest``, ``index``, ``layer``, ``config`` or ``unknown``."""
    if mediatypes.is_manifest(media_type):
        return "manifest"
    if mediatypes.is_index(media_type):
        return "index"
    if mediatypes.is_layer(media_type):
        return "layer"
    if mediatypes.is_config(media_type):
        return "config"
    return "unknown"
