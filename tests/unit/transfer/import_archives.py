"""Archives with several images for the tests of the import, and a store with names to import into."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from tests.unit.transfer import ends_images
from tests.unit.transfer.ends_images import family, make_image, read, write_tar

from distore.content.memory import MemoryStore
from distore.errors import DistoreError, NotFound
from distore.images.image import Image
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer.importer import ImportOptions, import_archive
from distore.transfer.ociindex import CONTAINERD_NAME, LAYOUT, REF_NAME
from distore.transfer.progress import Event

Members = dict[str, bytes]
ARTIFACT = "application/vnd.example.signature"


class Names:
    """An ImageStore in memory."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}

    def get(self, name: str, /) -> Image:
        if name not in self.images:
            raise NotFound(f"image {name}: not in the store")
        return self.images[name]

    def create(self, name: str, target: Descriptor, /, *, labels: Mapping[str, str] | None = None) -> Image:
        return self.put(name, target)

    def put(self, name: str, target: Descriptor, /) -> Image:
        now = datetime.fromtimestamp(0, UTC)
        self.images[name] = Image(name=name, target=target, created=now, updated=now)
        return self.images[name]

    def update(self, image: Image, /, *fieldpaths: str) -> Image:
        return self.put(image.name, image.target)

    def list(self, *filters: str) -> Iterator[Image]:
        return iter(self.images.values())

    def delete(self, name: str, /) -> None:
        del self.images[name]

    @property
    def digests(self) -> dict[str, Digest]:
        return {name: image.target.digest for name, image in self.images.items()}


@dataclass
class Target:
    """What an import goes into, and what it said."""

    store: Any = field(default_factory=MemoryStore)
    names: Names = field(default_factory=Names)
    events: list[Event] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    classes: list[type[DistoreError]] = field(default_factory=list)
    left: list[Digest] = field(default_factory=list)

    def take(self, source: str | BinaryIO, **options: Any) -> Target:
        """Import; what is left over goes at once, as the collector would have it."""

        def fail(error: DistoreError) -> None:
            self.errors.append(str(error))
            self.classes.append(type(error))

        for event in import_archive(
            source,
            store=self.store,
            images=self.names,
            options=ImportOptions(**options),
            on_error=fail,
            discard=self.discard,
        ):
            self.events.append(event)
        return self

    def discard(self, digests: Any) -> None:
        for digest in digests:
            self.left.append(digest)
            self.store.delete(digest)

    @property
    def digests(self) -> set[Digest]:
        return {info.digest for info in self.store.walk()}

    def said(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def files_of(store: MemoryStore, *roots: Descriptor) -> Members:
    """The blobs of images, as an archive names them."""
    found: Members = {}
    for root in roots:
        for one in (root, *family(store, root)):
            found[blob_path(one.digest)] = read(store, one.digest)
    return found


def named(root: Descriptor, name: str | None = None, *, long: str | None = None) -> dict[str, Any]:
    """An entry of index.json."""
    annotations = {key: value for key, value in ((REF_NAME, name), (CONTAINERD_NAME, long)) if value}
    return {**root.to_json(), **({"annotations": annotations} if annotations else {})}


def layout(blobs: Members, *entries: object) -> Members:
    index = json.dumps({"schemaVersion": 2, "manifests": list(entries)}).encode()
    return {**blobs, "index.json": index, "oci-layout": LAYOUT}


def put(store: MemoryStore, data: bytes, media_type: str) -> Descriptor:
    """Store a blob that may be there."""
    if Digest.of(data) in digests(store):
        return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
    return ends_images.put(store, data, media_type)


def index_of(store: MemoryStore, *roots: tuple[Descriptor, str], **fields: object) -> Descriptor:
    """An index of images by platform, stored."""
    manifests = [
        {**root.to_json(), "platform": {"os": "linux", "architecture": arch}} for root, arch in roots
    ]
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": manifests, **fields}
    return put(store, json.dumps(document).encode(), mediatypes.OCI_INDEX)


def referrer(store: MemoryStore, subject: Descriptor, text: bytes = b"signed") -> Descriptor:
    """An artifact about a document."""
    config = put(store, b"{}", mediatypes.OCI_EMPTY)
    layer = put(store, text, ARTIFACT)
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": config.to_json(),
        "layers": [layer.to_json()],
        "subject": subject.to_json(),
    }
    return put(store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)


def digests(store: MemoryStore) -> set[Digest]:
    return {info.digest for info in store.walk()}


def merged(*stores: MemoryStore) -> MemoryStore:
    """All blobs of some stores in one."""
    both = MemoryStore()
    for store in stores:
        for digest in digests(store) - digests(both):
            put(both, read(store, digest), mediatypes.OCTET_STREAM)
    return both


def images(*seeds: int) -> tuple[MemoryStore, list[Descriptor]]:
    """Images in one store."""
    made = [make_image(seed) for seed in seeds]
    return merged(*(store for store, _ in made)), [root for _, root in made]


def write(folder: Path, members: Members | Sequence[Any], *, how: str) -> str | BinaryIO:
    """As a file, as a stream, or as a folder."""
    items = list(members.items()) if isinstance(members, dict) else list(members)
    path = write_tar(folder / "a.tar", items)
    if how == "stream":
        return io.BytesIO(path.read_bytes())
    if how == "folder":
        for name, data in items:
            (folder / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "layout" / name).write_bytes(data)
        return str(folder / "layout")
    return str(path)


def docker_files(seed: int, *tags: str, layer: str = "{n}/layer.tar") -> tuple[Members, dict[str, Any]]:
    """An image as `docker save` has it: files, and its entry of manifest.json."""
    store, root = make_image(seed, pack=False)
    manifest = json.loads(read(store, root.digest))
    config = manifest["config"]["digest"].partition(":")[2] + ".json"
    found: Members = {config: read(store, Digest(manifest["config"]["digest"]))}
    layers = []
    for number, one in enumerate(manifest["layers"]):
        name = layer.format(n=f"{seed}-{number}")
        found[name] = read(store, Digest(one["digest"]))
        layers.append(name)
    return found, {"Config": config, "RepoTags": list(tags) or None, "Layers": layers}


def docker_archive(files: Members, *entries: object) -> Members:
    return {**files, "manifest.json": json.dumps(list(entries)).encode()}
