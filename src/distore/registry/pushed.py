"""Pushed: what a registry must know of a manifest before it takes it (OCI image-spec)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.registry.paging import is_text
from distore.repositories import ManifestRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.oci.digest import Digest

_SCHEMA_VERSION: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A manifest or an index that reads as what it says it is.

    ``needed`` are the blobs that must be there first: not the layers that are had from
    elsewhere, and not the manifests of an index, which may be sparse. ``children`` are all of them.
    """

    media_type: str
    needed: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str | None
    is_typed: bool = True  # the document says its media type
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def record(self, digest: Digest, size: int) -> ManifestRecord:
        """What a repository remembers of it; the descriptor is what a list of referrers shows (OCI
        distribution-spec, "Listing Referrers")."""
        return ManifestRecord(
            descriptor=Descriptor(
                media_type=self.media_type,
                digest=digest,
                size=size,
                artifact_type=self.artifact_type,
                annotations=self.annotations,
            ),
            subject=None if self.subject is None else self.subject.digest,
            children=tuple({child.digest: child.size for child in self.children}.items()),
        )


def parse(data: bytes, media_type: str) -> Pushed:
    """Read ``data``; the caller has limited its size.

    Args:
        media_type: As the client says, or empty for as the document says.
    Raises:
        InvalidArgument: It is no manifest, of another kind than said, or of one that is not known.
    """
    document = _document(data)
    told = document.get("mediaType")
    if told is not None and media_type and told != media_type:
        raise InvalidArgument(f"manifest: {media_type[:80]!a} was sent, the document says {str(told)[:80]!a}")
    kind = media_type or str(told or "")
    if document.get("schemaVersion") != _SCHEMA_VERSION:
        raise InvalidArgument(f"manifest: schemaVersion must be {_SCHEMA_VERSION}")
    # What one client reads as an image and another as an index is two things under one digest.
    strange = ("config", "layers") if mediatypes.is_index(kind) else ("manifests",)
    for name in strange:
        if document.get(name) is not None:
            raise InvalidArgument(f"manifest: {kind[:80]!a} with {name}")
    if mediatypes.is_index(kind):
        config, children = None, _descriptors(document, "manifests")
        needed = [child for child in children if not _is_manifest(child.media_type)]
    elif mediatypes.is_manifest(kind):
        config = Descriptor.from_json(document.get("config"))
        layers = _descriptors(document, "layers")
        children = [config, *layers]
        needed = [config, *(layer for layer in layers if not _is_elsewhere(layer))]
    else:
        raise InvalidArgument(f"manifest: media type {kind[:80]!a} is not taken here")
    subject = document.get("subject")
    artifact_type = document.get("artifactType") or (config.media_type if config else None)
    if artifact_type is not None and not isinstance(artifact_type, str):
        raise InvalidArgument("manifest: artifactType is not a string")
    return Pushed(
        media_type=kind,
        needed=tuple(needed),
        children=tuple(children),
        subject=None if subject is None else Descriptor.from_json(subject),
        artifact_type=artifact_type,
        is_typed=told is not None,
        annotations=_annotations(document),
    )


def _document(data: bytes) -> dict[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("manifest: not a JSON document") from error
    if not isinstance(document, dict):
        raise InvalidArgument("manifest: not a JSON object")
    return document


def _descriptors(document: dict[str, object], name: str) -> list[Descriptor]:
    given = document.get(name)
    if given is None and name == "layers":
        return []
    if not isinstance(given, list):
        raise InvalidArgument(f"manifest: {name} is not a list")
    return [Descriptor.from_json(part) for part in given]


def _annotations(document: dict[str, object]) -> dict[str, str]:
    given = document.get("annotations")
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(
        isinstance(part, str) for pair in given.items() for part in pair
    ):
        raise InvalidArgument("manifest: annotations are not strings")
    if not all(is_text(part) for pair in given.items() for part in pair):
        raise InvalidArgument("manifest: annotations have half a character")
    return dict(given)


def _is_manifest(media_type: str) -> bool:
    return (
        mediatypes.is_manifest(media_type)
        or mediatypes.is_index(media_type)
        or mediatypes.is_schema1(media_type)
    )


def _is_elsewhere(layer: Descriptor) -> bool:
    return bool(layer.urls) or mediatypes.is_nondistributable(layer.media_type)
