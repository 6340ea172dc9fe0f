"""Which snapshotter there is where, what its mounts say, and which folders are in use."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from distore import mount as mount_module
from distore.content.local.store import LocalStore
from distore.errors import DataLoss, DiskFull, InvalidArgument, Unavailable
from distore.metadata.db import Metadata
from distore.mount import Mount, Mounted, may_mount, mounting
from distore.snapshots import inuse, overlay, probe
from distore.snapshots.driver import Driver
from distore.snapshots.overlay import TRUSTED, USER, Overlay
from distore.snapshots.probe import supported
from distore.snapshots.records import Record

mounter = pytest.mark.skipif(not may_mount(), reason="only root may mount")


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    return Metadata(LocalStore(str(tmp_path / "s")), command="t")


def chain(driver: Driver, names: str) -> None:
    parent = None
    for name in names:
        driver.prepare("x", parent)
        driver.commit(name, "x")
        parent = name


def opened(metadata: Metadata, name: str) -> Driver:
    found = metadata.snapshotter(name)
    assert isinstance(found, Driver)
    return found


def test_an_unknown_snapshotter_is_refused_with_the_known_ones(metadata: Metadata) -> None:
    with pytest.raises(InvalidArgument, match="'zfs': want overlayfs or native"):
        metadata.snapshotter("zfs")


def test_the_default_is_native_where_overlayfs_cannot_be(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_has_overlay", lambda: False)
    assert metadata.snapshotter().name == "native"

    assert supported(str(metadata.content.paths.snapshots)) == "this kernel has no overlayfs"


@mounter
def test_the_default_is_overlayfs_where_it_can_be_mounted(metadata: Metadata, tmp_path: Path) -> None:
    assert supported(str(tmp_path / "not" / "there")) is None
    assert metadata.snapshotter().name == "overlayfs"
    assert os.listdir(tmp_path) == []  # the probe leaves nothing


@mounter
def test_overlayfs_upon_overlayfs_is_not_supported(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "target"):
        (tmp_path / name).mkdir()
    options = (f"lowerdir={tmp_path}/lower", f"upperdir={tmp_path}/upper", f"workdir={tmp_path}/work")
    target = str(tmp_path / "target")

    with mounting([Mount(type="overlay", source="overlay", target=target, options=options)]):
        assert supported(os.path.join(target, "snapshots")) is not None


@mounter
def test_a_file_system_without_attributes_is_named(tmp_path: Path) -> None:
    target = tmp_path / "ram"
    target.mkdir()
    with mounting([Mount(type="ramfs", source="ramfs", target=str(target))]):
        assert supported(str(target)) == f"the file system of {target} takes no attributes trusted.overlay.*"


def test_the_first_snapshot_decides_what_whiteouts_are_told_by(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "is_root", lambda: False)
    first = metadata.snapshotter("overlayfs")
    assert isinstance(first, Overlay)
    first.prepare("a")
    assert first.attributes == USER

    monkeypatch.setattr(overlay, "is_root", lambda: True)
    again = opened(metadata, "overlayfs")
    chain(again, "bc")

    assert isinstance(again, Overlay)
    assert again.attributes == USER
    assert "userxattr" in again.prepare("d", "c")[0].options


def test_snapshots_of_root_are_not_for_others(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(metadata.content.paths.snapshots, "overlayfs")
    folder.mkdir(parents=True)
    (folder / "attributes").write_bytes(TRUSTED)
    monkeypatch.setattr(probe, "is_root", lambda: False)

    assert "are those of root" in str(supported(str(folder)))
    assert metadata.snapshotter().name == "native"


def test_mounts_are_those_of_containerd(metadata: Metadata) -> None:
    driver = opened(metadata, "overlayfs")
    chain(driver, "ab")
    at = os.path.realpath(metadata.content.paths.snapshots) + "/overlayfs"

    empty, empty_view = driver.prepare("1"), driver.view("2")
    view_of_one, view_of_two, active = driver.view("3", "a"), driver.view("4", "b"), driver.prepare("5", "b")

    def bind(id: int, option: str) -> tuple[Mount, ...]:
        return (Mount(type="bind", source=f"{at}/{id}/fs", target="", options=(option, "rbind")),)

    own = ["userxattr"] if driver.attributes == USER else []  # type: ignore[attr-defined] # it is stacked
    lower = f"lowerdir={at}/2/fs:{at}/1/fs"
    assert empty == bind(3, "rw")
    assert empty_view == bind(4, "ro")
    assert view_of_one == bind(1, "ro")
    assert view_of_two[0].options == ("index=off", *own, lower)
    assert active[0].options == (
        "index=off",
        *own,
        f"workdir={at}/7/work",
        f"upperdir={at}/7/fs",
        lower,
    )
    assert (active[0].type, active[0].source) == ("overlay", "overlay")


def test_an_upper_that_would_not_stand_for_itself_is_not_made(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = opened(metadata, "overlayfs")
    chain(driver, "a")
    monkeypatch.setattr(overlay, "_is_on", lambda _parameter: True)
    monkeypatch.setattr(driver, "_noted", TRUSTED)

    (found,) = driver.prepare("b", "a")

    assert {"metacopy=off", "redirect_dir=off"} <= set(found.options)


@pytest.mark.parametrize("driver", ["overlayfs", "native"])
def test_a_committed_snapshot_keeps_no_work_folder(metadata: Metadata, driver: str) -> None:
    snapshots = opened(metadata, driver)
    chain(snapshots, "ab")

    folder = Path(metadata.content.paths.snapshots, driver)
    assert [os.listdir(folder / id) for id in ("1", "2")] == [["fs"], ["fs"]]


def line(**fields: object) -> Mounted:
    base = Mounted(id=1, device="0:99", root="/", target="/t", type="overlay", source="overlay", options=())
    return replace(base, **fields)  # type: ignore[arg-type] # by name


def test_layers_of_overlays_and_binds_are_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = str(tmp_path / "co,l:on")
    for id in range(1, 12):
        os.makedirs(f"{at}/{id}/fs")
    device, root = inuse._place(at)
    colon = at.replace(",", "\\,").replace(":", "\\:")
    found = [
        line(super_options=("rw", f"lowerdir={colon}/1/fs:{colon}/2/fs", f"upperdir={at}/3/fs")),
        line(super_options=(f"lowerdir+={at}/4/fs", f"workdir={at}/5/work")),
        line(super_options=("lowerdir=6/fs:other/7/fs",)),  # relative: it may be ours
        line(type="ext4", device=device, root=f"{root}/8/fs"),
        line(type="ext4", device=device, root=f"{root}/x9/fs"),
        line(type="ext4", device="0:98", root=f"{root}/10/fs"),
        line(super_options=("lowerdir=/elsewhere/11/fs",)),
    ]
    monkeypatch.setattr(inuse, "mounts_everywhere", lambda: iter(found))

    assert inuse.mounted(at) == {1, 2, 3, 4, 5, 6, 8}
    assert inuse.mounted(str(tmp_path / "none")) == set()


@mounter
def test_a_store_behind_a_bind_mount_and_a_link_is_found_in_use(tmp_path: Path) -> None:
    for name in ("real", "bound", "target"):
        (tmp_path / name).mkdir()
    bind = Mount(type="", source=str(tmp_path / "real"), target=str(tmp_path / "bound"), options=("bind",))
    (tmp_path / "link").symlink_to(tmp_path / "bound")
    with mounting([bind]):
        store = LocalStore(str(tmp_path / "link" / "store"))
        snapshots = Metadata(store, command="t").snapshotter("native")
        mounts = [replace(one, target=str(tmp_path / "target")) for one in snapshots.prepare("a")]
        with mounting(mounts), pytest.raises(Unavailable):
            snapshots.remove("a")
        snapshots.remove("a")
        store.close()


@mounter
def test_a_mount_of_another_mount_namespace_counts(metadata: Metadata, tmp_path: Path) -> None:
    import subprocess

    snapshots = opened(metadata, "overlayfs")
    chain(snapshots, "a")
    (what,) = snapshots.prepare("b", "a")
    (tmp_path / "target").mkdir()
    script = 'mount -t overlay -o "$1" overlay "$2" && echo ready && read -r _'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", ",".join(what.options), str(tmp_path / "target")]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    with pytest.raises(Unavailable, match="snapshot b: is mounted"):
        snapshots.remove("b")

    process.communicate(b"\n", timeout=20)
    snapshots.remove("b")
    assert mount_module.mounts_below(str(tmp_path)) == ()


def test_a_record_of_an_unknown_kind_says_what_to_do(metadata: Metadata) -> None:
    snapshots = opened(metadata, "native")
    chain(snapshots, "a")
    metadata.content.database.change("UPDATE snapshots SET kind = 'strange'")

    with pytest.raises(DataLoss, match="snapshot a: its record is damaged"):
        snapshots.stat("a")


def test_a_full_disk_does_not_keep_one_that_is_given_up(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = opened(metadata, "native")
    for key in ("given-up", "still-full"):
        (mounted,) = driver.prepare(key)
        (Path(mounted.source) / "big").write_bytes(b"x" * 100)
    calls = full_disk(driver, monkeypatch, until=lambda: not driver.usage("given-up").inodes > 1)

    driver.remove("given-up")

    assert (calls, [info.name for info in driver.walk()]) == (["given-up"] * 2, ["still-full"])


def test_a_full_disk_takes_nothing_of_what_others_may_lie_on(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = opened(metadata, "native")
    (mounted,) = driver.prepare("x")
    (Path(mounted.source) / "big").write_bytes(b"x" * 100)
    driver.commit("a", "x")
    full_disk(driver, monkeypatch, until=lambda: False)

    with pytest.raises(DiskFull):
        driver.remove("a")

    (shown,) = driver.view("v", "a")
    assert (Path(shown.source) / "big").stat().st_size == 100


def full_disk(driver: Driver, monkeypatch: pytest.MonkeyPatch, *, until: Callable[[], bool]) -> list[str]:
    """Records cannot be removed; the keys that were tried."""
    remove, calls = driver._records.remove, list[str]()

    def removing(key: str) -> Record:
        calls.append(key)
        if not until():
            raise DiskFull("store database: the disk is full")
        return remove(key)

    monkeypatch.setattr(driver._records, "remove", removing)
    return calls
