"""Those who unpack, forget, look and collect side by side, killed at random."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fault.snapshot_stress import ROOT, check

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.snapshots.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable

ROLES = ("unpack", "unpack", "forget", "look", "collect")
ENOUGH, LONGEST = 10.0, 60.0  # seconds
PAUSE = 0.3  # seconds between two kills


class Crew:
    """One process for each role; one that is killed is replaced."""

    def __init__(self, root: str, driver: str) -> None:
        self.root, self.driver = root, driver
        self.chance = random.Random(20170123)
        for folder in ("ops", "wrong"):
            Path(f"{root}.{folder}").mkdir()
        self.processes = {number: self._start(role) for number, role in enumerate(ROLES)}
        self.killed = 0

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        script = str(Path(__file__).with_name("snapshot_stress.py"))
        words = [self.root, self.driver, role, str(self.chance.randrange(1 << 30))]
        return subprocess.Popen([sys.executable, script, *words], stderr=subprocess.DEVNULL)

    def kill_one(self) -> None:
        """One that has done something: on a busy machine others have hardly begun."""
        number = self.chance.randrange(len(ROLES))
        process = self.processes[number]
        path = Path(f"{self.root}.ops", f"{ROLES[number]}-{process.pid}")
        if not (path.exists() and path.stat().st_size):
            return
        self._end(process)
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
@pytest.mark.parametrize("driver", ["overlayfs", "native"])
def test_no_record_loses_its_files_and_a_quiet_pass_leaves_what_labels_keep(
    tmp_path: Path, driver: str, count: Callable[[str, int], None]
) -> None:
    root = str(tmp_path / "store")
    crew = Crew(root, driver)
    soon, end = time.monotonic() + ENOUGH, time.monotonic() + LONGEST
    try:
        while time.monotonic() < end and not crew.wrong():
            if time.monotonic() > soon and min(map(crew.operations, ROLES)) > 10:
                break
            time.sleep(PAUSE)
            crew.kill_one()
    finally:
        crew.end()

    assert crew.wrong() == []
    store = LocalStore(root)
    metadata = Metadata(store, command="t")
    snapshots = metadata.snapshotter(driver)
    assert isinstance(snapshots, Driver)
    infos = {info.name: info for info in snapshots.walk()}
    for info in infos.values():
        check(snapshots, info)
    needed: set[str | None] = {None}
    for info in infos.values():
        name: str | None = info.name if ROOT in info.labels else None
        while name not in needed:
            assert name is not None
            needed.add(name)
            name = infos[name].parent
    for lease in list(metadata.leases.list()):
        metadata.leases.delete(lease.id, force=True)
    time.sleep(0.01)
    metadata.collect()

    assert {info.name for info in snapshots.walk()} == needed - {None}
    folders = {int(name) for name in os.listdir(snapshots._folders.path) if name != "attributes"}
    assert folders == snapshots._records.ids()
    assert store.database.query("SELECT count(*) FROM gc_touched") == [(0,)]
    store.close()
    count(f"operations on snapshots of {driver} beside the collector", crew.operations())
    for role in sorted(set(ROLES)):
        assert crew.operations(role), role
