"""Changed images, read and unpacked by Debian's skopeo, umoci and podman."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.diff.overlay_layers import ALL, NAMES, Entry, Impossible, Tree, tar_of
from tests.unit.transfer.ends_images import push_all
from tests.unit.transfer.mutate_images import Maker, files

from distore.content.local.store import LocalStore
from distore.transfer.layout import LayoutSink

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]
Dist = Callable[..., subprocess.CompletedProcess[bytes]]
Run = Callable[..., bytes]
STACKS = 25


@pytest.fixture
def run(peer: Callable[[str], str], tmp_path: Path) -> Run:
    """Run a peer; its standard output."""

    def of(program: str, *words: str) -> bytes:
        done = subprocess.run(
            [peer(program), *words], capture_output=True, cwd=tmp_path, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return of


def layout(folder: Path, layers: Sequence[bytes]) -> None:
    """An image of plain tar files as ``layers`` of the layout ``image``, and flat as ``flat``."""
    made = Maker()
    root = made.image(*layers)
    path = str(folder / "image")
    for tag, which in (("layers", root), ("flat", made.mutate(root, flatten=True).root)):
        with LayoutSink(path, tag, store=LocalStore(path)) as sink:
            push_all(made.store, which, sink)


def good(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.fixture
def app(dist: Dist, tmp_path: Path) -> Path:
    """``app:1`` in the store, and the folder of all that a test makes."""
    layout(tmp_path, [files("etc/a", "etc/b"), files("etc/.wh.a", "srv/c")])
    good(dist("copy", "-q", "oci:image:layers", "store:app:1"))
    return tmp_path


def test_skopeo_reads_what_was_changed(dist: Dist, run: Run, app: Path) -> None:
    (app / "tree").mkdir()
    (app / "tree" / "new").write_text("x")
    words = ("--append", "tree", "--env", "A=1", "--label", "l=2", "--annotation", "k=v", "--created", "0")
    digest = good(dist("mutate", "app:1", "app:2", *words))
    good(dist("copy", "-q", "store:app:2", "oci:ours:2"))

    told = json.loads(run("skopeo", "inspect", "oci:ours:2"))
    run("skopeo", "--insecure-policy", "copy", "--preserve-digests", "oci:ours:2", "oci:theirs:2")
    run("skopeo", "--insecure-policy", "copy", "oci:ours:2", "docker-archive:theirs.tar:app:2")

    assert (told["Digest"], len(told["Layers"])) == (digest, 3)
    assert (told["Env"], told["Labels"], told["Created"]) == (["A=1"], {"l": "2"}, "1970-01-01T00:00:00Z")
    index = json.loads((app / "theirs" / "index.json").read_text())
    assert [entry["digest"] for entry in index["manifests"]] == [digest]


def test_podman_loads_and_shows_what_was_changed(dist: Dist, run: Run, app: Path) -> None:
    good(dist("mutate", "app:1", "app:2", "--flatten", "--env", "A=1", "--entrypoint", "/app -v"))
    good(dist("copy", "-q", "store:app:2", "docker-archive:app.tar:app:2"))

    with tempfile.TemporaryDirectory() as short:  # podman takes no long runroot
        own = ("--root", str(app / "pod"), "--runroot", short, "--storage-driver", "vfs")
        run("podman", *own, "load", "-i", "app.tar")
        told = json.loads(run("podman", *own, "image", "inspect", "docker.io/library/app:2"))[0]
        run("podman", *own, "rmi", "-f", "docker.io/library/app:2")

    assert (told["Config"]["Env"], told["Config"]["Entrypoint"]) == (["A=1"], ["/app", "-v"])
    assert len(told["RootFS"]["Layers"]) == 1


def test_umoci_sees_the_rebased_image(dist: Dist, run: Run, app: Path) -> None:
    made = Maker()
    base, new = files("etc/old"), files("etc/new")
    for tag, layers in (("base", [base]), ("new", [new]), ("image", [base, files("app")])):
        path = str(app / "bases")
        root = made.image(*layers)
        with LayoutSink(path, tag, store=LocalStore(path)) as sink:
            push_all(made.store, root, sink)
        good(dist("copy", "-q", f"oci:bases:{tag}", f"store:{tag}:1"))

    good(dist("mutate", "image:1", "image:2", "--rebase", "base:1", "new:1"))
    good(dist("copy", "-q", "store:image:2", "oci:bases:rebased"))
    run("umoci", "raw", "unpack", "--image", "bases:rebased", "out")

    assert sorted(tree_of(app / "out")) == ["app", "etc", "etc/new"]


def tree_of(top: Path) -> dict[str, tuple[Any, ...]]:
    """Everything in a folder, comparable: times of files alone, hard links by their first name."""
    found: dict[str, tuple[Any, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted(top.rglob("*")):
        name, about = str(path.relative_to(top)), os.lstat(path)
        kind = stat.S_IFMT(about.st_mode)
        told: tuple[Any, ...] = (kind, stat.S_IMODE(about.st_mode), about.st_uid)
        if kind == stat.S_IFLNK:
            told = (*told, path.readlink())
        elif kind == stat.S_IFREG:
            attributes = {
                key: os.getxattr(path, key) for key in os.listxattr(path) if key.startswith("user.")
            }
            told = (*told, path.read_bytes(), int(about.st_mtime), attributes)
        if kind != stat.S_IFDIR:
            told = (*told, first.setdefault(about.st_ino, name))
        found[name] = told
    return found


def random_layers(numbers: random.Random) -> list[bytes]:
    """Layers as builders write them: whiteouts first, and no name twice in one."""

    def path() -> str:
        return "/".join(numbers.choice(NAMES) for _ in range(numbers.randint(1, 3)))

    layers = []
    for _ in range(numbers.randint(2, 4)):
        entries: dict[str, Entry] = {}
        for _ in range(numbers.randint(2, 10)):
            what = numbers.choice(ALL)
            target = numbers.choice(("/", "../", "")) + path() if what == "sym" else path()
            entry = Entry(what, path(), target, numbers.randrange(64))
            entries[f"{entry.path}{'/opq' if what == 'opq' else ''}"] = entry
        ordered = sorted(entries.values(), key=lambda entry: entry.what not in ("wh", "opq"))
        layers.append(tar_of(ordered))
    return layers


def possible(layers: Sequence[bytes]) -> bool:
    tree = Tree()
    try:
        for layer in layers:
            tree.lay(layer)
    except Impossible:
        return False
    return bool(tree.things)


def test_umoci_unpacks_the_flat_image_to_the_tree_of_its_layers(
    peer: Callable[[str], str], tmp_path: Path
) -> None:
    umoci = peer("umoci")
    compared = seed = 0
    while compared < STACKS:
        seed += 1
        assert seed < 40 * STACKS
        layers = random_layers(random.Random(seed))
        if not possible(layers):
            continue
        folder = tmp_path / str(seed)
        layout(folder, layers)
        unpacked = {
            tag: subprocess.run(
                [umoci, "raw", "unpack", "--image", f"image:{tag}", tag],
                cwd=folder,
                capture_output=True,
                timeout=60,
                check=False,
            )
            for tag in ("layers", "flat")
        }

        assert unpacked["flat"].returncode == 0, unpacked["flat"].stderr
        if unpacked["layers"].returncode == 0:  # it takes no file as the folder of a later name
            assert tree_of(folder / "flat") == tree_of(folder / "layers"), seed
            compared += 1
        shutil.rmtree(folder)
