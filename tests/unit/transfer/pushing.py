"""A pusher that keeps what it gets, and images to push."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence

from tests.unit.transfer.ends_images import family, make_image, put, read

from distore.content.memory import MemoryStore
from distore.content.store import Provider
from distore.errors import (
    DistoreError,
    PermissionDenied,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.testing.server import FakeRegistry
from distore.transfer.progress import Event

Push = Callable[..., list[Event]]
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"


class Recorder:
    """A Pusher that keeps what it gets, and can be told to fail."""

    name = "recorder"
    parallel: int | None = None

    def __init__(self, *, fails_at: Digest | None = None, error: DistoreError | None = None) -> None:
        self.got: list[Digest] = []
        self.tagged: list[Digest] = []
        self.sources: dict[Digest, list[str]] = {}
        self._guard = threading.Lock()
        self._fails_at = fails_at
        self._error = error or PermissionDenied("no")

    def exists(self, descriptor: Descriptor, /) -> bool:
        return False

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> str:
        if descriptor.digest == self._fails_at:
            raise self._error
        with provider.reader(descriptor.digest) as reader:
            for at in range(0, reader.size + 1, max(1, reader.size // 2)):
                on_progress(at)
        with self._guard:
            self.got.append(descriptor.digest)
            self.sources[descriptor.digest] = list(sources)
        return "pushed"

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        if descriptor.digest == self._fails_at:
            raise self._error
        self.tagged.append(descriptor.digest)


def index_of(store: MemoryStore, *children: Descriptor, **more: object) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [child.to_json() for child in children],
        **more,
    }
    return put(store, json.dumps(document).encode(), mediatypes.OCI_INDEX)


def joined(*seeds: int) -> tuple[MemoryStore, list[Descriptor]]:
    """Images in one store, each for a platform of its own."""
    everything, roots = MemoryStore(), []
    for seed, architecture in zip(seeds, ("amd64", "arm64", "s390x"), strict=False):
        store, root = make_image(seed)
        for one in (*family(store, root), root):
            put(everything, read(store, one.digest), one.media_type)
        platform = Platform(os="linux", architecture=architecture)
        roots.append(
            Descriptor(media_type=root.media_type, digest=root.digest, size=root.size, platform=platform)
        )
    return everything, roots


def written(registry: FakeRegistry) -> list[str]:
    """What was finished, in the order in which it was: blobs by digest, manifests by name."""
    return [
        seen.query.get("digest") or seen.path.rpartition("/")[2]
        for seen in registry.requests
        if seen.method == "PUT"
    ]
