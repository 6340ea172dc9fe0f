"""Bundles: written whole or not at all, and removed without touching anything else."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from distore._internal.userns import IdMap, Maps
from distore.bundle.bundle import BundledImage, remove_bundle, write_bundle
from distore.bundle.roots import CopiedRoot, MountedRoot, drop_files
from distore.bundle.spec import SpecOptions
from distore.errors import AlreadyExists, DistoreError, FailedPrecondition, NotFound, Unavailable
from distore.mount import Mount, may_mount, mounts_below, unmount
from distore.oci.runconfig import RunConfig
from distore.snapshots.snapshotter import Info, Kind

mounter = pytest.mark.skipif(not may_mount(), reason="only root may mount")
IMAGE = BundledImage(name="box:1", config=RunConfig(cmd=("sh",), user="app"), architecture="amd64")


def files(folder: str) -> None:
    etc = Path(folder) / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("app:x:7:8::/:\n")
    (etc / "link").symlink_to("/etc")


def none(_name: str) -> NoReturn:
    raise AssertionError("no snapshot here")


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_bundle_has_a_config_and_a_root(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        document = write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), CopiedRoot(write=files))
    finally:
        os.umask(before)

    written = json.loads((tmp_path / "b" / "config.json").read_text())
    assert written == document
    assert written["process"]["user"] == {"uid": 7, "gid": 8, "additionalGids": [8]}
    assert stat.S_IMODE((tmp_path / "b" / "config.json").stat().st_mode) == 0o644
    assert tree(tmp_path / "b" / "rootfs") == ["etc", "etc/link", "etc/passwd"]


def test_files_of_an_image_are_nothing_for_other_users(tmp_path: Path) -> None:
    write_bundle(str(tmp_path / "own"), IMAGE, SpecOptions(), CopiedRoot(write=files))
    one = (IdMap(container=0, host=0, size=1000),)
    mapped = SpecOptions(maps=Maps(uids=one, gids=one, groups=True), new_userns=True)
    write_bundle(str(tmp_path / "mapped"), IMAGE, mapped, CopiedRoot(write=files))

    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "mapped").stat().st_mode) == 0o711


def test_a_bundle_is_removed_with_what_it_holds(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), CopiedRoot(write=files))
    (tmp_path / "b" / "rootfs" / "way-out").symlink_to(outside)
    (tmp_path / "b" / "rootfs" / "closed").mkdir(mode=0)

    was_snapshot = remove_bundle(str(tmp_path / "b"), none)

    assert not was_snapshot
    assert os.listdir(tmp_path) == ["outside"]
    assert (outside / "file").read_text() == "mine"


def test_an_empty_folder_is_used_and_one_with_files_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), CopiedRoot(write=files))

    with pytest.raises(AlreadyExists, match="there is one already"):
        write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), CopiedRoot(write=files))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "own").write_text("")
    with pytest.raises(FailedPrecondition, match="not empty"):
        write_bundle(str(tmp_path / "c"), IMAGE, SpecOptions(), CopiedRoot(write=files))
    assert tree(tmp_path / "c") == ["own"]


@pytest.mark.parametrize("made", [True, False])
def test_a_user_that_is_not_there_leaves_nothing(tmp_path: Path, made: bool) -> None:
    if not made:
        (tmp_path / "b").mkdir()

    with pytest.raises(NotFound, match="user 'nobody'"):
        write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(user="nobody"), CopiedRoot(write=files))

    assert tree(tmp_path) == ([] if made else ["b"])


def test_files_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    def write(folder: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), CopiedRoot(write=write))

    assert tree(tmp_path) == []


@pytest.mark.parametrize("name", ["none", "file", "none/below"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DistoreError, match=r"folder .*: "):
        remove_bundle(str(tmp_path / name), none)
    if name != "none":
        with pytest.raises(DistoreError, match=r"folder .*: "):
            write_bundle(str(tmp_path / name), IMAGE, SpecOptions(), CopiedRoot(write=files))


def test_what_dist_did_not_make_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(FailedPrecondition, match="no bundle that dist made"):
        remove_bundle(str(tmp_path), none)
    (tmp_path / ".dist-bundle").symlink_to("config.json")
    with pytest.raises(FailedPrecondition, match="no bundle that dist made"):
        remove_bundle(str(tmp_path), none)


def test_files_of_others_in_a_bundle_keep_it(tmp_path: Path) -> None:
    write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), CopiedRoot(write=files))
    (tmp_path / "b" / "notes").write_text("")

    with pytest.raises(FailedPrecondition, match="has other files in it, such as 'notes'"):
        remove_bundle(str(tmp_path / "b"), none)
    assert "rootfs/etc/passwd" in tree(tmp_path / "b")


@pytest.mark.parametrize("key", ["run-0123456789ab", "bundle-x", "bundle-0123456789ab/..", "sha256:00"])
def test_a_mark_names_no_other_snapshot(tmp_path: Path, key: str) -> None:
    (tmp_path / ".dist-bundle").write_text(f"made-by dist\nsnapshotter overlayfs\nkey {key}\n")

    with pytest.raises(FailedPrecondition, match="is damaged"):
        remove_bundle(str(tmp_path), none)


class OneSnapshot:
    """As much of a snapshotter as a bundle uses: a folder that is bound."""

    name = "fake"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labels: Mapping[str, str] | None = None

    def prepare(
        self, key: str, parent: str | None = None, /, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        if self.labels is not None:
            raise AlreadyExists(f"snapshot {key}")
        self.labels = labels
        return (Mount(type="", source=str(self.folder), target="", options=("bind",)),)

    def stat(self, key: str, /) -> Info:
        if self.labels is None:
            raise NotFound(f"snapshot {key}")
        now = datetime.now(UTC)
        return Info(name=key, kind=Kind.ACTIVE, created=now, updated=now, labels=self.labels or {})

    def update(self, info: Info, /, *fieldpaths: str) -> Info:
        self.labels = info.labels
        return info

    def remove(self, key: str, /) -> None:
        if self.labels is None:
            raise NotFound(f"snapshot {key}")
        self.labels = None


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[OneSnapshot]:
    (tmp_path / "snapshot").mkdir()
    files(str(tmp_path / "snapshot"))
    yield OneSnapshot(tmp_path / "snapshot")
    for one in reversed(mounts_below(str(tmp_path))):
        unmount(one.target, lazy=True)


def mounted(snapshot: OneSnapshot) -> MountedRoot:
    return MountedRoot(snapshotter=snapshot, key="bundle-0123456789ab")  # type: ignore[arg-type]  # a part of one


@mounter
def test_a_mounted_root_is_kept_from_the_collector_and_goes_with_its_bundle(
    tmp_path: Path, snapshot: OneSnapshot
) -> None:
    write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), mounted(snapshot))

    assert list(snapshot.labels or ()) == ["containerd.io/gc.root"]
    assert (tmp_path / "b" / "rootfs" / "etc" / "passwd").exists()
    assert remove_bundle(str(tmp_path / "b"), lambda _name: snapshot)  # type: ignore[arg-type,return-value]  # as above
    assert snapshot.labels is None
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "snapshot" / "etc" / "passwd").exists()


@mounter
def test_a_snapshot_that_does_not_go_is_left_to_the_collector(
    tmp_path: Path, snapshot: OneSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(key: str, /) -> None:
        raise Unavailable(f"snapshot {key}: is mounted")

    write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), mounted(snapshot))
    monkeypatch.setattr(snapshot, "remove", refuse)

    remove_bundle(str(tmp_path / "b"), lambda _name: snapshot)  # type: ignore[arg-type,return-value]  # as above

    assert snapshot.labels == {}
    assert not (tmp_path / "b").exists()


@mounter
def test_a_root_that_is_in_use_stays(tmp_path: Path, snapshot: OneSnapshot) -> None:
    write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), mounted(snapshot))

    with (tmp_path / "b" / "rootfs" / "etc" / "passwd").open(), pytest.raises(Unavailable, match="in use"):
        remove_bundle(str(tmp_path / "b"), lambda _name: snapshot)  # type: ignore[arg-type,return-value]  # as above

    assert snapshot.labels is not None
    assert (tmp_path / "b" / "config.json").exists()
    assert remove_bundle(str(tmp_path / "b"), lambda _name: snapshot)  # type: ignore[arg-type,return-value]  # as above


@mounter
def test_a_failure_behind_the_mount_takes_it_away(tmp_path: Path, snapshot: OneSnapshot) -> None:
    with pytest.raises(NotFound):
        write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(user="nobody"), mounted(snapshot))

    assert snapshot.labels is None
    assert mounts_below(str(tmp_path)) == ()
    assert not (tmp_path / "b").exists()


@mounter
def test_files_below_a_mount_are_not_removed(tmp_path: Path, snapshot: OneSnapshot) -> None:
    root = mounted(snapshot)
    (tmp_path / "r").mkdir()
    root.make(str(tmp_path / "r"))

    with pytest.raises(DistoreError, match="something is mounted there"):
        drop_files(str(tmp_path / "r"))
    assert (tmp_path / "snapshot" / "etc" / "passwd").exists()


@mounter
def test_a_bundle_of_another_store_is_left_as_it_is(tmp_path: Path, snapshot: OneSnapshot) -> None:
    write_bundle(str(tmp_path / "b"), IMAGE, SpecOptions(), mounted(snapshot))
    other = OneSnapshot(tmp_path / "snapshot")

    with pytest.raises(FailedPrecondition, match=r"bundle-0123456789ab is not in this store .* --root and"):
        remove_bundle(str(tmp_path / "b"), lambda _name: other)  # type: ignore[arg-type,return-value]  # a part of one

    assert (tmp_path / "b" / "rootfs" / "etc" / "passwd").exists()
    assert snapshot.labels is not None
