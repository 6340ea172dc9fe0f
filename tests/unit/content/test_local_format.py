"""The bytes on disk, golden: containerd and older versions of us must read them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.errors import FailedPrecondition, Locked, UnsupportedStore
from distore.oci.digest import Digest

NOW = 1_767_323_045.123456  # 2026-01-02T03:04:05.123456Z
REF = "layer-sha256:ab"
FOLDER = "ingest/" + Digest.of(REF.encode()).encoded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(str(root), command="dist test", now=lambda: NOW)


def tree(root: Path) -> dict[str, str]:
    """Files below root and what is in them."""
    return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


def test_an_ingest_is_laid_down_like_this(store: LocalStore, root: Path) -> None:
    expected = Digest.of(b"hello")
    with store.writer(REF, total=5, expected=expected) as writer:
        writer.write(b"hel")

        files = tree(root)

    lock = files.pop(f"{FOLDER}/lock")
    assert files == {
        f"{FOLDER}/ref": REF,
        f"{FOLDER}/data": "hel",
        f"{FOLDER}/startedat": "2026-01-02T03:04:05.123456Z",
        f"{FOLDER}/updatedat": "2026-01-02T03:04:05.123456Z",
        f"{FOLDER}/total": "5",
        f"{FOLDER}/expected": expected,
    }
    assert lock == (
        f"pid {os.getpid()}\nhost {os.uname().nodename}\ncommand dist test\n"
        "since 2026-01-02T03:04:05.123456Z\n"
    )


def test_a_store_with_one_blob_is_that_blob_and_nothing_else(store: LocalStore, root: Path) -> None:
    with store.writer(REF) as writer:
        writer.write(b"hello")
        digest = writer.commit()

    blob = root / "blobs" / "sha256" / digest.encoded
    assert tree(root) == {f"blobs/sha256/{digest.encoded}": "hello"}
    assert blob.stat().st_mode & 0o7777 == 0o444
    assert sorted(path.name for path in root.iterdir()) == ["blobs", "ingest"]


def test_segments_leave_a_frontier_while_there_are_gaps(store: LocalStore, root: Path) -> None:
    with store.writer(REF) as writer:
        writer.write_at(b"he", 0)
        writer.write_at(b"o", 4)
        assert (root / FOLDER / "frontier").read_text() == "2\n"
        assert store.status(REF).offset == 2

    assert (root / FOLDER / "data").read_bytes() == b"he"
    assert not (root / FOLDER / "frontier").exists()


def test_what_a_crash_left_behind_a_gap_is_cut_off(store: LocalStore, root: Path) -> None:
    store.writer(REF).close()
    (root / FOLDER / "data").write_bytes(b"he\0\0o")
    (root / FOLDER / "frontier").write_text("2")

    assert store.status(REF).offset == 2
    with store.writer(REF) as writer:
        assert writer.offset == 2
        writer.write(b"llo")
        assert writer.commit() == Digest.of(b"hello")


def test_what_a_note_of_the_frontier_tells_of_is_kept_behind_its_gap(store: LocalStore, root: Path) -> None:
    store.writer(REF).close()
    (root / FOLDER / "data").write_bytes(b"he\0\0o!?")
    (root / FOLDER / "frontier").write_text("2 4-6\n9-11\n")

    with store.writer(REF) as writer:
        assert (writer.offset, writer.missing(8)) == (2, [(2, 4), (6, 8)])
        writer.write_at(b"ll", 2)
        assert writer.commit() == Digest.of(b"hello!")


@pytest.mark.parametrize("text", ["2 4-9\n", "2 2-5\n", "2 5-4\n", "2 4\n", "2 x-5\n", "2 4-5x\n"])
def test_an_island_that_cannot_be_is_cut_off(store: LocalStore, root: Path, text: str) -> None:
    store.writer(REF).close()
    (root / FOLDER / "data").write_bytes(b"he\0\0o")
    (root / FOLDER / "frontier").write_text(text)

    with store.writer(REF) as writer:
        assert writer.missing(5) == [(2, 5)]
    assert (root / FOLDER / "data").read_bytes() == b"he"


def test_a_megabyte_behind_a_gap_outlives_the_writer(store: LocalStore, root: Path) -> None:
    far = bytes(range(256)) * 4096
    with store.writer(REF) as writer:
        writer.write_at(far, 5)

    with store.writer(REF) as writer:
        assert (writer.offset, writer.missing(5 + len(far))) == (0, [(0, 5)])
        writer.write(b"hello")
        assert writer.commit() == Digest.of(b"hello" + far)


def test_an_ingest_of_containerd_is_read_and_resumed(store: LocalStore, root: Path) -> None:
    (root / FOLDER).mkdir(parents=True)
    notes = {"ref": REF, "data": "hel", "total": "5"}
    notes |= dict.fromkeys(("startedat", "updatedat"), "2025-12-31T23:59:59.123456789+01:00")
    for name, text in notes.items():
        (root / FOLDER / name).write_text(text)

    status = store.status(REF)
    with store.writer(REF) as writer:
        writer.write(b"lo")
        digest = writer.commit(size=5)

    assert (status.offset, status.total, status.expected) == (3, 5, None)
    assert status.started.isoformat() == "2025-12-31T22:59:59.123456+00:00"
    assert digest == Digest.of(b"hello")


def test_damaged_notes_do_not_stop_a_resume(store: LocalStore, root: Path) -> None:
    store.writer(REF).close()
    for name in ("startedat", "total", "expected", "lock"):
        (root / FOLDER / name).write_bytes(b"\xff\0 nonsense\n")

    status = store.status(REF)

    assert (status.total, status.expected, status.owner) == (None, None, None)
    store.writer(REF).close()


def test_a_blob_of_the_wrong_size_gives_way_to_verified_bytes(store: LocalStore, root: Path) -> None:
    digest = Digest.of(b"hello")
    blob = root / "blobs" / "sha256" / digest.encoded
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"")  # what a power cut leaves of a blob that was renamed and never synced

    with store.writer(REF) as writer:
        writer.write(b"hello")
        writer.commit(expected=digest)

    assert blob.read_bytes() == b"hello"


def test_names_that_are_no_digests_are_no_blobs(store: LocalStore, root: Path) -> None:
    folder = root / "blobs" / "sha256"
    folder.mkdir(parents=True)
    (folder / "junk").write_text("x")
    (folder / ("A" * 64)).write_text("x")
    (folder / ("0" * 63)).write_text("x")
    (folder / ("1" * 64)).mkdir()
    (folder / ("2" * 64)).symlink_to("/etc/hostname")

    assert list(store.walk()) == []
    assert list(store.digests()) == []


def test_a_linked_blob_is_not_followed(store: LocalStore, root: Path) -> None:
    digest = Digest.of(b"x")
    blob = root / "blobs" / "sha256" / digest.encoded
    blob.parent.mkdir(parents=True)
    blob.symlink_to("/etc/hostname")

    with pytest.raises(FailedPrecondition):
        store.reader(digest)


def test_the_database_says_whose_it_is_and_of_which_version(store: LocalStore, root: Path) -> None:
    with store.writer(REF) as writer:
        writer.write(b"hello")
        digest = writer.commit(labels={"a": "b"})
    store.close()

    header = (root / "dist.db").read_bytes()[:100]
    database = sqlite3.connect(root / "dist.db")
    rows = database.execute("SELECT * FROM content_labels").fetchall()
    database.close()

    assert (header[60:64], header[68:72]) == (b"\0\0\0\5", b"dist")
    assert rows == [("default", digest, "a", "b")]


@pytest.mark.parametrize(
    ("pragma", "error"),
    [("user_version = 6", UnsupportedStore), ("application_id = 7", FailedPrecondition)],
)
def test_a_database_that_is_not_of_this_format_is_refused(
    store: LocalStore, root: Path, pragma: str, error: type[Exception]
) -> None:
    with store.writer(REF) as writer:
        writer.commit(labels={"a": "b"})
    store.close()
    database = sqlite3.connect(root / "dist.db")
    database.execute(f"PRAGMA {pragma}")
    database.commit()
    database.close()

    with pytest.raises(error, match="store database"):
        LocalStore(str(root))


def test_a_lock_names_its_owner_and_age(store: LocalStore, root: Path) -> None:
    later = LocalStore(str(root), now=lambda: NOW + 90)
    with store.writer("r"), pytest.raises(Locked) as caught:
        later.writer("r")

    owner = f"pid {os.getpid()} on {os.uname().nodename} (dist test) for 90 s"
    assert str(caught.value) == f"ingest 'r': locked by {owner}"
    assert (caught.value.pid, caught.value.command) == (os.getpid(), "dist test")


@pytest.mark.parametrize("note", ["", "1x", "\0\0"])
def test_a_damaged_note_of_the_frontier_keeps_nothing(store: LocalStore, root: Path, note: str) -> None:
    with store.writer(REF) as writer:
        writer.write(b"hello")
    # As a power cut may leave it: the note has a name, and its bytes never reached the device.
    (root / FOLDER / "frontier").write_text(note)

    assert store.status(REF).offset == 0
    with store.writer(REF) as writer:
        assert writer.offset == 0
