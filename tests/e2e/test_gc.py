"""``dist gc``: what it prints and removes, and that pulls beside it lose nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci.digest import Digest
from distore.oci.manifest import Manifest, parse_manifest
from distore.testing.server import FakeRegistry

Dist = Callable[..., subprocess.CompletedProcess[bytes]]
HELLO = Digest.of(b"hello")


def test_what_nothing_names_goes_and_is_printed(dist: Dist) -> None:
    dist("ingest", "r", input=b"hello")

    foreseen = dist("gc", "--dry-run")
    there = dist("list", "-q").stdout
    done = dist("gc")

    assert foreseen.stdout == done.stdout == f"{HELLO}\n".encode()
    assert foreseen.stderr.startswith(b"dist: would remove 1 blob, 5 B; kept 0; ")
    assert done.stderr.startswith(b"dist: removed 1 blob, 5 B; kept 0; ")
    assert there == f"{HELLO}\n".encode()
    assert dist("list", "-q").stdout == b""


def test_quiet_and_json_are_for_programs(dist: Dist) -> None:
    dist("ingest", "r", input=b"hello")

    quiet = dist("gc", "-q", "--dry-run")
    as_json = dist("gc", "--json")

    assert (quiet.stdout, quiet.stderr) == (f"{HELLO}\n".encode(), b"")
    assert json.loads(as_json.stdout) == {"kind": "content", "namespace": "default", "key": HELLO, "freed": 5}


def test_a_store_that_is_not_there_is_no_error(dist: Dist, tmp_path: Path) -> None:
    done = dist("gc")

    assert (done.returncode, done.stdout) == (0, b"")
    assert list(tmp_path.iterdir()) == []


def test_older_than_spares_the_young(dist: Dist) -> None:
    dist("ingest", "r", input=b"hello")

    assert dist("gc", "--older-than", "1h").stdout == b""
    assert dist("gc", "--older-than", "soon").returncode == 2


def test_a_root_label_keeps_a_blob_and_is_the_explanation(dist: Dist) -> None:
    dist("ingest", "r", input=b"hello")
    dist("label", HELLO, "containerd.io/gc.root=1")

    kept = dist("gc", "--explain", HELLO)
    done = dist("gc")
    dist("label", HELLO, "containerd.io/gc.root=")
    loose = dist("gc", "--explain", HELLO, "--json")

    assert kept.stdout.decode() == f"kept: label containerd.io/gc.root -> content {HELLO}\n"
    assert done.stdout == b""
    assert json.loads(loose.stdout) == {
        "digest": HELLO,
        "namespace": "default",
        "kept": False,
        "path": [],
        "referring": [],
    }


def test_a_digest_that_nobody_has_is_not_found(dist: Dist) -> None:
    dist("ingest", "r", input=b"hello")

    done = dist("gc", "--explain", HELLO, "nonsense", Digest.of(b"none"))

    assert done.stdout.startswith(b"not kept")
    assert done.stderr.count(b"dist: ") == 2
    assert done.returncode == 2


def test_the_schedule_is_shown_and_set(dist: Dist) -> None:
    assert dist("gc", "--schedule").stdout.startswith(b"schedule off\n")
    assert b"deletion_threshold=10\n" in dist("gc", "--schedule", "deletion_threshold=10").stdout
    assert dist("gc", "--schedule").stdout.startswith(b"schedule on\n")
    assert json.loads(dist("gc", "--schedule", "off", "--json").stdout)["enabled"] is False
    assert dist("gc", "--schedule", "often").returncode == 2


@pytest.fixture
def images(registry: FakeRegistry) -> list[str]:
    """Ten images that share layers."""
    layers = [random.Random(number).randbytes(50_000 + number) for number in range(8)]
    names = []
    for number in range(10):
        chosen = [layers[(number + step) % len(layers)] for step in range(4)]
        registry.image(f"team/app{number}", "1", [*chosen, b"own %d" % number])
        names.append(f"{registry.address}/team/app{number}:1")
    return names


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_twenty_pulls_beside_collections_and_prunes_lose_nothing(
    dist: Dist, images: list[str], tmp_path: Path
) -> None:
    done = threading.Event()
    beside: list[subprocess.CompletedProcess[bytes]] = []

    def repeat(*words: str) -> None:
        while not done.is_set():
            beside.append(dist(*words))

    loops = [
        threading.Thread(target=repeat, args=words)
        for words in (("gc",), ("gc", "-q"), ("prune", "ingests", "--older-than", "1h"))
    ]
    for loop in loops:
        loop.start()
    command = [sys.executable, "-I", "-m", "distore", "pull", "-q"]
    try:
        pulls = [
            subprocess.Popen([*command, name], cwd=tmp_path, stderr=subprocess.PIPE)
            for name in (*images, *images)
        ]
        ends = [(pull.communicate()[1], pull.returncode) for pull in pulls]
    finally:
        done.set()
        for loop in loops:
            loop.join()

    assert [end for end in ends if end[1]] == []
    assert [each.stderr for each in beside if each.returncode not in (0, 13)] == []
    assert sum(each.returncode == 0 for each in beside) >= 3
    store = LocalStore(str(tmp_path / ".content"))
    found = {image.name: image.target for image in Metadata(store, command="t").images.list()}
    assert set(found) == set(images)
    dist("gc")
    for target in found.values():
        manifest = parse_manifest(
            read_blob(store, target.digest, max_size=1 << 20), media_type=None, subject="it"
        )
        assert isinstance(manifest, Manifest)
        for child in (manifest.config, *manifest.layers):
            assert len(read_blob(store, child.digest, max_size=1 << 20)) == child.size
    assert store.database.query("SELECT * FROM leases") == []
    store.close()
