"""``dist images mount`` and ``unmount``: an image as a folder, read-only."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import family, make_image, read

from distore.app import App
from distore.cli.imagemounts import mount_image, unmount_image
from distore.cli.output import Output
from distore.config import Config
from distore.errors import (
    AlreadyExists,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from distore.mount import may_mount, mounts_below, unmount

pytestmark = pytest.mark.slow
mounter = pytest.mark.skipif(not may_mount(), reason="only root may mount")


class Dist:
    """The two actions on a store with the image ``app:1``."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.app = App(Config(root=str(root)))
        self._capsys = capsys
        store, self.root = make_image(1)
        for one in [*family(store, self.root), self.root]:
            with self.app.content.writer(f"put-{one.digest}") as writer:
                writer.write(read(store, one.digest))
                writer.commit()
        self.layers = family(store, self.root)[:3]
        self.app.images.put("docker.io/library/app:1", self.root)

    def mount(self, *words: object, platform: tuple[str, ...] = ("linux/amd64",)) -> dict[str, object]:
        return self._run(mount_image, words, platform)[0]

    def unmount(self, *words: object) -> list[dict[str, object]]:
        return self._run(unmount_image, words, ())

    def _run(
        self, action: object, words: tuple[object, ...], platform: tuple[str, ...]
    ) -> list[dict[str, object]]:
        args = argparse.Namespace(image=[str(word) for word in words], platform=list(platform))
        out = Output(as_json=True)
        assert callable(action)
        action(args, self.app, out)
        out.flush()
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def dist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Dist]:
    found = Dist(tmp_path / "store", capsys)
    yield found
    found.app.close()
    for one in reversed(mounts_below(str(tmp_path))):
        unmount(one.target, lazy=True)


@mounter
def test_an_image_is_seen_read_only_until_it_is_unmounted(dist: Dist, tmp_path: Path) -> None:
    target = tmp_path / "m"

    mounted = dist.mount("app:1", target)

    assert sorted(os.listdir(target)) == ["file-0", "file-1", "file-2"]
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").write_text("")
    assert (mounted["mountpoint"], mounted["manifest"]) == (str(target), dist.root.digest)
    (gone,) = dist.unmount(target)
    assert gone == {"mountpoint": str(target), "chain_id": mounted["chain_id"], "removed": True}
    assert os.listdir(target) == []
    assert os.listdir(tmp_path / "store" / "trees") == []


@mounter
def test_a_tree_is_shared_and_goes_with_its_last_mount(dist: Dist, tmp_path: Path) -> None:
    dist.mount("app:1", tmp_path / "a")
    dist.mount(str(dist.root.digest), tmp_path / "b")

    gone = dist.unmount(tmp_path / "a", tmp_path / "b")

    assert [one["removed"] for one in gone] == [False, True]


@mounter
def test_a_mount_in_another_namespace_keeps_the_tree(dist: Dist, tmp_path: Path) -> None:
    dist.mount("app:1", tmp_path / "a")
    other = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdin is not None and other.stdout is not None
        other.stdout.readline()

        (gone,) = dist.unmount(tmp_path / "a")

        other.stdin.close()
    assert gone["removed"] is False


@mounter
def test_what_uses_a_mount_keeps_it(dist: Dist, tmp_path: Path) -> None:
    dist.mount("app:1", tmp_path / "a")

    with (tmp_path / "a" / "file-0").open("rb"), pytest.raises(Unavailable, match="in use"):
        dist.unmount(tmp_path / "a")

    assert dist.unmount(tmp_path / "a")[0]["removed"] is True


@mounter
def test_folders_that_will_not_do_are_refused_before_anything_is_unpacked(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "full" / "x").mkdir(parents=True)
    (tmp_path / "file").write_text("")

    for target, says in (("full", "not empty"), ("file", "not a directory"), ("none/none", "no such file")):
        with pytest.raises(DistoreError, match=says):
            dist.mount("app:1", tmp_path / target)

    dist.mount("app:1", tmp_path / "a")
    with pytest.raises(AlreadyExists, match="something is mounted there"):
        dist.mount("app:1", tmp_path / "a")


@mounter
def test_what_is_missing_is_named(dist: Dist, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"image docker[.]io/library/none"):
        dist.mount("none", tmp_path / "a")
    dist.app.content.delete(dist.layers[1].digest)

    with pytest.raises(NotFound, match=f"image app:1: the store lacks {dist.layers[1].digest}"):
        dist.mount("app:1", tmp_path / "a")
    assert not (tmp_path / "a").exists()


@mounter
def test_only_images_of_this_store_are_unmounted(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with pytest.raises(NotFound, match="not found"):
        dist.unmount(tmp_path / "none")
    with pytest.raises(FailedPrecondition, match="nothing is mounted there"):
        dist.unmount(tmp_path / "a")
    with pytest.raises(FailedPrecondition, match=r"no image of the store .*/store is mounted there"):
        dist.unmount("/proc")


def test_wrong_words_are_refused(dist: Dist, tmp_path: Path) -> None:
    for words in ((), ("app:1",), ("app:1", "a", "b")):
        with pytest.raises(InvalidArgument, match="want an image and a folder"):
            dist.mount(*words)
    with pytest.raises(InvalidArgument, match="want one --platform"):
        dist.mount("app:1", tmp_path / "a", platform=("linux/amd64", "linux/arm64"))
    with pytest.raises(InvalidArgument, match="want the folders"):
        dist.unmount()


def test_without_the_right_to_mount_the_message_says_what_else_to_do(
    dist: Dist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distore.mount.may_mount", lambda: False)

    with pytest.raises(PermissionDenied, match=r"needs root; without it dist export .* umoci unpack"):
        dist.mount("app:1", tmp_path / "a")

    assert not (tmp_path / "store" / "trees").exists()
