"""Small images for the tests of the ends of a copy, and the copy itself, child by child."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from typing import TYPE_CHECKING

from distore.content.memory import MemoryStore
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer.archive import OciArchiveSink

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from distore.content.store import Ingester, Provider
    from distore.remotes.resolver import Pusher
    from distore.transfer.ends import Origin


def put(store: Ingester, data: bytes, media_type: str) -> Descriptor:
    digest = Digest.of(data)
    with store.writer(f"put-{digest}") as writer:
        writer.write(data)
        writer.commit()
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def make_image(seed: int, *, layers: int = 3, pack: bool = True) -> tuple[MemoryStore, Descriptor]:
    """An OCI image of random layers, every second one compressed; equal for equal seeds."""
    numbers, store = random.Random(seed), MemoryStore()
    diff_ids, found = [], []
    for number in range(layers):
        plain = tar_of({f"file-{number}": numbers.randbytes(numbers.randrange(5000))})
        diff_ids.append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
        packed = pack and number % 2 == 0
        kind = mediatypes.OCI_LAYER_GZIP if packed else mediatypes.OCI_LAYER
        found.append(put(store, gzip.compress(plain, mtime=0) if packed else plain, kind))
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = put(store, json.dumps(document).encode(), mediatypes.OCI_CONFIG)
    return store, put(store, manifest_of(config, found), mediatypes.OCI_MANIFEST)


def manifest_of(config: Descriptor, layers: Iterable[Descriptor]) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    ).encode()


def read(provider: Provider, digest: Digest) -> bytes:
    with provider.reader(digest) as reader:
        return reader.read_at(reader.size, 0)


def family(provider: Provider, root: Descriptor) -> list[Descriptor]:
    """Children of a manifest or index in the order of a push, without the root."""
    document = json.loads(read(provider, root.digest))
    found: list[Descriptor] = []
    for item in document.get("manifests", []):
        child = Descriptor.from_json(item)
        found += [*family(provider, child), child]
    for item in [*document.get("layers", []), *([document["config"]] if "config" in document else [])]:
        found.append(Descriptor.from_json(item))
    return found


def push_all(provider: Provider, root: Descriptor, sink: Pusher) -> list[str]:
    """What every push said, in order; the root is tagged at the end."""
    said = [sink.push(child, provider) for child in family(provider, root)]
    sink.tag(root, provider)
    return said


def contents(origin: Origin) -> dict[Digest, bytes]:
    """Every blob of the image, verified."""
    root = origin.resolve()
    found = {one.digest: read(origin, one.digest) for one in [root, *family(origin, root)]}
    assert all(Digest.of(data, algorithm=digest.algorithm) == digest for digest, data in found.items())
    return found


def write_tar(path: Path, members: Iterable[tuple[str, bytes] | tarfile.TarInfo]) -> Path:
    """A tar file of whatever members, hostile ones too."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def archive(path: Path, seed: int = 1, tag: str | None = "v1") -> Path:
    """An archive of an image."""
    store, root = make_image(seed)
    with OciArchiveSink(str(path), tag) as sink:
        push_all(store, root, sink)
    return path


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]  # files


def changed(path: Path, *extra: tuple[str, bytes] | tarfile.TarInfo, without: str = "") -> Path:
    """An archive of an image with more members, or fewer."""
    kept = [(name, data) for name, data in members(archive(path)).items() if name != without]
    return write_tar(path, [*kept, *extra])
