"""Manifest, Index and ImageConfig: the documents of an image, parsed strictly and with limits.

OCI image-spec (manifest.md, image-index.md, config.md) and Docker's image manifest v2, schema 2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024  # bytes (OCI distribution-spec, "Pushing manifests")
MAX_CONFIG_SIZE: Final = 16 * 1024 * 1024  # bytes; configs of images with long histories have 100 kB


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image for one platform, or an artifact. ``artifact_type`` as image-spec resolves it: the
    manifest's own, or the media type of a config that is no image config."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Manifests, and indexes, under one digest."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What the config of an image says about it; ``document`` is all of it, as parsed."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    document: Mapping[str, object] = field(repr=False)


def parse_manifest(data: bytes, *, media_type: str | None, subject: str) -> Manifest | Index:
    """A manifest or an index.

    Args:
        media_type: What a descriptor or a registry calls it, or None; when the document says its
            own, both must agree: whoever reads it by another type would see another image
            (image-spec, manifest.md, "mediaType").
        subject: What messages call it.
    Raises:
        InvalidArgument: Not such a document, or one that could be read as both.
        FailedPrecondition: Docker's schema 1.
        ResourceExhausted: Over MAX_MANIFEST_SIZE.
    """
    document = _object(data, MAX_MANIFEST_SIZE, f"manifest {subject}")
    try:
        return _parsed(document, _kind(document, media_type))
    except InvalidArgument as error:
        raise InvalidArgument(f"manifest {subject}: {error}") from error
    except FailedPrecondition as error:
        raise FailedPrecondition(f"manifest {subject}: {error}") from error


def parse_config(data: bytes, *, subject: str) -> ImageConfig:
    """The config of an image.

    Raises:
        InvalidArgument: Not one.
        ResourceExhausted: Over MAX_CONFIG_SIZE.
    """
    document = _object(data, MAX_CONFIG_SIZE, f"config {subject}")
    rootfs = document.get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    try:
        if not isinstance(ids, list) or not all(isinstance(text, str) for text in ids):
            raise InvalidArgument("rootfs.diff_ids is not a list of digests")
        return ImageConfig(
            platform=Platform.from_json(document),
            diff_ids=tuple(Digest(text) for text in ids),
            document=document,
        )
    except InvalidArgument as error:
        raise InvalidArgument(f"config {subject}: {error}") from error


def _object(data: bytes, limit: int, subject: str) -> dict[str, object]:
    if len(data) > limit:
        raise ResourceExhausted(f"{subject}: {len(data)} bytes, the limit is {limit}")
    try:
        # UTF-8 without a mark, as RFC 8259 has it: from bytes json.loads would take UTF-16, too.
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InvalidArgument(f"{subject}: not JSON") from error
    if not isinstance(document, dict):
        raise InvalidArgument(f"{subject}: not a JSON object")
    return document


def _kind(document: dict[str, object], told: str | None) -> str:
    """The media type to read it by."""
    own = document.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise InvalidArgument("mediaType is not a string")
    if mediatypes.is_schema1(own or told or "") or document.get("schemaVersion") == 1:
        raise FailedPrecondition(
            "an image of Docker's schema 1, which no current tool makes; pull and push it with a newer"
            " docker to convert it"
        )
    known = told if told and (mediatypes.is_manifest(told) or mediatypes.is_index(told)) else None
    if own and known and own != known:
        raise InvalidArgument(f"it says it is {own[:80]!a}, its descriptor says {known!a}")
    kind = own or known or _guess(document)
    if mediatypes.is_manifest(kind) and "manifests" in document:
        raise InvalidArgument("a manifest with a list of manifests: it could be read as an index")
    if mediatypes.is_index(kind) and ("layers" in document or "config" in document):
        raise InvalidArgument("an index with layers or a config: it could be read as a manifest")
    if not (mediatypes.is_manifest(kind) or mediatypes.is_index(kind)):
        raise InvalidArgument(f"media type {kind[:80]!a} is neither a manifest nor an index")
    return kind


def _guess(document: dict[str, object]) -> str:
    """OCI documents need not say their type."""
    if "manifests" in document:
        return mediatypes.OCI_INDEX
    if "layers" in document or "config" in document:
        return mediatypes.OCI_MANIFEST
    raise InvalidArgument("neither a manifest nor an index")


def _parsed(document: dict[str, object], kind: str) -> Manifest | Index:
    if document.get("schemaVersion") != 2:
        raise InvalidArgument("schemaVersion is not 2")
    subject = document.get("subject")
    named = None if subject is None else Descriptor.from_json(subject)
    artifact = document.get("artifactType") or None
    if artifact is not None and not isinstance(artifact, str):
        raise InvalidArgument("artifactType is not a string")
    annotations = _annotations(document)
    if mediatypes.is_index(kind):
        return Index(
            media_type=kind,
            manifests=_descriptors(document, "manifests"),
            subject=named,
            artifact_type=artifact,
            annotations=annotations,
        )
    config = Descriptor.from_json(document.get("config"))
    other = not mediatypes.is_config(config.media_type) and config.media_type != mediatypes.OCI_EMPTY
    return Manifest(
        media_type=kind,
        config=config,
        layers=_descriptors(document, "layers"),
        subject=named,
        artifact_type=artifact or (config.media_type if other else None),
        annotations=annotations,
    )


def _descriptors(document: dict[str, object], name: str) -> tuple[Descriptor, ...]:
    items = document.get(name)
    if items is None:
        return ()  # Go writes null for an empty list
    if not isinstance(items, list):
        raise InvalidArgument(f"{name} is not a list")
    return tuple(Descriptor.from_json(item) for item in items)


def _annotations(document: dict[str, object]) -> dict[str, str]:
    value = document.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidArgument("annotations is not an object of strings")
    return dict(value)
