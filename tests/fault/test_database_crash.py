"""The database under everything that goes wrong: crashes within a rebuild, kills, many processes."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.errors import DistoreError, FailedPrecondition
from distore.metadata.rebuild import rebuild
from distore.oci.digest import Digest
from distore.testing import faults

NOW = 1_767_323_045.123456
LABELS = {"a": "b"}
BLOB = Digest.of(b"hello")


def damaged(root: Path, *, log: bool) -> None:
    """A store with a label, its database with a bad first page; with ``log``, the label only there."""
    store = LocalStore(str(root))
    with store.writer("r") as writer:
        writer.write(b"hello")
        writer.commit(labels=LABELS)
    database, beside = Path(store.paths.database), Path(f"{store.paths.database}-wal")
    data, tail = database.read_bytes(), beside.read_bytes()
    store.close()
    if log:
        database.write_bytes(data)
        beside.write_bytes(tail)
    with database.open("r+b") as file:
        file.write(bytes(100))


@pytest.mark.slow
@pytest.mark.parametrize("log", [False, True], ids=["no log", "log"])
def test_a_rebuild_that_dies_before_any_step_loses_nothing_and_a_second_run_ends_it(
    tmp_path: Path, count: Callable[[str, int], None], *, log: bool
) -> None:
    cases = 0
    for number in itertools.count(1):
        root = tmp_path / str(number)
        damaged(root, log=log)
        with faults.crash_before(number):
            try:
                rebuild(str(root), now=NOW)
            except faults.Crash:
                pass
            else:
                break
        cases += 1

        # Whoever comes now is refused, or finds everything: never an old state, never another's log.
        try:
            store = LocalStore(str(root))
        except FailedPrecondition as error:
            assert "dist db rebuild" in str(error)
            rebuild(str(root), now=NOW + 1)
            store = LocalStore(str(root))
        assert store.info(BLOB).labels == LABELS
        assert store.records.damage() is None
        store.close()
        names = {path.name for path in root.iterdir()} - {"blobs", "ingest", "dist.db", "dist.db.rebuild"}
        assert all(name.startswith("dist.db.damaged-") for name in names), names

    assert cases >= 8
    count(f"crash before each step of a rebuild with{'' if log else 'out'} a log", cases)


@pytest.mark.slow
@pytest.mark.parametrize("code", [5, 28, 30], ids=["EIO", "ENOSPC", "EROFS"])
def test_an_error_at_any_step_of_a_rebuild_is_told_and_a_second_run_ends_it(
    tmp_path: Path, code: int, count: Callable[[str, int], None]
) -> None:
    cases = 0
    for number in itertools.count(1):
        root = tmp_path / str(number)
        damaged(root, log=True)
        with faults.fail_at(number, code) as tried:
            try:
                rebuild(str(root), now=NOW)
            except DistoreError as error:
                assert "\n" not in str(error)
        if len(tried) < number:
            break
        cases += 1

        rebuild(str(root), now=NOW + 1)
        store = LocalStore(str(root))
        assert store.info(BLOB).labels == LABELS
        store.close()

    assert cases >= 8
    count(f"errno {code} at each step of a rebuild", cases)


WORK = """
import sys, time
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci.descriptor import Descriptor
root, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = LocalStore(root, command="dist test")
metadata = Metadata(store, command="dist test")
for n in range(rounds):
    with metadata.leased("test") as content:
        with content.writer(f"{me}-{n}") as writer:
            writer.write(f"{me}-{n}".encode())
            digest = writer.commit(labels={"by": me})
        content.update(content.info(digest)._replace(labels={"k": str(n)}), "labels.k")
        target = Descriptor(media_type="application/x", digest=digest, size=len(f"{me}-{n}"))
        metadata.images.put(f"registry.example/{me}:{n}", target)
"""


@pytest.mark.slow
def test_fifty_processes_on_a_new_store_all_succeed_and_lose_nothing(
    tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    root, processes, rounds = tmp_path / "store", 50, 4
    began = time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, "-I", "-c", WORK, str(root), f"p{n}", str(rounds)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]

    errors = [process.communicate(timeout=100)[1] for process in running]

    assert errors == [""] * processes
    store = LocalStore(str(root))
    wanted = {
        Digest.of(f"p{n}-{m}".encode()): {"by": f"p{n}", "k": str(m)}
        for n in range(processes)
        for m in range(rounds)
    }
    assert {info.digest: dict(info.labels) for info in store.walk()} == wanted
    names = {
        (str(name), str(digest)) for name, digest in store.database.query("SELECT name, digest FROM images")
    }
    assert names == {
        (f"registry.example/p{n}:{m}", Digest.of(f"p{n}-{m}".encode()))
        for n in range(processes)
        for m in range(rounds)
    }
    assert (
        store.database.query("SELECT * FROM leases")
        == store.database.query("SELECT * FROM lease_resources")
        == []
    )
    assert store.records.damage() is None
    store.close()
    # A lease, its resource, the commit with its label, the label, the image, the end: in each round.
    rate = 6 * processes * rounds / (time.monotonic() - began)
    count(
        f"transactions of {processes} processes, {rate:.0f} a second with their start", 6 * processes * rounds
    )


@pytest.mark.slow
def test_processes_killed_at_any_moment_leave_a_sound_database(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for n in range(12):
        command = [sys.executable, "-I", "-c", WORK, str(root), f"p{n}", "1000"]
        pair = [subprocess.Popen([*command[:-2], f"{command[-2]}{each}", command[-1]]) for each in "ab"]
        with pytest.raises(subprocess.TimeoutExpired):
            pair[0].wait(0.3 + n / 20)
        for process in pair:
            process.send_signal(signal.SIGKILL)
            process.wait()

        store = LocalStore(str(root))
        assert store.records.damage() is None
        for (text,) in store.database.query("SELECT digest FROM images"):
            store.info(Digest(str(text)))  # no name before its blob
        store.close()

    store = LocalStore(str(root))
    assert len(store.database.query("SELECT 1 FROM images")) > 10
    store.close()
