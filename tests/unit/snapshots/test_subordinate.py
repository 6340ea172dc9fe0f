"""Files of subordinate ids are removed by a process in a namespace that has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from distore.snapshots import filetree, subordinate

USER = "distc"  # has subordinate ids where CI makes them
SOURCE = str(Path(subordinate.__file__).parents[2])
WORK = """
import os, pwd, sys
sys.path.insert(0, sys.argv[1])
from distore._internal.userns import enter, own_maps
from distore.snapshots.subordinate import remove
if not os.fork():
    enter(own_maps(uid=os.geteuid(), gid=os.getegid(), name=pwd.getpwuid(os.geteuid()).pw_name))
    os.makedirs("tree/fs/folder")
    for name in ("tree/fs/folder", "tree/fs"):
        os.chown(name, 33, 33)
    os._exit(0)
os.wait()
assert os.stat("tree/fs/folder").st_uid not in (0, 33, os.geteuid())
remove("tree")
assert not os.path.exists("tree")
"""


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user who may not remove a tree."""

    def remove(_path: str) -> int:
        raise PermissionError(13, "Permission denied", "file")

    monkeypatch.setattr(filetree, "remove", remove)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(subordinate, "in_first", lambda: True)


@pytest.mark.parametrize("status", [0, 1])
def test_what_a_user_may_not_remove_a_process_in_a_namespace_does(
    tmp_path: Path, refused: None, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    asked: list[Sequence[str]] = []

    def run(words: Sequence[str], **_options: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(words)
        return subprocess.CompletedProcess(words, status)

    monkeypatch.setattr(subprocess, "run", run)

    if status:
        with pytest.raises(PermissionError, match="file"):
            subordinate.remove(str(tmp_path))
    else:
        assert subordinate.remove(str(tmp_path)) == 0
    assert str(tmp_path) in asked[0]


def test_root_and_whoever_is_in_a_namespace_get_the_error_itself(
    tmp_path: Path, refused: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_words, **_options: pytest.fail("no process is needed"))

    monkeypatch.setattr(subordinate, "in_first", lambda: False)
    with pytest.raises(PermissionError):
        subordinate.remove(str(tmp_path))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(PermissionError):
        subordinate.remove(str(tmp_path))


def test_what_nobody_may_remove_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        subordinate.remove(str(tmp_path / "none"))


@pytest.mark.slow
def test_files_of_subordinate_ids_are_removed(tmp_path: Path) -> None:
    python, setpriv = "/usr/bin/python3.11", shutil.which("setpriv")
    subuids = Path("/etc/subuid")
    if os.geteuid() != 0 or not (subuids.exists() and USER in subuids.read_text() and setpriv):
        pytest.skip(f"needs root, and a user {USER} with subordinate ids")
    folder = Path("/var/tmp", f"distore-{os.getpid()}")  # tmp_path is root's alone
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    words = [
        setpriv,
        f"--reuid={USER}",
        f"--regid={USER}",
        "--init-groups",
        python,
        "-I",
        "-c",
        WORK,
        SOURCE,
    ]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, check=False, timeout=60)
    finally:
        shutil.rmtree(folder)

    assert done.returncode == 0, done.stderr.decode()
