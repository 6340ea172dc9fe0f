"""One process of the test of pruning: ``prune_stress.py ROOT REGISTRY ROLE NUMBER``, until it is killed.

It runs whole verbs. Every one that succeeds adds a byte to ``ROOT.ops/ROLE-NUMBER``; what must not happen
is written to ``ROOT.wrong/ROLE-NUMBER``, and ends the process.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sys
from pathlib import Path
from typing import Final

from distore.cli.main import main as dist
from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.errors import DistoreError
from distore.metadata.db import Metadata
from distore.oci.digest import Digest

TAGS: Final = 4
ROLES: Final = ("pull", "import", "convert", "export")
# A prune that comes while another collector runs says so, and nothing else may go wrong.
BUSY: Final = "collects its garbage"
PRUNES: Final = (
    ("gc", "-q"),
    ("prune", "ingests", "--older-than", "0"),
    ("leases", "rm", "--dead"),
    ("gc", "--older-than", "1ms"),
)


class Wrong(Exception):
    """What must not happen."""


class Worker:
    def __init__(self, root: str, registry: str, role: str, number: int) -> None:
        self.root = root
        self.registry = registry
        self.namespace = ("default", "other")[number % 2]
        self.chance = random.Random(number)
        self.repository = f"team/app-{number}"
        self.archive = f"{root}.ops/{number}.tar"
        path = f"{root}.ops/{role}-{number}"
        self._ops = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(self, *words: str, accepted: str = "") -> None:
        """A verb that has to succeed."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = dist(["--root", self.root, "--namespace", self.namespace, *words])
        if status and not (accepted and accepted in said.getvalue()):
            raise Wrong(f"dist {' '.join(words)} ({self.namespace}): {status}: {said.getvalue()}")
        os.write(self._ops, b".")

    def check(self, name: str) -> None:
        """An image that nobody else removes is there, and everything of it is right."""
        store = LocalStore(self.root, namespace=self.namespace)
        try:
            image = Metadata(store, command="check").images.get(name)
            manifest = json.loads(read_blob(store, image.target.digest, max_size=1 << 20))
            for part in (manifest["config"], *manifest["layers"]):
                data = read_blob(store, Digest(part["digest"]), max_size=1 << 24)
                if Digest.of(data) != part["digest"]:
                    raise Wrong(f"{name}: {part['digest']} is damaged")
            if not store.info(image.target.digest).labels:
                raise Wrong(f"{name}: its manifest has no labels")
        except DistoreError as error:
            raise Wrong(f"{name} ({self.namespace}): {error!r}") from error
        finally:
            store.close()

    def bring(self) -> str:
        name = f"{self.registry}/{self.repository}:{self.chance.randrange(TAGS)}"
        self.run("pull", "-q", name)
        self.check(name)
        return name

    def drop(self, *names: str) -> None:
        words = ("--sync",) if self.chance.random() < 0.3 else ()
        self.run("images", "rm", *words, *names, accepted=BUSY)

    def step_pull(self) -> None:
        self.drop(self.bring())

    def step_import(self) -> None:
        """Out, gone, and in again while its blobs are being collected."""
        name = self.bring()
        self.run("export", "--force", "-q", self.archive, name)
        self.drop(name)
        self.run("import", "-q", self.archive)
        self.check(name)
        self.drop(name)

    def step_convert(self) -> None:
        name = self.bring()
        new = f"{name}-zstd"
        self.run("convert", "-q", "--compression", "zstd", name, new)
        self.drop(name)
        self.check(new)
        self.drop(new)

    def step_export(self) -> None:
        name = self.bring()
        self.run("images", "tag", name, f"{name}-kept")
        self.drop(name)
        self.run("export", "--force", "-q", self.archive, f"{name}-kept")
        self.check(f"{name}-kept")
        self.drop(f"{name}-kept")

    def step_prune(self) -> None:
        for words in PRUNES:
            self.run(*words, accepted=BUSY)


def main(root: str, registry: str, role: str, number: str) -> None:
    worker = Worker(root, registry, role, int(number))
    step = getattr(worker, f"step_{role}")
    try:
        while True:
            step()
    except BaseException as error:
        Path(f"{root}.wrong/{role}-{number}").write_text(repr(error))
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
