"""Images to convert, and what became of them."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.unit.transfer.ends_images import read, tar_of

from distore.content.memory import MemoryStore
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.transfer.convert import convert
from distore.transfer.convertplan import ConvertOptions
from distore.transfer.newimage import put_document
from distore.transfer.progress import Event, Finished

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.transfer.storesink import SinkStore

KINDS = {
    ("oci", True): mediatypes.OCI_LAYER_GZIP,
    ("oci", False): mediatypes.OCI_LAYER,
    ("docker", True): mediatypes.DOCKER_LAYER_GZIP,
    ("docker", False): mediatypes.DOCKER_LAYER,
}


class Names:
    """Remembers what was named."""

    def __init__(self) -> None:
        self.names: dict[str, Descriptor] = {}

    def put(self, name: str, target: Descriptor, /) -> None:
        self.names[name] = target


class Library:
    """Makes images in a store; each call of ``layer`` makes another one."""

    def __init__(self, store: SinkStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.numbers = random.Random(5)

    def layer(self, flavour: str = "oci", *, packed: bool = True) -> tuple[Descriptor, Digest]:
        """A layer and its DiffID."""
        plain = tar_of({f"file-{self.numbers.random()}": self.numbers.randbytes(3000) + bytes(9000)})
        data = gzip.compress(plain, mtime=1) if packed else plain
        return put_document(self.store, data, KINDS[flavour, packed]), Digest.of(plain)

    def image(
        self,
        *layers: tuple[Descriptor, Digest],
        flavour: str = "oci",
        arch: str = "amd64",
        config: Mapping[str, object] | None = None,
        **fields: object,
    ) -> Descriptor:
        """A manifest; ``fields`` go into it."""
        docker = flavour == "docker"
        diff_ids = [diff_id for _, diff_id in layers]
        inside = {"architecture": arch, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        kind = mediatypes.DOCKER_CONFIG if docker else mediatypes.OCI_CONFIG
        about = put_document(self.store, json.dumps(config or inside).encode(), kind)
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.DOCKER_MANIFEST if docker else mediatypes.OCI_MANIFEST,
            "config": about.to_json(),
            "layers": [layer.to_json() for layer, _ in layers],
            **fields,
        }
        made = put_document(self.store, json.dumps(document, indent=3).encode(), str(document["mediaType"]))
        return replace(made, platform=Platform.parse(f"linux/{arch}"))

    def index(self, *children: Descriptor, flavour: str = "oci", **fields: object) -> Descriptor:
        kind = mediatypes.DOCKER_INDEX if flavour == "docker" else mediatypes.OCI_INDEX
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "manifests": [child.to_json() for child in children],
            **fields,
        }
        return put_document(self.store, json.dumps(document).encode(), kind)

    def attestation(self, about: Descriptor) -> Descriptor:
        """As buildkit makes it, with a subject as newer ones have it."""
        statement = put_document(self.store, b'{"predicate":1}', "application/vnd.in-toto+json")
        made = self.image((statement, statement.digest), arch="unknown", subject=about.to_json())
        notes = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": about.digest,
        }
        return replace(made, platform=Platform(os="unknown", architecture="unknown"), annotations=notes)

    def document(self, at: Descriptor | Digest) -> Any:
        return json.loads(read(self.store, at.digest if isinstance(at, Descriptor) else at))

    def convert(self, root: Descriptor, **options: Any) -> Descriptor:
        """The new root."""
        return self.finished(root, **options).descriptor

    def finished(self, root: Descriptor, **options: Any) -> Finished:
        last = self.events(root, **options)[-1]
        assert isinstance(last, Finished)
        return last

    def events(self, root: Descriptor, **options: Any) -> list[Event]:
        names = options.pop("images", Names())
        return list(convert(self.store, root, name="new:1", images=names, options=ConvertOptions(**options)))


def kinds(document: Any) -> list[str]:
    """The media types of a manifest, its config and its layers."""
    return [document["mediaType"], document["config"]["mediaType"], *layer_kinds(document)]


def layer_kinds(document: Any) -> list[str]:
    return [layer["mediaType"] for layer in document["layers"]]
