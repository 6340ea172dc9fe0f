"""Converted images, read by Debian's skopeo, umoci and containerd."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conftest import Containerd
from tests.unit.transfer.ends_images import make_image, push_all

from distore.content.local.store import LocalStore
from distore.testing.server import FakeRegistry
from distore.transfer.layout import LayoutSink

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]
Dist = Callable[..., subprocess.CompletedProcess[bytes]]
Run = Callable[..., bytes]
WAYS = {
    "zstd": ("--compression", "zstd"),
    "gzip": ("--compression", "gzip", "--force"),
    "none": ("--compression", "none"),
    "docker": ("--compression", "gzip", "--docker"),
    "oci": ("--oci",),
}


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


@pytest.fixture
def app(dist: Dist, tmp_path: Path) -> Path:
    """``app:1`` in the store, and the folder of all that a test makes."""
    store, root = make_image(1, layers=4)
    with LayoutSink(str(tmp_path / "first"), "v1", store=LocalStore(str(tmp_path / "first"))) as sink:
        push_all(store, root, sink)
    assert dist("copy", "-q", "oci:first:v1", "store:app:1").returncode == 0
    return tmp_path


def made(dist: Dist, way: str, end: str) -> None:
    """``app:WAY`` at an end."""
    for words in (
        ("convert", "-q", *WAYS[way], "app:1", f"app:{way}"),
        ("copy", "-q", f"store:app:{way}", end),
    ):
        done = dist(*words)
        assert done.returncode == 0, done.stderr


def diff_ids(config: bytes) -> Any:
    return json.loads(config)["rootfs"]["diff_ids"]


@pytest.mark.parametrize("way", WAYS)
def test_skopeo_copies_and_unpacks_what_was_converted(
    dist: Dist, run: Run, app: Path, way: str, registry_factory: Callable[[], FakeRegistry]
) -> None:
    # Not by a layout: skopeo finds no manifest of docker's type in one.
    end = f"docker://{registry_factory().address}/out/app:{way}"
    made(dist, way, end)

    plainly = ("--src-tls-verify=false", "--dest-decompress")
    run("skopeo", "--insecure-policy", "copy", *plainly, end, "dir:theirs")

    told = json.loads(run("skopeo", "inspect", "--tls-verify=false", end))
    theirs = json.loads((app / "theirs/manifest.json").read_bytes())
    before = run("skopeo", "inspect", "--config", "oci:first:v1")
    assert len(told["Layers"]) == 4
    assert [layer["digest"] for layer in theirs["layers"]] == diff_ids(before)
    assert diff_ids(run("skopeo", "inspect", "--config", "--tls-verify=false", end)) == diff_ids(before)


@pytest.mark.parametrize("way", ["zstd", "gzip", "none", "oci"])
def test_skopeo_copies_a_layout_of_what_was_converted(dist: Dist, run: Run, app: Path, way: str) -> None:
    made(dist, way, "oci:out:v1")

    run("skopeo", "--insecure-policy", "copy", "--preserve-digests", "oci:out:v1", "oci:theirs:v1")

    assert run("skopeo", "inspect", "--raw", "oci:theirs:v1") == run(
        "skopeo", "inspect", "--raw", "oci:out:v1"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="umoci gives files to root")
@pytest.mark.parametrize("way", ["gzip", "none"])  # it knows no zstd
def test_umoci_unpacks_what_was_converted(dist: Dist, run: Run, app: Path, way: str) -> None:
    made(dist, way, "oci:out:v1")

    run("umoci", "unpack", "--image", "out:v1", "bundle")

    assert sorted(path.name for path in (app / "bundle/rootfs").iterdir()) == [
        f"file-{number}" for number in range(4)
    ]


@pytest.mark.parametrize("way", ["zstd", "gzip", "none", "docker"])
def test_containerd_imports_and_unpacks_what_was_converted(
    dist: Dist, app: Path, containerd: Containerd, way: str
) -> None:
    made(dist, way, "oci-archive:out.tar:v1")

    done = containerd.ctr(
        "images",
        "import",
        "--snapshotter",
        "native",
        "--all-platforms",
        "--base-name",
        "app",
        str(app / "out.tar"),
    )

    assert done.returncode == 0, done.stderr.decode()
    assert b"app:v1" in containerd.ctr("images", "list", "--quiet").stdout
    unpacked = containerd.ctr("snapshots", "--snapshotter", "native", "list").stdout
    assert unpacked.count(b"Committed") == 4
