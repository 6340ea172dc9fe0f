"""Layers out of folders of overlayfs: what the kernel put there, and what lies below."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.unit.diff.compared_trees import Thing, lay, make, names_in, pairs, seen, trees, turn

from distore.diff.compare import CompareOptions, Told, compare_layers, from_upper
from distore.errors import DistoreError, FailedPrecondition
from distore.mount import Mount, may_mount, mounting

TRUSTED = b"trusted.overlay."
END = bytes(1024)
may_stack = pytest.mark.skipif(not may_mount(), reason="only root may mount overlayfs")


@contextmanager
def stacked(top: Path, number: int, *lower: Path) -> Iterator[tuple[Path, Path]]:
    """An upper folder and where it is seen with those below it, the uppermost first."""
    upper, work, merged = (top / f"{name}{number}" for name in ("upper", "work", "merged"))
    for folder in (upper, work, merged):
        folder.mkdir()
    upper.chmod(0o755)
    options = (f"lowerdir={':'.join(map(str, lower))}", f"upperdir={upper}", f"workdir={work}", "index=off")
    try:
        with mounting([Mount(type="overlay", source="overlay", target=str(merged), options=options)]):
            yield upper, merged
    except DistoreError as error:
        if not list(upper.iterdir()) and error.args:
            pytest.skip(f"no overlayfs here: {error}")
        raise


def layer_of(upper: Path, *lower: Path, told: Told | None = None) -> bytes:
    pieces = from_upper(
        str(upper), TRUSTED, [str(each) for each in lower], CompareOptions(checksum=True), told=told
    )
    return b"".join(bytes(piece) for piece in pieces)


def layer_over(tree: Path, *lower: Path) -> bytes:
    pieces = compare_layers([str(each) for each in lower], TRUSTED, str(tree), CompareOptions(checksum=True))
    return b"".join(bytes(piece) for piece in pieces)


def without_root_time(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """The time of the root alone makes no layer."""
    found = seen(folder)
    return {name: told[:2] + told[3:] if name == b"" else told for name, told in found.items()}


def assert_shown(ours: Path, merged: Path) -> None:
    """The same trees; but for names of one file that overlayfs shows as files of their own.

    It cannot tell a name that was copied up, and is as it was, from one that was made anew like it:
    neither makes a layer, so that what was one file below is one file again.
    """
    found, wanted = without_root_time(ours), without_root_time(merged)
    assert {name: told[:-1] for name, told in found.items()} == {
        name: told[:-1] for name, told in wanted.items()
    }
    for name, told in wanted.items():
        links, there = told[-1], found[name][-1]
        assert isinstance(links, list) and isinstance(there, list)
        assert set(links) <= set(there), name


@may_stack
@pytest.mark.slow
@pytest.mark.timeout(400)
@given(pairs(), trees())
@settings(max_examples=80, deadline=None)
def test_layers_out_of_uppers_give_what_overlayfs_shows(pair: tuple[Thing, Thing], last: Thing) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        base, plain = make(top / "base", pair[0]), make(top / "plain", pair[0])
        with stacked(top, 1, base) as (first, merged):
            turn(merged, *pair)
            lay(plain, layer_of(first, base))
            assert_shown(plain, merged)
        with stacked(top, 2, first, base) as (second, merged):
            turn(merged, pair[1], last)
            subprocess.run(["cp", "-a", plain, top / "other"], check=True)
            lay(plain, layer_of(second, first, base))
            assert_shown(plain, merged)
            lay(top / "other", layer_over(merged, first, base))
            assert without_root_time(top / "other") == without_root_time(merged)


@may_stack
def test_what_was_copied_up_and_is_as_it_was_makes_no_layer(tmp_path: Path) -> None:
    base = make(tmp_path / "base", Thing(kind="dir", mode=0o755, below={b"a": Thing(kind="file", data=b"x")}))
    told = Told()
    with stacked(tmp_path, 1, base) as (upper, merged):
        (merged / "a").chmod(0o755)
        (merged / "a").chmod((base / "a").stat().st_mode)
        (merged / "gone").write_text("x")
        (merged / "gone").unlink()

        layer = layer_of(upper, base, told=told)

    assert (upper / "a").exists()
    assert (layer, told.changes) == (END, 0)


@may_stack
def test_a_name_that_was_made_one_with_a_new_one_is_told_of_though_its_bytes_are_the_same(
    tmp_path: Path,
) -> None:
    base = make(tmp_path / "base", Thing(kind="dir", mode=0o755, below={b"c": Thing(kind="file", data=b"x")}))
    time = (base / "c").stat().st_mtime_ns
    with stacked(tmp_path, 1, base) as (upper, merged):
        (merged / "c").unlink()
        (merged / "a").write_bytes(b"x")
        os.utime(merged / "a", ns=(time, time))
        (merged / "a").chmod((base / "c").stat().st_mode)
        (merged / "c").hardlink_to(merged / "a")

        lay(base, layer_of(upper, base))

    assert (base / "a").samefile(base / "c")


@may_stack
def test_a_folder_that_was_made_anew_hides_what_lay_below(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "d").mkdir(parents=True)
    (base / "d" / "old").write_text("old")
    shutil.copytree(base, tmp_path / "copy")
    with stacked(tmp_path, 1, base) as (upper, merged):
        shutil.rmtree(merged / "d")
        (merged / "d").mkdir()
        (merged / "d" / "new").write_text("new")

        layer = layer_of(upper, base)

        assert "d/.wh..wh..opq" in names_in(layer)
        assert sorted(os.listdir(lay(tmp_path / "copy", layer) / "d")) == ["new"]


@may_stack
def test_what_refers_to_a_lower_file_is_refused(tmp_path: Path) -> None:
    for number, (name, attribute) in enumerate([("d", "redirect"), ("f", "metacopy")]):
        upper = tmp_path / str(number)
        (upper / "d").mkdir(parents=True)
        (upper / "f").write_text("")
        os.setxattr(upper / name, TRUSTED.decode() + attribute, b"x")

        with pytest.raises(FailedPrecondition, match=attribute):
            layer_of(upper)


def test_whiteouts_of_users_are_attributes(tmp_path: Path) -> None:
    base, upper = tmp_path / "base", tmp_path / "upper"
    for folder in (base, upper):
        (folder / "d").mkdir(parents=True)
        (folder / "d" / "gone").write_text("")
    (base / "d" / "kept").write_text("")
    os.setxattr(upper / "d" / "gone", "user.overlay.whiteout", b"")

    pieces = from_upper(str(upper), b"user.overlay.", [str(base)], CompareOptions())

    assert "d/.wh.gone" in names_in(b"".join(bytes(piece) for piece in pieces))
