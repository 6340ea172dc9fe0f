"""Descriptor: what a blob is called, how large it is and how to read it (image-spec, descriptor.md)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci.digest import Digest
from distore.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE: Final = 2**63 - 1  # bytes; Go's int64
_MAX_MEDIA_TYPE: Final = 255  # characters (RFC 6838, section 4.2: 127 on each side of the slash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A validated descriptor; ``size`` in bytes.

    Raises:
        InvalidArgument: A size out of range, an empty media type, or ``data`` that is not the blob.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    artifact_type: str | None = None
    data: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise InvalidArgument(f"descriptor {self.digest}: size {self.size} is out of range")
        if not 0 < len(self.media_type) <= _MAX_MEDIA_TYPE or not self.media_type.isprintable():
            raise InvalidArgument(f"descriptor {self.digest}: bad media type {self.media_type[:60]!a}")
        if self.data is not None:
            actual = Digest.of(self.data, algorithm=self.digest.algorithm)
            if len(self.data) != self.size or actual != self.digest:
                raise InvalidArgument(f"descriptor {self.digest}: its data is not the blob")

    @classmethod
    def from_json(cls, document: object) -> Descriptor:
        """From what ``json.loads`` gave; fields of other specifications are passed over.

        Raises:
            InvalidArgument: A field is missing or has the wrong type.
        """
        if not isinstance(document, dict):
            raise InvalidArgument("descriptor: want a JSON object")
        digest = Digest(_text(document, "digest"))
        size = document.get("size")
        if not isinstance(size, int) or isinstance(size, bool):
            raise InvalidArgument(f"descriptor {digest}: size is not a whole number")
        platform = document.get("platform")
        return cls(
            media_type=_text(document, "mediaType"),
            digest=digest,
            size=size,
            platform=None if platform is None else Platform.from_json(platform),
            annotations=_texts(document, "annotations"),
            urls=_list(document, "urls"),
            artifact_type=_text(document, "artifactType") if document.get("artifactType") else None,
            data=_data(document, digest),
        )

    def to_json(self) -> dict[str, object]:
        """As a JSON object, fields in the order of the specification, empty ones left out."""
        document: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.urls:
            document["urls"] = list(self.urls)
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.data is not None:
            document["data"] = base64.b64encode(self.data).decode()
        if self.platform is not None:
            document["platform"] = self.platform.to_json()
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        return document


def _text(document: dict[object, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise InvalidArgument(f"descriptor: {name} is missing or not a string")
    return value


def _texts(document: dict[object, object], name: str) -> dict[str, str]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"descriptor: {name} is not an object")
    if not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise InvalidArgument(f"descriptor: {name} has a value that is not a string")
    return dict(value)


def _list(document: dict[object, object], name: str) -> tuple[str, ...]:
    value = document.get(name) or []
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise InvalidArgument(f"descriptor: {name} is not a list of strings")
    return tuple(value)


def _data(document: dict[object, object], digest: Digest) -> bytes | None:
    value = document.get("data")
    if value is None:
        return None
    try:
        return base64.b64decode(_text(document, "data"), validate=True)
    except binascii.Error as error:
        raise InvalidArgument(f"descriptor {digest}: data is not base64") from error
