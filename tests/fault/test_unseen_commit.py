"""A process that is killed between the last two steps of a commit: the log is written, its index is not."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
from pathlib import Path

import pytest

from distore.content.local.database import Database

HEADER = 96  # bytes of the index that say where the log ends (sqlite.org/walformat.html)
COUNT = "SELECT count(*) FROM namespaces"


def killed_in_commit(path: Path) -> None:
    """In another process: commit a row, but leave the index as it was before."""
    child = os.fork()
    if child == 0:
        database = Database(str(path), ensure_folder=lambda: None)
        database.query(COUNT)
        with open(f"{path}-shm", "r+b") as file, mmap.mmap(file.fileno(), 0) as index:
            before = index[:HEADER]
            database.change("INSERT INTO namespaces VALUES ('unseen', 0)")
            index[:HEADER] = before
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def recovered(path: Path, copy: Path) -> int:
    """Rows after a recovery, which reads the whole log."""
    for end in ("", "-wal"):
        shutil.copyfile(f"{path}{end}", f"{copy}{end}")
    again = Database(str(copy), ensure_folder=lambda: None)
    try:
        return int(str(again.query(COUNT)[0][0]))
    finally:
        again.close()


@pytest.mark.parametrize("settled", [False, True])
def test_what_nobody_saw_comes_to_light_unless_the_database_was_settled(
    tmp_path: Path, settled: bool
) -> None:
    path = tmp_path / "dist.db"
    database = Database(str(path), ensure_folder=lambda: None)
    database.change("INSERT INTO namespaces VALUES ('seen', 0)")
    killed_in_commit(path)
    assert database.query(COUNT) == [(1,)]

    if settled:
        database.settle()

    assert recovered(path, tmp_path / "copy.db") == (1 if settled else 2)
    database.close()


def test_settling_a_store_without_a_database_makes_none(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "dist.db"), ensure_folder=lambda: None)

    database.settle()

    assert not list(tmp_path.iterdir())
