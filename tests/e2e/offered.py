"""What tests of verbs offer in a registry, and what they expect of a failure."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from tests.unit.transfer.ends_images import family, make_image, read

from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from distore.testing.server import FakeRegistry

CONFIG: dict[str, object] = {
    "created": "2026-01-02T03:04:05Z",
    "author": "Ann",
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "User": "web",
        "WorkingDir": "/srv",
        "Entrypoint": ["/bin/sh", "-c", "echo $A"],
        "Cmd": None,
        "Env": ["PATH=/bin", "A=1"],
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGQUIT",
        "Labels": {"version": "1.2"},
    },
    "rootfs": {"type": "layers", "diff_ids": [Digest.of(b"layer")]},
}


def image(
    registry: FakeRegistry, name: str = "team/app:1", config: object = CONFIG, **fields: object
) -> Descriptor:
    """An image of one layer; ``fields`` go into its manifest."""
    repository, _, tag = name.partition(":")
    parts = [
        {"mediaType": kind, "digest": registry.put(repository, data), "size": len(data)}
        for kind, data in (
            (mediatypes.OCI_CONFIG, config if isinstance(config, bytes) else json.dumps(config).encode()),
            (mediatypes.OCI_LAYER, b"layer"),
        )
    ]
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "config": parts[0]}
    return registry.tag(repository, tag, json.dumps({**document, "layers": parts[1:], **fields}).encode())


def offer(registry: FakeRegistry, name: str, seed: int = 1, *, layers: int = 3) -> Descriptor:
    """An image of that many layers as ``repository:tag``."""
    repository, _, tag = name.partition(":")
    store, root = make_image(seed, layers=layers)
    for part in family(store, root):
        registry.put(repository, read(store, part.digest))
    return registry.tag(repository, tag, read(store, root.digest))


def offer_index(registry: FakeRegistry, name: str) -> tuple[Descriptor, dict[str, Descriptor]]:
    """An index of two images, and those by architecture."""
    repository, _, tag = name.partition(":")
    images = {
        arch: offer(registry, f"{repository}:{arch}", seed) for seed, arch in ((1, "amd64"), (2, "s390x"))
    }
    manifests = [
        {**image.to_json(), "platform": {"os": "linux", "architecture": arch}}
        for arch, image in images.items()
    ]
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": manifests}
    return registry.tag(repository, tag, json.dumps(document).encode(), mediatypes.OCI_INDEX), images


def failure(done: subprocess.CompletedProcess[bytes], status: int) -> str:
    """The one line it says, without the name of the program; standard output is empty."""
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (status, b""), done
    assert text.startswith("dist: ")
    assert text.count("\n") == 1, text
    assert len(text) < 400, text
    return text.removeprefix("dist: ").rstrip()
