"""``dist snapshots``: as a person or a script uses it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.mount import may_mount

pytestmark = pytest.mark.slow
Dist = Callable[..., "subprocess.CompletedProcess[bytes]"]
FIELDS = ["snapshotter", "name", "kind", "parent", "created", "updated", "labels"]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """``base`` <- ``app`` <- an active ``run 1`` and a view, and one of the other driver."""
    store = LocalStore(str(tmp_path / ".content"))
    metadata = Metadata(store, command="t")
    overlay = metadata.snapshotter("overlayfs")
    for name, parent in (("base", None), ("app", "base")):
        overlay.prepare("x", parent)
        overlay.commit(name, "x", labels={"of": name})
    overlay.prepare("run 1", "app")
    overlay.view("look", "app")
    metadata.snapshotter("native").prepare("other")
    store.close()
    return tmp_path / ".content"


def lines(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(done)]


def test_a_listing_shows_all_drivers_or_one(dist: Dist, filled: Path) -> None:
    head, *rows = lines(dist("snapshots"))

    assert re.fullmatch(r"NAME +KIND +DRIVER +SIZE +AGE +PARENT", head)
    assert [re.split(r"  +", row)[:3] for row in rows] == [
        ["app", "committed", "overlayfs"],
        ["base", "committed", "overlayfs"],
        ["look", "view", "overlayfs"],
        ["run 1", "active", "overlayfs"],
        ["other", "active", "native"],
    ]
    assert lines(dist("snapshots", "-q", "--snapshotter", "native")) == ["other"]
    assert lines(dist("snapshots", "ls", "-q", "--filter", "parent==app")) == ["look", "run 1"]


def test_json_has_the_same_fields_everywhere(dist: Dist, filled: Path) -> None:
    listed = objects(dist("snapshots", "--json"))
    (told,) = objects(dist("snapshots", "info", "app", "--json"))

    assert [list(each) for each in listed] == [[*FIELDS, "inodes", "size"]] * 5
    assert told == listed[0]
    assert next(list(each) for each in objects(dist("snapshots", "tree", "--json"))) == ["depth", *FIELDS]


def test_a_tree_shows_what_lies_on_what(dist: Dist, filled: Path) -> None:
    assert lines(dist("snapshots", "tree")) == [
        "base",
        "  app",
        "    look (view)",
        "    run 1 (active)",
        "other (active)",
    ]


def test_info_and_usage_tell_of_each_that_is_asked_for(dist: Dist, filled: Path) -> None:
    text = dist("snapshots", "info", "app", "none")
    sizes = objects(dist("snapshots", "usage", "--json", "base", "app"))

    assert text.returncode == 11
    assert text.stderr == b"dist: snapshot none: not found\n"
    assert re.findall(r"^(\w+) +(.*)$", text.stdout.decode(), re.MULTILINE)[:4] == [
        ("name", "app"),
        ("snapshotter", "overlayfs"),
        ("kind", "committed"),
        ("parent", "base"),
    ]
    assert [(each["name"], each["inodes"]) for each in sizes] == [("base", 1), ("app", 1)]


def test_labels_are_shown_set_and_removed(dist: Dist, filled: Path) -> None:
    assert lines(dist("snapshots", "label", "app")) == ["app of=app"]
    assert lines(dist("snapshots", "label", "app", "of=", "a=b")) == ["app a=b"]
    assert objects(dist("snapshots", "info", "app", "--json"))[0]["labels"] == {"a": "b"}


def test_removal_goes_on_after_what_cannot_go(dist: Dist, filled: Path) -> None:
    done = dist("snapshots", "rm", "base", "-", input=b"run 1\nlook\n")

    assert done.returncode == 14
    assert b"snapshot base: snapshot app lies on it; remove that first" in done.stderr
    assert done.stdout == b"run 1\nlook\n"
    assert lines(dist("snapshots", "-q")) == ["app", "base", "other"]


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
def test_mounts_are_commands_that_a_shell_runs(dist: Dist, filled: Path, tmp_path: Path) -> None:
    target = tmp_path / "a folder"
    target.mkdir()
    done = dist("snapshots", "mounts", "run 1", str(target))
    (told,) = objects(dist("snapshots", "mounts", "run 1", "--json"))

    script = 'set -e; . /dev/stdin; touch "$1/new"; mountpoint "$1"'
    shown = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(target)],
        input=done.stdout,
        capture_output=True,
        check=False,
        timeout=30,
    )

    assert shown.returncode == 0, shown.stderr
    assert list(told) == ["type", "source", "target", "options"]
    upper = next(each for each in told["options"] if each.startswith("upperdir="))  # type: ignore[attr-defined]
    assert os.listdir(upper.removeprefix("upperdir=")) == ["new"]


def test_cleanup_frees_what_a_crash_left(dist: Dist, filled: Path) -> None:
    left = filled / "snapshots" / "overlayfs" / "77" / "fs"
    left.mkdir(parents=True)
    (left / "file").write_bytes(b"x" * 100_000)

    first, second = objects(dist("snapshots", "cleanup", "--json"))

    assert first["snapshotter"] == "overlayfs"
    assert isinstance(first["freed"], int) and first["freed"] >= 100_000
    assert second == {"snapshotter": "native", "freed": 0}
    assert not left.exists()


def test_gc_takes_those_that_nothing_keeps_and_tells(dist: Dist, filled: Path) -> None:
    dist("snapshots", "label", "run 1", "containerd.io/gc.root=1")

    done = dist("gc")

    assert done.stdout == b""
    notes = done.stderr.decode().splitlines()
    assert sorted(notes[:2]) == [
        "dist: removed snapshot native/other",
        "dist: removed snapshot overlayfs/look",
    ]
    assert notes[2].startswith("dist: removed 0 blobs and 2 snapshots, ")
    assert lines(dist("snapshots", "-q")) == ["app", "base", "run 1"]


def test_gc_explains_what_keeps_a_snapshot(dist: Dist, filled: Path) -> None:
    dist("snapshots", "label", "run 1", "containerd.io/gc.root=1")

    kept, lost = objects(dist("gc", "--json", "--explain", "overlayfs/base", "overlayfs/look"))

    assert list(kept) == ["snapshot", "namespace", "kept", "path"]
    assert (kept["kept"], lost["kept"], lost["path"]) == (True, False, [])
    assert kept["path"][-1] == {"kind": "snapshot", "name": "overlayfs/base"}  # type: ignore[index]
    assert dist("gc", "--explain", "native/none").returncode == 11


def test_df_counts_snapshots(dist: Dist, filled: Path) -> None:
    found = {each["kind"]: each for each in objects(dist("df", "--json"))}

    assert found["snapshots"]["count"] == 5
    assert found["reclaimable"]["count"] == 5
    assert found["reclaimable"]["size"] == found["snapshots"]["size"]


def test_a_lease_is_given_a_snapshot_by_name(dist: Dist, filled: Path) -> None:
    dist("leases", "create", "--id", "work")
    assert dist("leases", "add", "work", "--type", "snapshots/overlayfs", "app").returncode == 0

    dist("gc")

    assert lines(dist("snapshots", "-q")) == ["app", "base"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ls", "key"), "snapshots ls: takes no keys"),
        (("tree", "key"), "snapshots tree: takes no keys"),
        (("cleanup", "key"), "snapshots cleanup: takes no keys"),
        (("info",), "snapshots info: want keys or names"),
        (("rm",), "snapshots rm: want keys or names"),
        (("mounts",), "snapshots mounts: want a key"),
        (("mounts", "a", "b", "c"), "snapshots mounts: want a key"),
        (("label",), "snapshots label: want a key or name"),
        (("ls", "--snapshotter", "zfs"), "snapshotter 'zfs': want overlayfs or native"),
        (("ls", "--filter", "=="), "filter"),
    ],
)
def test_wrong_words_are_refused(dist: Dist, filled: Path, words: tuple[str, ...], message: str) -> None:
    done = dist("snapshots", *words)

    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_store_that_is_not_there_has_none_and_is_not_made(dist: Dist, tmp_path: Path) -> None:
    for action in ("ls", "tree", "cleanup"):
        assert dist("snapshots", action).returncode == 0
    assert dist("snapshots", "rm", "x").returncode == 11

    assert list(tmp_path.iterdir()) == []
