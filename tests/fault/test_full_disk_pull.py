"""A disk that fills up: one line, its own status, what came is kept, and no half image."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.oci.digest import Digest
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
SIZE = 4_000_000  # bytes of the file system
DIST = [sys.executable, "-I", "-m", "distore"]
Dist = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MB."""
    mount = shutil.which("mount")
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    command = [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "distore-test", str(folder)]
    if (done := subprocess.run(command, capture_output=True, check=False, timeout=30)).returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


def test_what_cannot_fit_is_refused_before_its_first_byte(
    dist: Dist, registry: FakeRegistry, small: Path
) -> None:
    registry.image("team/app", "1", [os.urandom(SIZE)])

    done = dist("pull", "-q", "--root", str(small / "store"), f"{registry.address}/team/app:1")

    assert (done.returncode, done.stdout) == (27, b"")
    assert done.stderr.decode().count("\n") == 1
    assert "nothing was fetched" in done.stderr.decode()
    assert not registry.seen("/blobs/")


def test_a_disk_that_fills_meanwhile_keeps_what_came(
    registry_factory: Callable[..., FakeRegistry], dist: Dist, small: Path, tmp_path: Path
) -> None:
    slow = registry_factory(rate=2_000_000)
    layer = os.urandom(3_000_000)
    slow.image("team/app", "1", [layer])
    process = subprocess.Popen(
        [*DIST, "pull", "-q", "--root", str(small / "store"), f"{slow.address}/team/app:1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    fill(process, slow, small, layer)

    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (27, b""), err
    assert err.decode().splitlines()[-1].startswith("dist: ")
    assert "no space left" in err.decode().splitlines()[-1]
    assert b"Traceback" not in err
    store = LocalStore(str(small / "store"))
    assert Digest.of(layer) not in set(store.digests())
    assert dist("images", "-q", "--root", str(small / "store")).stdout == b""

    (small / "ballast").unlink()
    again = dist("pull", "-q", "--root", str(small / "store"), f"{slow.address}/team/app:1")

    assert again.returncode == 0, again
    assert Digest.of(layer) in set(store.digests())
    assert sum(status.offset for status in store.statuses()) == 0


def fill(process: subprocess.Popen[bytes], registry: FakeRegistry, folder: Path, layer: bytes) -> None:
    """Take the room that is left once the layer has begun to come."""
    end = time.monotonic() + 30
    while not registry.seen(f"/blobs/{Digest.of(layer)}") and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    with open(folder / "ballast", "wb", buffering=0) as file:
        try:
            while file.write(bytes(100_000)):
                continue
        except OSError:  # full
            return


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_a_copy_to_a_full_disk_is_one_line_and_leaves_no_half_archive(
    dist: Dist, registry: FakeRegistry, small: Path, kind: str
) -> None:
    registry.image("team/app", "1", [os.urandom(SIZE + 1_000_000)])

    done = dist("copy", "-q", f"{registry.address}/team/app:1", f"{kind}:{small}/out")

    assert done.returncode != 0
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert done.stderr.decode().count("\n") == 1, done
    assert not (small / "out").is_file()
    if kind != "docker-archive":  # whose layers must match their diff ids, which is seen first
        assert done.returncode == 27, done
