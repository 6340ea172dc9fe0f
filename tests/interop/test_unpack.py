"""Random images unpacked by us and by umoci: the same trees."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.diff.applied_trees import lay
from tests.unit.diff.overlay_layers import NAMES, Entry, Impossible, Tree, tar_of

from distore.errors import FailedPrecondition

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="umoci makes the owners only as root"),
]
STACKS = 150
FOLDERS = ("d", "d/e", "f", "g/h")


def stack_of(seed: int) -> list[bytes]:
    """Layers as builders make them: folders are told of first, and names go through no links."""
    numbers, layers = random.Random(seed), []
    files: list[str] = []  # to link to; some are gone by then
    for _ in range(numbers.randrange(2, 5)):
        folders = sorted(numbers.sample(FOLDERS, numbers.randrange(1, 4)))
        found = {path: Entry("dir", path, seed=numbers.randrange(64)) for path in folders}
        for _ in range(numbers.randrange(1, 12)):
            path = f"{numbers.choice(folders)}/{numbers.choice(NAMES)}"
            what = numbers.choice(("file", "file", "link", "sym", "fifo", "wh"))
            target = numbers.choice(("a", "/d/a", "../f/b", "none")) if what == "sym" else ""
            if what == "link":
                target = numbers.choice(files or ["none"])
                if target in found or target == path:  # umoci cannot link a file to itself
                    continue
            found[path] = Entry(what, path, target, numbers.randrange(64))
            files += [path] if what == "file" else []
        for path in sorted(set(FOLDERS) - set(folders)):
            if not any(other.startswith(path) for other in folders):
                what = numbers.choice(("wh", "file", "sym", "dir", "dir", "dir"))
                found[path] = Entry(what, path, "d", numbers.randrange(64))
        opaque = [Entry("opq", path) for path in folders if numbers.random() < 0.2]
        layers.append(tar_of([*opaque, *found.values()]))
    return layers


def is_plain(layers: list[bytes]) -> bool:
    """Whether nothing in it is made by guessing: no parent is a file or a link."""
    tree = Tree()
    try:
        for layer in layers:
            tree.lay(layer)
    except Impossible:
        return False
    return True


def layout(folder: Path, layers: list[bytes]) -> None:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{name}",
            "size": len(data),
        }

    found = [put(layer, "layer.v1.tar") for layer in layers]
    rootfs = {"type": "layers", "diff_ids": [one["digest"] for one in found]}
    config = put(
        json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": {}}).encode(),
        "config.v1+json",
    )
    manifest = {"schemaVersion": 2, "config": config, "layers": found}
    root = put(json.dumps(manifest).encode(), "manifest.v1+json")
    root["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def described(folder: Path) -> dict[str, tuple[object, ...]]:
    """All but the times of folders, which umoci sets for those that no member tells of."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted(folder.rglob("*")):
        name, info = str(path.relative_to(folder)), path.lstat()
        kind = stat.S_IFMT(info.st_mode)
        is_folder, is_link, is_file = (kind == one for one in (stat.S_IFDIR, stat.S_IFLNK, stat.S_IFREG))
        found[name] = (
            kind,
            None if is_link else stat.S_IMODE(info.st_mode),
            info.st_uid,
            info.st_gid,
            None if is_folder else info.st_mtime,
            os.readlink(path) if is_link else "",
            path.read_bytes() if is_file else b"",
            sorted((key, os.getxattr(path, key)) for key in os.listxattr(path)) if is_file else [],
            None if is_folder else first.setdefault(info.st_ino, name),
        )
    return found


def test_umoci_unpacks_the_same_tree(
    peer: Callable[[str], str], tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    umoci, compared = peer("umoci"), 0

    for seed in range(STACKS):
        layers = stack_of(seed)
        if not is_plain(layers):
            continue
        image, theirs, ours = (tmp_path / f"{kind}-{seed}" for kind in ("image", "theirs", "ours"))
        layout(image, layers)
        done = subprocess.run(
            [umoci, "raw", "unpack", "--image", f"{image}:x", str(theirs)], capture_output=True, check=False
        )
        ours.mkdir()
        for layer in layers:
            lay(ours, layer)
        if done.returncode:  # a file where a folder has to be: it gives up, we make the folder
            assert b"not a directory" in done.stderr, done.stderr.decode()
            continue
        assert described(ours) == described(theirs), f"seed {seed}"
        compared += 1

    assert compared >= STACKS // 4
    count("trees as umoci makes them", compared)


def test_what_no_extraction_can_do_umoci_refuses_too(peer: Callable[[str], str], tmp_path: Path) -> None:
    layer = tar_of([Entry("link", "a", "none")])
    layout(tmp_path / "image", [layer])
    (tmp_path / "ours").mkdir()

    command = [peer("umoci"), "raw", "unpack", "--image", f"{tmp_path}/image:x", f"{tmp_path}/theirs"]

    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    with pytest.raises(FailedPrecondition, match="which is not there"):
        lay(tmp_path / "ours", layer)
