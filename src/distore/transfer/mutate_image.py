"""Draft: an image while it is changed, as the JSON of its manifest and config. What is unknown stays."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from distore.content.blobs import read_blob
from distore.diff.frames import GZIP, ZSTD
from distore.errors import FailedPrecondition, InvalidArgument
from distore.images.children import read_document
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_CONFIG_SIZE, Manifest, parse_config, parse_manifest
from distore.transfer.newimage import DOCKER, OCI, LayerFormat, all_threads, put_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from distore.content.store import Provider
    from distore.oci.platform import Platform
    from distore.transfer.newimage import NewLayer
    from distore.transfer.storesink import SinkStore

Json = dict[str, object]
_EMPTY_LAYER: Final = "empty_layer"  # of history: a step that made none


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of a draft: its descriptor as the manifest has it, and its DiffID."""

    entry: Mapping[str, object]
    diff_id: str

    @property
    def descriptor(self) -> Descriptor:
        """The entry, parsed."""
        return Descriptor.from_json(dict(self.entry))

    @classmethod
    def made(cls, layer: NewLayer) -> Layer:
        """One that is new."""
        return cls(entry=layer.descriptor.to_json(), diff_id=str(layer.diff_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An image; a change makes a new value. ``subject`` is what messages call it."""

    subject: str
    media_type: str
    manifest: Mapping[str, object] = field(repr=False)
    config: Mapping[str, object] = field(repr=False)
    platform: Platform

    @property
    def flavour(self) -> str:
        """Whose media types it has."""
        return DOCKER if mediatypes.is_docker(self.media_type) else OCI

    @property
    def layers(self) -> list[Layer]:
        """The layers, the lowest first.

        Raises:
            FailedPrecondition: Manifest and config do not have the same number of them.
        """
        entries = as_list(self.manifest.get("layers"), self.subject)
        ids = as_list(as_object(self.config.get("rootfs"), self.subject).get("diff_ids"), self.subject)
        if len(entries) != len(ids):
            raise FailedPrecondition(
                f"{self.subject}: has {len(entries)} layers, its config tells of {len(ids)}"
            )
        pairs = zip(entries, ids, strict=True)
        return [Layer(entry=as_object(entry, self.subject), diff_id=str(text)) for entry, text in pairs]

    @property
    def history(self) -> list[Json]:
        """How the layers came to be, one entry at least for each: those that tell nothing are empty."""
        found = [as_object(step, self.subject) for step in as_list(self.config.get("history"), self.subject)]
        lacking = len(self.layers) - sum(1 for step in found if makes_layer(step))
        return [*({} for _ in range(lacking)), *found]

    def layer_format(self) -> LayerFormat:
        """How a new layer is written: as the highest one is, or gzip."""
        kinds = [layer.descriptor.media_type for layer in self.layers]
        known = [kind for kind in kinds if mediatypes.is_layer(kind)]
        compression = mediatypes.layer_compression(known[-1]) if known else GZIP
        if compression == ZSTD and self.flavour == DOCKER:
            compression = GZIP
        return LayerFormat(compression=compression, flavour=self.flavour, threads=all_threads())

    def with_layers(self, layers: Sequence[Layer], history: Sequence[Mapping[str, object]]) -> Draft:
        """The image with other layers, and what is told of them."""
        rootfs = as_object(self.config.get("rootfs"), self.subject)
        config = {**self.config, "rootfs": {**rootfs, "diff_ids": [layer.diff_id for layer in layers]}}
        if any(history) or "history" in config:
            config["history"] = [dict(step) for step in history]
        manifest = {**self.manifest, "layers": [dict(layer.entry) for layer in layers]}
        return replace(self, manifest=manifest, config=config)


def makes_layer(step: Mapping[str, object]) -> bool:
    """Whether an entry of the history stands for a layer."""
    return not step.get(_EMPTY_LAYER)


def read_draft(provider: Provider, descriptor: Descriptor) -> Draft | None:
    """An image; None for an artifact, which has no config of an image.

    Raises:
        NotFound: The manifest or the config is not there.
        InvalidArgument, FailedPrecondition, DataLoss: One of them is none.
    """
    data = read_document(provider, descriptor)
    parsed = parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)
    if not isinstance(parsed, Manifest) or not mediatypes.is_config(parsed.config.media_type):
        return None
    digest = parsed.config.digest
    config = parse_config(read_blob(provider, digest, max_size=MAX_CONFIG_SIZE), subject=digest)
    return Draft(
        subject=f"image {descriptor.digest}",
        media_type=parsed.media_type,
        manifest=json.loads(data),
        config=config.document,
        platform=config.platform,
    )


def put_draft(store: SinkStore, draft: Draft, old: Draft, descriptor: Descriptor) -> Descriptor:
    """Store what differs from ``old``, whose descriptor is given; the descriptor of the manifest."""
    manifest = dict(draft.manifest)
    if draft.config != old.config:
        entry = as_object(manifest.get("config"), draft.subject)
        stored = put_document(store, dumped(draft.config), str(entry["mediaType"]))
        manifest["config"] = pointing(entry, stored)
    if manifest == old.manifest:
        return descriptor
    return put_changed(store, manifest, descriptor)


def put_changed(store: SinkStore, document: Mapping[str, object], old: Descriptor) -> Descriptor:
    """Store a document in the place of ``old``."""
    stored = put_document(store, dumped(document), old.media_type)
    return replace(old, digest=stored.digest, size=stored.size, data=None)


def pointing(entry: Mapping[str, object], target: Descriptor) -> Json:
    """A descriptor's JSON that leads to another object; what it embeds is the old one's."""
    kept = {key: value for key, value in entry.items() if key != "data"}
    return {**kept, "digest": str(target.digest), "size": target.size}


def dumped(document: Mapping[str, object]) -> bytes:
    """The bytes of a document, fields in their order."""
    # ASCII: JSON may hold halves of characters, which UTF-8 cannot.
    return json.dumps(document, separators=(",", ":")).encode()


def changed_texts(
    document: Mapping[str, object], key: str, changes: Iterable[tuple[str, str]], subject: str
) -> Json:
    """``document`` with texts of the object ``key`` set; an empty text removes one."""
    texts = as_object(document.get(key), subject)
    for name, text in changes:
        if text:
            texts[name] = text
        else:
            texts.pop(name, None)
    return with_value(document, key, texts)


def with_value(document: Mapping[str, object], key: str, value: object) -> Json:
    """``document`` with one value; an empty one removes it, and leaves another empty one as it is."""
    if value or document.get(key):
        rest = {name: each for name, each in document.items() if value or name != key}
        return {**rest, key: value} if value else rest
    return dict(document)


def as_object(value: object, subject: str) -> Json:
    """A JSON object, copied; null is an empty one.

    Raises:
        InvalidArgument: It is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{subject}: something in its config or manifest should be a JSON object")
    return dict(value)


def as_list(value: object, subject: str) -> list[object]:
    """A JSON list, copied; null is an empty one.

    Raises:
        InvalidArgument: It is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidArgument(f"{subject}: something in its config or manifest should be a list")
    return list(value)


def digest_of(layer: Layer) -> Digest:
    """The DiffID of a layer, parsed."""
    return Digest(layer.diff_id)
