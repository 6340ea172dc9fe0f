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
    check(stack, alone=alone, mount=False)


@root_only
@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
@given(stack=stacks)
@settings(max_examples=300, deadline=None)
def test_upper_folders_mounted_are_the_layers_applied(stack: list[list[Entry]], alone: bool) -> None:
    check(stack, alone=alone, mount=True)


def check(stack: list[list[Entry]], *, alone: bool, mount: bool) -> None:
    layers = [tar_of(entries) for entries in stack]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = wanted(folder / "plain", layers)
        if expected is None:
            event("impossible")
            with pytest.raises(FailedPrecondition):
                stacked(folder, layers, alone=alone)
            return
        assume(all(path.count("/") < 9 for path in expected))

        uppers = stacked(folder, layers, alone=alone)

        if mount:
            (folder / "seen").mkdir()
            with mounted(uppers, folder / "seen") as target:
                assert seen(target) == expected
        else:
            merge(uppers, folder / "seen")
            assert seen(folder / "seen") == expected
