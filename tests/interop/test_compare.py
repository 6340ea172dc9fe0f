"""Layers of ours as others read them: GNU tar, umoci, containerd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.conftest import Containerd, program
from tests.unit.diff.compared_trees import Thing, make, seen, tar_of

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files their owners"),
]

FILE = Thing(kind="file", mode=0o4755, time=1_500_000_000_123_456_789, owner=1000, data=b"x" * 5000)
BEFORE = Thing(
    kind="dir",
    mode=0o755,
    below={
        b"kept": FILE,
        b"gone": FILE,
        b"becomes a folder": FILE,
        b"d": Thing(kind="dir", mode=0o755, below={b"gone": FILE, b"one": Thing(kind="one")}),
    },
)
AFTER = Thing(
    kind="dir",
    mode=0o755,
    below={
        b"kept": FILE,
        b"becomes a folder": Thing(kind="dir", mode=0o700, time=10**18, below={b"inside": FILE}),
        b"d": Thing(
            kind="dir",
            mode=0o755,
            time=10**18 + 7,
            owner=3_000_000,
            below={
                b"one": Thing(kind="one"),
                b"n" * 200: FILE,
                b"link": Thing(kind="link", data=b"t" * 150, time=10**18),
                b"fifo": Thing(kind="fifo", time=10**18),
                b"with": Thing(kind="file", time=10**18, attribute=b"2\0\n=", data=b"y"),
            },
        ),
        b"second": Thing(kind="one"),
        b"\xc3\xbc": FILE,
    },
)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    return make(tmp_path / "before", BEFORE), make(tmp_path / "after", AFTER)


def run(*words: str | Path, **options: object) -> str:
    done = subprocess.run(list(words), capture_output=True, check=False, timeout=120, **options)  # type: ignore[call-overload]  # passed on
    assert done.returncode == 0, done
    return str(done.stdout.decode("utf-8", "surrogateescape"))


def in_whole_seconds(folder: Path) -> dict[bytes, tuple[object, ...]]:
    return {name: (*told[:2], told[2] // 10**9, *told[3:]) for name, told in seen(folder).items()}  # type: ignore[operator]  # a time


def test_gnu_tar_makes_the_same_tree(trees: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(tar_of(None, trees[1]))
    (tmp_path / "made").mkdir()

    run(
        *(program("tar"), "--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-p"),
        *("--delay-directory-restore", "-x", "-f", tmp_path / "layer.tar", "-C", tmp_path / "made"),
    )

    assert seen(tmp_path / "made") == seen(trees[1])


def dist(folder: Path, *words: str) -> str:
    return run(sys.executable, "-I", "-m", "distore", *words, cwd=folder).strip()


def test_umoci_unpacks_an_image_of_two_such_layers(trees: tuple[Path, Path], tmp_path: Path) -> None:
    dist(tmp_path, "commit-rootfs", "before", "app:1")
    dist(tmp_path, "commit-rootfs", "-q", "after", "app:2", "--from", "app:1")
    dist(tmp_path, "copy", "-q", "store:app:2", "oci:layout:app")

    run(program("umoci"), "raw", "unpack", "--image", "layout:app", "made", cwd=tmp_path)

    # umoci goes by the times of headers, and leaves the root to whoever made it.
    made, wanted = in_whole_seconds(tmp_path / "made"), in_whole_seconds(trees[1])
    made.pop(b"")
    wanted.pop(b"")
    assert made == wanted


def test_containerd_unpacks_an_image_of_two_such_layers(
    trees: tuple[Path, Path], tmp_path: Path, containerd: Containerd
) -> None:
    dist(tmp_path, "commit-rootfs", "before", "app:1", "--compression", "gzip")
    dist(tmp_path, "commit-rootfs", "-q", "after", "app:2", "--from", "app:1")
    dist(tmp_path, "export", "-q", "app.tar", "app:2")
    config = json.loads(dist(tmp_path, "inspect", "--config", "store:app:2"))
    assert len(config["rootfs"]["diff_ids"]) == 2

    done = containerd.ctr("images", "import", "--snapshotter", "native", str(tmp_path / "app.tar"))
    assert done.returncode == 0, done
    target = tmp_path / "made"
    target.mkdir()
    done = containerd.ctr(
        "images", "mount", "--snapshotter", "native", "docker.io/library/app:2", str(target)
    )
    assert done.returncode == 0, done
    try:
        made = seen(target)
    finally:
        run("umount", target)
    wanted = seen(trees[1])
    for found in (made, wanted):  # containerd's own root
        found.pop(b"")
    assert made == wanted
    shutil.rmtree(tmp_path / "after")
