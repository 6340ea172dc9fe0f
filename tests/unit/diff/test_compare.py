"""Layers made of what differs between two folders: applied, they give the one out of the other."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.unit.diff.compared_trees import Thing, lay, make, pairs, seen, tar_of, trees

END = bytes(1024)


@pytest.mark.slow
@given(pairs())
@settings(max_examples=250, deadline=None)
def test_a_layer_applied_to_the_lower_tree_gives_the_upper_one(pair: tuple[Thing, Thing]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        lower, upper = make(top / "a", pair[0]), make(top / "b", pair[1])

        layer = tar_of(lower, upper, checksum=True)

        assert seen(lay(lower, layer)) == seen(upper)
        assert tar_of(lower, upper) == END


@pytest.mark.slow
@given(trees())
@settings(max_examples=150, deadline=None)
def test_bytes_depend_on_the_tree_and_not_on_how_it_was_made(tree: Thing) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        first, second = make(top / "a", tree), make(top / "b", tree, backwards=True)

        layer = tar_of(None, first)

        assert layer == tar_of(None, second)
        assert tar_of(first, second) == END
        (top / "c").mkdir()
        assert seen(lay(top / "c", layer)) == seen(first)
