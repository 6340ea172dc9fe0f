"""A real root filesystem unpacked by us, by umoci and by containerd: the same trees, file by file."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.interop import rootfs_images
from tests.interop.conftest import program
from tests.interop.registries import served
from tests.interop.rootfs_images import NAME, SPARSE_SIZE, TAG, RealImage
from tests.interop.treecompare import assert_same, described, differences
from tests.interop.unpacking import (
    SNAPSHOTTERS,
    Tree,
    dist,
    folders,
    imported,
    layers_told,
    mounted,
    recorded,
    umoci_tree,
)

if TYPE_CHECKING:
    from tests.interop.conftest import Containerd

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and mounts need root"),
]
OLD = ["--format=v7", "--format=ustar"]  # have neither holes nor long names
GNU = [f"--format={name} --sparse" for name in ("oldgnu", "gnu")]
PAX = [f"--format=pax --sparse --sparse-version={version}" for version in ("0.0", "0.1", "1.0")]
# A range of ids that nothing on this machine has.
SHIFT, COUNT = 10_000_000, 5_000_000


@pytest.fixture(scope="module")
def store(real_image: RealImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image, not unpacked yet."""
    return imported(real_image, tmp_path_factory.mktemp("stores") / "store")


@pytest.fixture(scope="module")
def theirs(real_image: RealImage, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tree that umoci makes."""
    return umoci_tree(real_image, tmp_path_factory.mktemp("umoci") / "rootfs")


def folder_times(_name: str, field: str, _mine: object, _theirs: object) -> bool:
    return field == "mtime"


def check_marks(tree: Tree) -> None:
    """The odd files are there: two programs that both lose them would be the same, too."""
    kinds = "srv/kinds"
    capability = dict(tree[f"{kinds}/capable"].xattrs)["security.capability"]
    assert capability == rootfs_images.CAPABILITY
    assert "system.posix_acl_access" in dict(tree[f"{kinds}/listed"].xattrs)
    assert "system.posix_acl_default" in dict(tree[f"{kinds}/listed-folder"].xattrs)
    assert tree[f"{kinds}/empty"].xattrs == ()
    assert tree["srv"].xattrs == ()  # the last layer told of this folder without them
    assert tree[f"{kinds}/block"].device == os.makedev(259, 1_000_000)
    assert stat.S_ISREG(tree[f"{kinds}/fifo"].kind)
    assert tree[f"{kinds}/first"].twins == (f"{kinds}/first", f"{kinds}/third")
    assert tree[f"{kinds}/sticky"].mode == 0o3777
    assert tree["usr/bin/less"].mode == 0o4711
    assert tree["opt/sparse"].size == SPARSE_SIZE
    assert tree["opt/twin"].links == 2
    assert tree["opt/twin"].mtime == rootfs_images.ODD_TIME
    assert tree["opt/link"].target == "x" * 200
    assert tree["srv/twice"].size == len("second, and longer")
    assert [name for name in tree if name.startswith("usr/lib/locale/")] == ["usr/lib/locale/only"]
    for name in ("usr/share/doc", "usr/bin/perl", "opt/odd-time", f"{kinds}/null", f"{kinds}/second"):
        assert name not in tree
    assert stat.S_ISREG(tree["usr/share/lintian"].kind)
    assert len(tree) > 3000


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_mounted_snapshots_are_the_tree_that_umoci_makes(
    store: Path, theirs: Tree, snapshotter: str, tmp_path: Path
) -> None:
    dist(store, "unpack", "--snapshotter", snapshotter, NAME)
    with mounted(store, tmp_path / "at", "--snapshotter", snapshotter) as folder:
        ours = described(folder)

    check_marks(ours)
    assert_same(ours, theirs)


def test_a_folder_with_the_files_is_the_tree_that_umoci_makes(
    store: Path, theirs: Tree, tmp_path: Path
) -> None:
    dist(store, "rootfs", NAME, str(tmp_path / "rootfs"))

    ours = described(tmp_path / "rootfs")
    check_marks(ours)
    assert_same(ours, theirs)


def test_holes_stay_holes(store: Path, tmp_path: Path) -> None:
    dist(store, "rootfs", NAME, str(tmp_path / "rootfs"))

    assert (tmp_path / "rootfs/opt/sparse").stat().st_blocks * 512 < 1_000_000


def test_containerd_mounts_the_same_tree(
    real_image: RealImage, store: Path, containerd: Containerd, tmp_path: Path
) -> None:
    """Known: containerd applies a layer to the upper folder alone, so a folder that no member of it tells
    of gets the time at which it was unpacked; umoci and we keep the time that the layer below told."""
    base = ["--base-name", NAME.rpartition(":")[0], "--snapshotter", "overlayfs"]
    done = containerd.ctr("images", "import", *base, str(real_image.archive(tmp_path / "image.tar")))
    assert done.returncode == 0, done.stderr.decode()
    (tmp_path / "theirs").mkdir()
    done = containerd.ctr("images", "mount", "--snapshotter", "overlayfs", NAME, str(tmp_path / "theirs"))
    assert done.returncode == 0, done.stderr.decode()
    try:
        tree = described(tmp_path / "theirs")
    finally:
        subprocess.run(["umount", str(tmp_path / "theirs")], check=True)

    with mounted(store, tmp_path / "ours", "--snapshotter", "overlayfs") as folder:
        ours = described(folder)
    lines = differences(ours, tree)
    names = {line.rpartition(": mtime is ")[0] for line in lines}

    assert_same(ours, tree, folder_times)
    assert all(stat.S_ISDIR(ours[name].kind) for name in names)
    assert len(names) < 60  # those that a later layer changed something in


def test_owners_are_moved_by_maps_and_nothing_else_is(store: Path, theirs: Tree, tmp_path: Path) -> None:
    ids = f"0:{SHIFT}:{COUNT}"
    folder = tmp_path / "rootfs"
    dist(store, "rootfs", "--uid-map", ids, "--gid-map", ids, NAME, str(folder))

    ours = described(folder)

    def moved(name: str, field: str, mine: object, other: object) -> bool:
        # A capability names the root of its namespace, and an ACL the ids that it means.
        mapped = isinstance(mine, int) and isinstance(other, int) and mine == other + SHIFT
        with_ids = name in ("srv/kinds/capable", "srv/kinds/listed", "srv/kinds/listed-folder")
        return (field in ("uid", "gid") and mapped) or (field == "xattrs" and with_ids)

    assert_same(ours, theirs, moved)
    assert {one.uid - SHIFT for one in ours.values()} == {one.uid for one in theirs.values()}


def test_without_owners_all_of_it_is_ours(store: Path, theirs: Tree, tmp_path: Path) -> None:
    dist(store, "rootfs", "--no-same-owner", NAME, str(tmp_path / "rootfs"))

    ours = described(tmp_path / "rootfs")

    assert {(one.uid, one.gid) for one in ours.values()} == {(0, 0)}
    assert {name for name, one in ours.items() if stat.S_ISREG(one.kind)} == {
        name for name, one in theirs.items() if stat.S_ISREG(one.kind)
    }


@pytest.mark.parametrize("how", [*SNAPSHOTTERS, "rootfs"])
def test_what_containerd_cannot_unpack_we_and_umoci_do(
    how: str, containerd: Containerd, tmp_path: Path
) -> None:
    """Known: containerd 1.6 refuses whiteouts below what the same layer made a file ("not a directory"),
    and hard links to a lower layer's files, as it applies layers to the upper folder alone."""
    (tmp_path / "image").mkdir()
    image = rootfs_images.crossed(tmp_path / "image")
    other = umoci_tree(image, tmp_path / "umoci")
    store = imported(image, tmp_path / "store")

    if how == "rootfs":
        dist(store, "rootfs", NAME, str(tmp_path / "ours"))
        ours = described(tmp_path / "ours")
    else:
        with mounted(store, tmp_path / "ours", "--snapshotter", how) as folder:
            ours = described(folder)
    base = ["--base-name", NAME.rpartition(":")[0], "--snapshotter", "overlayfs"]
    refused = containerd.ctr("images", "import", *base, str(image.archive(tmp_path / "image.tar")))

    assert ours["was-folder"].size == len("a file")
    assert stat.S_ISDIR(ours["was-file"].kind)
    assert ours["linked"].twins == ("linked", "links/here")
    assert ours["linked"].xattrs == (("user.kept", b"by both names"),)
    assert_same(ours, other)
    assert refused.returncode != 0
    assert b"not a directory" in refused.stderr


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_120_layers_are_mounted_and_read(
    snapshotter: str, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    image = rootfs_images.tall(tmp_path / "layout", 120)
    store = imported(image, tmp_path / "store")
    tree = umoci_tree(image, tmp_path / "umoci")

    with mounted(store, tmp_path / "at", "--snapshotter", snapshotter) as folder:
        ours = described(folder)

    assert (tmp_path / "umoci/all/latest").read_text() == "119"
    assert sorted(name for name in ours if name.startswith("all/")) == [
        *("all/117", "all/118", "all/119", "all/latest")
    ]
    assert len([name for name in ours if name.startswith("own-") and name.endswith("file")]) == 120

    def untold(name: str, field: str, _mine: object, _theirs: object) -> bool:
        # No member tells of the folders: we give them 1970, as what is reproducible; umoci the moment.
        return field == "mtime" and stat.S_ISDIR(ours[name].kind)

    assert_same(ours, tree, untold)
    count("layers over each other", image.layers)


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_layers_are_unpacked_while_others_arrive(
    real_image: RealImage, theirs: Tree, snapshotter: str, tmp_path: Path
) -> None:
    (tmp_path / "registry").mkdir()
    with served(tmp_path / "registry") as registry:
        name = f"{registry.host}/debian:real"
        copy = [program("skopeo"), "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]
        subprocess.run([*copy, f"oci:{real_image.image}", f"docker://{name}"], check=True, timeout=300)
        store = tmp_path / "store"
        words = ["pull", "--unpack", "--snapshotter", snapshotter, "--plain-http", "--json", name]
        output = dist(store, *words)

    with mounted(store, tmp_path / "at", "--snapshotter", snapshotter, name=name) as folder:
        ours = described(folder)
    assert [how for _, how in layers_told(output)] == ["unpacked"] * real_image.layers
    assert folders(store) == recorded(store)
    assert_same(ours, theirs)


@pytest.mark.parametrize("how", [*OLD, *GNU, *PAX])
def test_what_gnu_tar_packs_is_what_gnu_tar_unpacks(how: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    with (tree / "folder/holes").open("wb") as file:
        for at in range(0, 40 * 1024 * 1024, 1024 * 1024):  # more than the first header has room for
            file.seek(at + 512)
            file.write(b"data" * 256)
        file.truncate(50_000_001)
    (tree / "folder/all-hole").touch()
    os.truncate(tree / "folder/all-hole", 10_000_000)
    (tree / "folder/plain").write_bytes(bytes(range(256)) * 999)
    os.link(tree / "folder/plain", tree / "twin")
    (tree / "link").symlink_to("folder/plain")
    if how not in OLD:
        (tree / ("n" * 200)).write_text("a long name")
        (tree / "long-link").symlink_to("/t" * 200)
    pack = ["tar", "-C", str(tree), *how.split(), "--sort=name", "--numeric-owner"]
    subprocess.run([*pack, "-cf", f"{tmp_path}/layer", "."], check=True)
    rootfs_images.write_layout(tmp_path / "layout", [(tmp_path / "layer").read_bytes()], TAG)
    (tmp_path / "theirs").mkdir()
    subprocess.run(["tar", "-C", f"{tmp_path}/theirs", "-xpf", f"{tmp_path}/layer"], check=True)

    store = imported(RealImage(layout=tmp_path / "layout", tag=TAG, layers=1), tmp_path / "store")
    dist(store, "rootfs", NAME, str(tmp_path / "ours"))

    assert_same(described(tmp_path / "ours"), described(tmp_path / "theirs"))
