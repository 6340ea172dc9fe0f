"""``dist commit-rootfs``: a new image of a root filesystem that was changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distore.content.local.store import LocalStore
from distore.mount import may_mount

pytestmark = pytest.mark.slow
Done = subprocess.CompletedProcess[bytes]
Dist = Callable[..., Done]
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


def good(done: Done) -> str:
    assert done.returncode == 0, done
    return done.stdout.decode().strip()


def config_of(dist: Dist, name: str) -> Any:
    return json.loads(good(dist("inspect", "--config", f"store:{name}")))


@pytest.fixture
def base(dist: Dist, tmp_path: Path) -> str:
    """The digest of base:1, an image of the folder ``tree``."""
    (tmp_path / "tree" / "etc").mkdir(parents=True)
    (tmp_path / "tree" / "etc" / "a").write_text("a")
    (tmp_path / "tree" / "etc" / "b").write_text("b")
    for path in (*(tmp_path / "tree").rglob("*"), tmp_path / "tree"):
        os.utime(path, (0, 0))
    return good(dist("commit-rootfs", "tree", "base:1", "--cmd", "sh", env=EPOCH))


def test_a_changed_folder_is_an_image_over_its_base(dist: Dist, base: str, tmp_path: Path) -> None:
    (tmp_path / "tree" / "etc" / "a").unlink()
    (tmp_path / "tree" / "new").write_text("new")
    words = ("commit-rootfs", "-q", "tree", "app:2", "--from", "base:1", "-m", "why", "--user", "me")

    digest = good(dist(*words, env=EPOCH))

    assert good(dist(*words, "--force", env=EPOCH)) == digest != base
    assert good(dist("ls", "app:2:/etc")).split() == ["b"]
    assert good(dist("cat", "app:2:/new")) == "new"
    config = config_of(dist, "app:2")
    assert (config["config"], config["created"]) == ({"Cmd": ["sh"], "User": "me"}, "2023-11-14T22:13:20Z")
    assert [step.get("comment") for step in config["history"]] == [None, "why"]
    assert good(dist("images", "check", "-q", "app:2")) is not None
    assert dist("active").stdout.count(b"\n") <= 1


def test_json_tells_of_the_layer(dist: Dist, base: str, tmp_path: Path) -> None:
    (tmp_path / "tree" / "etc" / "b").write_text("other")

    done = dist("commit-rootfs", "-q", "--json", "tree", "app:2", "--from", base, "--compression", "none")

    told = json.loads(good(done).splitlines()[-1])  # what happens comes before
    assert list(told) == ["name", "target", "layer", "diff_id", "changes"]
    assert told["layer"]["digest"] == told["diff_id"]
    assert told["changes"] == 1


def test_where_nothing_differs_the_base_gets_the_name(dist: Dist, base: str) -> None:
    done = dist("commit-rootfs", "-q", "tree", "app:2", "--from", "base:1")

    assert good(done) == base
    assert done.stderr.startswith(b"dist: no file differs from those of the image below")
    names = dict(line.split()[:2] for line in good(dist("images")).splitlines()[1:])
    assert names["docker.io/library/app:2"] == base


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
def test_what_is_written_to_a_mounted_image_is_committed(dist: Dist, base: str, tmp_path: Path) -> None:
    good(dist("mount", "--rw", "base:1", "there"))
    try:
        (tmp_path / "there" / "etc" / "a").unlink()
        (tmp_path / "there" / "new").write_text("new")
        keys = good(dist("snapshots", "ls", "-q", "--filter", "kind==active")).split()

        digest = good(dist("commit-rootfs", f"snapshot:{keys[0]}", "app:2", env=EPOCH))
        # All files compared, where they are seen, make the same layer.
        seen = good(dist("commit-rootfs", "-q", "there", "app:3", "--from", "base:1", env=EPOCH))
    finally:
        dist("unmount", "there")

    assert base != digest == seen
    assert good(dist("ls", "app:2:/etc")).split() == ["b"]
    assert good(dist("cat", "app:2:/new")) == "new"
    assert config_of(dist, "app:2")["config"] == {"Cmd": ["sh"]}


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
def test_a_bundle_knows_its_image(dist: Dist, base: str, tmp_path: Path) -> None:
    made = dist("bundle", "base:1", "bundle")
    try:
        good(made)
        (tmp_path / "bundle" / "rootfs" / "new").write_text("new")

        good(dist("commit-rootfs", "bundle", "app:2"))
    finally:
        dist("bundle", "--remove", "bundle")

    assert good(dist("cat", "app:2:/new")) == "new"
    assert len(config_of(dist, "app:2")["history"]) == 2


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["none", "app:2"], 11, "source 'none': no such folder"),
        (["tree/etc/a", "app:2"], 14, "want a folder, or snapshot:KEY"),
        ([".", "app:2"], 14, ".content lies in it; name another"),
        (["tree", "base:1"], 12, "exists already; --force"),
        (["tree", "app:2", "--from", "none:1"], 11, "dist pull brings it"),
        (["tree", "app:2", "--compression", "zstd", "--level", "40"], 2, "zstd has 1 to 19"),
        (["tree", "app:2", "--source-date-epoch", "now"], 2, "--source-date-epoch 'now': want a time"),
        (["tree", "app:2", "--env", "A"], 2, "want NAME=VALUE"),
        (["snapshot:none", "app:2"], 11, "snapshot none"),
        (["tree", "app@sha256:" + 64 * "0"], 2, "leave it out"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], status: int, part: str, dist: Dist, base: str
) -> None:
    done = dist("commit-rootfs", *words)

    assert (done.returncode, done.stdout) == (status, b""), done
    assert part in done.stderr.decode()
    assert done.stderr.decode().count("\n") == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_ingest(number: int, status: int, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree" / "large").open("wb") as file:
        file.truncate(20 << 30)
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "distore", "commit-rootfs", "tree", "app:1", "--compression", "zstd"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    store = LocalStore(str(tmp_path / ".content"))
    end = time.monotonic() + 30
    while not any(each.offset for each in store.statuses()):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)

    process.send_signal(number)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (status, b"", b"")
    assert list(store.statuses()) == []
