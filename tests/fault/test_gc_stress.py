"""Writers, deleters, taggers, lease holders and collectors side by side, killed at random."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fault.gc_stress import blobs_of, check

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATIONS = 10_000
KILLED = 50  # processes
LONGEST = 55.0  # seconds
ROLES = ("write", "write", "write", "delete", "tag", "lease", "collect", "collect")


class Crew:
    """One process for each role; one that is killed is replaced."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.chance = random.Random(20170123)
        for folder in ("ops", "wrong"):
            Path(f"{root}.{folder}").mkdir()
        self.processes = {number: self._start(role) for number, role in enumerate(ROLES)}
        self.killed = 0

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        script = str(Path(__file__).with_name("gc_stress.py"))
        command = [sys.executable, script, self.root, role, str(self.chance.randrange(1 << 30))]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def kill_one(self) -> None:
        number = self.chance.randrange(len(ROLES))
        self._end(self.processes[number])
        self.killed += 1
        self.processes[number] = self._start(ROLES[number])

    def end(self) -> None:
        for process in self.processes.values():
            self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def operations(self, role: str = "") -> int:
        return sum(path.stat().st_size for path in Path(f"{self.root}.ops").glob(f"{role}*"))

    def wrong(self) -> list[str]:
        return [path.read_text() for path in Path(f"{self.root}.wrong").iterdir()]


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_nothing_reachable_is_lost_and_a_quiet_pass_leaves_nothing_else(
    tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    root = str(tmp_path / "store")
    crew = Crew(root)
    end = time.monotonic() + LONGEST
    try:
        while time.monotonic() < end and not crew.wrong():
            everybody = min(crew.operations(role) for role in ROLES)
            if crew.operations() >= OPERATIONS and crew.killed >= KILLED and everybody > 50:
                break
            time.sleep(0.4)
            crew.kill_one()
    finally:
        crew.end()
    operations = crew.operations()

    assert crew.wrong() == []
    store = LocalStore(root)
    metadata = Metadata(store, command="t")
    needed = set()
    for image in metadata.images.list():
        check(store, image.target.digest)
        needed |= set(blobs_of(image.target.digest))
    for lease in list(metadata.leases.list()):
        metadata.leases.delete(lease.id)
    metadata.collect()
    expected = {each.expected for each in store.statuses()}  # what those who were killed had begun to bring
    assert needed <= set(store.digests())
    assert set(store.digests()) - needed <= expected
    assert store.database.query("SELECT count(*) FROM lease_resources") == [(0,)]
    assert store.database.query("SELECT count(*) FROM gc_touched") == [(0,)]
    store.close()
    count("operations beside the collector", operations)
    count("processes of them killed", crew.killed)
    for role in sorted(set(ROLES)):
        count(f"of them by those who {role}", crew.operations(role))
        assert crew.operations(role) > 20
