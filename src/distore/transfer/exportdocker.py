"""Archives of several images for ``docker load``, with layers unpacked, as members known beforehand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distore.content.blobs import read_blob
from distore.errors import DataLoss, FailedPrecondition
from distore.images.children import read_manifest
from distore.oci.digest import Digest, new_hasher
from distore.oci.manifest import MAX_CONFIG_SIZE, Index, parse_config
from distore.transfer.archive import DOCKER_FILE
from distore.transfer.exportindex import is_image, tag_of
from distore.transfer.tarout import Member, small
from distore.transfer.unpacking import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _typeshed import ReadableBuffer

    from distore.content.store import Provider
    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Manifest
    from distore.transfer.exportplan import Plan, PlannedImage
    from distore.transfer.tarout import Pump


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A layer, unpacked: its digest, and its bytes."""

    diff_id: Digest
    size: int


def docker_members(plan: Plan, provider: Provider, pump: Pump) -> list[Member]:
    """The members of an archive in which every image of the plan has its layers unpacked.

    Reads every layer once, for a tar file tells the size before the bytes.

    Raises:
        FailedPrecondition: An image is no image, or not as its config has it.
        DataLoss: A layer is damaged, or not the one its config names.
        Unimplemented: As Unpacker.
    """
    archive = _Archive(provider=provider, pump=pump)
    for image in plan.images:
        archive.add(image)
    return archive.members()


@dataclass(slots=True, kw_only=True)
class _Archive:
    """What was found so far."""

    provider: Provider
    pump: Pump
    measured: dict[tuple[Digest, str], _Layer] = field(default_factory=dict)  # by digest and algorithm
    layers: dict[Digest, tuple[Descriptor, int]] = field(default_factory=dict)  # by what they unpack to
    configs: dict[Digest, bytes] = field(default_factory=dict)
    entries: dict[Digest, tuple[list[str], list[Digest]]] = field(default_factory=dict)  # by config

    def add(self, image: PlannedImage) -> None:
        """Look at an image and measure its layers."""
        manifest = read_manifest(self.provider, image.root)
        if isinstance(manifest, Index) or not is_image(manifest):
            raise FailedPrecondition(
                f"{image.label}: {image.root.digest} is no image of one platform, which is all that a docker"
                " archive can hold"
            )
        config = read_blob(self.provider, manifest.config.digest, max_size=MAX_CONFIG_SIZE)
        named = parse_config(config, subject=manifest.config.digest).diff_ids
        if len(named) != len(manifest.layers):
            raise FailedPrecondition(
                f"{image.label}: {len(manifest.layers)} layers, its config names {len(named)}"
            )
        diff_ids = [
            self._layer(layer, diff_id) for layer, diff_id in zip(manifest.layers, named, strict=True)
        ]
        _check(image, manifest, named, diff_ids)
        self.configs[manifest.config.digest] = config
        tags, _ = self.entries.setdefault(manifest.config.digest, ([], diff_ids))
        if image.name is not None and tag_of(image.name) is not None:
            tags.append(image.name)

    def members(self) -> list[Member]:
        """All of them, docker's manifest.json first."""
        document = [
            {
                "Config": f"{config.encoded}.json",
                "RepoTags": tags or None,
                "Layers": [f"{diff_id.encoded}.tar" for diff_id in diff_ids],
            }
            for config, (tags, diff_ids) in self.entries.items()
        ]
        head = small(DOCKER_FILE, json.dumps(document, separators=(",", ":")).encode())
        configs = [small(f"{digest.encoded}.json", self.configs[digest]) for digest in sorted(self.configs)]
        return [head, *configs, *(self._member(diff_id) for diff_id in sorted(self.layers))]

    def _layer(self, layer: Descriptor, named: Digest) -> Digest:
        """What a layer unpacks to, by the algorithm that the config uses."""
        algorithm = named.algorithm
        found = self.measured.get((layer.digest, algorithm))
        if found is None:
            hasher, size = new_hasher(algorithm), 0

            def take(data: ReadableBuffer) -> None:
                nonlocal size
                hasher.update(data)
                size += memoryview(data).nbytes

            for _ in self._unpacked(layer, take):
                pass
            found = _Layer(diff_id=Digest.from_hasher(algorithm, hasher), size=size)
            self.measured[layer.digest, algorithm] = found
        # The same layer may be packed in several ways; whichever it is, the same bytes come out.
        self.layers.setdefault(found.diff_id, (layer, found.size))
        return found.diff_id

    def _member(self, diff_id: Digest) -> Member:
        layer, size = self.layers[diff_id]

        def pour(take: Callable[[ReadableBuffer], None]) -> Iterator[int]:
            return self._unpacked(layer, take)

        return Member(name=f"{diff_id.encoded}.tar", size=size, blob=layer, pour=pour)

    def _unpacked(self, layer: Descriptor, take: Callable[[ReadableBuffer], None]) -> Iterator[int]:
        unpacker = Unpacker(take, subject=f"layer {layer.digest}")
        yield from self.pump.pour(layer, unpacker.feed)
        unpacker.finish()


def _check(
    image: PlannedImage, manifest: Manifest, named: Sequence[Digest], diff_ids: Sequence[Digest]
) -> None:
    """Whether the layers are those that the config names."""
    for layer, expected, actual in zip(manifest.layers, named, diff_ids, strict=True):
        if expected != actual:
            raise DataLoss(f"{image.label}: layer {layer.digest} unpacks to {actual}, not to {expected}")
