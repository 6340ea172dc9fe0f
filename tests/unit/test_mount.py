"""Mounts: what is parsed from mountinfo, and what mount(2) does as root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distore.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from distore.mount import (
    Mount,
    may_mount,
    mount,
    mounting,
    mounts,
    mounts_below,
    mounts_everywhere,
    unmount,
)

mounter = pytest.mark.skipif(not may_mount(), reason="only root may mount")


def bind(source: Path, target: Path, *options: str) -> Mount:
    return Mount(type="", source=str(source), target=str(target), options=("bind", *options))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "a b", tmp_path / "t\\n"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("x")
    return source, target


def test_lines_of_mountinfo_are_read_with_their_escapes(tmp_path: Path) -> None:
    path = tmp_path / "info"
    path.write_text(
        "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
        "short line\n"
        "37 35 0:5 / /p rw - proc proc rw\n"
    )

    first, second = mounts(str(path))

    assert (first.id, first.device, first.root, first.target) == (36, "98:0", "/mnt1", "/mnt 2")
    assert (first.type, first.source, first.options) == ("ext3", "/dev/root", ("rw", "noatime"))
    assert (second.target, second.type) == ("/p", "proc")


def test_this_process_sees_its_own_root() -> None:
    assert any(one.target == "/" for one in mounts())
    assert any(one.target == "/" for one in mounts_everywhere())


def test_a_word_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="a NUL in"):
        mount(Mount(type="", source="a\0b", target=str(tmp_path), options=("bind",)))


def test_more_options_than_a_page_are_refused(tmp_path: Path) -> None:
    options = ("context=" + "x" * 5000,)

    with pytest.raises(ResourceExhausted, match="options of 5008 bytes"):
        mount(Mount(type="tmpfs", source="tmpfs", target=str(tmp_path), options=options))


@mounter
def test_a_bind_mount_is_read_only_until_the_block_ends(folders: tuple[Path, Path]) -> None:
    source, target = folders

    with mounting([bind(source, target, "ro", "nosuid", "nodev", "private")]):
        (found,) = mounts_below(str(target))
        assert {"ro", "nosuid", "nodev"} <= set(found.options)
        assert (target / "file").read_text() == "x"
        with pytest.raises(OSError, match="Read-only"):
            (target / "new").write_text("")

    assert mounts_below(str(target)) == ()
    (source / "new").write_text("")


@mounter
def test_mounts_end_in_the_other_order_when_a_later_one_fails(folders: tuple[Path, Path]) -> None:
    source, target = folders

    with (
        pytest.raises(NotFound, match="none"),
        mounting([bind(source, target), bind(source, target / "none")]),
    ):
        pass

    assert mounts_below(str(target)) == ()


@mounter
def test_a_busy_mount_says_so_and_may_be_taken_away_lazily(folders: tuple[Path, Path]) -> None:
    source, target = folders
    mount(bind(source, target))
    fd = os.open(target / "file", os.O_RDONLY)

    with pytest.raises(Unavailable, match="in use: a process works there"):
        unmount(str(target))
    unmount(str(target), lazy=True)
    os.close(fd)

    assert mounts_below(str(target)) == ()


@mounter
def test_what_is_not_there_is_named(folders: tuple[Path, Path]) -> None:
    source, target = folders

    with pytest.raises(FailedPrecondition, match="nothing is mounted there"):
        unmount(str(target))
    with pytest.raises(NotFound):
        mount(bind(source / "none", target))
    with pytest.raises(Unimplemented, match="no such file system"):
        mount(Mount(type="nonsense", source="x", target=str(target)))
