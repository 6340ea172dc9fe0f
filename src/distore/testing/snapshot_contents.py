"""The part of SnapshotSuite that looks at files: what is mounted is what was committed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import pytest

from distore import errors
from distore.snapshots.snapshotter import Snapshotter, Stacked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from distore.mount import Mount

OLD = 1_234_567_890_123_456_789  # nanoseconds since the epoch


class Show(Protocol):
    """Mounts at a new folder for the length of a block; skips the test where nobody may mount."""

    def __call__(self, mounts: Sequence[Mount], /) -> AbstractContextManager[Path]: ...


def commit(
    snapshots: Snapshotter,
    name: str,
    key: str,
    parent: str | None = None,
    *,
    labels: Mapping[str, str] | None = None,
) -> None:
    """A committed snapshot, empty or as its parent is."""
    snapshots.prepare(key, parent)
    snapshots.commit(name, key, labels=labels)


def fill(snapshots: Snapshotter, key: str, show: Show, files: Mapping[str, bytes]) -> None:
    """Write files into an active snapshot."""
    with show(snapshots.mounts(key)) as folder:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def layer(
    snapshots: Snapshotter, name: str, show: Show, files: Mapping[str, bytes], parent: str | None = None
) -> None:
    """A committed snapshot with files."""
    snapshots.prepare(f"{name} key", parent)
    fill(snapshots, f"{name} key", show, files)
    snapshots.commit(name, f"{name} key")


def names(folder: Path) -> list[str]:
    """What a folder has."""
    return sorted(os.listdir(folder))


class SnapshotContents:
    """Files in snapshots."""

    @pytest.fixture
    def snapshots(self) -> Snapshotter:
        """No snapshots yet."""
        raise NotImplementedError

    @pytest.fixture
    def show(self) -> Show:
        """How to see what mounts tell."""
        raise NotImplementedError

    def test_mounts_leave_their_target_to_the_caller(self, snapshots: Snapshotter) -> None:
        mounts = snapshots.prepare("key")

        assert mounts
        assert {one.target for one in mounts} == {""}
        assert snapshots.mounts("key") == mounts

    def test_an_active_snapshot_begins_empty_or_as_its_parent_is(
        self, snapshots: Snapshotter, show: Show
    ) -> None:
        layer(snapshots, "a", show, {"one": b"1"})

        with show(snapshots.prepare("empty")) as folder:
            assert names(folder) == []
        with show(snapshots.prepare("full", "a")) as folder:
            assert (folder / "one").read_bytes() == b"1"

    def test_what_is_changed_in_one_is_not_in_its_parent(self, snapshots: Snapshotter, show: Show) -> None:
        layer(snapshots, "a", show, {"one": b"1", "two": b"2", "folder/inner": b"3"})

        with show(snapshots.prepare("b", "a")) as folder:
            (folder / "one").write_bytes(b"changed")
            (folder / "two").unlink()
            (folder / "folder" / "inner").unlink()
            (folder / "folder").rmdir()
            (folder / "new").touch()
            assert names(folder) == ["new", "one"]

        with show(snapshots.view("v", "a")) as folder:
            assert names(folder) == ["folder", "one", "two"]
            assert (folder / "one").read_bytes() == b"1"

    def test_layers_lie_on_each_other(self, snapshots: Snapshotter, show: Show) -> None:
        layer(snapshots, "a", show, {"one": b"1", "two": b"2"})
        layer(snapshots, "b", show, {"two": b"changed", "three": b"3"}, "a")
        layer(snapshots, "c", show, {"four": b"4"}, "b")

        for make in (snapshots.prepare, snapshots.view):
            with show(make(f"see {make.__name__}", "c")) as folder:
                assert names(folder) == ["four", "one", "three", "two"]
                assert (folder / "two").read_bytes() == b"changed"

    def test_a_view_takes_no_writes(self, snapshots: Snapshotter, show: Show) -> None:
        layer(snapshots, "a", show, {"one": b"1"})
        layer(snapshots, "b", show, {"two": b"2"}, "a")

        for number, parent in enumerate((None, "a", "b")):
            with (
                show(snapshots.view(f"view {number}", parent)) as folder,
                pytest.raises(OSError, match="Read-only"),
            ):
                (folder / "new").touch()

    def test_two_that_lie_on_one_do_not_see_each_other(self, snapshots: Snapshotter, show: Show) -> None:
        layer(snapshots, "a", show, {"one": b"1"})

        with show(snapshots.prepare("b", "a")) as first, show(snapshots.prepare("c", "a")) as second:
            (first / "one").write_bytes(b"first")
            assert (second / "one").read_bytes() == b"1"
            assert names(second) == ["one"]

    def test_files_keep_all_that_they_are(self, snapshots: Snapshotter, show: Show) -> None:
        with show(snapshots.prepare("key")) as folder:
            make_odd_files(folder)
            wanted = described(folder)
        snapshots.commit("a", "key")
        layer(snapshots, "b", show, {"other": b""}, "a")

        with show(snapshots.prepare("c", "b")) as folder:
            found = described(folder)
            found.pop("other")
            assert found == wanted

    def test_the_root_folder_is_as_that_of_the_parent(self, snapshots: Snapshotter, show: Show) -> None:
        with show(snapshots.prepare("key")) as folder:
            folder.chmod(0o2751)
            os.utime(folder, ns=(OLD, OLD))
        snapshots.commit("a", "key")

        with show(snapshots.prepare("b", "a")) as folder:
            there = folder.stat()
            assert (stat.S_IMODE(there.st_mode), there.st_mtime_ns) == (0o2751, OLD)

    def test_a_mounted_snapshot_is_not_removed(self, snapshots: Snapshotter, show: Show) -> None:
        layer(snapshots, "a", show, {"one": b"1"})
        for make in (snapshots.prepare, snapshots.view):
            for parent in (None, "a"):
                with show(make("key", parent)), pytest.raises(errors.Unavailable, match="mounted"):
                    snapshots.remove("key")
                snapshots.remove("key")

    def test_cleanup_leaves_what_is_there(self, snapshots: Snapshotter, show: Show) -> None:
        layer(snapshots, "a", show, {"one": b"1"})
        snapshots.prepare("b", "a")
        fill(snapshots, "b", show, {"two": b"2"})

        snapshots.cleanup()

        with show(snapshots.mounts("b")) as folder:
            assert names(folder) == ["one", "two"]

    # Stacked

    def test_an_upper_folder_becomes_a_layer(self, snapshots: Snapshotter, show: Show) -> None:
        stacked = stacked_or_skip(snapshots)
        layer(snapshots, "a", show, {"one": b"1"})
        snapshots.prepare("key")
        with open(os.path.join(stacked.upper("key"), "two"), "w", encoding="ascii") as file:
            file.write("2")

        snapshots.commit("b", "key", parent="a")

        assert snapshots.stat("b").parent == "a"
        assert [os.listdir(each) for each in stacked.layers("b")] == [["two"], ["one"]]
        with show(snapshots.view("v", "b")) as folder:
            assert names(folder) == ["one", "two"]

    def test_a_snapshot_with_a_parent_is_not_laid_on_another_one(self, snapshots: Snapshotter) -> None:
        stacked_or_skip(snapshots)
        commit(snapshots, "a", "x")
        commit(snapshots, "b", "x")
        snapshots.prepare("key", "a")

        with pytest.raises(errors.FailedPrecondition, match="lies on a already"):
            snapshots.commit("c", "key", parent="b")
        with pytest.raises(errors.NotFound):
            snapshots.prepare("free")
            snapshots.commit("c", "free", parent="none")
        with pytest.raises(errors.FailedPrecondition, match="committed"):
            snapshots.commit("c", "free", parent="key")
        snapshots.commit("c", "key", parent="a")
        assert snapshots.stat("c").parent == "a"

    def test_only_active_snapshots_have_an_upper_folder_and_only_committed_ones_layers(
        self, snapshots: Snapshotter
    ) -> None:
        stacked = stacked_or_skip(snapshots)
        commit(snapshots, "a", "x")
        snapshots.view("v", "a")

        for key in ("a", "v"):
            with pytest.raises(errors.FailedPrecondition):
                stacked.upper(key)
        with pytest.raises(errors.FailedPrecondition):
            stacked.layers("v")

    def test_attributes_are_those_that_this_user_may_set(self, snapshots: Snapshotter) -> None:
        stacked = stacked_or_skip(snapshots)
        snapshots.prepare("key")

        os.setxattr(stacked.upper("key"), stacked.attributes + b"opaque", b"y")


def stacked_or_skip(snapshots: Snapshotter) -> Stacked:
    """The same as Stacked."""
    if not isinstance(snapshots, Stacked):
        pytest.skip("not a stacked snapshotter")
    return snapshots


def make_odd_files(folder: Path) -> None:
    """Files of every kind that this user may make."""
    (folder / "sparse").touch()
    with (folder / "sparse").open("r+b") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"middle")
    (folder / "link").symlink_to("sparse")
    os.link(folder / "sparse", folder / "again")
    os.mkfifo(folder / "pipe", 0o640)
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "setuid").write_bytes(b"#!")
    os.link(folder / "sparse", folder / "deep" / "third")
    os.setxattr(folder / "deep" / "er" / "setuid", "user.a", b"b")
    os.setxattr(folder / "deep", "user.folder", b"b")
    (folder / "deep" / "er" / "setuid").chmod(0o4755)
    with suppress(PermissionError):  # who is root in a user namespace alone may not
        os.mknod(folder / "null", 0o620 | stat.S_IFCHR, os.makedev(1, 3))
        os.chown(folder / "deep" / "er", 7, 8)
        os.chown(folder / "link", 9, 10, follow_symlinks=False)
    for name in ("deep/er/setuid", "deep/er", "deep", "pipe", "link", "sparse"):
        os.utime(folder / name, ns=(OLD, OLD), follow_symlinks=False)


def described(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that can be told of the files below a folder, by path."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted(folder.rglob("*")):
        name, there = str(path.relative_to(folder)), path.lstat()
        is_file = stat.S_ISREG(there.st_mode)
        attributes = [] if not (is_file or stat.S_ISDIR(there.st_mode)) else os.listxattr(path)
        found[name] = (
            stat.filemode(there.st_mode),
            (there.st_uid, there.st_gid, there.st_rdev),
            there.st_mtime_ns if name != "null" else None,
            path.readlink() if path.is_symlink() else None,
            (there.st_size, path.read_bytes(), there.st_blocks < 1024) if is_file else None,
            sorted((each, os.getxattr(path, each)) for each in attributes if each.startswith("user.")),
            first.setdefault(there.st_ino, name) if is_file else None,
        )
    return found
