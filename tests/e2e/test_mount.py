"""``dist mount``, ``unmount`` and ``dist images mount``: an image as a folder."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import archive

from distore.cli.main import main
from distore.mount import Mount, may_mount, mount, mounts_below, unmount

pytestmark = pytest.mark.slow
mounter = pytest.mark.skipif(not may_mount(), reason="only root may mount")


class Dist:
    """Verbs on a store with the image ``app:1``, in this process."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys
        self.fails = ""

    def run(self, *words: object, status: int = 0) -> list[dict[str, object]]:
        """What it prints under --json; ``fails`` has the last line of its talk."""
        self._capsys.readouterr()
        done = main([*map(str, words), "--json", "--root", str(self.root)])
        out, err = self._capsys.readouterr()
        self.fails = err.splitlines()[-1] if err else ""
        assert done == status, err
        found = [json.loads(line) for line in out.splitlines()]
        return [each for each in found if "event" not in each]

    def snapshots(self) -> list[object]:
        return [each["name"] for each in self.run("snapshots", "ls")]

    def left(self, wanted: int = 3) -> int:
        """How many snapshots there are, once no test beside this one has a copy of our mounts."""
        end = time.monotonic() + 20
        while len(found := self.snapshots()) > wanted and time.monotonic() < end:
            self.run("gc")
        return len(found)

    def mounted(self, *words: object) -> dict[str, object]:
        return self.run("mount", *words)[0]


@pytest.fixture
def dist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Dist]:
    found = Dist(tmp_path / "store", capsys)
    found.run("import", archive(tmp_path / "app.tar", tag="docker.io/library/app:1"))
    yield found
    for one in reversed(mounts_below(str(tmp_path))):
        unmount(one.target, lazy=True)


@pytest.fixture(params=["mount", "images mount"])
def verb(request: pytest.FixtureRequest) -> list[str]:
    return str(request.param).split()


@mounter
def test_an_image_is_seen_read_only_until_it_is_unmounted(
    dist: Dist, verb: list[str], tmp_path: Path
) -> None:
    target = tmp_path / "m"

    (mounted,) = dist.run(*verb, "app:1", target)

    assert sorted(os.listdir(target)) == ["file-0", "file-1", "file-2"]
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").write_text("")
    assert (mounted["mountpoint"], mounted["image"]) == (str(target), "app:1")
    assert len(dist.snapshots()) == 4
    (gone,) = dist.run(*verb[:-1], "unmount", target)
    assert gone == {"mountpoint": str(target), "chain_id": mounted["chain_id"]}
    assert os.listdir(target) == []
    assert dist.left() == 3


@mounter
def test_what_is_written_to_a_mount_goes_with_it(dist: Dist, tmp_path: Path) -> None:
    target = tmp_path / "m"
    dist.mounted("--rw", "app:1", target)
    (target / "new").write_text("x")
    (target / "file-0").unlink()
    dist.run("unmount", target)

    dist.mounted("app:1", target)

    assert sorted(os.listdir(target)) == ["file-0", "file-1", "file-2"]


@mounter
def test_one_image_can_be_mounted_twice(dist: Dist, tmp_path: Path) -> None:
    dist.mounted("app:1", tmp_path / "a")
    dist.mounted(dist.run("images", "inspect", "app:1")[0]["target"]["digest"], tmp_path / "b")  # type: ignore[index]

    dist.run("unmount", tmp_path / "a", tmp_path / "b")

    assert os.listdir(tmp_path / "a") == os.listdir(tmp_path / "b") == []


@mounter
def test_the_collector_spares_what_is_mounted(dist: Dist, tmp_path: Path) -> None:
    dist.mounted("app:1", tmp_path / "a")
    dist.run("images", "rm", "app:1")

    dist.run("gc")

    assert (tmp_path / "a" / "file-0").read_bytes() is not None
    dist.run("unmount", tmp_path / "a")
    assert dist.left(0) == 0


@mounter
def test_what_uses_a_mount_keeps_it(dist: Dist, tmp_path: Path) -> None:
    dist.mounted("app:1", tmp_path / "a")

    with (tmp_path / "a" / "file-0").open("rb"):
        dist.run("unmount", tmp_path / "a", status=13)

    assert "in use" in dist.fails
    dist.run("unmount", tmp_path / "a")


@mounter
def test_a_mount_in_another_namespace_goes_with_a_later_collection(dist: Dist, tmp_path: Path) -> None:
    dist.mounted("app:1", tmp_path / "a")
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None and other.stdout is not None
        other.stdout.readline()

        dist.run("unmount", tmp_path / "a")

        assert "another mount namespace" in dist.fails
        dist.run("gc")
        assert len(dist.snapshots()) == 4
        other.stdin.close()
    dist.run("gc")
    assert dist.left() == 3


@mounter
def test_a_mount_that_went_with_a_restart_is_forgotten(dist: Dist, tmp_path: Path) -> None:
    dist.mounted("app:1", tmp_path / "a")
    unmount(str(tmp_path / "a"))

    dist.run("unmount", tmp_path / "a")

    assert dist.left() == 3


@mounter
def test_what_somebody_else_mounted_there_stays(dist: Dist, tmp_path: Path) -> None:
    target = tmp_path / "a"
    dist.mounted("app:1", target)
    unmount(str(target))
    mount(Mount(type="tmpfs", source="tmpfs", target=str(target)))

    dist.run("unmount", target, status=14)

    assert "no image of the store" in dist.fails
    assert len(mounts_below(str(target))) == 1


@mounter
def test_another_overlay_there_stays_whatever_its_device(dist: Dist, tmp_path: Path) -> None:
    target = tmp_path / "a"
    dist.mounted("app:1", target)
    unmount(str(target))
    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
    lower = f"lowerdir={tmp_path / 'upper'}:{tmp_path / 'lower'}"
    mount(Mount(type="overlay", source="overlay", target=str(target), options=(lower,)))
    (other,) = mounts_below(str(target))  # numbers of devices come again

    dist.run("unmount", target, status=14)

    assert "no image of the store" in dist.fails
    assert mounts_below(str(target)) == (other,)


@mounter
@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
@pytest.mark.parametrize("flags", [(), ("--rw",)], ids=["read-only", "writable"])
def test_a_mount_is_known_by_its_files(
    dist: Dist, tmp_path: Path, snapshotter: str, flags: tuple[str, ...]
) -> None:
    dist.run("mount", "--snapshotter", snapshotter, *flags, "app:1", tmp_path / "a")

    dist.run("unmount", tmp_path / "a")

    assert mounts_below(str(tmp_path / "a")) == ()
    assert not [key for key in dist.snapshots() if str(key).startswith("mount")]


@mounter
def test_folders_that_will_not_do_are_refused_before_anything_is_unpacked(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "full" / "x").mkdir(parents=True)
    (tmp_path / "file").write_text("")

    for target, says, status in (("full", "not empty", 14), ("file", "not a directory", 14)):
        dist.run("mount", "app:1", tmp_path / target, status=status)
        assert says in dist.fails
    assert dist.snapshots() == []

    dist.mounted("app:1", tmp_path / "a")
    dist.run("mount", "app:1", tmp_path / "a", status=12)
    assert "something is mounted there" in dist.fails


@mounter
def test_a_folder_that_cannot_be_made_leaves_no_mount(dist: Dist, tmp_path: Path) -> None:
    dist.run("mount", "app:1", tmp_path / "none" / "none", status=11)

    assert "no such file" in dist.fails
    assert dist.left() == 3


@mounter
def test_what_is_missing_is_named(dist: Dist, tmp_path: Path) -> None:
    dist.run("mount", "none", tmp_path / "a", status=11)

    assert "image docker.io/library/none" in dist.fails
    assert not (tmp_path / "a").exists()


@mounter
def test_only_images_of_this_store_are_unmounted(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    for target, says, status in (
        (tmp_path / "none", "not found", 11),
        (tmp_path / "a", "nothing is mounted there", 14),
        ("/proc", "no image of the store", 14),
    ):
        dist.run("unmount", target, status=status)
        assert says in dist.fails


def test_wrong_words_are_refused(dist: Dist, tmp_path: Path) -> None:
    for words in ((), ("app:1",), ("app:1", "a", "b")):
        dist.run("images", "mount", *words, status=2)
        assert "want an image and a folder" in dist.fails
    two = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    dist.run("images", "mount", "app:1", tmp_path / "a", *two, status=2)
    assert "want one --platform" in dist.fails
    dist.run("images", "unmount", status=2)
    assert "want the folders" in dist.fails


def test_without_the_right_to_mount_the_message_says_what_else_to_do(
    dist: Dist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distore.mount.may_mount", lambda: False)

    dist.run("mount", "app:1", tmp_path / "a", status=16)

    assert "needs root; without it dist rootfs" in dist.fails
    assert not (tmp_path / "store" / "snapshots").exists()
