"""Images of `docker save`: what manifest.json says, and the manifest that it stands for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distore.errors import DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import DEFAULT_ALGORITHM, Digest, new_hasher
from distore.oci.manifest import MAX_CONFIG_SIZE, MAX_MANIFEST_SIZE, parse_config
from distore.transfer import dockerarchive
from distore.transfer.archive import DOCKER_FILE
from distore.transfer.ociindex import shown
from distore.transfer.pouring import pour
from distore.transfer.unpacking import HEAD, Unpacker, compression_of

if TYPE_CHECKING:
    from distore.content.store import Reader
    from distore.transfer.imported import Contents, Part, Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerEntry:
    """One image: names of files, and what the image is called."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def read_entries(contents: Contents, *, subject: str) -> list[DockerEntry]:
    """The images of manifest.json; none when it is missing.

    Raises:
        FailedPrecondition: It cannot be read.
        ResourceExhausted: It is too large.
    """
    data = contents.read(DOCKER_FILE, limit=MAX_MANIFEST_SIZE)
    if data is None:
        return []
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FailedPrecondition(f"{subject}: {DOCKER_FILE}: not JSON") from error
    if not isinstance(document, list):
        raise FailedPrecondition(f"{subject}: {DOCKER_FILE}: not a JSON list")
    return [_entry(item, subject) for item in document]


def _entry(item: object, subject: str) -> DockerEntry:
    fields = item if isinstance(item, dict) else {}
    config, lists = fields.get("Config"), [fields.get(key) or [] for key in ("Layers", "RepoTags")]
    good = all(isinstance(found, list) and all(isinstance(s, str) for s in found) for found in lists)
    if not isinstance(config, str) or not good:
        raise FailedPrecondition(f"{subject}: {DOCKER_FILE}: want Config, Layers and RepoTags")
    return DockerEntry(config=config, layers=tuple(lists[0]), tags=tuple(lists[1]))


def compose(entry: DockerEntry, contents: Contents, supply: Supply, *, subject: str) -> Descriptor:
    """The root of an image that has no manifest: one is made, of config and layers as they are.

    ``supply`` gets the blobs. The bytes of a plain layer need not be read: its digest is the
    DiffID, and whoever stores it verifies that.

    Raises:
        FailedPrecondition: A file is missing, or config and layers do not fit each other.
        DataLoss: A layer is not the one that the config names.
        ResourceExhausted: The config, or the manifest, is too large.
    """
    config_part = _find(contents, entry.config, subject)
    data = contents.read(entry.config, limit=MAX_CONFIG_SIZE) or b""
    try:
        diff_ids = parse_config(data, subject=entry.config[:80]).diff_ids
    except InvalidArgument as error:
        raise FailedPrecondition(f"{subject}: {error}") from error
    if len(diff_ids) != len(entry.layers):
        raise FailedPrecondition(
            f"{subject}: {len(entry.layers)} layers, but the config names {len(diff_ids)}"
        )
    config = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=Digest.of(data), size=len(data))
    supply.add(config.digest, config_part)
    known: dict[tuple[str, Digest], Descriptor] = {}  # layers that come again
    layers = []
    for name, diff_id in zip(entry.layers, diff_ids, strict=True):
        if (name, diff_id) not in known:
            part = _find(contents, name, subject)
            known[name, diff_id] = descriptor = _layer(part, diff_id, f"{subject}: the layer {shown(name)}")
            supply.add(descriptor.digest, part)
        layers.append(known[name, diff_id])
    return _manifest(config, layers, supply, subject)


def _manifest(config: Descriptor, layers: list[Descriptor], supply: Supply, subject: str) -> Descriptor:
    manifest = dockerarchive.made_manifest(config, layers)
    if len(manifest) > MAX_MANIFEST_SIZE:
        raise ResourceExhausted(
            f"{subject}: {len(layers)} layers make a manifest of {len(manifest)} bytes,"
            f" the limit is {MAX_MANIFEST_SIZE}"
        )
    digest = Digest.of(manifest)
    supply.add_bytes(manifest, digest)
    return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(manifest))


def _find(contents: Contents, name: str, subject: str) -> Part:
    part = contents.find(name)
    if part is None:
        raise FailedPrecondition(f"{subject}: {shown(name)}, which it names, is not in it")
    return part


def _layer(part: Part, diff_id: Digest, subject: str) -> Descriptor:
    with part.open() as reader:
        kind = compression_of(reader.read_at(HEAD, 0))
        if kind is not None:
            digest, plain = _unpacked(reader, diff_id.algorithm, subject)
        elif part.digest is None:
            digest = plain = diff_id
        elif part.digest.algorithm == diff_id.algorithm:
            digest = plain = part.digest
        else:
            digest, plain = part.digest, _hashed(reader, diff_id.algorithm, subject)
    if plain != diff_id:
        raise DataLoss(f"{subject} is damaged: it is not {diff_id}")
    return Descriptor(media_type=dockerarchive.LAYER_TYPES[kind], digest=digest, size=part.size)


def _hashed(reader: Reader, algorithm: str, subject: str) -> Digest:
    hasher = new_hasher(algorithm)
    pour(reader, hasher.update, offset=0, subject=subject)
    return Digest.from_hasher(algorithm, hasher)


def _unpacked(reader: Reader, algorithm: str, subject: str) -> tuple[Digest, Digest]:
    """The digests of a compressed layer, as it is and unpacked."""
    packed, plain = new_hasher(DEFAULT_ALGORITHM), new_hasher(algorithm)
    unpacker = Unpacker(plain.update, subject=subject)

    def both(data: memoryview) -> None:
        packed.update(data)
        unpacker.feed(data)

    pour(reader, both, offset=0, subject=subject)
    unpacker.finish()
    return Digest.from_hasher(DEFAULT_ALGORITHM, packed), Digest.from_hasher(algorithm, plain)


def is_about(entry: DockerEntry, config: Digest) -> bool:
    """Whether an entry is about the image with that config, which is named after its digest."""
    return config.encoded in entry.config
