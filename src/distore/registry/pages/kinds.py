"""Kinds: what a manifest is for, by the types that it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from distore.oci import mediatypes
from distore.oci.manifest import Index

if TYPE_CHECKING:
    from distore.oci.manifest import Manifest

SIGNATURE: Final = "signature"
SBOM: Final = "SBOM"
ATTESTATION: Final = "attestation"
ARTIFACT: Final = "artifact"
# The order matters: an SBOM may come as an attestation, which tells more.
_WORDS: Final = (
    (SBOM, ("spdx", "cyclonedx", "sbom", "syft")),
    (ATTESTATION, ("in-toto", "attestation", "provenance", "slsa", "dsse")),
    (SIGNATURE, ("signature", "cosign", "notary", "sigstore", "sign")),
)
# How cosign names a tag beside an image that it cannot refer to (sigstore/cosign, "Tag based discovery").
LEGACY: Final = ((SIGNATURE, ".sig"), (ATTESTATION, ".att"), (SBOM, ".sbom"))

_LEGACY_TAG: Final = re.compile(r"sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{128})\.(?:sig|att|sbom)")


def is_legacy(tag: str) -> bool:
    """Whether a tag only says what another image is signed with."""
    return _LEGACY_TAG.fullmatch(tag) is not None


def kind_of(artifact_type: str | None) -> str:
    """Of what refers to an image."""
    lower = (artifact_type or "").lower()
    for kind, parts in _WORDS:
        if any(part in lower for part in parts):
            return kind
    return ARTIFACT


def is_image(document: Manifest | Index) -> bool:
    """Whether it can be run: has the config of an image, or names what may."""
    if isinstance(document, Index):
        return document.artifact_type is None
    return document.artifact_type is None and mediatypes.is_config(document.config.media_type)
