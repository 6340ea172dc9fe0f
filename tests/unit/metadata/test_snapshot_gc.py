"""What keeps snapshots, what snapshots keep, and how those go that nothing keeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.metadata.snapshot_world import HOUR, ROOT, World, make

from distore.errors import FailedPrecondition, NotFound
from distore.leases import EXPIRE, FLAT, Resource
from distore.metadata.db import Metadata
from distore.mount import may_mount, mounting
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor

REF = "containerd.io/gc.ref"
BREF = "containerd.io/gc.bref"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "s")
    yield world
    world.store.close()


def test_what_nothing_keeps_goes_with_its_files_children_first(world: World) -> None:
    removed = world.collect()

    assert [each.kind for each in removed] == ["snapshot"] * 4
    order = [each.key for each in removed]
    assert order.index("overlayfs/c") < order.index("overlayfs/b") < order.index("overlayfs/a")
    assert order.index("overlayfs/d") < order.index("overlayfs/a")
    assert all(each.freed > 0 for each in removed)
    assert (world.names(), world.folders()) == ("", 0)


@pytest.mark.parametrize(("root", "kept"), [("a", "a"), ("b", "ab"), ("c", "abc"), ("d", "ad")])
def test_a_label_keeps_a_snapshot_and_what_it_lies_on(world: World, root: str, kept: str) -> None:
    world.mark(root, {ROOT: "yes"})

    world.collect()

    assert (world.names(), world.folders()) == (kept, len(kept))


def test_an_expiry_keeps_a_snapshot_until_then(world: World) -> None:
    world.mark("a", {EXPIRE: "2100-01-01T00:00:00Z"})
    world.mark("d", {EXPIRE: "2020-01-01T00:00:00Z"})

    world.collect()

    assert world.names() == "a"


def test_content_and_images_keep_the_snapshots_that_their_labels_name(world: World) -> None:
    blob = world.blob(b"config", {f"{REF}.snapshot.overlayfs": "b", f"{REF}.snapshot.overlayfs/x": "none"})
    target = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=blob, size=6)
    world.metadata.images.create("app", target, labels={f"{REF}.snapshot.overlayfs/more": "d"})

    world.collect()
    assert world.names() == "abd"

    world.metadata.images.delete("app")
    world.collect()
    assert world.names() == ""


def test_a_label_names_a_snapshot_of_one_driver(world: World) -> None:
    make(world.metadata.snapshotter("native"), "a")
    blob = world.blob(b"config", {f"{REF}.snapshot.native": "a", ROOT: "1"})

    world.collect()

    assert world.names() == ""
    assert [one.name for one in world.metadata.snapshotter("native").walk()] == ["a"]
    assert world.store.info(blob)


def test_snapshots_keep_what_their_labels_name(world: World) -> None:
    blob = world.blob(b"kept", {})
    world.blob(b"not kept", {})
    make(world.metadata.snapshotter("native"), "n")
    world.mark(
        "a",
        {
            ROOT: "1",
            f"{REF}.content.x": blob,
            f"{REF}.snapshot.native": "n",
            f"{REF}.snapshot.overlayfs": "d",
        },
    )

    world.collect()

    assert list(world.store.digests()) == [blob]
    assert world.names() == "ad"
    assert [one.name for one in world.metadata.snapshotter("native").walk()] == ["n"]


def test_a_snapshot_stays_as_long_as_what_it_is_attached_to(world: World) -> None:
    blob = world.blob(b"kept", {ROOT: "1"})
    world.mark("d", {f"{BREF}.content": blob})
    world.mark("c", {f"{BREF}.snapshot.overlayfs": "d"})

    world.collect()
    assert world.names() == "abcd"

    world.store.delete(blob)
    world.collect()
    assert world.names() == ""


def test_content_may_be_attached_to_a_snapshot(world: World) -> None:
    blob = world.blob(b"attached", {f"{BREF}.snapshot.overlayfs": "d"})
    world.mark("a", {ROOT: "1"})

    world.collect()
    assert list(world.store.digests()) == []

    make(world.snapshots, "d", "a")
    world.mark("d", {ROOT: "1"})
    blob = world.blob(b"attached", {f"{BREF}.snapshot.overlayfs": "d"})
    world.collect()
    assert list(world.store.digests()) == [blob]


@pytest.mark.parametrize("flat", [False, True])
def test_a_lease_keeps_a_snapshot_its_parents_and_unless_flat_what_it_names(
    world: World, *, flat: bool
) -> None:
    blob = world.blob(b"named", {})
    world.mark("c", {f"{REF}.content": blob})
    lease = world.metadata.leases.create("work", labels={FLAT: "1"} if flat else None)
    world.metadata.leases.add(lease.id, Resource(type="snapshots/overlayfs", key="c"))

    world.collect()

    assert world.names() == "abc"
    assert list(world.store.digests()) == ([] if flat else [blob])


def test_a_view_under_a_lease_holds_what_it_makes(world: World) -> None:
    lease = world.metadata.leases.create("work").id
    under = Metadata(world.store.view(lease=lease), command="t", now=world.clock).snapshotter("overlayfs")

    under.prepare("run", "c")
    world.collect()
    assert world.names() == "abcrun"

    under.commit("e", "run")
    world.collect()
    assert world.names() == "abce"

    world.metadata.leases.delete(lease)
    world.collect()
    assert world.names() == ""


def test_a_lease_that_was_removed_stops_the_work(world: World) -> None:
    lease = world.metadata.leases.create("work").id
    under = Metadata(world.store.view(lease=lease), command="t").snapshotter("overlayfs")
    under.prepare("run", "c")
    world.metadata.leases.delete(lease)

    with pytest.raises(FailedPrecondition, match="lease work"):
        under.commit("e", "run")


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
@pytest.mark.parametrize("kind", ["prepare", "view"])
@pytest.mark.parametrize("parent", [None, "a", "c"])
def test_nothing_goes_under_a_mount(world: World, tmp_path: Path, kind: str, parent: str | None) -> None:
    target = tmp_path / "mnt"
    target.mkdir()
    mounts = getattr(world.snapshots, kind)("run", parent)
    kept = {None: "", "a": "a", "c": "abc"}[parent] + "run"

    with mounting([replace(one, target=str(target)) for one in mounts]):
        world.collect()
        assert world.names() == kept
        world.collect()
        assert (world.names(), world.folders()) == (kept, len(kept) - 2)
    world.collect()
    assert (world.names(), world.folders()) == ("", 0)


def test_one_that_is_younger_than_the_pass_stays_with_all_it_needs(world: World) -> None:
    blob = world.blob(b"named", {})
    future = Metadata(world.store, command="t", now=lambda: world.clock.now + 9 * HOUR)
    future.snapshotter("overlayfs").prepare("young", "b", labels={f"{REF}.content": blob})

    world.collect()

    assert world.names() == "abyoung"
    assert list(world.store.digests()) == [blob]


def test_older_than_spares_those_that_are_not(world: World) -> None:
    assert world.collect(older_than=2 * HOUR) == []
    assert world.names() == "abcd"
    world.collect(older_than=HOUR)
    assert world.names() == ""


def test_a_dry_run_tells_and_changes_nothing(world: World) -> None:
    world.mark("a", {ROOT: "1"})
    world.snapshots.prepare("run", "b")

    told = world.collect(dry_run=True)

    assert (world.names(), world.folders()) == ("abcdrun", 5)
    done = world.collect()
    assert {each.key for each in told} == {each.key for each in done}
    assert {each.key for each in done} == {f"overlayfs/{key}" for key in ("b", "c", "d", "run")}


def test_namespaces_keep_their_own(world: World) -> None:
    other = world.metadata.over(world.store.view(namespace="other")).snapshotter("overlayfs")
    make(other, "a")
    other.update(replace(other.stat("a"), labels={ROOT: "1"}))
    with pytest.raises(FailedPrecondition, match="has 1 snapshot;"):
        world.metadata.namespaces.delete("other")

    removed = world.collect()

    assert {each.namespace for each in removed} == {"default"}
    assert [one.name for one in other.walk()] == ["a"]
    assert world.metadata.namespaces.list() == ["default", "other"]


def test_folders_without_a_record_go_and_those_of_others_stay(world: World) -> None:
    world.mark("d", {ROOT: "1"})
    folder = Path(world.store.root, "snapshots", "overlayfs")
    for name in ("77", "78.gone", "3.gone1"):
        (folder / name / "fs" / "deep").mkdir(parents=True)
        (folder / name / "fs" / "file").write_bytes(b"x" * 5000)
    (folder / "notes").mkdir()
    (folder / "9x").write_text("")
    os.symlink(folder / "1", folder / "99")

    world.collect()

    assert sorted(os.listdir(folder)) == ["1", "4", "99", "9x", "attributes", "notes"]


def test_labels_without_their_snapshot_go(world: World) -> None:
    world.mark("a", {ROOT: "1"})
    world.store.database.change("INSERT INTO snapshot_labels VALUES ('default', 'overlayfs', 'x', 'a', 'b')")

    world.collect()

    assert world.store.database.query("SELECT name FROM snapshot_labels") == [("a",)]


def test_records_whose_files_are_lost_go_as_well(world: World) -> None:
    folder = Path(world.store.root, "snapshots", "overlayfs")
    os.rename(folder / "2", folder.parent.parent / "elsewhere")

    assert len(world.collect()) == 4
    assert world.names() == ""


def test_what_gains_a_label_during_a_pass_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from distore.metadata.collector import Pass

    marked = Pass.mark_all

    def mark_and_label(run: Pass) -> None:
        marked(run)
        world.mark("c", {ROOT: "1"})

    monkeypatch.setattr(Pass, "mark_all", mark_and_label)

    world.collect()

    assert world.names() == "abc"


def test_what_is_made_or_laid_on_during_a_pass_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from distore.metadata.collector import Pass

    marked = Pass.mark_all

    def mark_and_make(run: Pass) -> None:
        marked(run)
        world.snapshots.prepare("run", "d")
        world.snapshots.prepare("free")
        world.snapshots.commit("e", "free", parent="b")

    monkeypatch.setattr(Pass, "mark_all", mark_and_make)

    world.collect()

    assert world.names() == "abderun"


def test_an_explanation_leads_through_snapshots(world: World) -> None:
    blob = world.blob(b"named", {})
    world.mark("a", {f"{REF}.content": blob})
    world.mark("b", {ROOT: "1"})

    (found,) = world.metadata.collector.explain([blob])

    assert str(found).startswith(
        f"kept: label {ROOT} -> snapshot overlayfs/b -> snapshot overlayfs/a -> content "
    )


def test_an_explanation_of_a_snapshot_leads_to_it_or_says_what_would_keep_it(world: World) -> None:
    world.mark("b", {ROOT: "1"})

    kept, lost = world.metadata.collector.explain_snapshots(["overlayfs/a", "overlayfs/d"])

    assert str(kept) == f"kept: label {ROOT} -> snapshot overlayfs/b -> snapshot overlayfs/a"
    assert str(lost).startswith("not kept: snapshot overlayfs/d: no image, lease, label, mount")
    with pytest.raises(NotFound, match="snapshot overlayfs/x: not found"):
        list(world.metadata.collector.explain_snapshots(["overlayfs/a", "overlayfs/x"]))
