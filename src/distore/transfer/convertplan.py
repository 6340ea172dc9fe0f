"""ConvertPlan: what there is to do for an image, and its new manifests and indexes when that is done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from distore.content.blobs import read_blob
from distore.diff.compression import check_level
from distore.diff.frames import GZIP, ZSTD
from distore.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from distore.images.children import attested, children, has_children, is_attestation, read_document
from distore.images.select import ALL, platforms_of
from distore.images.walk import MAX_DEPTH
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import DEFAULT_ALGORITHM, Digest
from distore.oci.manifest import MAX_CONFIG_SIZE, Index, parse_config, parse_manifest
from distore.transfer.newimage import DOCKER, FLAVOURS, layer_media_type, put_document
from distore.transfer.ociindex import REFERENCE_DIGEST
from distore.transfer.progress import Done, Noted
from distore.transfer.rewriting import dumped, flavour_of, in_flavour, loaded, pointed, typed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from distore.images.select import Selection
    from distore.oci.manifest import Manifest
    from distore.transfer.progress import Event
    from distore.transfer.rewriting import JsonObject
    from distore.transfer.storesink import SinkStore

UNCOMPRESSED: Final = "uncompressed"
COMPRESSIONS: Final = (GZIP, ZSTD, UNCOMPRESSED)
MAX_LAYER: Final = 1 << 40  # plain bytes; a bomb ends here, if not at the end of the disk
MAX_DOCUMENTS: Final = 1000  # of one image; all of them are in memory
_KEPT: Final = "kept"  # in place of a compression
_SHOWN: Final = 8  # platforms that a note names

Made = tuple[Digest, str | None]  # a layer and the compression it is to have


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """What to change; what is None stays as it is.

    Args:
        compression: Of all layers: ``gzip``, ``zstd`` or ``uncompressed``.
        media_types: ``oci`` or ``docker``, of all documents, configs and layers.
        selection: What of an index goes into the new one, which is an index still.
        partial: Whether images of an index that are not wholly in the store are left out; they are
            an error otherwise, and so are chosen platforms.
        level: Of the compression; None: its usual one.
        force: Compress again what has that compression already.
        max_layer: Plain bytes that a layer may have.
    Raises:
        InvalidArgument: These do not go together, or there is no such thing.
    """

    compression: str | None = None
    media_types: str | None = None
    selection: Selection = ALL
    partial: bool = True
    level: int | None = None
    force: bool = False
    max_layer: int = MAX_LAYER

    def __post_init__(self) -> None:
        if self.compression not in (None, *COMPRESSIONS):
            raise InvalidArgument(f"compression {self.compression!r}: want one of {', '.join(COMPRESSIONS)}")
        if self.media_types not in (None, *FLAVOURS):
            raise InvalidArgument(f"media types {self.media_types!r}: want one of {', '.join(FLAVOURS)}")
        check_level(None if self.compression == UNCOMPRESSED else self.compression, self.level)
        if self.media_types is not None and self.compression == ZSTD:
            layer_media_type(self.media_types, ZSTD)

    def target(self, own: str | None) -> str | None:
        """The compression, None for none, that a layer is to have which has ``own`` now."""
        if self.compression is None:
            return own
        return None if self.compression == UNCOMPRESSED else self.compression


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A layer to make anew."""

    layer: Descriptor
    target: str | None
    diff_id: Digest


@dataclass(slots=True, kw_only=True)
class Node:
    """A document and what is to become of it.

    ``flavour`` is None where nothing changes but what it refers to; ``layers`` has the compression
    of each layer that is made anew, ``below`` the child of each entry of an index that stays.
    """

    at: Descriptor
    data: bytes = field(repr=False)
    parsed: Manifest | Index
    flavour: str | None
    layers: Mapping[int, str | None] = field(default_factory=dict)
    below: Mapping[int, Node | None] = field(default_factory=dict)
    lacking: tuple[Descriptor, ...] = ()  # images of an index that are not here
    dropped: int = 0  # attestations that docker's media types have no place for


class Plan:
    """Reads the documents of an image; ``jobs`` and ``blobs`` are what was found on the way."""

    def __init__(self, store: SinkStore, options: ConvertOptions) -> None:
        self._store = store
        self._options = options
        self._strict = not options.partial or options.selection.platforms is not None
        self._count = 0
        self.jobs: dict[Made, Job] = {}
        self.blobs: dict[Digest, Descriptor] = {}

    def document(self, at: Descriptor, depth: int = 0) -> Node:
        """What there is to do for a manifest or an index, and all below it.

        Raises:
            NotFound, DataLoss, InvalidArgument, FailedPrecondition, ResourceExhausted: As ``convert``.
        """
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_DOCUMENTS:
            raise ResourceExhausted(
                f"manifest {at.digest}: over {MAX_DEPTH} levels or {MAX_DOCUMENTS} documents in one image"
            )
        data = read_document(self._store, at)
        parsed = parse_manifest(data, media_type=at.media_type, subject=at.digest)
        if isinstance(parsed, Index):
            return self._index(at, data, parsed, depth)
        if not mediatypes.is_config(parsed.config.media_type):
            if self._options.media_types not in (None, flavour_of(parsed.media_type)):
                raise InvalidArgument(
                    f"manifest {at.digest}: an artifact ({parsed.artifact_type or parsed.config.media_type}),"
                    f" not an image; it has no {self._options.media_types} form"
                )
            return self._as_it_is(at, data, parsed)
        return self._image(at, data, parsed)

    def _as_it_is(self, at: Descriptor, data: bytes, parsed: Manifest) -> Node:
        found = list(children(parsed))
        for child in found:
            self._store.info(child.digest)
        self.blobs |= {child.digest: child for child in found}
        return Node(at=at, data=data, parsed=parsed, flavour=None)

    def _image(self, at: Descriptor, data: bytes, parsed: Manifest) -> Node:
        flavour = self._options.media_types or flavour_of(parsed.media_type)
        layers: dict[int, str | None] = {}
        for number, layer in enumerate(parsed.layers):
            foreign = mediatypes.is_nondistributable(layer.media_type)
            if not foreign:
                self._store.info(layer.digest)  # what is not there comes out before any work
            if mediatypes.is_layer(layer.media_type) and not foreign:
                own = mediatypes.layer_compression(layer.media_type)
                target = self._options.target(own)
                if target != own or (self._options.force and target is not None):
                    layers[number] = target
            try:
                _layer_type(self._options, layer, flavour, layers.get(number, _KEPT))
            except InvalidArgument as error:
                raise InvalidArgument(f"manifest {at.digest}: {error}") from error
        self._store.info(parsed.config.digest)
        if layers:
            self._add_jobs(at, parsed, layers)
        self.blobs |= {child.digest: child for child in children(parsed)}
        return Node(at=at, data=data, parsed=parsed, flavour=flavour, layers=layers)

    def _add_jobs(self, at: Descriptor, parsed: Manifest, layers: Mapping[int, str | None]) -> None:
        data = read_blob(self._store, parsed.config.digest, max_size=MAX_CONFIG_SIZE)
        diff_ids = parse_config(data, subject=parsed.config.digest).diff_ids
        if len(diff_ids) != len(parsed.layers):
            raise DataLoss(
                f"manifest {at.digest}: {len(parsed.layers)} layers, its config names {len(diff_ids)}"
            )
        for number, target in layers.items():
            layer, diff_id = parsed.layers[number], diff_ids[number]
            if diff_id.algorithm != DEFAULT_ALGORITHM:
                raise InvalidArgument(f"layer {layer.digest}: a DiffID other than {DEFAULT_ALGORITHM}")
            job = self.jobs.setdefault(
                (layer.digest, target), Job(layer=layer, target=target, diff_id=diff_id)
            )
            if job.diff_id != diff_id:
                raise DataLoss(f"layer {layer.digest}: one config says {job.diff_id}, another {diff_id}")

    def _index(self, at: Descriptor, data: bytes, parsed: Index, depth: int) -> Node:
        wanted = {child.digest for child in self._options.selection.of(parsed, subject=f"index {at.digest}")}
        flavour = self._options.media_types or flavour_of(parsed.media_type)
        below: dict[int, Node | None] = {}
        lacking: list[Descriptor] = []
        about: dict[int, Descriptor] = {}
        for number, child in enumerate(parsed.manifests):
            if child.digest not in wanted:
                continue
            if is_attestation(child):
                about[number] = child
            elif not has_children(child):
                below[number] = None
            else:
                try:
                    below[number] = self.document(child, depth + 1)
                except NotFound as error:
                    self._check_lacking(child, error)
                    lacking.append(child)
        if not below and lacking:
            raise NotFound(f"index {at.digest}: none of its images is in the store; dist pull brings them")
        node = Node(at=at, data=data, parsed=parsed, flavour=flavour, below=below, lacking=tuple(lacking))
        self._attestations(node, about, depth)
        return node

    def _check_lacking(self, child: Descriptor, error: NotFound) -> None:
        if self._strict:
            platform = f" ({child.platform})" if child.platform else ""
            raise NotFound(
                f"image {child.digest}{platform}: {error}; dist pull brings it with --all-platforms"
            ) from error

    def _attestations(self, node: Node, about: Mapping[int, Descriptor], depth: int) -> None:
        """Those whose image stays; one that is not here is nothing to wait for."""
        staying = {child.at.digest for child in node.below.values() if child is not None}
        below = dict(node.below)
        for number, child in about.items():
            if attested(child) not in staying or not has_children(child):
                continue
            if node.flavour == DOCKER:
                node.dropped += 1
                continue
            try:
                data = read_document(self._store, child)
                parsed = parse_manifest(data, media_type=child.media_type, subject=child.digest)
                if not isinstance(parsed, Index):
                    below[number] = self._as_it_is(child, data, parsed)
            except NotFound:
                continue
        node.below = below


class Builder:
    """Writes new documents, children first; ``size`` is that of the new image, in bytes.

    Args:
        made: The new layers.
    """

    def __init__(self, store: SinkStore, options: ConvertOptions, made: Mapping[Made, Descriptor]) -> None:
        self._store = store
        self._options = options
        self._made = made
        self._sizes: dict[Digest, int] = {}

    @property
    def size(self) -> int:
        return sum(self._sizes.values())

    def document(
        self, node: Node, siblings: Mapping[str, Descriptor] | None = None
    ) -> Generator[Event, None, Descriptor]:
        """Write a document and all below it; the new one, which may be the old one.

        Args:
            siblings: New ones by the digests of the old ones.
        """
        old = loaded(node.data)
        if node.flavour is None:
            new = _referring(old, siblings or {})
        elif isinstance(node.parsed, Index):
            new = yield from self._index(node, node.parsed, old, node.flavour)
        else:
            new = self._image(node, node.parsed, old, node.flavour)
        if new == old:
            made, how = node.at, "present"
        else:
            media_type = node.parsed.media_type
            if self._options.media_types and node.flavour:
                media_type = in_flavour(media_type, node.flavour)
            made, how = put_document(self._store, dumped(new), media_type), "converted"
        self._sizes[made.digest] = made.size
        yield Done(digest=made.digest, media_type=made.media_type, size=made.size, how=how)
        return made

    def _image(self, node: Node, manifest: Manifest, old: JsonObject, flavour: str) -> JsonObject:
        layers = []
        for number, layer in enumerate(manifest.layers):
            target = node.layers.get(number, _KEPT)
            same = layer if number not in node.layers else self._made[layer.digest, target]
            kind = _layer_type(self._options, layer, flavour, target)
            layers.append(replace(same, media_type=kind))
        config = manifest.config
        if self._options.media_types:
            config = replace(config, media_type=in_flavour(config.media_type, flavour))
        self._sizes |= {child.digest: child.size for child in (config, *layers)}
        new = self._typed(old, manifest, flavour)
        new["config"] = pointed(old["config"], config)
        if layers:
            new["layers"] = [pointed(*pair) for pair in zip(_list(old, "layers"), layers, strict=True)]
        return new

    def _index(
        self, node: Node, index: Index, old: JsonObject, flavour: str
    ) -> Generator[Event, None, JsonObject]:
        moved: dict[str, Descriptor] = {}
        entries: dict[int, JsonObject] = {}
        for number, item in enumerate(_list(old, "manifests")):  # images before what is about them
            below = node.below.get(number)
            if below is not None and not is_attestation(index.manifests[number]):
                made = yield from self.document(below, moved)
                moved[below.at.digest] = made
                entries[number] = pointed(item, made)
        for number, item in enumerate(_list(old, "manifests")):
            if number not in node.below or number in entries:
                continue
            entries[number] = dict(item) if isinstance(item, dict) else {}
            below = node.below[number]
            if below is not None:
                made = yield from self.document(below, moved)
                entries[number] = _about(pointed(item, made), moved)
        kept = [entry for _, entry in sorted(entries.items())]
        new = self._typed(old, index, flavour)
        before = [item for number, item in enumerate(_list(old, "manifests")) if number in entries]
        if kept == before and new == old and self._options.selection.platforms is None and not node.dropped:
            return old  # what is not here is no reason for another digest
        yield from _notes(node)
        return {**new, "manifests": kept} if "manifests" in old else new

    def _typed(self, old: JsonObject, parsed: Manifest | Index, flavour: str) -> JsonObject:
        if self._options.media_types is None:
            return dict(old)
        return typed(old, in_flavour(parsed.media_type, flavour))


def _layer_type(options: ConvertOptions, layer: Descriptor, flavour: str, target: str | None) -> str:
    """The media type of a layer afterwards.

    Raises:
        InvalidArgument: Docker has none.
    """
    if target != _KEPT:
        return layer_media_type(flavour, target)
    return in_flavour(layer.media_type, flavour) if options.media_types else layer.media_type


def _list(document: JsonObject, name: str) -> list[object]:
    found = document.get(name)
    return found if isinstance(found, list) else []


def _referring(old: JsonObject, siblings: Mapping[str, Descriptor]) -> JsonObject:
    """What is about a sibling, about the new one."""
    subject = old.get("subject")
    target = siblings.get(str(subject.get("digest"))) if isinstance(subject, dict) else None
    return old if target is None else {**old, "subject": pointed(subject, target)}


def _about(entry: JsonObject, moved: Mapping[str, Descriptor]) -> JsonObject:
    notes = entry.get("annotations")
    if isinstance(notes, dict) and notes.get(REFERENCE_DIGEST) in moved:
        return {
            **entry,
            "annotations": {**notes, REFERENCE_DIGEST: str(moved[notes[REFERENCE_DIGEST]].digest)},
        }
    return entry


def _notes(node: Node) -> Iterator[Event]:
    if node.lacking:
        names = platforms_of(node.lacking)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        shown = f" ({', '.join(names[:_SHOWN])}{more})" if names else ""
        yield Noted(text=f"index {node.at.digest}: {len(node.lacking)} images not here, left out{shown}")
    if node.dropped:
        yield Noted(
            text=f"index {node.at.digest}: {node.dropped} attestations left out; docker's types have none"
        )
