"""Images with all that the tests of mutate change, and a look at what came of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import Any

from tests.unit.diff.overlay_layers import Entry, tar_of
from tests.unit.transfer.ends_images import read

from distore.content.blobs import write_blob
from distore.content.memory import MemoryStore
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.transfer.mutate import Mutated, MutateOptions, mutate
from distore.transfer.mutate_config import ConfigChanges

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")
DOCKER_TYPES = {
    mediatypes.OCI_MANIFEST: mediatypes.DOCKER_MANIFEST,
    mediatypes.OCI_CONFIG: mediatypes.DOCKER_CONFIG,
    mediatypes.OCI_LAYER_GZIP: mediatypes.DOCKER_LAYER_GZIP,
}


def put(store: MemoryStore, data: bytes, media_type: str) -> Descriptor:
    """Have a blob, whether or not it was there."""
    digest = write_blob(store, f"put-{Digest.of(data)}", data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def files(*paths: str, seed: int = 1) -> bytes:
    """A layer with files."""
    return tar_of([Entry("file", path, seed=seed) for path in paths])


@dataclass
class Maker:
    """Puts images into a store."""

    store: MemoryStore = field(default_factory=MemoryStore)

    def image(
        self,
        *layers: bytes,
        platform: Platform = AMD64,
        history: list[dict[str, Any]] | None = None,
        docker: bool = False,
        config: dict[str, Any] | None = None,
        **manifest: Any,
    ) -> Descriptor:
        """An image of plain tar files; ``config`` is what tells how to run it."""

        def kind(oci: str) -> str:
            return DOCKER_TYPES[oci] if docker else oci

        entries = [
            put(self.store, gzip.compress(layer, mtime=0), kind(mediatypes.OCI_LAYER_GZIP))
            for layer in layers
        ]
        document: dict[str, Any] = {
            "created": "2020-01-01T00:00:00Z",
            **platform.to_json(),
            "x-unknown": {"kept": [1, None, "ü"]},
            "config": config or {},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
            },
        }
        if history is not None:
            document["history"] = history
        about = put(self.store, json.dumps(document).encode(), kind(mediatypes.OCI_CONFIG))
        whole = {
            "schemaVersion": 2,
            "mediaType": kind(mediatypes.OCI_MANIFEST),
            "config": about.to_json(),
            "layers": [entry.to_json() for entry in entries],
            **manifest,
        }
        return put(self.store, json.dumps(whole, indent=1).encode(), kind(mediatypes.OCI_MANIFEST))

    def index(self, *children: dict[str, Any], **more: Any) -> Descriptor:
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": list(children),
            **more,
        }
        return put(self.store, json.dumps(document, indent=1).encode(), mediatypes.OCI_INDEX)

    def attestation(self, about: Descriptor) -> dict[str, Any]:
        """A child of an index that tells about another one."""
        layer = put(self.store, b'{"about":"%s"}' % about.digest.encode(), "application/vnd.in-toto+json")
        config = put(self.store, b'{"rootfs":{"diff_ids":[]}}', mediatypes.OCI_CONFIG)
        document = {"schemaVersion": 2, "config": config.to_json(), "layers": [layer.to_json()]}
        found = put(self.store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)
        return {
            **found.to_json(),
            "platform": {"architecture": "unknown", "os": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": str(about.digest),
            },
        }

    def mutate(self, root: Descriptor, **options: Any) -> Mutated:
        return mutate(self.store, root, MutateOptions(**options))

    def configure(self, root: Descriptor, **changes: Any) -> Descriptor:
        return self.mutate(root, config=ConfigChanges(**changes)).root

    def document(self, descriptor: Descriptor) -> Any:
        return json.loads(read(self.store, descriptor.digest))

    def config(self, root: Descriptor) -> Any:
        return self.document(Descriptor.from_json(self.document(root)["config"]))

    def run(self, root: Descriptor) -> Any:
        """What tells how to run an image."""
        return self.config(root).get("config")

    def names(self, root: Descriptor) -> list[list[str]]:
        """The names in each layer, whose DiffIDs are right."""
        found = []
        manifest, config = self.document(root), self.config(root)
        for entry, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            data = read(self.store, Digest(entry["digest"]))
            assert len(data) == entry["size"]
            plain = gzip.decompress(data) if entry["mediaType"].endswith("gzip") else data
            assert Digest.of(plain) == diff_id
            with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
                found.append(tar.getnames())
        return found


def child(descriptor: Descriptor, platform: Platform, **more: Any) -> dict[str, Any]:
    """An entry of an index."""
    return {**descriptor.to_json(), "platform": platform.to_json(), **more}
