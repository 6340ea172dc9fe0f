"""Layers applied alone: through the overlay they are what applying one over the other gives."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, event, given, settings
from tests.unit.diff.applied_trees import lay, seen
from tests.unit.diff.applied_uppers import merge, mounted, stacked
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
