"""Pulls over networks that lose packets and fall silent, and pulls that are killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop.netns import Network, network, possible

from distore.testing.server import FakeRegistry

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(180)]

SERVING = Path(__file__).with_name("serving.py")
DIST = [sys.executable, "-I", "-m", "distore"]
DELAY = 0.020  # seconds
KILLS = 20
RATE = 2_000_000  # bytes a second for each connection
CONNECTIONS = 6
# A kill may cost what came shortly before: it is in sockets or gathered for a larger write.
LOST = CONNECTIONS * RATE * 15 // 100  # bytes that come in 0.15 s; measured: half of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An image that is served: its name, the bytes of its blobs, and their digests."""

    name: str
    size: int
    blobs: list[str]


@pytest.fixture
def wire(peer: Callable[[str], str]) -> None:
    """What a namespace needs."""
    peer("ip")
    if not possible():
        pytest.skip("a network namespace needs root and /dev/net/tun")


@contextmanager
def serving(net: Network, sizes: Sequence[int], *, rate: int = 0) -> Iterator[Served]:
    """A registry in the namespace, with an image whose layers have these sizes.

    Args:
        rate: Bytes a second for each connection; 0: no limit.
    """
    words = [sys.executable, "-I", str(SERVING), net.address, str(rate), *map(str, sizes)]
    process = subprocess.Popen(net.inside(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:  # closes its input, which ends it, and waits
        assert process.stdout is not None
        yield Served(**json.loads(process.stdout.readline()))


def start(name: str, root: Path) -> subprocess.Popen[bytes]:
    """A pull that runs."""
    words = [*DIST, "pull", name, "--plain-http", "--root", str(root)]
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def assert_whole(root: Path, blobs: Sequence[str]) -> None:
    """Every blob is there and right, nothing else is, and no ingest is left.

    Who was killed between the rename of a blob and the end of its ingest leaves a folder without data,
    which counts for nothing and goes with fsck (docs/formats/store.md, "Commit").
    """
    there = {f"sha256:{path.name}" for path in (root / "blobs" / "sha256").iterdir()}
    assert there == set(blobs)
    assert [path for path in (root / "ingest").iterdir() if (path / "data").exists()] == []
    fsck = subprocess.run([*DIST, "fsck", "--root", str(root)], capture_output=True, check=False)
    assert fsck.returncode == 0, fsck.stdout
    assert list((root / "ingest").iterdir()) == []


def wait_for(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    """Until ``reached``; a pull that ends before is a failure of the test."""
    while not reached():
        assert process.poll() is None, "the pull ended too early for this test"
        time.sleep(0.01)


@pytest.mark.usefixtures("wire")
def test_a_pull_over_a_network_that_loses_packets_comes_out_whole(tmp_path: Path) -> None:
    with (
        network(delay=DELAY, loss=0.05) as net,
        serving(net, [9_000_000, 2_000_000, 300_000, 5_000]) as image,
    ):
        process = start(image.name, tmp_path)
        _, err = process.communicate(timeout=150)

        assert process.returncode == 0, err
        assert_whole(tmp_path, image.blobs)


@pytest.mark.usefixtures("wire")
def test_a_pull_goes_on_after_the_link_was_down_for_three_seconds(tmp_path: Path) -> None:
    with (
        network(delay=DELAY) as net,
        serving(net, [12_000_000, 6_000_000, 2_000_000], rate=4_000_000) as image,
    ):
        process = start(image.name, tmp_path)
        wait_for(process, lambda: net.received() > image.size // 4)

        with net.cut():
            time.sleep(3)
            still_running = process.poll() is None
            received = net.received()
        _, err = process.communicate(timeout=150)

        assert still_running
        assert received < image.size
        assert process.returncode == 0, err
        assert_whole(tmp_path, image.blobs)
        # Segments have headers, and what was under way when the link went down is sent again.
        assert net.received() < image.size * 1.25


def assert_ends_whole(root: Path, registry: FakeRegistry, name: str) -> None:
    """One more pull, not killed, brings what is missing."""
    process = start(name, root)
    _, err = process.communicate(timeout=100)

    assert process.returncode == 0, err
    assert_whole(root, list(registry.blobs.data))


def served_twice(registry: FakeRegistry) -> int:
    """Bytes that were served although they had been before."""
    return registry.bytes_sent - sum(map(len, registry.blobs.data.values()))


def test_a_pull_killed_at_twenty_moments_fetches_little_twice(tmp_path: Path) -> None:
    draw = random.Random(20)
    with FakeRegistry(rate=RATE) as registry:
        # Layers too small to come in parts.
        registry.image("library/large", "1", [draw.randbytes(3_500_000) for _ in range(30)])
        name = f"{registry.address}/library/large:1"

        for _ in range(KILLS):
            before = registry.bytes_sent
            process = start(name, tmp_path)
            # From the first bytes on: moments of the work, not of the start of the interpreter.
            wait_for(process, lambda before=before: registry.bytes_sent > before)  # type: ignore[misc]  # bound early
            time.sleep(draw.uniform(0, 0.8))
            process.kill()
            _, err = process.communicate()
            assert process.returncode == -signal.SIGKILL, err

        assert_ends_whole(tmp_path, registry, name)
        assert served_twice(registry) < KILLS * LOST


def test_a_pull_killed_while_a_layer_comes_in_parts_keeps_all_of_them(tmp_path: Path) -> None:
    with FakeRegistry(rate=RATE) as registry:
        registry.image("library/large", "1", [random.Random(9).randbytes(50_000_000)])
        name = f"{registry.address}/library/large:1"
        process = start(name, tmp_path)
        wait_for(process, lambda: any("range" in seen.headers for seen in registry.seen("/blobs/")))
        wait_for(process, lambda: registry.bytes_sent > 10_000_000)

        process.kill()
        process.communicate()

        assert_ends_whole(tmp_path, registry, name)
        assert served_twice(registry) < 2 * LOST
