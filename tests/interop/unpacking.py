"""``dist unpack`` and its kin, run as people run them, and what they leave in a store."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.interop.conftest import program
from tests.interop.rootfs_images import NAME, RealImage
from tests.interop.treecompare import Record, described

DIST = [sys.executable, "-I", "-m", "distore"]
SNAPSHOTTERS = ["overlayfs", "native"]
Tree = dict[str, Record]


def dist(store: Path, *words: str, status: int = 0) -> str:
    """Run it; what it printed."""
    done = subprocess.run(
        [*DIST, *words, "--root", str(store)], capture_output=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stderr.decode()
    return done.stdout.decode()


@contextmanager
def mounted(store: Path, folder: Path, *words: str, name: str = NAME) -> Iterator[Path]:
    """``dist mount`` for the length of the block."""
    dist(store, "mount", *words, name, str(folder))
    try:
        yield folder
    finally:
        dist(store, "unmount", str(folder))


def imported(image: RealImage, store: Path, *words: str) -> Path:
    """A store with the image, not unpacked."""
    dist(store, "import", "-q", "--base-name", NAME.rpartition(":")[0], str(image.layout), *words)
    return store


def umoci_tree(image: RealImage, folder: Path) -> Tree:
    """What umoci makes of it."""
    command = [program("umoci"), "raw", "unpack", "--image", image.image, str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return described(folder)


def layers_told(output: str) -> list[tuple[str, str]]:
    """(chain id, how) of each layer that ``dist unpack --json`` tells is done."""
    events = [json.loads(line) for line in output.splitlines()]
    return [(one["chain_id"], one["how"]) for one in events if one["event"] == "unpacked"]


def folders(store: Path) -> set[str]:
    """The folders of all snapshots, as DRIVER/ID."""
    return {f"{path.parent.name}/{path.name}" for path in (store / "snapshots").glob("*/*") if path.is_dir()}


def recorded(store: Path) -> set[str]:
    """The same, as the database has them."""
    with closing(sqlite3.connect(f"file:{store}/dist.db?mode=ro", uri=True)) as database:
        return {f"{driver}/{id}" for driver, id in database.execute("SELECT snapshotter, id FROM snapshots")}


def kinds(store: Path) -> list[str]:
    """What each snapshot in the database is."""
    with closing(sqlite3.connect(f"file:{store}/dist.db?mode=ro", uri=True)) as database:
        return [kind for (kind,) in database.execute("SELECT kind FROM snapshots")]
