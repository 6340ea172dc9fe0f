"""Snapshots whose process dies before any step: no record without its files, and what is left goes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from distore._internal import fsops
from distore.content.local.store import LocalStore
from distore.errors import DataLoss
from distore.metadata.db import Metadata
from distore.snapshots.driver import Driver
from distore.snapshots.snapshotter import Kind, Snapshotter
from distore.testing import faults

DRIVERS = ("overlayfs", "native")
ROOT = {"containerd.io/gc.root": "1"}


def make(root: Path, driver: str) -> tuple[LocalStore, Driver]:
    """A committed snapshot with a file, one upon it, and an active one on that."""
    store = LocalStore(str(root))
    snapshots = Metadata(store, command="t").snapshotter(driver)
    assert isinstance(snapshots, Driver)
    for name, parent in (("a", None), ("b", "a")):
        snapshots.prepare("x", parent)
        Path(files(snapshots, "x"), f"file of {name}").write_text(name)
        snapshots.commit(name, "x")
    snapshots.prepare("active", "b", labels=ROOT)
    return store, snapshots


def files(snapshots: Driver, key: str) -> str:
    return snapshots._folders.files(snapshots._records.get(key).id)


def check_whole(snapshots: Driver, driver: str) -> None:
    """Every record has the files that it had, or was to have."""
    for info in snapshots.walk():
        folder = files(snapshots, info.name)
        names = sorted(os.listdir(folder))
        if info.name in ("a", "b"):
            below = {"a": ["file of a"], "b": ["file of a", "file of b"]}[info.name]
            assert names == ([f"file of {info.name}"] if driver == "overlayfs" else below)
        if info.kind == Kind.ACTIVE and driver == "overlayfs":
            assert os.path.isdir(os.path.join(os.path.dirname(folder), "work"))
        if info.kind != Kind.COMMITTED:
            assert snapshots.mounts(info.name)


def check_clean(snapshots: Driver) -> None:
    """There are the folders of the records, and no others."""
    snapshots.cleanup()
    known = {str(each) for each in snapshots._records.ids()} | {"attributes"}
    assert set(os.listdir(snapshots._folders.path)) | {"attributes"} == known


def prepare(snapshots: Snapshotter) -> None:
    snapshots.prepare("new", "b", labels=ROOT)


def view(snapshots: Snapshotter) -> None:
    snapshots.view("new", "a", labels=ROOT)


def commit(snapshots: Snapshotter) -> None:
    snapshots.commit("c", "active", labels=ROOT)


def remove(snapshots: Snapshotter) -> None:
    snapshots.remove("active")


ACTS: dict[str, tuple[Callable[[Snapshotter], None], set[str], set[str]]] = {  # names before and after
    "prepare": (prepare, {"a", "b", "active"}, {"a", "b", "active", "new"}),
    "view": (view, {"a", "b", "active"}, {"a", "b", "active", "new"}),
    "commit": (commit, {"a", "b", "active"}, {"a", "b", "c"}),
    "remove": (remove, {"a", "b", "active"}, {"a", "b"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("act", ACTS)
def test_a_crash_before_any_step_leaves_the_state_before_or_after(
    tmp_path: Path, act: str, driver: str, count: Callable[[str, int], None]
) -> None:
    do, before, after = ACTS[act]
    seen = set()
    for number in itertools.count(1):
        store, snapshots = make(tmp_path / str(number), driver)
        with faults.crash_before(number):
            try:
                do(snapshots)
            except faults.Crash:
                pass
            else:
                break
        names = {one.name for one in snapshots.walk()}
        seen.add(names == after)
        assert names in (before, after)
        check_whole(snapshots, driver)

        check_clean(snapshots)

        check_whole(snapshots, driver)
        if names == before:
            do(snapshots)  # and it can be done again
        assert {one.name for one in snapshots.walk()} == after
        check_whole(snapshots, driver)
        check_clean(snapshots)
        store.close()
    assert {one.name for one in snapshots.walk()} == after
    store.close()

    assert number > 1
    assert False in seen or act == "remove"  # whose record goes before anything else
    count(f"crash before each step of {act} ({driver})", number - 1)


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_collector_that_dies_leaves_nothing_half_and_the_next_pass_ends_it(
    tmp_path: Path, driver: str, count: Callable[[str, int], None]
) -> None:
    for number in itertools.count(1):
        store, snapshots = make(tmp_path / str(number), driver)
        snapshots.prepare("kept", "a", labels=ROOT)
        snapshots.update(replace(snapshots.stat("active"), labels={}))
        store.database.change("UPDATE snapshots SET created = 1")  # none is young
        metadata = Metadata(store, command="t")
        with faults.crash_before(number):
            try:
                metadata.collect()
            except faults.Crash:
                pass
            else:
                break
        store.close()
        store.database.change("INSERT INTO gc_run VALUES (1)")  # a process that dies leaves it
        check_whole(snapshots, driver)

        metadata.collect()

        assert [one.name for one in snapshots.walk()] == ["a", "kept"]
        check_whole(snapshots, driver)
        assert len(os.listdir(snapshots._folders.path)) == 2 + (driver == "overlayfs")
        store.close()
    assert [one.name for one in snapshots.walk()] == ["a", "kept"]
    store.close()

    assert number > 5
    count(f"crash before each step of a collection of snapshots ({driver})", number - 1)


@pytest.mark.parametrize("driver", DRIVERS)
def test_files_are_on_the_disk_before_the_record_of_a_commit(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, snapshots = make(tmp_path / "s", driver)
    seen = []
    original = fsops.sync_file_system

    def watching(path: str) -> None:
        seen.append(sorted(one.name for one in snapshots.walk("kind==committed")))
        original(path)

    monkeypatch.setattr(fsops, "sync_file_system", watching)

    commit(snapshots)

    assert seen == [["a", "b"]]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_new_folder_is_on_the_disk_before_its_record(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, snapshots = make(tmp_path / "s", driver)
    with faults.record() as steps:
        snapshots.prepare("empty")
    folder = os.path.dirname(files(snapshots, "empty"))

    synced = [step.arguments[0] for step in steps if step.name == "sync_directory"]
    assert synced[-2:] == [folder, os.path.dirname(folder)]

    monkeypatch.setattr(fsops, "sync_directory", _failing)
    with pytest.raises(OSError, match="stop"):
        snapshots._folders.sync(1)


def _failing(_path: str) -> None:
    raise OSError(5, "stop")


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_record_goes_before_the_files(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, snapshots = make(tmp_path / "s", driver)
    seen = []
    original = fsops.rename

    def watching(source: str, target: str) -> None:
        seen.append([one.name for one in snapshots.walk()])
        original(source, target)

    monkeypatch.setattr(fsops, "rename", watching)

    remove(snapshots)

    assert seen[0] == ["a", "b"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_disk_that_fails_to_take_the_files_leaves_the_snapshot_active(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, snapshots = make(tmp_path / "s", driver)
    monkeypatch.setattr(fsops, "sync_file_system", _failing)

    with pytest.raises(DataLoss, match="snapshot active"):
        commit(snapshots)

    assert snapshots.stat("active").kind == Kind.ACTIVE
