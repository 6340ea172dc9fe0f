"""One process of the stress test of a registry's state: ``python repository_stress.py ROOT ROLE SEED``,
until it is killed.

Every operation adds a byte to ``ROOT.ops/ROLE-PID``. A process that finds something missing that is
offered writes it to ``ROOT.wrong/PID`` and ends.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists, NotFound, Unavailable
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.repositories import ManifestRecord

IMAGES = 12
REPOSITORIES = ("app", "team/app", "team/other")
LAYERS = [b"layer %d " % number * (number + 1) for number in range(16)]


def layers_of(number: int) -> list[bytes]:
    """Neighbours share layers."""
    return [LAYERS[(number + step * step) % len(LAYERS)] for step in range(4)]


def manifest_of(number: int) -> bytes:
    return b"manifest of " + b" ".join(Digest.of(layer).encode() for layer in layers_of(number))


class WrongError(Exception):
    """Something that is offered is not there."""


class Worker:
    def __init__(self, root: str, role: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = LocalStore(root, command="stress")
        self.metadata = Metadata(self.store, command="stress")
        self.repositories = self.metadata.repositories
        path = os.path.join(f"{root}.ops", f"{role}-{os.getpid()}")
        self._ops = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def count(self) -> None:
        os.write(self._ops, b".")

    def push(self) -> None:
        """As a client does it: what is said to be there is not brought, the manifest comes last."""
        number, name = self.chance.randrange(IMAGES), self.chance.choice(REPOSITORIES)
        layers = layers_of(number)
        for layer in layers:
            digest = Digest.of(layer)
            if not self.repositories.use(name, digest) and not (
                self.chance.random() < 0.5 and self.repositories.mount(None, name, digest)
            ):
                self.bring(name, layer)
            self.count()
        data = manifest_of(number)
        needed = [Digest.of(layer) for layer in layers]
        record = ManifestRecord(
            descriptor=Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(data), size=len(data)),
            children=tuple((digest, 1) for digest in needed),
        )
        with self.repositories.keeping(record.descriptor.digest):
            self.commit(data)
            missing = self.repositories.put_manifest(
                name, record, tags=[f"v{number}", "latest"], needed=needed
            )
        if missing and not os.path.exists(f"{self.store.root}.sweeps"):
            raise WrongError(f"push to {name}: {missing} were said to be there")
        self.count()

    def bring(self, name: str, data: bytes) -> None:
        digest = Digest.of(data)
        try:
            with self.repositories.keeping(digest):
                self.commit(data)
                self.repositories.add_blob(name, digest, len(data))
        except Unavailable as error:
            raise WrongError(f"blob {digest}: {error}") from error

    def commit(self, data: bytes) -> None:
        name = f"upload-{os.getpid()}-{self.chance.randrange(1 << 60)}"
        with suppress(AlreadyExists), self.store.writer(name) as writer:
            writer.write(data)
            writer.commit(expected=Digest.of(data))

    def pull(self) -> None:
        """Whatever a tag leads to is there, unless the tag or its manifest went meanwhile."""
        for name in self.repositories.names():
            for tag in self.repositories.tags(name):
                digest = tag.descriptor.digest
                record = self.repositories.manifest(name, digest)
                for each in [digest, *(child for child, _ in record.children)] if record else []:
                    try:
                        if self.repositories.has(name, each):
                            read_blob(self.store, each, max_size=1 << 20)
                    except NotFound as error:
                        if self.repositories.has(name, each):
                            raise WrongError(f"{name} offers {each}: {error}") from error
                    if not self.repositories.has(name, each) and self.repositories.manifest(name, digest):
                        raise WrongError(f"{name} has {digest}, and not {each}")
                self.count()
        time.sleep(0.005)

    def delete(self) -> None:
        """Manifests, tags and repositories: never a blob that a manifest names."""
        name = self.chance.choice(REPOSITORIES)
        for record in self.repositories.manifests(name):
            if self.chance.random() < 0.3:
                self.repositories.delete_manifest(name, record.descriptor.digest)
                self.count()
        time.sleep(0.01)

    def collect(self) -> None:
        try:
            for _ in self.metadata.collector.collect():
                self.count()
        except Unavailable:
            time.sleep(0.01)
        self.count()

    def sweep(self) -> None:
        """Without any grace: pushes fail by it, and what is offered is whole all the same."""
        for _ in self.metadata.repository_sweep(grace=0.0):
            self.count()
        time.sleep(0.003)
        self.count()


def main(root: str, role: str, seed: str) -> None:
    worker = Worker(root, role, int(seed))
    while True:
        try:
            getattr(worker, role)()
        except (WrongError, NotFound) as error:
            Path(f"{root}.wrong", str(os.getpid())).write_text(f"{role}: {error!r}")
            raise


if __name__ == "__main__":
    main(*sys.argv[1:])
