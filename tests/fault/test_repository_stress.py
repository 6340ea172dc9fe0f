"""Pushes, pulls, deletions and collections of one registry's state side by side, killed at random."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.metadata.dbinfo import problems

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATIONS = 6_000
KILLED = 30  # processes
LONGEST = 50.0  # seconds
ROLES = ("push", "push", "push", "pull", "delete", "collect")


class Crew:
    """One process for each role; one that is killed is replaced."""

    def __init__(self, root: str, roles: tuple[str, ...]) -> None:
        self.root = root
        self.roles = roles
        self.chance = random.Random(20261127)
        for folder in ("ops", "wrong"):
            Path(f"{root}.{folder}").mkdir()
        self.processes = {number: self._start(role) for number, role in enumerate(roles)}
        self.killed = 0

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        script = str(Path(__file__).with_name("repository_stress.py"))
        command = [sys.executable, script, self.root, role, str(self.chance.randrange(1 << 30))]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def kill_one(self) -> None:
        number = self.chance.randrange(len(self.roles))
        self._end(self.processes[number])
        self.killed += 1
        self.processes[number] = self._start(self.roles[number])

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


def check_whole(store: LocalStore) -> set[str]:
    """Whatever a repository offers is there and right, and what its manifests name, it offers; all of it."""
    repositories = Metadata(store, command="t").repositories
    offered: set[str] = set()
    for name in repositories.names():
        for record in repositories.manifests(name):
            for digest in (record.descriptor.digest, *(child for child, _ in record.children)):
                assert repositories.has(name, digest), (name, digest)
        for tag in repositories.tags(name):
            assert repositories.manifest(name, tag.descriptor.digest) is not None, (name, tag)
    for (text,) in store.database.query("SELECT DISTINCT digest FROM repository_blobs"):
        offered.add(str(text))
    for digest in list(store.digests()):
        if digest in offered:
            read_blob(store, digest, max_size=1 << 20)
    assert offered <= set(store.digests())
    return offered


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("sweeps", [False, True])
def test_nothing_that_is_offered_is_lost_and_a_quiet_pass_leaves_nothing_else(
    tmp_path: Path, count: Callable[[str, int], None], *, sweeps: bool
) -> None:
    root = str(tmp_path / "store")
    roles = (*ROLES, "sweep") if sweeps else ROLES
    if sweeps:
        Path(f"{root}.sweeps").touch()
    crew = Crew(root, roles)
    end = time.monotonic() + LONGEST
    try:
        while time.monotonic() < end and not crew.wrong():
            everybody = min(crew.operations(role) for role in roles)
            if crew.operations() >= OPERATIONS and crew.killed >= KILLED and everybody > 50:
                break
            time.sleep(0.4)
            crew.kill_one()
    finally:
        crew.end()

    assert crew.wrong() == []
    store = LocalStore(root)
    check_whole(store)
    Metadata(store, command="t", now=lambda: time.time() + 7200).collect()
    offered = check_whole(store)
    assert set(store.digests()) == offered
    assert list(problems(store, quick=False, dry_run=True)) == []
    assert store.database.query("SELECT count(*) FROM lease_resources") == [(0,)]
    store.close()
    count("operations of a registry beside the collector", crew.operations())
    count("processes of them killed", crew.killed)
    for role in sorted(set(roles)):
        count(f"of them by those who {role}", crew.operations(role))
        assert crew.operations(role) > 20
