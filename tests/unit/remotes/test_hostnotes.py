"""HostNotes under a SharedBudget: whatever is wrong with the files, it is no error."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.remotes.budgeting import FILE, HOST, Clock, waits

from distore.remotes.budget import SharedBudget


@pytest.mark.parametrize("where", ["none", "no root", "root is a file", "read-only"])
def test_without_a_folder_a_process_remembers_for_itself(
    where: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    folders = {"no root": tmp_path / "gone" / "hosts", "root is a file": tmp_path / "file" / "hosts"}
    folder = None if where == "none" else str(folders.get(where, tmp_path / "hosts"))
    if where == "read-only":
        monkeypatch.setattr("distore._internal.fsops.make_directory", _refuse)
    budget = SharedBudget(folder, now=clock, random=lambda: 0.0, sleep=clock.sleep)

    budget.told(HOST, 429, retry_after=3.0)

    assert waits(budget, clock) == 3.0
    assert waits(budget, clock) == 0.5
    for _ in range(20):
        clock.now += 1
        budget.told(HOST, 200)
    assert waits(budget, clock) == 0.0
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def _refuse(*_arguments: object) -> None:
    raise OSError(30, "read-only file system")


def test_a_file_that_somebody_else_owns_is_heeded_and_left_alone(
    process: Callable[[], SharedBudget], clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process().told(HOST, 429, retry_after=5.0)
    before = (folder / FILE).read_text()
    really = os.open

    def open_(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(13, "permission denied", path)
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", open_)
    budget = process()

    assert waits(budget, clock) == 5.0
    assert waits(budget, clock) == 0.5
    assert (folder / FILE).read_text() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "told nan\nuntil nan\nslot nan\nspacing nan\n",
        "told 1e9\nuntil inf\nslot 1\nspacing 1\n",
        "told 1700000000\nuntil 1800000000\nslot 1700000000\nspacing 1\n",
        "told 1700000000\nuntil 1700000050\nslot 1700000050\nspacing -1\n",
        "told 1700000000\nuntil 1700000050\nslot 1700000050\nspacing 1e300\n",
        "told 1700009999\nuntil 1700010000\nslot 1700010000\nspacing 1\n",  # the clock went back
        "told 1699990000\nuntil 1699990001\nslot 1699990001\nspacing 1\n",  # older than an hour
    ],
)
def test_nonsense_in_the_file_is_removed(text: str, budget: SharedBudget, clock: Clock, folder: Path) -> None:
    folder.mkdir()
    (folder / FILE).write_text(text)

    assert waits(budget, clock) == 0.0

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_something_else_in_the_place_of_the_file_is_no_error(
    kind: str, budget: SharedBudget, clock: Clock, folder: Path
) -> None:
    folder.mkdir()
    path = folder / FILE
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        os.mkfifo(path)

    assert waits(budget, clock) == 0.0
    budget.told(HOST, 429, retry_after=3.0)

    assert waits(budget, clock) == 3.0
    assert not (folder / "elsewhere").exists()


def test_a_file_that_stays_locked_is_done_without(budget: SharedBudget, clock: Clock, folder: Path) -> None:
    budget._notes._sleep = lambda _seconds: None
    budget.told(HOST, 429, retry_after=3.0)
    with (folder / FILE).open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        assert waits(budget, clock) == 3.0
        assert waits(budget, clock) == 0.5


def test_a_host_that_refused_long_ago_is_forgotten_when_another_refuses(
    budget: SharedBudget, clock: Clock, folder: Path
) -> None:
    budget.told("old.example", 429)
    os.utime(folder / "old.example", (clock.now - 100_000, clock.now - 100_000))

    budget.told(HOST, 429)

    assert [path.name for path in folder.iterdir()] == [FILE]
