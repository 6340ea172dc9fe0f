"""Traps that another user of the machine, or the author of a folder, lays where files are written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from distore.oci.digest import Digest
from distore.remotes.budget import SharedBudget
from distore.remotes.credentials import Credential
from distore.remotes.logins import keep
from distore.remotes.sessions import FileSessions, Session

NAME = "registry.example/demo"
DIGEST = Digest.of(b"blob")
SESSION = Session(location="https://registry.example/uploads/1?sig=hunter22", offset=7)
SECRET = b"hunter22"


def opened_before(path: Path) -> int:
    """A file that somebody made, let everybody read, and has open."""
    path.touch()
    path.chmod(0o666)
    return os.open(path, os.O_RDONLY)


def test_a_login_is_not_written_into_a_file_that_somebody_else_has_open(tmp_path: Path) -> None:
    spy = opened_before(tmp_path / f"config.json.{os.getpid()}.tmp")

    keep("a.example", Credential(username="bob", secret="hunter22"), [str(tmp_path / "config.json")])

    with os.fdopen(spy, "rb") as file:
        assert file.read() == b""
    assert stat.S_IMODE((tmp_path / "config.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_login_is_never_open_to_others_not_even_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    opened = os.open

    def watched(path: str, flags: int, mode: int = 0o777) -> int:
        fd = opened(path, flags, mode)
        if flags & os.O_CREAT:
            modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return fd

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        keep("a.example", Credential(username="bob", secret="hunter22"), [str(tmp_path / "config.json")])
    finally:
        os.umask(before)

    assert modes == [0o600]


def test_a_session_is_not_written_into_a_file_that_somebody_else_has_open(tmp_path: Path) -> None:
    sessions = FileSessions(str(tmp_path))
    sessions.keep(NAME, DIGEST, SESSION)
    (path,) = tmp_path.iterdir()
    spy = opened_before(tmp_path / f"{path.name}.new-{os.getpid()}")

    sessions.keep(NAME, DIGEST, SESSION)

    with os.fdopen(spy, "rb") as file:
        assert file.read() == b""
    assert sessions.take(NAME, DIGEST) == SESSION


@pytest.mark.parametrize("trap", ["pipe", "link", "folder", "another user's"])
def test_a_session_that_is_no_file_of_ones_own_is_none(
    trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, outside = tmp_path / "uploads", tmp_path / "outside"
    sessions = FileSessions(str(folder))
    sessions.keep(NAME, DIGEST, SESSION)
    (path,) = folder.iterdir()
    path.rename(outside)
    if trap == "pipe":
        os.mkfifo(path)
    elif trap == "link":
        path.symlink_to(outside)
    elif trap == "folder":
        path.mkdir()
    else:
        outside.rename(path)
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    assert sessions.take(NAME, DIGEST) is None


def test_the_notes_on_hosts_follow_no_link_out_of_the_store(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("id_rsa", "letter"):
        (outside / name).write_bytes(SECRET)
        os.utime(outside / name, (now - 1e7, now - 1e7))
    (tmp_path / "hosts").symlink_to(outside)
    naps: list[float] = []
    budget = SharedBudget(str(tmp_path / "hosts"), now=lambda: now, random=lambda: 0.0, sleep=naps.append)

    budget.enter("id_rsa")  # the name of a host that a redirect leads to
    budget.told("evil.example", 429, retry_after=3.0)
    budget.told("letter", 429, retry_after=3.0)

    assert sorted(path.name for path in outside.iterdir()) == ["id_rsa", "letter"]
    assert {path.read_bytes() for path in outside.iterdir()} == {SECRET}
    assert naps == []


def test_what_a_host_asked_for_counts_even_where_it_cannot_be_noted(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    (tmp_path / "outside").mkdir()
    (tmp_path / "hosts").symlink_to(tmp_path / "outside")

    def sleep(seconds: float) -> None:
        nonlocal now
        naps.append(round(seconds, 1))
        now += seconds

    naps: list[float] = []
    budget = SharedBudget(str(tmp_path / "hosts"), now=lambda: now, random=lambda: 0.0, sleep=sleep)

    budget.told("a.example", 429, retry_after=3.0)
    budget.enter("a.example")

    assert naps == [3.0]
