"""Processes that take leases and are killed, beside others that end the leases of the dead."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.errors import NotFound
from distore.metadata.db import Metadata

pytestmark = pytest.mark.slow
SECONDS = 6
WORKERS = 4
# Each line is a lease that was kept to its end.
WORKER = """
import sys
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci.digest import Digest
metadata = Metadata(LocalStore(sys.argv[1], namespace=sys.argv[2]), command="dist test")
for number in range(10_000):
    with metadata.leased("test") as content:
        for part in range(3):
            content.visibility.hold([Digest.of(f"{number} {part}".encode())])
            lease = content.visibility.lease
            assert metadata.leases.is_live(sys.argv[2], lease), f"{lease}: not live"
        assert metadata.leases.count(lease) == 3
    print(number, flush=True)
"""


def start(root: str, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", WORKER, root, ("default", "other")[number % 2]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_no_live_lease_is_taken_for_dead_and_no_dead_one_stays(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    rng = random.Random(1)
    running = {number: start(root, number) for number in range(WORKERS)}
    names = ("default", "other")
    managers = [Metadata(LocalStore(root, namespace=name), command="sweeper").leases for name in names]
    kept = killed = ended = 0
    stop = time.monotonic() + SECONDS
    next_kill = time.monotonic() + 1
    while time.monotonic() < stop:
        for leases in managers:
            for id in leases.dead():
                try:
                    leases.delete(id)
                    ended += 1
                except NotFound:
                    continue
            leases.sweep_locks()
        if time.monotonic() >= next_kill:
            number = rng.choice(sorted(running))
            victim = running[number]
            victim.kill()
            out, err = victim.communicate()
            assert err == b"", err.decode()
            kept += out.count(b"\n")
            killed += 1
            running[number] = start(root, number)
            next_kill += 0.3

    for process in running.values():
        process.kill()
        out, err = process.communicate()
        assert err == b"", err.decode()
        kept += out.count(b"\n")
    for leases in managers:
        for id in leases.dead():
            leases.delete(id)
        leases.sweep_locks()

    assert [list(leases.list()) for leases in managers] == [[], []]
    assert os.listdir(os.path.join(root, "leases")) == []
    assert kept > 20
    assert killed >= 5
