"""The power goes after every step: whatever the disk kept, no blob is wrong and a resume ends it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distore._internal import fsops
from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists, DigestMismatch
from distore.oci.digest import Digest
from distore.testing import faults

if TYPE_CHECKING:
    from collections.abc import Callable

BLOB = bytes(range(256)) * 256
DIGEST = Digest.of(BLOB)
PIECE = 20_000


def ingest(root: str) -> None:
    store = LocalStore(root)
    try:
        with store.writer("a", total=len(BLOB), expected=DIGEST) as writer:
            for start in range(writer.offset, len(BLOB), PIECE):
                writer.write(BLOB[start : start + PIECE])
            writer.commit(expected=DIGEST)
    except AlreadyExists:
        return


def segments(root: str) -> None:
    try:
        with LocalStore(root).writer("a", total=len(BLOB), expected=DIGEST) as writer:
            for start in reversed(range(writer.offset, len(BLOB), PIECE)):
                writer.write_at(BLOB[start : start + PIECE], start)
            writer.commit(expected=DIGEST)
    except AlreadyExists:
        return


def again(root: str) -> None:
    """What a download does: resume, and once start over when the kept bytes were damaged."""
    try:
        ingest(root)
    except DigestMismatch:
        with LocalStore(root).writer("a") as writer:
            writer.truncate()
        ingest(root)


def cuts(scenario: Callable[[str], None], base: Path) -> int:
    """Every cut and outcome of a scenario; the number of cases. Raises on a wrong blob."""
    root = base / "store"
    base.mkdir()
    with faults.record() as steps:
        scenario(str(root))
    cases = 0
    for count in range(len(steps) + 1):
        for names, data in faults.PowerCut.OUTCOMES:
            shutil.rmtree(root, ignore_errors=True)
            disk = faults.PowerCut()
            for step in steps[:count]:
                disk.apply(step)
            disk.restore(str(base), names=names, data=data)
            cases += 1
            where = f"after {count} steps, names {names}, bytes {data}"
            store = LocalStore(str(root))
            for digest in store.digests():
                with store.reader(digest) as reader:
                    assert Digest.of(reader.read_at(reader.size, 0)) == digest, where
            again(str(root))
            with store.reader(DIGEST) as reader:
                assert reader.read_at(reader.size, 0) == BLOB, where
    return cases


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [ingest, segments], ids=lambda f: f.__name__)
def test_no_power_cut_leaves_a_wrong_blob(
    scenario: Callable[[str], None], tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    cases = cuts(scenario, tmp_path / "base")

    assert cases > 80
    count(f"power cut after each step of {scenario.__name__}", cases)


def test_after_a_commit_a_power_cut_loses_nothing(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    root = base / "store"
    with faults.record() as steps:
        ingest(str(root))
    shutil.rmtree(root)
    disk = faults.PowerCut()
    for step in steps:
        disk.apply(step)

    disk.restore(str(base), names="lost", data="lost")

    assert LocalStore(str(root)).info(DIGEST).size == len(BLOB)


def test_the_replay_would_catch_a_commit_without_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsops, "sync_file", os.fstat)

    def unsafe(root: str) -> None:
        ingest(root)

    real = faults.PowerCut.apply
    monkeypatch.setattr(
        faults.PowerCut, "apply", lambda self, step: None if step.name == "sync_file" else real(self, step)
    )

    with pytest.raises(AssertionError, match="after"):
        cuts(unsafe, tmp_path / "base")
