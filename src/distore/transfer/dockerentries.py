"""Images of `docker save`: what manifest.json says, and the manifest that it stands for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from distore.diff.frames import GZIP, HEAD, ZSTD, compression_of
from distore.errors import DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import DEFAULT_ALGORITHM, Digest, new_hasher
from distore.oci.manifest import MAX_CONFIG_SIZE, MAX_MANIFEST_SIZE, parse_config
from distore.transfer.archive import DOCKER_FILE
from distore.transfer.ociindex import shown
from distore.transfer.pouring import pour
from distore.transfer.unpacking import Unpacker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.content.store import Reader
    from distore.transfer.imported import Contents, Part, Supply

MAX_CONFIGS: Final = 256 * 1024 * 1024  # bytes of all configs of an archive, each as often as it is named
LAYER_TYPES: Final = {
    None: mediatypes.OCI_LAYER,
    GZIP: mediatypes.OCI_LAYER_GZIP,
    ZSTD: mediatypes.OCI_LAYER_ZSTD,
}
_HEX: Final = re.compile(r"[0-9a-f]{64,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerEntry:
    """One image: names of files, and what the image is called."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What a layer was found to be; unless ``is_known``, what was said of it first."""

    compression: str | None
    digest: Digest
    diff_id: Digest
    is_known: bool = True


class Files(Protocol):
    """What has small files by name."""

    def read(self, name: str, /, *, limit: int) -> bytes | None:
        """As ``Contents.read``."""
        ...


def read_entries(files: Files, *, subject: str) -> list[DockerEntry] | None:
    """The images of manifest.json; None when it is missing.

    Raises:
        FailedPrecondition: It cannot be read.
        ResourceExhausted: It is too large.
    """
    data = files.read(DOCKER_FILE, limit=MAX_MANIFEST_SIZE)
    if data is None:
        return None
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


class Composer:
    """Makes manifests of images that have none, of config and layers as they are.

    Every layer is read once, however many images have it and by whatever names.

    Args:
        supply: Gets the blobs.
        subject: What messages call the archive.
    """

    def __init__(self, contents: Contents, supply: Supply, *, subject: str) -> None:
        self._contents = contents
        self._supply = supply
        self._subject = subject
        self._measured: dict[tuple[object, str], _Layer] = {}  # by place and algorithm
        self._room = MAX_CONFIGS

    def compose(self, entry: DockerEntry) -> Descriptor:
        """The root of an image.

        The bytes of a plain layer need not be read: its digest is the DiffID, and whoever stores it
        verifies that.

        Raises:
            FailedPrecondition: A file is missing, or config and layers do not fit each other.
            DataLoss: A layer is not the one that the config names.
            ResourceExhausted: The config, the manifest, or MAX_CONFIGS.
        """
        subject = self._subject
        config, diff_ids = self._config(entry)
        if len(diff_ids) != len(entry.layers):
            raise FailedPrecondition(
                f"{subject}: {len(entry.layers)} layers, but the config names {len(diff_ids)}"
            )
        layers = [self._layer(*pair) for pair in zip(entry.layers, diff_ids, strict=True)]
        manifest = made_manifest(config, layers)
        if len(manifest) > MAX_MANIFEST_SIZE:
            raise ResourceExhausted(
                f"{subject}: {len(layers)} layers make a manifest of {len(manifest)} bytes,"
                f" the limit is {MAX_MANIFEST_SIZE}"
            )
        digest = Digest.of(manifest)
        self._supply.add_bytes(manifest, digest)
        return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(manifest))

    def _config(self, entry: DockerEntry) -> tuple[Descriptor, tuple[Digest, ...]]:
        part = self._find(entry.config)
        self._room -= part.size
        if self._room < 0:
            raise ResourceExhausted(f"{self._subject}: over {MAX_CONFIGS} bytes of configs")
        data = self._contents.read(entry.config, limit=MAX_CONFIG_SIZE) or b""
        try:
            diff_ids = parse_config(data, subject=shown(entry.config)).diff_ids
        except InvalidArgument as error:
            raise FailedPrecondition(f"{self._subject}: {error}") from error
        config = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=Digest.of(data), size=len(data))
        self._supply.add(config.digest, part)
        return config, diff_ids

    def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        part = self._find(name)
        key, subject = (part.place, diff_id.algorithm), f"{self._subject}: the layer {shown(name)}"
        layer = self._measured.get(key)
        if layer is None:
            layer = _measured(part, diff_id, subject)
        elif layer.diff_id != diff_id and not layer.is_known:  # it cannot be both
            actual = _hashed(part, diff_id.algorithm, subject)
            layer = _Layer(compression=None, digest=actual, diff_id=actual)
        self._measured[key] = layer
        if layer.diff_id != diff_id:
            raise DataLoss(f"{subject} is damaged: it is not {diff_id}")
        self._supply.add(layer.digest, part)
        return Descriptor(media_type=LAYER_TYPES[layer.compression], digest=layer.digest, size=part.size)

    def _find(self, name: str) -> Part:
        part = self._contents.find(name)
        if part is None:
            raise FailedPrecondition(f"{self._subject}: {shown(name)}, which it names, is not in it")
        return part


def made_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """An OCI manifest: only OCI has media types for every way in which layers are packed."""
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _measured(part: Part, diff_id: Digest, subject: str) -> _Layer:
    """What a layer is, which the config calls ``diff_id``."""
    with part.open() as reader:
        kind = compression_of(reader.read_at(HEAD, 0))
        if kind is not None:
            digest, plain = _unpacked(reader, diff_id.algorithm, subject)
            return _Layer(compression=kind, digest=digest, diff_id=plain)
    if part.digest is None:
        return _Layer(compression=None, digest=diff_id, diff_id=diff_id, is_known=False)
    same = part.digest.algorithm == diff_id.algorithm
    plain = part.digest if same else _hashed(part, diff_id.algorithm, subject)
    return _Layer(compression=None, digest=part.digest, diff_id=plain)


def _hashed(part: Part, algorithm: str, subject: str) -> Digest:
    hasher = new_hasher(algorithm)
    with part.open() as reader:
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


def configs_of(entry: DockerEntry) -> list[str]:
    """The hexadecimal digests that the name of its config has in it: of the image it is about."""
    return _HEX.findall(entry.config)
