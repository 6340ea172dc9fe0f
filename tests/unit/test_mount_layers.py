"""Overlays of many layers, and of folders with odd names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distore._internal import mountapi
from distore.errors import NotFound, ResourceExhausted
from distore.mount import Mount, escaped, may_mount, mount, mounting, mounts_below

mounter = pytest.mark.skipif(not may_mount(), reason="only root may mount")
ODD = "co,m:ma\\s 'x'"


def overlay(root: Path, count: int, *, writable: bool = True) -> Mount:
    """An overlay of ``count`` layers with a file each."""
    lowers = []
    for number in range(count):
        lower = root / f"{number}" / "fs"
        lower.mkdir(parents=True)
        (lower / f"file-{number}").touch()
        lowers.append(escaped(str(lower), colon=True))
    for name in ("upper", "work", "target"):
        (root / name).mkdir()
    options = [f"lowerdir={':'.join(lowers)}"]
    if writable:
        options += [f"upperdir={escaped(str(root / 'upper'))}", f"workdir={escaped(str(root / 'work'))}"]
    target = str(root / "target")
    return Mount(type="overlay", source="overlay", target=target, options=("index=off", *options))


def check(root: Path, count: int) -> None:
    """The overlay shows all files, and takes new ones."""
    (root / "target" / "new").touch()
    assert (root / "upper" / "new").exists()
    assert len(os.listdir(root / "target")) == count + 1


@mounter
@pytest.mark.parametrize("count", [2, 150, pytest.param(300, marks=pytest.mark.slow)])
def test_layers_lie_on_each_other_however_many_there_are(tmp_path: Path, count: int) -> None:
    with mounting([overlay(tmp_path, count)]):
        check(tmp_path, count)

    assert mounts_below(str(tmp_path)) == ()


@mounter
@pytest.mark.parametrize("count", [3, 120])
def test_names_may_have_commas_colons_and_backslashes(tmp_path: Path, count: int) -> None:
    root = tmp_path / ODD
    root.mkdir()

    with mounting([overlay(root, count)]):
        check(root, count)


@mounter
@pytest.mark.parametrize("by_layers", [True, False])
def test_paths_may_be_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_layers: bool) -> None:
    root = tmp_path / ("a" * 200) / ("b" * 200) / ODD
    root.mkdir(parents=True)
    if not by_layers:
        monkeypatch.setattr(mountapi, "mount_layers", lambda _overlay: False)

    with mounting([overlay(root, 20)]):
        check(root, 20)


@mounter
def test_a_kernel_that_takes_no_layers_one_by_one_gets_short_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mountapi, "mount_layers", lambda _overlay: False)
    here = os.getcwd()

    with mounting([overlay(tmp_path, 150)]):
        check(tmp_path, 150)

    assert os.getcwd() == here


@mounter
def test_a_kernel_that_takes_no_descriptors_gets_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = mountapi._set

    def refusing(context: int, command: int, key: str | None, value: str | None, number: int) -> None:
        if command == mountapi._SET_FD:
            raise OSError(22, "Invalid argument")
        original(context, command, key, value, number)

    monkeypatch.setattr(mountapi, "_set", refusing)

    with mounting([overlay(tmp_path, 150)]):
        check(tmp_path, 150)


@mounter
def test_a_read_only_overlay_of_many_layers_takes_no_writes(tmp_path: Path) -> None:
    what = overlay(tmp_path, 150, writable=False)
    what = Mount(
        type=what.type, source=what.source, target=what.target, options=("ro", "nosuid", *what.options)
    )

    with mounting([what]):
        (found,) = mounts_below(str(tmp_path))
        assert {"ro", "nosuid"} <= set(found.options)
        with pytest.raises(OSError, match="Read-only"):
            (tmp_path / "target" / "new").touch()


def test_more_layers_than_overlayfs_takes_are_refused_by_number(tmp_path: Path) -> None:
    lowers = ":".join(["/x"] * 501)
    what = Mount(type="overlay", source="overlay", target=str(tmp_path), options=(f"lowerdir={lowers}",))

    with pytest.raises(ResourceExhausted, match="501 layers; overlayfs takes 500"):
        mount(what)


@mounter
def test_a_layer_that_is_missing_is_named(tmp_path: Path) -> None:
    what = overlay(tmp_path, 150)
    (tmp_path / "77" / "fs" / "file-77").unlink()
    (tmp_path / "77" / "fs").rmdir()

    with pytest.raises(NotFound, match="/77/fs"):
        mount(what)
    assert mounts_below(str(tmp_path)) == ()


@mounter
def test_mountinfo_tells_the_layers_of_an_overlay(tmp_path: Path) -> None:
    with mounting([overlay(tmp_path, 2)]):
        (found,) = mounts_below(str(tmp_path))

    assert f"upperdir={tmp_path}/upper" in found.super_options


def test_a_path_is_escaped_for_where_it_stands() -> None:
    assert escaped("a,b:c\\d") == "a\\,b:c\\\\d"
    assert escaped("a,b:c\\d", colon=True) == "a\\,b\\:c\\\\d"
    assert mountapi.plain(escaped("a,b:c\\d", colon=True)) == "a,b:c\\d"
    assert mountapi.split("a\\:b:c\\\\:d", ":") == ["a\\:b", "c\\\\", "d"]
