"""Time and memory of garbage collection and listings at 1,000, 100,000 and 1,000,000 blobs.

Images of ten blobs each; every tenth image has no name, so a tenth of all blobs is garbage. The rows
go in by SQL; the files are empty.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import measure
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS = (1_000, 100_000, 1_000_000)
BLOBS = 10  # of an image: a manifest, a config, eight layers
GARBAGE = 10  # one image of so many


def digest_of(number: int) -> str:
    return f"sha256:{hashlib.sha256(b'%d' % number).hexdigest()}"


def fill(root: Path, count: int) -> None:
    """A store with so many blobs."""
    folder = root / "blobs" / "sha256"
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / digest_of(number)[7:]).touch()
    store = LocalStore(str(root))
    with store.database.transaction(durable=False) as connection:
        add_rows(connection, count)
    store.close()


def add_rows(connection: sqlite3.Connection, count: int) -> None:
    def labels() -> Iterator[tuple[str, str, str]]:
        for manifest in range(0, count, BLOBS):
            yield digest_of(manifest), "containerd.io/gc.ref.content.config", digest_of(manifest + 1)
            for layer in range(BLOBS - 2):
                key = f"containerd.io/gc.ref.content.l.{layer}"
                yield digest_of(manifest), key, digest_of(manifest + 2 + layer)

    def images() -> Iterator[tuple[str, str, str]]:
        for manifest in range(0, count, BLOBS):
            if manifest // BLOBS % GARBAGE:
                name = f"registry.example/team/application-{manifest // BLOBS}:latest"
                yield name, mediatypes.OCI_MANIFEST, digest_of(manifest)

    connection.executemany("INSERT INTO content_labels VALUES ('default', ?, ?, ?)", labels())
    connection.executemany("INSERT INTO images VALUES ('default', ?, ?, ?, 1, NULL, 1, 1)", images())


def one(root: str, what: str) -> None:
    """In a process of its own: do it, and print seconds and peak memory."""
    store = LocalStore(root)
    collector = Metadata(store, command="bench").collector
    began = time.perf_counter()
    if what == "list":
        count = sum(1 for _ in Metadata(store, command="bench").images.list())
        results = {"list the images": (count, time.perf_counter() - began)}
    elif what == "explain":
        (text,) = (str(each) for each in collector.explain([Digest(digest_of(19))]))
        assert text.startswith("kept: image")
        results = {"explain one blob": (1, time.perf_counter() - began)}
    else:
        for _ in collector.collect(dry_run=what == "dry run"):
            pass
        summary = collector.summary
        results = {
            f"{what}: mark": (summary.kept, summary.mark_ms / 1000),
            f"{what}: sweep": (summary.removed, summary.sweep_ms / 1000),
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"results": results, "peak": peak}))


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or COUNTS
    rows = []
    with measure.scratch() as folder:
        for count in counts:
            root = Path(folder) / f"store-{count}"
            fill(root, count)
            for what in ("list", "explain", "dry run", "gc", "gc again"):
                done = subprocess.run(
                    [sys.executable, __file__, "--one", str(root), what], stdout=subprocess.PIPE, check=True
                )
                told = json.loads(done.stdout)
                for name, (number, seconds) in told["results"].items():
                    rows.append(
                        (
                            f"{count:,}",
                            name,
                            f"{number:,}",
                            f"{seconds:.2f}",
                            f"{told['peak'] / measure.MIB:.0f} MiB",
                        )
                    )
    measure.table(
        "Garbage collection: a tenth of the blobs is garbage",
        ("blobs", "what", "things", "seconds", "peak memory"),
        rows,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3])
    else:
        main()
