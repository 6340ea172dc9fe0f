"""Unpacking a real image beside others, cut short, and where there is no room for it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.rootfs_images import NAME, RealImage
from tests.interop.test_filesystems import mounted as disk_mounted
from tests.interop.treecompare import assert_same, described
from tests.interop.unpacking import (
    DIST,
    SNAPSHOTTERS,
    Tree,
    dist,
    folders,
    imported,
    kinds,
    layers_told,
    mounted,
    recorded,
    umoci_tree,
)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and mounts need root"),
]
PROCESSES = 10
KILLS = 6


@pytest.fixture(scope="module")
def theirs(real_image: RealImage, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tree that umoci makes."""
    return umoci_tree(real_image, tmp_path_factory.mktemp("umoci") / "rootfs")


def started(store: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [*DIST, "unpack", *words, NAME, "--root", str(store)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def forget(store: Path) -> None:
    """Without the image nothing keeps its snapshots."""
    dist(store, "images", "rm", NAME)
    dist(store, "gc", "-q")
    assert folders(store) == recorded(store) == set()


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_ten_processes_unpack_each_layer_once(
    real_image: RealImage, theirs: Tree, snapshotter: str, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    store = imported(real_image, tmp_path / "store")

    processes = [started(store, "--json", "--snapshotter", snapshotter) for _ in range(PROCESSES)]
    outputs = [process.communicate(timeout=600) for process in processes]
    with mounted(store, tmp_path / "at", "--snapshotter", snapshotter) as folder:
        ours = described(folder)

    assert [process.returncode for process in processes] == [0] * PROCESSES, outputs[0][1]
    told = [layers_told(output.decode()) for output, _ in outputs]
    assert len({tuple(chain for chain, _ in one) for one in told}) == 1
    times = Counter(chain for one in told for chain, how in one if how == "unpacked")
    assert set(times.values()) == {1}
    assert folders(store) == recorded(store)
    assert kinds(store) == ["committed"] * len(kinds(store))
    assert_same(ours, theirs)
    count("processes that unpack one image at once", PROCESSES)


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_what_a_kill_leaves_is_garbage_and_the_next_one_is_right(
    real_image: RealImage, theirs: Tree, snapshotter: str, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    store, numbers = imported(real_image, tmp_path / "store"), random.Random(6)
    began = time.monotonic()
    dist(imported(real_image, tmp_path / "whole"), "unpack", "--snapshotter", snapshotter, NAME)
    whole, killed = time.monotonic() - began, 0

    for _ in range(KILLS):
        process = started(store, "--snapshotter", snapshotter)
        time.sleep(numbers.uniform(0.1, whole))  # the moment to kill it at
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said.decode()
        killed += process.returncode != 0
        dist(store, "gc", "-q")
        # What is committed stays, for the image is to have it; all else is gone, files and records.
        assert folders(store) == recorded(store)
        assert set(kinds(store)) <= {"committed"}
        if process.returncode == 0:  # all of it is there: begin again
            forget(store)
            imported(real_image, store)
    dist(store, "unpack", "--snapshotter", snapshotter, NAME)
    with mounted(store, tmp_path / "at", "--snapshotter", snapshotter) as folder:
        ours = described(folder)
    forget(store)

    assert killed
    assert_same(ours, theirs)
    count(f"unpackings killed ({snapshotter})", killed)


def test_namespaces_have_snapshots_of_their_own(real_image: RealImage, theirs: Tree, tmp_path: Path) -> None:
    store = imported(real_image, tmp_path / "store")
    imported(real_image, store, "--namespace", "other")

    first = dist(store, "unpack", NAME)
    second = dist(store, "unpack", NAME, "--namespace", "other")
    dist(store, "images", "rm", NAME)
    dist(store, "gc", "-q")
    command = ["mount", NAME, str(tmp_path / "at"), "--namespace", "other"]
    dist(store, *command)
    try:
        ours = described(tmp_path / "at")
    finally:
        dist(store, "unmount", str(tmp_path / "at"), "--namespace", "other")

    assert first == second
    assert folders(store) == recorded(store)
    assert len(recorded(store)) == real_image.layers
    assert_same(ours, theirs)


@pytest.mark.parametrize("how", [*SNAPSHOTTERS, "rootfs"])
def test_a_full_disk_is_one_line_and_leaves_nothing(real_image: RealImage, how: str, tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.touch()
    os.truncate(device, 220_000_000)  # enough for the blobs, not for the files in them
    subprocess.run(["mkfs.ext4", "-q", "-m0", str(device)], check=True)

    with disk_mounted(tmp_path / "disk", "-o", "loop", str(device)) as disk:
        store = imported(real_image, disk / "store")
        free = os.statvfs(disk).f_bfree
        words = (
            ["rootfs", NAME, f"{disk}/rootfs"] if how == "rootfs" else ["unpack", "--snapshotter", how, NAME]
        )
        done = subprocess.run(
            [*DIST, *words, "-q", "--root", str(store)], capture_output=True, timeout=300, check=False
        )
        dist(store, "gc", "-q")
        dist(store, "fsck")
        left = os.statvfs(disk).f_bfree

        assert done.returncode == 27, done.stderr.decode()
        assert done.stderr.decode().count("\n") == 1
        assert "no space left" in done.stderr.decode()
        if how != "rootfs":
            assert folders(store) == recorded(store)
            assert set(kinds(store)) <= {"committed"}
            forget(store)
        else:
            assert free - left < 2_000_000 // os.statvfs(disk).f_bsize
            assert not (disk / "rootfs").exists() or not any((disk / "rootfs").iterdir())
