"""Images in one store for the tests of exports: manifests, indexes, attestations, referrers."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import zlib
from typing import TYPE_CHECKING, Any

from tests.unit.transfer.ends_images import manifest_of, tar_of

from distore.content.blobs import write_blob
from distore.content.memory import MemoryStore
from distore.content.slices import BytesReader
from distore.errors import NotFound
from distore.images.gclabels import referrer_labels
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.transfer.exporter import ExportOptions, export
from distore.transfer.tarout import TarFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from distore.content.store import Info, Reader
    from distore.transfer.progress import Event

HOST = Platform(os="linux", architecture="amd64")
NAME = "docker.io/library/app:1"


def put(store: MemoryStore, data: bytes, media_type: str) -> Descriptor:
    """A blob, whether or not it was there."""
    return Descriptor(media_type=media_type, digest=write_blob(store, "put", data), size=len(data))


def gzipped(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def image(store: MemoryStore, seed: int, *, layers: int = 2, platform: Platform | None = None) -> Descriptor:
    """An image of random layers, every second one compressed; equal for equal seeds."""
    numbers = random.Random(seed)
    plain = [tar_of({f"file-{n}": numbers.randbytes(numbers.randrange(3000))}) for n in range(layers)]
    found = [
        put(store, gzipped(data), mediatypes.OCI_LAYER_GZIP)
        if number % 2 == 0
        else put(store, data, mediatypes.OCI_LAYER)
        for number, data in enumerate(plain)
    ]
    where = platform or HOST
    document = {
        "architecture": where.architecture,
        "os": where.os,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(x).hexdigest()}" for x in plain]},
    }
    config = put(store, json.dumps(document).encode(), mediatypes.OCI_CONFIG)
    manifest = put(store, manifest_of(config, found), mediatypes.OCI_MANIFEST)
    return Descriptor(
        media_type=manifest.media_type, digest=manifest.digest, size=manifest.size, platform=platform
    )


def index(store: MemoryStore, children: Sequence[Descriptor]) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [child.to_json() for child in children],
    }
    return put(store, json.dumps(document).encode(), mediatypes.OCI_INDEX)


def arch(name: str) -> Platform:
    return Platform(os="linux", architecture=name)


def attestation(store: MemoryStore, subject: Descriptor) -> Descriptor:
    """What an index of buildkit says about one of its images."""
    found = artifact(store, f"about {subject.digest}".encode())
    return Descriptor(
        media_type=found.media_type,
        digest=found.digest,
        size=found.size,
        platform=Platform(os="unknown", architecture="unknown"),
        annotations={
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": subject.digest,
        },
    )


def artifact(store: MemoryStore, data: bytes, subject: Descriptor | None = None) -> Descriptor:
    """A manifest that is no image; one with a subject is noted as its referrer."""
    empty = put(store, b"{}", mediatypes.OCI_EMPTY)
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": "application/example",
        "config": empty.to_json(),
        "layers": [put(store, data, "application/example").to_json()],
    }
    if subject is not None:
        plain = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
        document["subject"] = plain.to_json()
    found = put(store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)
    if subject is not None:
        info = store.info(subject.digest)
        labels = {**info.labels, **referrer_labels([found])}
        store.update(info._replace(labels=labels), "labels")
    return found


def reachable(store: MemoryStore, root: Descriptor) -> set[Digest]:
    """Everything below an image, itself too, that is in the store."""
    found = {root.digest}
    with store.reader(root.digest) as reader:
        document = json.loads(reader.read_at(reader.size, 0))
    for item in document.get("manifests", []):
        try:
            found |= reachable(store, Descriptor.from_json(item))
        except NotFound:
            continue
    if "config" in document:
        found |= {Digest(item["digest"]) for item in (document["config"], *document["layers"])}
    return found


def run(
    store: Any, images: Sequence[tuple[str | None, Descriptor]], path: Path, **options: Any
) -> list[Event]:
    """Export into a file; what happened."""
    overwrite = options.pop("overwrite", False)
    given = ExportOptions(**{"host": HOST, **options})
    return list(export(store, images, TarFile(str(path), overwrite=overwrite), options=given))


def files(data: bytes) -> dict[str, bytes]:
    """Members of an archive in their order."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]  # files


def blobs(data: bytes) -> set[Digest]:
    """What an archive has, each verified."""
    found = set()
    for name, content in files(data).items():
        if name.startswith("blobs/"):
            digest = Digest(name.removeprefix("blobs/").replace("/", ":"))
            assert Digest.of(content, algorithm=digest.algorithm) == digest
            found.add(digest)
    return found


def entries(data: bytes) -> list[dict[str, Any]]:
    """What index.json of an archive names."""
    return list(json.loads(files(data)["index.json"])["manifests"])


class Altered:
    """A store in which one blob has other bytes of the same length."""

    def __init__(self, store: MemoryStore, digest: Digest) -> None:
        self._inner = store
        self._digest = digest

    def info(self, digest: Digest, /) -> Info:
        return self._inner.info(digest)

    def reader(self, digest: Digest, /) -> Reader:
        inner = self._inner.reader(digest)
        if digest != self._digest:
            return inner
        with inner:
            return BytesReader(b"!" + inner.read_at(inner.size, 1))
