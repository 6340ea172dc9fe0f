"""One process of the stress test: ``python gc_stress.py ROOT ROLE SEED``, until it is killed.

Every operation adds a byte to ``ROOT.ops/ROLE-PID``. A process that finds something missing that must be
there writes it to ``ROOT.wrong/PID`` and ends.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from distore.images.gclabels import GC_REF_CONTENT
from distore.leases import Resource
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGES = 12
LAYERS = [b"layer %d " % number * (number + 1) for number in range(16)]


def layers_of(number: int) -> list[bytes]:
    """Neighbours share layers."""
    return [LAYERS[(number + step * step) % len(LAYERS)] for step in range(4)]


def manifest_of(number: int) -> bytes:
    return b"manifest of " + b" ".join(Digest.of(layer).encode() for layer in layers_of(number))


NUMBERS = {Digest.of(manifest_of(number)): number for number in range(IMAGES)}


def blobs_of(manifest: Digest) -> list[Digest]:
    """Everything that the image of a manifest is."""
    return [manifest, *map(Digest.of, layers_of(NUMBERS[manifest]))]


def check(store: LocalStore, manifest: Digest) -> None:
    """All of it is there and right."""
    for digest in blobs_of(manifest):
        read_blob(store, digest, max_size=1 << 20)


class Worker:
    def __init__(self, root: str, role: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = LocalStore(root, command="stress")
        self.metadata = Metadata(self.store, command="stress")
        path = os.path.join(f"{root}.ops", f"{role}-{os.getpid()}")
        self._ops = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def count(self) -> None:
        os.write(self._ops, b".")

    def write(self) -> None:
        """A pull: children first, the name last, all under a lease."""
        number = self.chance.randrange(IMAGES)
        layers = layers_of(number)
        self.chance.shuffle(layers)
        with self.metadata.leased("write") as content:
            for layer in layers:
                self.bring(content, layer, {})
            labels = {f"{GC_REF_CONTENT}.l.{n}": Digest.of(each) for n, each in enumerate(layers_of(number))}
            manifest = self.bring(content, manifest_of(number), labels)
            target = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=manifest, size=1)
            self.metadata.images.put(f"image {number}", target)
            self.count()
            check(content, manifest)

    def bring(self, content: LocalStore, data: bytes, labels: Mapping[str, str]) -> Digest:
        digest = Digest.of(data)
        while True:
            try:
                with content.writer(digest, total=len(data), expected=digest) as writer:
                    writer.write(data[writer.offset :])
                    writer.commit(labels=labels)
            except AlreadyExists:
                pass
            except Unavailable:  # somebody else brings it
                time.sleep(0.002)
                continue
            self.count()
            return digest

    def delete(self) -> None:
        for image in list(self.metadata.images.list()):
            if self.chance.random() < 0.3:
                with suppress(NotFound):  # another one was quicker
                    self.metadata.images.delete(image.name)
                self.count()
        time.sleep(0.01)

    def tag(self) -> None:
        """Another name for what has one: held first, then looked at."""
        images = list(self.metadata.images.list())
        if not images:
            time.sleep(0.01)
            return
        image = self.chance.choice(images)
        with self.metadata.leased("tag") as content:
            try:
                content.info(image.target.digest)
                if self.metadata.images.get(image.name).target.digest != image.target.digest:
                    return
            except NotFound:  # the name went meanwhile, perhaps with all it stood for
                return
            self.metadata.images.put(f"tag {self.chance.randrange(20)}", image.target)
            self.count()
            check(content, image.target.digest)

    def lease(self) -> None:
        """A lease that no process owns, on something that is found there."""
        manifest = self.chance.choice(list(NUMBERS))
        leases = self.metadata.leases
        id = leases.create().id
        leases.add(id, Resource(type="content", key=manifest))
        self.count()
        try:
            self.store.info(manifest)
        except NotFound:
            pass
        else:
            check(self.store, manifest)  # a document goes before what it names
        leases.delete(id)
        self.count()

    def collect(self) -> None:
        try:
            for _ in self.metadata.collector.collect():
                self.count()
        except Unavailable:
            time.sleep(0.01)


def main(root: str, role: str, seed: str) -> None:
    worker = Worker(root, role, int(seed))
    while True:
        try:
            getattr(worker, role)()
        except (NotFound, FailedPrecondition) as error:
            Path(f"{root}.wrong", str(os.getpid())).write_text(f"{role}: {error!r}")
            raise


if __name__ == "__main__":
    main(*sys.argv[1:])
