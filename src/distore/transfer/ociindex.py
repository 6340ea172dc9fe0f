"""ImageIndex: the index.json of an image layout, read with distrust and changed entry by entry."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INDEX_FILE: Final = "index.json"
LAYOUT_FILE: Final = "oci-layout"
MAX_INDEX_SIZE: Final = 16 * 1024 * 1024  # bytes; a layout may hold thousands of images
MAX_LAYOUT_SIZE: Final = 4096  # bytes of the file oci-layout
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
REF_NAME: Final = "org.opencontainers.image.ref.name"
CONTAINERD_NAME: Final = "io.containerd.image.name"  # the whole reference, beside the tag in REF_NAME
# What buildkit says in an index of a manifest that tells about another one of it (provenance, SBOM).
REFERENCE_TYPE: Final = "vnd.docker.reference.type"
REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"
_MAX_LISTED: Final = 20  # names that a message lists
_SHOWN: Final = 80  # characters of each


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """What index.json says. Entries and fields that nothing here knows are kept as they are."""

    document: Mapping[str, object]
    entries: tuple[Mapping[str, object], ...] = ()

    @classmethod
    def empty(cls) -> ImageIndex:
        """Of a layout without an image."""
        return cls(document={"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX})

    @classmethod
    def parse(cls, data: bytes, *, subject: str) -> ImageIndex:
        """Read a whole index.json.

        Raises:
            FailedPrecondition: It is no image index.
        """
        document = parse_object(data, subject=f"{subject}: {INDEX_FILE}")
        if document.get("schemaVersion") != 2:
            raise FailedPrecondition(f"{subject}: {INDEX_FILE}: schemaVersion is not 2")
        entries = document.get("manifests")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise FailedPrecondition(f"{subject}: {INDEX_FILE}: manifests is not a list of objects")
        return cls(document=document, entries=tuple(entries))

    def select(self, name: str | None, *, subject: str) -> Descriptor:
        """The image called ``name``; without a name the only one.

        A name is the annotation as it stands, or any spelling of the whole reference that stands
        there.

        Raises:
            NotFound: No such image; names those that are.
            FailedPrecondition: Several, or something that is no image.
        """
        found = list(self.entries) if name is None else self._named(name)
        wanted = "" if name is None else f" {shown(name)}"
        if not found:
            there = listed(self.names())
            raise NotFound(f"{subject}: no image{wanted}" + (f"; there are {there}" if there else ""))
        # Several names for one image are no question.
        if len({str(entry.get("digest")) for entry in found}) > 1:
            there = listed(_distinct(found))
            hint = f"; name one of {there}" if there else ""
            raise FailedPrecondition(f"{subject}: holds {len(found)} images{wanted}{hint}")
        try:
            descriptor = Descriptor.from_json(found[0])
        except InvalidArgument as error:
            raise FailedPrecondition(f"{subject}: {INDEX_FILE}: {error}") from error
        if not mediatypes.is_manifest(descriptor.media_type) and not mediatypes.is_index(
            descriptor.media_type
        ):
            kind = shown(descriptor.media_type)
            raise FailedPrecondition(f"{subject}: {descriptor.digest} is a {kind}, not an image")
        return descriptor

    def names(self) -> list[str]:
        """What the images are called, in their order."""
        return _distinct(self.entries)

    def with_image(self, descriptor: Descriptor, name: str | None) -> ImageIndex:
        """The index in which ``name`` stands for the image: the older one of that name gives way,
        every other entry stays."""
        annotations = {
            key: value
            for key, value in descriptor.annotations.items()
            if key not in (REF_NAME, CONTAINERD_NAME)
        }
        if name is not None:
            annotations[REF_NAME] = name
        entry = replace(descriptor, annotations=annotations, data=None).to_json()

        def gives_way(old: Mapping[str, object]) -> bool:
            own = _annotations(old).get(REF_NAME)
            return (name is not None and own == name) or (
                own is None and old.get("digest") == entry["digest"]
            )

        kept = [old for old in self.entries if not gives_way(old)]
        return replace(self, entries=(*kept, entry))

    def to_bytes(self, *, subject: str) -> bytes:
        """As the file is written.

        Raises:
            ResourceExhausted: It would be larger than MAX_INDEX_SIZE.
        """
        document = {**self.document, "manifests": list(self.entries)}
        data = json.dumps(document, separators=(",", ":")).encode()
        if len(data) > MAX_INDEX_SIZE:
            raise ResourceExhausted(
                f"{subject}: {INDEX_FILE} would have {len(data)} bytes, the limit is {MAX_INDEX_SIZE}"
            )
        return data

    def _named(self, name: str) -> list[Mapping[str, object]]:
        exact = [entry for entry in self.entries if name in _names(entry)]
        wanted = _normal(name)
        if exact or wanted is None:
            return exact
        return [entry for entry in self.entries if wanted in _references(entry)]


def parse_object(data: bytes, *, subject: str) -> dict[str, object]:
    """A JSON object from a file that anybody may have written.

    Raises:
        FailedPrecondition: It is none.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FailedPrecondition(f"{subject}: not JSON") from error
    if not isinstance(document, dict):
        raise FailedPrecondition(f"{subject}: not a JSON object")
    return document


def check_layout(data: bytes, *, subject: str) -> None:
    """Whether ``data``, the file oci-layout, is of a version that can be read.

    Raises:
        FailedPrecondition: It is not.
    """
    version = parse_object(data, subject=f"{subject}: {LAYOUT_FILE}").get("imageLayoutVersion")
    if not isinstance(version, str) or not version.startswith("1."):
        raise FailedPrecondition(f"{subject}: image layout version {shown(str(version))}, want 1.0.0")


def listed(names: Sequence[str]) -> str:
    """Some names for a message, and how many more there are."""
    text = ", ".join(shown(name) for name in names[:_MAX_LISTED])
    more = len(names) - _MAX_LISTED
    return f"{text} and {more} more" if more > 0 else text


def shown(text: str) -> str:
    """What a stranger wrote, for one line of a message."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _annotations(entry: Mapping[str, object]) -> Mapping[str, object]:
    found = entry.get("annotations")
    return found if isinstance(found, dict) else {}


def _names(entry: Mapping[str, object]) -> list[str]:
    annotations = _annotations(entry)
    names = (annotations.get(key) for key in (REF_NAME, CONTAINERD_NAME))
    return [name for name in names if isinstance(name, str)]


def _distinct(entries: Sequence[Mapping[str, object]]) -> list[str]:
    """What entries are called, by the longer name of those that have two."""
    return list(dict.fromkeys(name for entry in entries for name in _names(entry)[-1:]))


def _references(entry: Mapping[str, object]) -> Iterator[Reference]:
    for name in _names(entry):
        # A bare tag would parse, too, as the name of a repository.
        reference = _normal(name) if "/" in name or ":" in name else None
        if reference is not None:
            yield reference


def _normal(name: str) -> Reference | None:
    try:
        return Reference.parse(name)
    except InvalidArgument:
        return None
