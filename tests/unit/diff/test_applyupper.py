"""Layers applied alone: through the overlay they are what applying one over the other gives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, event, given, settings
from tests.unit.diff.applied_trees import lay, layer, member, seen, with_records
from tests.unit.diff.applied_uppers import lay_upper, merge, mounted, settle, stacked
from tests.unit.diff.overlay_layers import Entry, stacks, tar_of

from distore.errors import FailedPrecondition

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount, and see what is mounted")


def wanted(folder: Path, layers: list[bytes]) -> dict[str, tuple[object, ...]] | None:
    """What ``apply`` makes of them; None: it cannot be done."""
    folder.mkdir()
    try:
        for layer in layers:
            lay(folder, layer)
    except FailedPrecondition:
        return None
    return seen(folder)


@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
@given(stack=stacks)
@settings(max_examples=300, deadline=None)
def test_upper_folders_merged_are_the_layers_applied(stack: list[list[Entry]], alone: bool) -> None:
    check_random(stack, alone=alone, mount=False)


@root_only
@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
@given(stack=stacks)
@settings(max_examples=300, deadline=None)
def test_upper_folders_mounted_are_the_layers_applied(stack: list[list[Entry]], alone: bool) -> None:
    check_random(stack, alone=alone, mount=True)


def check_random(stack: list[list[Entry]], *, alone: bool, mount: bool) -> None:
    layers = [tar_of(entries) for entries in stack]
    with tempfile.TemporaryDirectory() as name:
        expected = wanted(Path(name) / "plain", layers)
        if expected is None:
            event("impossible")
            with pytest.raises(FailedPrecondition):
                stacked(Path(name), layers, alone=alone)
            return
        assume(all(path.count("/") < 9 for path in expected))

        assert shown(Path(name), layers, alone=alone, mount=mount) == expected


def shown(folder: Path, layers: list[bytes], *, alone: bool, mount: bool) -> dict[str, tuple[object, ...]]:
    uppers = stacked(folder, layers, alone=alone)
    target = folder / "seen"
    if not mount:
        merge(uppers, target)
        return seen(target)
    target.mkdir()
    with mounted(uppers, target):
        return seen(target)


def e(what: str, path: str, target: str = "", seed: int = 1) -> Entry:
    return Entry(what, path, target, seed)


CASES = {
    "a whiteout in a folder that becomes a link": [
        [e("dir", "c")],
        [e("wh", "b/c/a"), e("sym", "b", "/c")],
    ],
    "a whiteout of a link that names went through": [
        [e("sym", "c", "/")],
        [e("fifo", "c/a"), e("wh", "c/c"), e("file", "c/c")],
    ],
    "a link to a folder below": [
        [e("dir", "e"), e("file", "e/x"), e("sym", "l", "e")],
        [e("file", "l/y"), e("wh", "l/x")],
    ],
    "a hard link to a file below": [
        [e("dir", "d"), e("file", "d/a"), e("link", "d/b", "d/a"), e("link", "c", "d/a"), e("file", "n")],
        [e("link", "x", "d/a"), e("wh", "d/b"), e("link", "y", "n")],
    ],
    "a hard link to a link, a pipe and an empty file below": [
        [e("sym", "l", "a"), e("fifo", "p"), e("file", "f")],
        [e("link", "x/l", "l"), e("link", "x/p", "p"), e("link", "x/f", "f"), e("wh", "p")],
    ],
    "a folder that goes and comes": [
        [e("dir", "d"), e("file", "d/a"), e("dir", "d/e"), e("file", "d/e/x")],
        [e("wh", "d"), e("file", "d/b"), e("file", "d/e/y")],
    ],
    "a folder that loses what it had, told of or not": [
        [e("dir", "d", seed=5), e("dir", "d/e", seed=6), e("file", "d/e/x"), e("file", "d/a")],
        [e("file", "d/e/y"), e("opq", "d"), e("file", "d/f/z")],
    ],
    "a root that loses all": [
        [e("file", "a"), e("dir", "d"), e("file", "d/x"), e("dir", "e"), e("sym", "l", "d")],
        [e("opq", "."), e("file", "b"), e("file", "d/y")],
    ],
    "a file in the place of a folder, and a folder in the place of that": [
        [e("dir", "d"), e("file", "d/a")],
        [e("file", "d"), e("file", "d/b")],
        [e("dir", "d", seed=9)],
    ],
    "whiteouts of nothing": [
        [e("wh", "a"), e("wh", "b/c/d"), e("opq", "b/e")],
        [e("wh", "a"), e("wh", "b/c/d"), e("opq", "b/e"), e("dir", "b", seed=3)],
    ],
    "a link through a folder and out again": [
        [e("sym", "l", "n/../m")],
        [e("file", "l/x"), e("sym", "k", "q/../m"), e("file", "k/y")],
        [e("wh", "n"), e("wh", "q")],
    ],
}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "upon the others"])
@pytest.mark.parametrize("mount", [False, pytest.param(True, marks=root_only)], ids=["merged", "mounted"])
@pytest.mark.parametrize("stack", list(CASES.values()), ids=list(CASES))
def test_cases_are_seen_as_the_layers_applied(
    tmp_path: Path, stack: list[list[Entry]], mount: bool, alone: bool
) -> None:
    layers = [tar_of(entries) for entries in stack]

    expected = wanted(tmp_path / "plain", layers)

    assert expected is not None
    assert shown(tmp_path, layers, alone=alone, mount=mount) == expected


def test_what_only_lower_layers_know_is_settled_or_nothing_is_changed(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    lower.mkdir()
    upper.mkdir()
    lay_upper(lower, tar_of([e("dir", "d"), e("sym", "l", "d")]), [])
    done = lay_upper(upper, tar_of([e("file", "l/x"), e("wh", "q/y")]))
    before = sorted(upper.rglob("*"))

    assert not settle(upper, done, [lower])

    assert sorted(upper.rglob("*")) == before


def test_with_the_layers_below_nothing_is_left_open(tmp_path: Path) -> None:
    done = lay_upper(tmp_path, tar_of([e("file", "d/x"), e("wh", "d/y")]), [])

    assert done.open is None
    assert settle(tmp_path, done, [])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d", "x"]


def test_an_untold_folder_has_all_that_it_has_below(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    lower.mkdir()
    upper.mkdir()
    lay(lower, layer(with_records(member("d", b"5", mode=0o3711, mtime=7), {b"SCHILY.xattr.user.a": b"b"})))

    assert settle(upper, lay_upper(upper, layer(member("d/x"), member("n/x"))), [lower])

    info = (upper / "d").stat()
    assert (info.st_mode & 0o7777, info.st_mtime) == (0o3711, 7)
    assert os.listxattr(upper / "d") == ["user.a"]
    assert ((upper / "n").stat().st_mode & 0o7777, (upper / "n").stat().st_mtime) == (0o755, 0)


@root_only
@pytest.mark.slow
def test_an_ordinary_user_applies_layers_too(tmp_path: Path) -> None:
    layers = [
        layer(member("c", b"5", mode=0o500), member("c/x"), member("c/e", b"5", mode=0), member("f", uid=7)),
        layer(member("c/.wh.x"), member("c/y"), member(".wh.f"), member("c/.wh.q")),
        layer(member("c/.wh..wh..opq"), member("c/z", mode=0o400)),
    ]
    for number, data in enumerate(layers):
        (tmp_path / f"{number}.tar").write_bytes(data)
    script = f"""
import io, os, sys
sys.path.insert(0, {str(Path(__file__).parents[3] / "src")!r})
from distore.diff.applyupper import apply_upper, settle_upper
from distore.diff.entry import ApplyOptions, Devices
options = ApplyOptions(as_root=False, devices=Devices.SKIP)
said = dict(attributes=b"user.overlay.", subject="layer")
apply_upper(io.BytesIO(bytes(1024)), "first", options, **said, lower=[])
layers = [open({str(tmp_path)!r} + f"/{{number}}.tar", "rb") for number in range(3)]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
uppers = []
for number, data in enumerate(layers):
    os.mkdir(str(number))
    done = apply_upper(data, str(number), options, **said)
    assert settle_upper(str(number), done, uppers, options, **said)
    uppers.insert(0, str(number))
"""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "first").mkdir()
    os.chown(folder, 65534, 65534)

    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()
    assert {path.lstat().st_uid for path in folder.glob("[012]/**/*")} == {65534}
    assert sorted(path.name for path in (folder / "1").rglob("*")) == ["c", "f", "x", "y"]
    assert [(folder / "1" / name).stat().st_rdev for name in ("f", "c/x")] == [0, 0]
    assert [(folder / str(n) / "c").stat().st_mode & 0o7777 for n in range(3)] == [0o500] * 3
    assert os.listxattr(folder / "1/c") == []
    assert os.getxattr(folder / "2/c", "user.overlay.opaque") == b"y"
