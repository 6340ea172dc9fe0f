"""FileSessions: uploads that another process may go on with."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from distore.oci.digest import Digest
from distore.remotes.sessions import FileSessions, NoSessions, Session

DIGEST = Digest.of(b"blob")
NAME = "registry.example/demo"
SESSION = Session(location="https://registry.example/v2/demo/blobs/uploads/1?sig=secret", offset=7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store" / "uploads"


@pytest.fixture
def sessions(folder: Path) -> FileSessions:
    folder.parent.mkdir()
    return FileSessions(str(folder))


def test_a_session_is_taken_once_by_whoever_comes_first(sessions: FileSessions, folder: Path) -> None:
    sessions.keep(NAME, DIGEST, SESSION)

    assert FileSessions(str(folder)).take(NAME, DIGEST) == SESSION
    assert sessions.take(NAME, DIGEST) is None
    assert list(folder.iterdir()) == []


def test_of_many_that_take_at_once_one_gets_it(sessions: FileSessions) -> None:
    sessions.keep(NAME, DIGEST, SESSION)
    got: list[Session | None] = []
    threads = [threading.Thread(target=lambda: got.append(sessions.take(NAME, DIGEST))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [session for session in got if session] == [SESSION]


def test_a_later_state_takes_the_place_of_an_earlier_one(sessions: FileSessions, folder: Path) -> None:
    sessions.keep(NAME, DIGEST, SESSION)
    sessions.keep(NAME, DIGEST, Session(location=SESSION.location, offset=9))

    assert len(list(folder.iterdir())) == 1
    found = sessions.take(NAME, DIGEST)
    assert found is not None
    assert found.offset == 9


def test_each_repository_and_blob_has_its_own(sessions: FileSessions) -> None:
    sessions.keep(NAME, DIGEST, SESSION)

    assert sessions.take("registry.example/other", DIGEST) is None
    assert sessions.take(NAME, Digest.of(b"other")) is None


def test_nobody_else_may_read_an_address_with_a_signature(sessions: FileSessions, folder: Path) -> None:
    old = os.umask(0)
    try:
        sessions.keep(NAME, DIGEST, SESSION)
    finally:
        os.umask(old)

    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "registry.example" not in file.name


def test_forgetting_the_last_one_removes_the_folder(sessions: FileSessions, folder: Path) -> None:
    other = Digest.of(b"other")
    sessions.keep(NAME, DIGEST, SESSION)
    sessions.keep(NAME, other, SESSION)

    sessions.forget(NAME, DIGEST)
    assert folder.exists()
    sessions.take(NAME, other)
    sessions.forget(NAME, other)
    assert not folder.exists()
    sessions.forget(NAME, other)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"location": 1, "offset": 1}',
        b'{"location": "x", "offset": -1}',
        b'{"location": "x", "offset": "1"}',
        b'{"location": "x", "offset": 1, "more": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_a_damaged_file_is_no_session_and_goes(text: bytes, sessions: FileSessions, folder: Path) -> None:
    sessions.keep(NAME, DIGEST, SESSION)
    (file,) = folder.iterdir()
    file.write_bytes(text)

    assert sessions.take(NAME, DIGEST) is None
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_keeps_nothing_and_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    sessions = FileSessions(str(tmp_path / "file" / "uploads"))

    sessions.keep(NAME, DIGEST, SESSION)

    assert sessions.take(NAME, DIGEST) is None
    sessions.forget(NAME, DIGEST)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_takes_no_writes_keeps_nothing_and_is_no_error(
    sessions: FileSessions, folder: Path
) -> None:
    folder.mkdir()
    folder.chmod(0o500)

    sessions.keep(NAME, DIGEST, SESSION)

    assert sessions.take(NAME, DIGEST) is None
    sessions.forget(NAME, DIGEST)


def test_a_link_that_somebody_laid_is_not_written_through(
    sessions: FileSessions, folder: Path, tmp_path: Path
) -> None:
    sessions.keep(NAME, DIGEST, SESSION)
    (file,) = folder.iterdir()
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    (folder / f"{file.name}.new-{os.getpid()}").symlink_to(target)

    sessions.keep(NAME, DIGEST, SESSION)

    assert target.read_bytes() == b"precious"


def test_without_sessions_every_try_begins_anew() -> None:
    nothing = NoSessions()

    nothing.keep(NAME, DIGEST, SESSION)

    assert nothing.take(NAME, DIGEST) is None
    nothing.forget(NAME, DIGEST)
