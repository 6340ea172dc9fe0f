"""Ingests that nobody resumes: dropped after a failure, and by the next run after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.errors import DiskFull
from distore.transfer.newimage import LayerFormat, LayerWriter
from distore.transfer.scratch import FILE, LAYER, drop_forgotten, open_scratch


def refs(store: LocalStore) -> list[str]:
    return sorted(status.ref for status in store.statuses())


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    for kind in (LAYER, FILE):
        open_scratch(store, kind).close()
    for ref in ("new-layer-mine", "new-layer-0123", "layer-sha256:00"):
        store.writer(ref).close()
    with open_scratch(store, LAYER) as written:
        written.write(b"x")

        drop_forgotten(store)

        assert refs(store) == sorted([written.ref, "layer-sha256:00", "new-layer-0123", "new-layer-mine"])


def test_a_layer_that_fails_leaves_nothing_and_says_which_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(str(tmp_path))
    with (
        pytest.raises(DiskFull, match="layer x: making the layer: no space left"),
        LayerWriter(store, LayerFormat(compression=None), subject="layer x") as writer,
    ):
        ref = writer._writer.ref
        raise DiskFull(f"ingest {ref!r}: no space left on device")

    assert refs(store) == []
