"""``dist leases``: who keeps what, as processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distore.oci.digest import Digest

pytestmark = pytest.mark.slow
Dist = Callable[..., "subprocess.CompletedProcess[bytes]"]
HELLO = Digest.of(b"hello\n")
WORKER = """
import sys
from distore.app import App
from distore.config import Config
with App(Config(root=".content", command="dist pull")).leased("pull"):
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works under a lease."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", WORKER],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_lease_lasts_a_day_unless_it_is_said_otherwise(dist: Dist) -> None:
    for words in (("--id", "day"), ("--id", "hour", "--expires", "1h"), ("--id", "ever", "--no-expiry")):
        assert dist("leases", "create", *words).stdout.decode().strip() == words[1]

    head, *rows = dist("leases").stdout.decode().splitlines()

    assert re.fullmatch(r"ID +AGE +EXPIRES +OWNER +RESOURCES +PURPOSE", head)
    assert [re.split(r"  +", row)[2:5] for row in rows] == [
        ["in 23 hours", "-", "0"],
        ["-", "-", "0"],
        ["in 59 minutes", "-", "0"],
    ]
    assert dist("leases", "-q").stdout == b"day\never\nhour\n"


def test_labels_are_set_and_filtered(dist: Dist) -> None:
    dist("leases", "create", "--id", "one", "--label", "job=nightly", "--flat")
    dist("leases", "create", "--id", "two")

    [found] = objects(dist("leases", "--json", "--filter", "labels.job==nightly"))

    assert found["id"] == "one"
    assert isinstance(found["labels"], dict)
    assert found["labels"]["containerd.io/gc.flat"] == "true"


def test_what_is_added_is_shown_until_it_is_removed(dist: Dist) -> None:
    lease = dist("leases", "create").stdout.decode().strip()
    dist("leases", "add", lease, HELLO, "some/ref")
    dist("leases", "add", lease, "--type", "images", "redis:8")
    dist("leases", "add", lease, "--type", "snapshots/overlayfs", "-", input=b"one\ntwo\n")

    held = objects(dist("leases", "resources", lease, "--json"))

    assert held == [
        {"type": "content", "key": HELLO},
        {"type": "images", "key": "docker.io/library/redis:8"},
        {"type": "ingests", "key": "some/ref"},
        {"type": "snapshots/overlayfs", "key": "one"},
        {"type": "snapshots/overlayfs", "key": "two"},
    ]
    removed = dist("leases", "remove", lease, HELLO, "some/ref")
    assert removed.stdout.decode().splitlines() == [f"content {HELLO}", "ingests some/ref"]
    assert len(objects(dist("leases", "resources", lease, "--json"))) == 3


def test_one_that_is_bad_stops_no_other(dist: Dist) -> None:
    dist("leases", "create", "--id", "work")

    added = dist("leases", "add", "work", "sha256:bad", "some/ref")
    ended = dist("leases", "rm", "none", "work")

    assert (added.returncode, added.stdout) == (2, b"ingests some/ref\n")
    assert (ended.returncode, ended.stdout) == (11, b"work\n")
    assert ended.stderr == b"dist: lease none: not found\n"


def test_a_live_owner_is_shown_and_kept(dist: Dist, worker: subprocess.Popen[bytes]) -> None:
    [found] = objects(dist("leases", "--json"))
    row = dist("leases").stdout.decode().splitlines()[1]
    lease = str(found["id"])

    assert isinstance(found["owner"], dict)
    assert (found["owner"]["pid"], found["owner"]["command"]) == (worker.pid, "dist pull")
    assert row.split("  ")[0] == lease
    assert f"{worker.pid} (dist pull)" in row and row.endswith("pull")
    refused = dist("leases", "rm", lease)
    assert refused.returncode == 14
    assert f"pid {worker.pid} on " in refused.stderr.decode()
    assert dist("leases", "rm", "--dead").stdout == b""
    assert dist("leases", "rm", "--force", lease).returncode == 0
    assert dist("leases", "-q").stdout == b""


def test_the_leases_of_the_dead_go(dist: Dist, worker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    dist("leases", "create", "--id", "over", "--expires", "0")
    dist("leases", "create", "--id", "stays")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert " dead " in dist("leases").stdout.decode()

    gone = dist("leases", "rm", "--dead")

    assert gone.returncode == 0
    assert [line.partition("-")[0] for line in gone.stdout.decode().splitlines()] == ["dist", "over"]
    assert dist("leases", "-q").stdout == b"stays\n"
    assert list((tmp_path / ".content" / "leases").iterdir()) == []


def test_leases_are_of_one_namespace(dist: Dist) -> None:
    dist("leases", "create", "--id", "work", "--namespace", "team")

    assert dist("leases", "-q").stdout == b""
    assert dist("leases", "-q", env={"DIST_NAMESPACE": "team"}).stdout == b"work\n"
    assert dist("leases", "-q", env={"CONTAINERD_NAMESPACE": "team"}).stdout == b"work\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("ls", "work"), "takes no ids"),
        (("create", "work"), "--id"),
        (("create", "--expires", "1h", "--no-expiry"), "one of them"),
        (("create", "--expires", "tomorrow"), "duration 'tomorrow'"),
        (("create", "--label", "containerd.io/gc.expire=soon"), "2026-01-02T03:04:05Z"),
        (("rm",), "--dead"),
        (("rm", "--dead", "work"), "--dead"),
        (("add", "work"), "want a lease"),
        (("remove",), "want a lease"),
        (("resources",), "one lease"),
    ],
)
def test_what_makes_no_sense_is_refused_and_makes_no_store(
    dist: Dist, tmp_path: Path, words: tuple[str, ...], part: str
) -> None:
    done = dist("leases", *words)

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert part in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("rm", "a"), ("rm", "--dead"), ("add", "a", "b"), ("resources", "a"), ("ls",)]
)
def test_where_there_is_no_store_none_is_made(dist: Dist, tmp_path: Path, words: tuple[str, ...]) -> None:
    dist("leases", *words)

    assert list(tmp_path.iterdir()) == []
