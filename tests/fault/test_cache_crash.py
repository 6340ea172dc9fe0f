"""Copies of an upstream, kept by real processes: several at once, and one that is killed."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distore.oci.digest import Digest
from distore.testing.server import FakeRegistry

LAYER = random.Random(5).randbytes(12 << 20)
DIGEST = Digest.of(LAYER)
BLOB = f"/v2/hub/library/app/blobs/{DIGEST}"
MANIFEST = "/v2/hub/library/app/manifests/1"
RATE = 6 << 20  # bytes a second


@pytest.fixture
def slow() -> Iterator[FakeRegistry]:
    """Takes two seconds for the layer."""
    with FakeRegistry(rate=RATE) as registry:
        registry.image("library/app", "1", [LAYER])
        yield registry


@contextmanager
def serving(
    tmp_path: Path, upstream: FakeRegistry, *words: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """``dist serve`` over a store that all share; its address, and the process."""
    config = tmp_path / "serve.toml"
    config.write_text(f'[[cache.upstream]]\nhost = "{upstream.address}"\nprefix = "hub"\n')
    command = ["--root", str(tmp_path / "store"), "serve", "--json", "--config", str(config)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "distore", *command, "--listen", "127.0.0.1:0", *words],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["addresses"][0], process
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def get(address: str, path: str, *, until: int | None = None) -> bytes:
    """The body, or its first bytes."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return response.read(until)
    finally:
        connection.close()


def transfers(registry: FakeRegistry) -> list[str]:
    """The ranges that were asked for of the layer, without the questions for its size."""
    asked = [request.headers.get("range", "") for request in registry.seen(f"/blobs/{DIGEST}")]
    return [span for span in asked if span != "bytes=0-0"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_processes_on_one_store_fetch_a_blob_once(tmp_path: Path, slow: FakeRegistry, workers: int) -> None:
    got: list[bytes] = []

    with (
        serving(tmp_path, slow, "--workers", str(workers)) as (one, _),
        serving(tmp_path, slow, "--workers", str(workers)) as (other, _),
    ):
        get(one, MANIFEST)
        threads = [
            threading.Thread(target=lambda address=address: got.append(get(address, BLOB)))
            for address in (one, other) * 8
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [Digest.of(body) for body in got] == [DIGEST] * 16
    assert transfers(slow) == [""]


@pytest.mark.slow
def test_a_process_that_reads_along_gives_bytes_before_the_blob_is_whole(
    tmp_path: Path, slow: FakeRegistry
) -> None:
    with serving(tmp_path, slow) as (one, _), serving(tmp_path, slow) as (other, _):
        first = http.client.HTTPConnection(one, timeout=60)
        first.request("GET", BLOB)
        response = first.getresponse()
        response.read(1000)

        part = get(other, BLOB, until=1 << 20)

        whole = (tmp_path / "store" / "blobs" / "sha256" / DIGEST.encoded).exists()
        assert (part, whole) == (LAYER[: 1 << 20], False)
        first.close()


@pytest.mark.slow
def test_a_server_that_was_killed_goes_on_with_what_it_had(tmp_path: Path, slow: FakeRegistry) -> None:
    with serving(tmp_path, slow) as (address, process):
        assert get(address, BLOB, until=6 << 20) == LAYER[: 6 << 20]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    visible = (tmp_path / "store" / "blobs" / "sha256" / DIGEST.encoded).exists()

    with serving(tmp_path, slow) as (address, _):
        body = get(address, BLOB)

    assert not visible
    assert body == LAYER
    first, again = transfers(slow)
    assert first == ""
    assert int(again.removeprefix("bytes=").partition("-")[0]) >= 6 << 20


@pytest.mark.slow
def test_a_server_that_ends_lets_no_body_look_whole(tmp_path: Path, slow: FakeRegistry) -> None:
    with serving(tmp_path, slow, "--grace", "0s") as (address, process):
        connection = http.client.HTTPConnection(address, timeout=60)
        connection.request("GET", BLOB)
        response = connection.getresponse()
        response.read(1000)
        process.terminate()
        process.wait()

        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        connection.close()
