"""The contract of leases on every implementation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.metadata.leases import Leases
from distore.testing.lease_suite import Clock, LeaseSuite

WORKER = """
import sys, time
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
with Metadata(LocalStore(sys.argv[1]), command="dist test").leases.held("test") as lease:
    print(lease.id, flush=True)
    sys.stdin.read()
"""


class TestLeases(LeaseSuite):
    @pytest.fixture
    def open(self, tmp_path: Path, clock: Clock) -> Iterator[Callable[[], Leases]]:
        opened: list[LocalStore] = []

        def handle() -> Leases:
            opened.append(LocalStore(str(tmp_path / "store")))
            return Metadata(opened[-1], command="dist test", now=clock).leases

        yield handle
        for store in opened:
            store.close()

    @pytest.fixture
    def leases(self, open: Callable[[], Leases]) -> Leases:
        return open()

    @pytest.fixture
    def reopen(self, open: Callable[[], Leases]) -> Callable[[], Leases]:
        return open

    @pytest.fixture
    def worker(self, tmp_path: Path) -> Iterator[Callable[[], tuple[str, Popen[bytes]]]]:
        started: list[Popen[bytes]] = []

        def start() -> tuple[str, Popen[bytes]]:
            process = Popen(
                [sys.executable, "-I", "-c", WORKER, str(tmp_path / "store")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            started.append(process)
            assert process.stdout is not None
            return process.stdout.readline().decode().strip(), process

        yield start
        for process in started:
            process.kill()
            process.communicate()
