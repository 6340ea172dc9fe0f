"""A collector that dies before any of its steps: nothing reachable is lost, the next pass ends its work."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.images.gclabels import GC_REF_CONTENT
from distore.leases import EXPIRE
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.testing import faults

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 24 * 3600


def put(store: LocalStore, data: bytes, *children: Digest) -> Digest:
    with store.writer(f"r{len(data)}") as writer:
        writer.write(data)
        return writer.commit(labels={f"{GC_REF_CONTENT}.{n}": child for n, child in enumerate(children)})


def make(root: str) -> LocalStore:
    """Images that stay, an expired one, garbage in two namespaces, a dead lease, an old ingest."""
    store = LocalStore(root)
    metadata = Metadata(store, command="t")
    other = store.view(namespace="other")
    for name in ("stays", "expired"):
        layers = [put(store, f"{name} {number}".encode()) for number in range(3)]
        manifest = put(store, f"manifest {name}".encode(), *layers)
        labels = {EXPIRE: "2020-01-01T00:00:00Z"} if name == "expired" else {}
        target = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=manifest, size=1)
        metadata.images.create(name, target, labels=labels)
    put(store, b"stray of one")
    put(other, b"stray of the other")
    store.database.change("INSERT INTO leases VALUES ('default', 'dead', 1, 1)")
    store.database.change(
        "INSERT INTO lease_resources VALUES ('default', 'dead', 'content', ?)", Digest.of(b"stray of one")
    )
    with store.writer("old") as writer:
        writer.write(b"part")
    paths = store.paths.ingest("old")
    Path(paths.started).write_text("2020-01-01T00:00:00Z")
    os.utime(paths.data, (time.time() - 2 * DAY,) * 2)
    return store


def collect(store: LocalStore) -> None:
    Metadata(store, command="t").collect()


def check_whole(store: LocalStore) -> None:
    for data in (b"stays 0", b"stays 1", b"stays 2", b"manifest stays"):
        assert read_blob(store, Digest.of(data), max_size=100) == data


@pytest.mark.slow
def test_a_crash_before_any_step_loses_nothing_and_the_next_pass_ends_it(
    tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    cases = 0
    for number in itertools.count(1):
        store = make(str(tmp_path / str(number)))
        with faults.crash_before(number):
            try:
                collect(store)
            except faults.Crash:
                pass
            else:
                break  # no step was left to crash before
        cases += 1
        store.close()
        # A process that dies does not take its rows away.
        store.database.change("INSERT INTO gc_run VALUES (1)")
        check_whole(store)
        for image in Metadata(store, command="t").images.list():
            assert store.info(image.target.digest).labels  # no name without what it stands for

        collect(store)

        check_whole(store)
        assert len(list(store.digests())) == 4
        assert len(os.listdir(Path(store.paths.blobs, "sha256"))) == 4
        assert list(store.view(namespace="other").digests()) == []
        assert list(store.statuses()) == []
        for table, rows in (("leases", 0), ("images", 1), ("content_labels", 3), ("gc_run", 0)):
            assert store.database.query(f"SELECT count(*) FROM {table}") == [(rows,)], table
        store.close()
    store.close()

    assert cases >= 10
    count("crash before each step of a collection", cases)
