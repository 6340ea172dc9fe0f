"""Images in registries, and what a pull of them has left; for the tests of pull."""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.images.children import read_manifest
from distore.images.walk import walk
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.remotes.refkey import ref_key
from distore.testing.server import FakeRegistry
from distore.transfer import pull as pull_module
from distore.transfer.progress import Done, Event

Kept = MemoryStore | LocalStore


LAYERS = [random.Random(n).randbytes(size) for n, size in enumerate((30_000, 70_000, 5))]


BIG = LAYERS[1]


CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


SOURCE = "containerd.io/distribution.source."


def total(data: list[bytes] = LAYERS) -> int:
    return sum(map(len, data)) + len(CONFIG)


def described(data: bytes, kind: str = mediatypes.OCI_LAYER_GZIP, /, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": str(Digest.of(data)), "size": len(data), **more}


def image(
    registry: FakeRegistry, layers: list[dict[str, Any]], *, config: bytes = CONFIG, tag: str = "latest"
) -> Descriptor:
    """A manifest of ``layers`` as they are described."""
    registry.put("demo", config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": described(config, mediatypes.OCI_CONFIG),
        "layers": layers,
    }
    return registry.tag("demo", tag, json.dumps(manifest).encode())


def index(registry: FakeRegistry, children: list[Descriptor], *platforms: str) -> Descriptor:
    manifests = [child.to_json() for child in children]
    for child, platform in zip(manifests, platforms, strict=False):
        child["platform"] = Platform.parse(platform).to_json()
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": manifests}
    return registry.tag("demo", "all", json.dumps(document).encode(), mediatypes.OCI_INDEX)


def ref(data: bytes, kind: str = mediatypes.OCI_LAYER_GZIP) -> str:
    return ref_key(kind, Digest.of(data))


def keep(store: Kept, data: bytes, kept: bytes) -> None:
    """What an interrupted pull of ``data`` has left."""
    with store.writer(ref(data), total=len(data), expected=Digest.of(data)) as writer:
        writer.write(kept)


def put(store: Kept, data: bytes) -> None:
    with store.writer("put") as writer:
        writer.write(data)
        writer.commit()


def check(store: Kept, root: Descriptor) -> None:
    """Every object below ``root`` is there and right, and nothing else is left."""
    graph = walk(root, lambda at: read_manifest(store, at))
    for blob in graph.blobs():
        assert len(read_blob(store, blob.digest, max_size=1 << 30)) == blob.size
    assert list(store.statuses()) == []


def of(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if type(event) is kind]


def hows(events: list[Event]) -> dict[str, str]:
    return {event.digest: event.how for event in of(events, Done)}


def blob_requests(registry: FakeRegistry, data: bytes) -> list[str | None]:
    return [seen.headers.get("range") for seen in registry.seen(f"/blobs/{Digest.of(data)}")]


def employ(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have so many workers, however small the blobs."""
    useful = property(lambda _: number, lambda *_: None)
    monkeypatch.setattr(pull_module._Pull, "useful", useful, raising=False)


def workers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("distore-crew", "distore-pool"))]
