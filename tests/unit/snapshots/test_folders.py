"""Folders of snapshots: claimed while they are made, and removed when nobody needs them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distore.snapshots.folders import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(str(tmp_path / "snapshots" / "driver"))


def nobody(_id: int) -> bool:
    return False


@contextmanager
def claimed(path: str) -> Iterator[None]:
    """As another process that works on the folder."""
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


def test_folders_are_closed_to_others_whatever_the_umask(folders: Folders) -> None:
    before = os.umask(0o077)
    try:
        with folders.new(1, nobody) as id:
            pass
    finally:
        os.umask(before)

    for path, mode in (
        (os.path.dirname(folders.path), 0o700),
        (folders.path, 0o700),
        (os.path.join(folders.path, str(id)), 0o700),
        (folders.files(id), 0o755),
    ):
        assert os.stat(path).st_mode & 0o777 == mode, path


def test_a_number_that_is_taken_by_a_folder_or_a_record_is_passed_over(folders: Folders) -> None:
    with folders.new(5, nobody) as first, folders.new(5, lambda id: id == 6) as second:
        assert (first, second) == (5, 7)


def test_a_folder_that_is_being_made_is_not_swept(folders: Folders) -> None:
    with folders.new(1, nobody) as id:
        assert folders.sweep(set, nobody) == 0
        assert os.path.isdir(folders.files(id))

    assert folders.sweep(set, nobody) > 0
    assert os.listdir(folders.path) == []


def test_other_spellings_of_a_number_are_nobodys(folders: Folders) -> None:
    with folders.new(7, nobody) as id:
        for name in ("007", "\u0667"):
            os.mkdir(os.path.join(folders.path, name))

        assert folders.sweep(set, nobody) == 0

        assert os.path.isdir(folders.files(id))
    assert sorted(os.listdir(folders.path)) == ["007", "7", "\u0667"]


def test_one_whose_record_came_since_is_not_swept(folders: Folders) -> None:
    with folders.new(1, nobody) as id:
        pass

    assert folders.sweep(set, lambda asked: asked == id) == 0
    assert os.path.isdir(folders.files(id))


def test_one_that_another_process_removes_is_left_to_it(folders: Folders) -> None:
    with folders.new(1, nobody) as id:
        pass
    with claimed(os.path.join(folders.path, str(id))):
        assert folders.remove(id, used=set(), is_known=nobody) == 0
        assert folders.sweep(set, nobody) == 0

    assert os.path.isdir(folders.files(id))


def test_a_number_that_another_snapshot_has_by_then_is_left_to_it(folders: Folders) -> None:
    with folders.new(1, nobody) as id:
        pass

    assert folders.remove(id, used=set(), is_known=lambda asked: asked == id) == 0
    assert os.path.isdir(folders.files(id))


def test_one_that_is_mounted_stays(folders: Folders) -> None:
    with folders.new(1, nobody) as id:
        pass

    assert folders.remove(id, used={id}, is_known=nobody) == 0
    assert os.path.isdir(folders.files(id))
    assert folders.remove(id, used=set(), is_known=nobody) > 0
    assert folders.remove(id, used=set(), is_known=nobody) == 0


def test_what_cannot_be_filled_goes_again(folders: Folders) -> None:
    with pytest.raises(RuntimeError), folders.new(1, nobody) as id:
        Path(folders.files(id), "part").touch()
        raise RuntimeError

    assert os.listdir(folders.path) == []


def test_what_has_a_record_by_then_stays_when_the_block_is_interrupted(folders: Folders) -> None:
    known: set[int] = set()
    with pytest.raises(KeyboardInterrupt), folders.new(1, known.__contains__) as id:
        known.add(id)
        raise KeyboardInterrupt

    assert os.path.isdir(folders.files(id))


def test_a_number_comes_again_while_its_last_folder_is_still_going(folders: Folders) -> None:
    (Path(folders.path) / "1.gone" / "fs").mkdir(parents=True)
    with folders.new(1, nobody) as id:
        pass

    assert folders.remove(id, used=set(), is_known=nobody) > 0

    assert os.listdir(folders.path) == ["1.gone"]


def test_a_driver_without_snapshots_has_nothing_to_sweep(folders: Folders) -> None:
    assert folders.sweep(set, nobody) == 0
    assert not os.path.exists(folders.path)
