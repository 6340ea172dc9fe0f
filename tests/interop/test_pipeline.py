"""The pipeline of 2017, to the letter, against Debian's docker-registry."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interop.conftest import Registry

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(600)]

PIPELINE = r"""
./dist fetch docker.io/library/redis latest mediatype:application/vnd.docker.distribution.manifest.v2+json | \
  jq -r '.layers[] | "./dist fetch docker.io/library/redis "+.digest + "| ./dist ingest --expected-digest "+.digest+" --expected-size "+(.size | tostring) +" docker.io/library/redis@"+.digest' | xargs -I{} -P10 -n1 sh -c "{}"
"""  # noqa: E501 - to the letter


def start(checkout: Path, registry: Registry, script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["bash", "-c", "set -o pipefail\n" + script],
        cwd=checkout,
        env=registry.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(checkout: Path, registry: Registry, script: str) -> subprocess.CompletedProcess[bytes]:
    process = start(checkout, registry, script)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(script, process.returncode, out, err)


def assert_all_there(checkout: Path, registry: Registry) -> None:
    blobs = checkout / ".content" / "blobs" / "sha256"
    assert {f"sha256:{path.name}" for path in blobs.iterdir()} == {digest for digest, _ in registry.layers}
    for path in blobs.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert list((checkout / ".content" / "ingest").iterdir()) == []


def test_the_image_is_real(registry: Registry) -> None:
    assert len(registry.layers) >= 4
    assert sum(size for _, size in registry.layers) >= 100_000_000


def test_the_pipeline_of_2017_works_to_the_letter(
    checkout: Path, registry: Registry, peer: Callable[[str], str]
) -> None:
    peer("jq")

    done = run(checkout, registry, PIPELINE)

    assert done.returncode == 0, done.stderr.decode()
    assert_all_there(checkout, registry)
    listed = run(checkout, registry, "./dist list -q").stdout.decode().split()
    assert sorted(listed) == sorted(digest for digest, _ in registry.layers)
    assert run(checkout, registry, "./dist fsck").returncode == 0
    path = run(checkout, registry, f"./dist path {listed[0]}").stdout.decode().split()
    assert path[0] == listed[0]
    assert Path(path[1]).is_file()
    deleted = run(checkout, registry, "./dist list -q | xargs ./dist delete")
    assert sorted(deleted.stdout.decode().split()) == sorted(listed)
    assert run(checkout, registry, "./dist list -q").stdout == b""


def test_two_pipelines_at_once_and_a_third_afterwards_are_no_error(
    checkout: Path, registry: Registry, peer: Callable[[str], str]
) -> None:
    peer("jq")
    first, second = start(checkout, registry, PIPELINE), start(checkout, registry, PIPELINE)
    ends = [process.communicate(timeout=300) for process in (first, second)]

    assert (first.returncode, second.returncode) == (0, 0), ends
    assert_all_there(checkout, registry)
    third = run(checkout, registry, PIPELINE)
    assert third.returncode == 0
    assert third.stderr.decode().count("already exists") == len(registry.layers)


def test_processes_that_fetch_the_same_layer_download_it_once(checkout: Path, registry: Registry) -> None:
    digest, size = max(registry.layers, key=lambda layer: layer[1])
    script = f"./dist fetch --store docker.io/library/redis {digest}"

    processes = [start(checkout, registry, script) for _ in range(4)]
    ends = [process.communicate(timeout=300) for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, ends
    assert {out.decode().strip() for out, _ in ends} == {digest}
    assert (checkout / ".content/blobs/sha256" / digest.removeprefix("sha256:")).stat().st_size == size


def test_a_killed_fetch_goes_on_where_it_stopped(checkout: Path, registry: Registry) -> None:
    digest, size = max(registry.layers, key=lambda layer: layer[1])
    script = f"exec ./dist fetch --store docker.io/library/redis {digest} size:{size}"
    process = start(checkout, registry, script)
    kept = 0
    while process.poll() is None and not kept:
        for data in (checkout / ".content" / "ingest").glob("*/data"):
            kept = data.stat().st_size if data.exists() else 0
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if (checkout / ".content/blobs/sha256" / digest.removeprefix("sha256:")).exists():
        pytest.skip("this machine fetched the layer before it could be killed")

    active = run(checkout, registry, "./dist active --json")
    again = run(checkout, registry, script)

    status = json.loads(active.stdout)
    assert status["offset"] > 0
    assert status["owner"] is None
    assert again.returncode == 0, again.stderr
    assert f"resuming at byte {status['offset']}" in again.stderr.decode()


def test_fsck_repairs_from_the_registry_in_the_label(checkout: Path, registry: Registry) -> None:
    digest, _ = min(registry.layers, key=lambda layer: layer[1])
    assert run(checkout, registry, f"./dist fetch --store docker.io/library/redis {digest}").returncode == 0
    blob = checkout / ".content/blobs/sha256" / digest.removeprefix("sha256:")
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"damage")
    blob.chmod(0o444)

    found = run(checkout, registry, "./dist fsck --dry-run")
    mended = run(checkout, registry, "./dist fsck --repair --json")

    assert found.returncode != 0
    assert mended.returncode == 0, (mended.stdout, mended.stderr)
    assert json.loads(mended.stdout.splitlines()[0])["action"] == "repaired"
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert len(list((checkout / ".content/quarantine/sha256").iterdir())) == 1
