"""Stores that somebody else has put his hands on, and files that change while fsck looks at them."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from distore._internal import fsops
from distore.content.local import repair, tree
from distore.content.local.problem import file_of
from distore.content.local.store import LocalStore
from distore.errors import DataLoss, DiskFull, DistoreError, FailedPrecondition, ReadOnly
from distore.oci.digest import Digest

DATA = b"right bytes"
DIGEST = Digest.of(DATA)


def put(store: LocalStore, data: bytes = DATA) -> Path:
    with store.writer("r") as writer:
        writer.write(data)
        return Path(store.paths.blob(writer.commit()))


def damaged(store: LocalStore) -> Path:
    path = put(store)
    path.chmod(0o644)
    path.write_bytes(b"wrong bytes")
    path.chmod(0o444)
    return path


def renewed(path: Path) -> None:
    """Right bytes in the place, by rename as a commit does it, dated to be told from the others."""
    new = path.with_name("new")
    new.write_bytes(DATA)
    os.utime(new, (1, 1))
    new.rename(path)


@pytest.mark.timeout(10)
def test_a_link_to_nowhere_in_the_place_of_an_ingest_is_not_waited_for(store: LocalStore) -> None:
    put(store)
    os.makedirs(store.paths.ingests, exist_ok=True)
    os.symlink("nowhere", store.paths.ingest("r").folder)

    with pytest.raises(DistoreError, match="ingest 'r'"):
        store.writer("r")


@pytest.mark.timeout(10)
def test_a_pipe_in_the_place_of_the_database_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dist.db")

    with pytest.raises(FailedPrecondition, match="not an SQLite file"):
        LocalStore(str(tmp_path))


def test_rows_that_are_no_digests_hide_no_blob_of_a_namespace(store: LocalStore) -> None:
    other = store.view(namespace="other")
    put(other)
    store.database.change("INSERT INTO content (digest, namespace) VALUES ('../../x', 'other')")

    assert list(other.digests()) == [DIGEST]
    assert [info.digest for info in other.walk()] == [DIGEST]


def test_a_store_that_takes_no_mark_of_another_namespace_is_named(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: str) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    put(store)
    monkeypatch.setattr(fsops, "open_file", read_only)

    with pytest.raises(ReadOnly, match=f"^store {store.root}: read-only"):
        store.view(namespace="other").writer("r")


def test_names_in_quarantine_that_are_no_digests_are_passed_over(store: LocalStore) -> None:
    folder = Path(store.paths.quarantine, "sha256")
    folder.mkdir(parents=True)
    for name in ("z" * 64, DIGEST.encoded, "x"):
        (folder / f"{name}.20260102T030405.000000Z").touch()

    assert list(tree.quarantined(store.paths)) == [DIGEST]


def test_a_blob_that_came_anew_with_the_number_of_the_damaged_one_is_not_quarantined(
    store: LocalStore,
) -> None:
    path = damaged(store)
    there = file_of(path.lstat())
    renewed(path)
    same_inode = (path.lstat().st_ino, there[1])

    assert not repair.quarantine(store, DIGEST, same_inode)
    assert path.read_bytes() == DATA


def test_a_blob_that_comes_between_look_and_rename_gets_its_place_back(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = damaged(store)
    rename = fsops.rename

    def late(source: str, target: str) -> None:
        renewed(path)
        rename(source, target)

    monkeypatch.setattr(fsops, "rename", late)

    assert not repair.quarantine(store, DIGEST, file_of(path.lstat()))
    assert path.read_bytes() == DATA
    assert list(tree.quarantined(store.paths)) == []


def test_a_damaged_blob_that_others_kept_a_link_of_is_quarantined(store: LocalStore) -> None:
    path = damaged(store)
    there = file_of(path.lstat())

    repair.keep(store, DIGEST, there)

    assert repair.quarantine(store, DIGEST, there)
    assert not path.exists()


def test_no_room_for_the_files_of_sqlite_is_a_full_disk_and_says_what_helps(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store)
    store.database.change("DELETE FROM leases")

    def full(*_: object) -> None:
        error = sqlite3.OperationalError(os.strerror(errno.EIO))
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
        raise error

    with pytest.raises(DiskFull, match="dist prune ingests"), closing(store), store.database.transaction():
        full()


def test_text_that_is_none_is_damage(store: LocalStore) -> None:
    store.database.change("INSERT INTO settings VALUES ('k', CAST(x'ff' AS TEXT))")

    with pytest.raises(DataLoss, match="dist db rebuild"):
        store.database.query("SELECT value FROM settings")
