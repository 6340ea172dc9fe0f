"""Descriptor: what a blob is called, how large it is and how to read it (image-spec, descriptor.md)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci.digest import Digest
from distore.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE: Final = 2**63 - 1  # bytes; Go's int64
MAX_MEDIA_TYPE: Final = 255  # characters (RFC 6838, section 4.2: 127 on each side of the slash)
_SHOWN: Final = 60  # characters of a bad media type that a message repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A validated descriptor; ``size`` in bytes.

    Raises:
        InvalidArgument: A size out of range, a bad media type, or ``data`` that is not the blob.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)  # a dict has no hash
    urls: tuple[str, ...] = ()
    artifact_type: str | None = None
    data: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise InvalidArgument(f"descriptor {self.digest}: the size is not in 0..{MAX_SIZE}")
        _check_media_type(self.digest, self.media_type)
        if self.artifact_type is not None:
            _check_media_type(self.digest, self.artifact_type)
        if self.data is not None:
            actual = Digest.of(self.data, algorithm=self.digest.algorithm)
            if len(self.data) != self.size or actual != self.digest:
                raise InvalidArgument(f"descriptor {self.digest}: its data is not the blob")

    @classmethod
    def from_json(cls, document: object) -> Descriptor:
        """From what ``json.loads`` gave; fields of other specifications are passed over.

        A field that may be left out may be null, too; an empty artifact type is none.

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
            artifact_type=_artifact_type(document),
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


def _check_media_type(digest: Digest, media_type: str) -> None:
    # It goes into an Accept header: ASCII without anything that ends a line.
    good = media_type.isascii() and media_type.isprintable()
    if not good or not 0 < len(media_type) <= MAX_MEDIA_TYPE:
        raise InvalidArgument(f"descriptor {digest}: bad media type {media_type[:_SHOWN]!a}")


def _text(document: dict[object, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise InvalidArgument(f"descriptor: {name} is missing or not a string")
    return value


def _artifact_type(document: dict[object, object]) -> str | None:
    if document.get("artifactType") is None:
        return None
    return _text(document, "artifactType") or None


def _texts(document: dict[object, object], name: str) -> dict[str, str]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"descriptor: {name} is not an object")
    if not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise InvalidArgument(f"descriptor: {name} has a value that is not a string")
    return dict(value)


def _list(document: dict[object, object], name: str) -> tuple[str, ...]:
    value = document.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise InvalidArgument(f"descriptor: {name} is not a list of strings")
    return tuple(value)


def _data(document: dict[object, object], digest: Digest) -> bytes | None:
    if document.get("data") is None:
        return None
    text = _text(document, "data")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error is one, and so is a character outside ASCII
        raise InvalidArgument(f"descriptor {digest}: data is not base64") from error
