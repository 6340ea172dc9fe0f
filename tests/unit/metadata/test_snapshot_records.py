"""Records of snapshots that are damaged, lost, or without their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.metadata.snapshot_world import World

from distore.content.local import rowcheck
from distore.errors import DataLoss, NotFound
from distore.metadata.rebuild import rebuild


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "s")
    yield world
    world.store.close()


def test_a_rebuilt_database_holds_snapshots_when_records_may_be_missing(world: World, tmp_path: Path) -> None:
    world.store.database.change("INSERT INTO images VALUES ('default', '', '', '', 0, NULL, 0, 0)")
    world.store.close()
    path = tmp_path / "s" / "dist.db"
    data = bytearray(path.read_bytes())
    at = data.find(b"CREATE TABLE image_labels")
    data[at : at + 12] = b"CREATE TRIBLE"[:12]
    path.write_bytes(data)

    rebuilt = rebuild(str(tmp_path / "s"), now=world.clock.now, force=True)

    assert rebuilt.salvaged.partial
    assert rebuilt.told.held == 4
    world.collect()
    assert world.names() == "abcd"


def test_fsck_names_snapshots_whose_files_are_missing(world: World) -> None:
    Path(world.store.root, "snapshots", "overlayfs", "2").rename(Path(world.store.root, "gone"))

    found = list(rowcheck.problems(world.store.database, world.store.paths, dry_run=True))

    assert [(each.kind, each.subject) for each in found] == [("snapshot", "b")]
    assert "dist snapshots rm --snapshotter overlayfs b" in found[0].detail


def test_a_chain_with_a_lost_record_is_no_parent(world: World) -> None:
    world.store.database.change("DELETE FROM snapshots WHERE key = 'a'")

    with pytest.raises(DataLoss, match="the record of a parent is lost"):
        world.snapshots.prepare("run", "c")
    with pytest.raises(NotFound):
        world.snapshots.prepare("run", "a")
