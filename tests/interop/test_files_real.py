"""The files of a real image out of its layers: those that umoci unpacks."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.interop.rootfs_images import NAME, RealImage
from tests.interop.treecompare import assert_same, described
from tests.interop.unpacking import DIST, Tree, dist, imported, umoci_tree

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="umoci makes the owners only as root"),
]
KINDS = {
    "file": stat.S_IFREG,
    "folder": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "character device": stat.S_IFCHR,
    "block device": stat.S_IFBLK,
}


@pytest.fixture(scope="module")
def store(real_image: RealImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image, not unpacked."""
    return imported(real_image, tmp_path_factory.mktemp("stores") / "store")


@pytest.fixture(scope="module")
def theirs(real_image: RealImage, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tree that umoci makes."""
    return umoci_tree(real_image, tmp_path_factory.mktemp("umoci") / "rootfs")


def test_a_listing_is_the_tree_that_umoci_makes(store: Path, theirs: Tree) -> None:
    lines = [json.loads(line) for line in dist(store, "ls", "-R", "--json", NAME).splitlines()]

    ours = {
        one["path"][1:]: (
            KINDS[one["type"]],
            one["uid"],
            one["gid"],
            one["size"],
            one["links"] if one["type"] != "folder" else 0,
            one["link"] or "",
            one["device"],
            int(one["mode"], 8) if one["type"] != "symlink" else 0o777,
            tuple((name, bytes.fromhex(value)) for name, value in one["xattrs"].items()),
        )
        for one in lines
    }
    expected = {
        name: (
            one.kind,
            one.uid,
            one.gid,
            one.size,
            one.links,
            one.target,
            f"{os.major(one.device)}:{os.minor(one.device)}"
            if stat.S_ISCHR(one.kind) or stat.S_ISBLK(one.kind)
            else None,
            one.mode,
            one.xattrs,
        )
        for name, one in theirs.items()
        if name != "."
    }
    assert {
        name: (ours.get(name), expected.get(name))
        for name in ours.keys() | expected.keys()
        if ours.get(name) != expected.get(name)
    } == {}


def test_a_copy_is_the_tree_that_umoci_makes(store: Path, theirs: Tree, tmp_path: Path) -> None:
    dist(store, "cp", f"{NAME}:/", str(tmp_path / "copy"))

    assert_same(described(tmp_path / "copy"), theirs)


def test_a_tar_file_has_the_bytes_that_umoci_unpacks(store: Path, theirs: Tree, tmp_path: Path) -> None:
    with (tmp_path / "usr.tar").open("wb") as out:
        subprocess.run([*DIST, "cp", f"{NAME}:/usr", "-", "--root", str(store)], stdout=out, check=True)

    found = {}
    with tarfile.open(tmp_path / "usr.tar") as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            found[info.name] = hashlib.sha256(file.read()).hexdigest() if file is not None else ""

    assert found.keys() == {name for name in theirs if name == "usr" or name.startswith("usr/")}
    assert all(theirs[name].content == content for name, content in found.items() if content)


def test_an_image_does_not_differ_from_itself(store: Path) -> None:
    assert dist(store, "diff", NAME, NAME) == ""
