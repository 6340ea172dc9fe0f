"""`dist serve` is killed in every phase of a push: nothing half is seen, and what was said holds."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.e2e.serving import DIST, Served, served, until

from distore.oci.digest import Digest

pytestmark = pytest.mark.slow
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
SIZE = 3_000_000
BLOB = random.Random(1).randbytes(SIZE)
DIGEST = Digest.of(BLOB)
HEAD = "PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n"


def kill(server: Served) -> None:
    """All its processes, at once."""
    for pid in [server.process.pid, *server.workers()]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait()


def begin(server: Served, repository: str = "a") -> str:
    """The path of a new session."""
    answer = server.ask("POST", f"/v2/{repository}/blobs/uploads/")
    assert answer.status == 202
    return answer.headers["location"]


def plain(path: str) -> str:
    return path.partition("?")[0]


def received(folder: Path) -> int:
    """Bytes of the ingests on the disk."""
    return sum(data.stat().st_size for data in (folder / "store" / "ingest").glob("*/data"))


def check_store(folder: Path) -> None:
    """A collection takes what is left over, and every blob is whole."""
    root = str(folder / "store")
    for words in (["gc"], ["fsck"]):
        done = subprocess.run(
            [*DIST, *words, "--root", root], capture_output=True, check=False, timeout=120, cwd=folder
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)


@contextmanager
def restarted(folder: Path, *words: str) -> Iterator[Served]:
    """The next one on the same store; at the end the store is looked at."""
    with served(folder, *words) as server:
        yield server
    check_store(folder)


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def workers(request: pytest.FixtureRequest) -> tuple[str, str]:
    return "--workers", str(request.param)


def finish(server: Served, path: str) -> None:
    """Go on where the session is, and end it."""
    there = server.ask("GET", plain(path))
    assert there.status == 204, there
    last = int(there.headers["range"].partition("-")[2])
    offset = 0 if last == 0 else last + 1
    rest = BLOB[offset:]
    if rest:
        span = f"{offset}-{SIZE - 1}"
        sent = server.ask("PATCH", plain(path), rest, content_range=span)
        assert sent.status == 202, sent
    assert server.ask("PUT", f"{plain(path)}?digest={DIGEST}").status == 201
    assert server.ask("GET", f"/v2/a/blobs/{DIGEST}").body == BLOB


def test_a_session_that_was_begun_goes_on(tmp_path: Path, workers: tuple[str, str]) -> None:
    with served(tmp_path, *workers) as server:
        path = begin(server)
        kill(server)

    with restarted(tmp_path, *workers) as server:
        assert server.ask("HEAD", f"/v2/a/blobs/{DIGEST}").status == 404
        finish(server, path)


def test_half_a_patch_is_kept_and_the_rest_comes_later(tmp_path: Path, workers: tuple[str, str]) -> None:
    with served(tmp_path, *workers) as server:
        path = begin(server)
        with server.plug() as client:
            client.sendall(HEAD.format(path=plain(path), size=SIZE).encode() + BLOB[: SIZE // 2])
            until(lambda: received(tmp_path) > 0)
            kill(server)

    with restarted(tmp_path, *workers) as server:
        assert server.ask("HEAD", f"/v2/a/blobs/{DIGEST}").status == 404
        finish(server, path)


def test_a_whole_patch_is_kept(tmp_path: Path, workers: tuple[str, str]) -> None:
    with served(tmp_path, *workers) as server:
        path = begin(server)
        assert server.ask("PATCH", plain(path), BLOB).status == 202
        kill(server)

    with restarted(tmp_path, *workers) as server:
        there = server.ask("GET", plain(path))
        assert (there.status, there.headers["range"]) == (204, f"0-{SIZE - 1}")
        finish(server, path)


def test_a_blob_that_was_acknowledged_is_there(tmp_path: Path, workers: tuple[str, str]) -> None:
    with served(tmp_path, *workers) as server:
        server.push("a", BLOB)
        kill(server)

    with restarted(tmp_path, *workers) as server:
        assert server.ask("GET", f"/v2/a/blobs/{DIGEST}").body == BLOB


def test_a_manifest_that_was_acknowledged_is_there_with_its_tag(
    tmp_path: Path, workers: tuple[str, str]
) -> None:
    with served(tmp_path, *workers) as server:
        data = document(server, "a", [BLOB])
        assert server.ask("PUT", "/v2/a/manifests/1", data, content_type=MANIFEST).status == 201
        kill(server)

    with restarted(tmp_path, *workers) as server:
        assert server.ask("GET", "/v2/a/manifests/1").body == data
        assert server.ask("GET", f"/v2/a/manifests/{Digest.of(data)}").body == data
        assert json.loads(server.ask("GET", "/v2/a/tags/list").body)["tags"] == ["1"]


def document(server: Served, repository: str, layers: list[bytes]) -> bytes:
    """Push the blobs of an image; its manifest."""
    config = json.dumps({"layers": [Digest.of(layer) for layer in layers]}).encode()
    for blob in (config, *layers):
        server.push(repository, blob)
    return manifest_of(config, layers)


def manifest_of(config: bytes, layers: list[bytes]) -> bytes:
    parts = [{"mediaType": LAYER, "digest": Digest.of(layer), "size": len(layer)} for layer in layers]
    about = {"mediaType": CONFIG, "digest": Digest.of(config), "size": len(config)}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": parts}).encode()


class Pusher:
    """Pushes images one after another until the server is gone; remembers what was acknowledged."""

    def __init__(self, name: str, seed: int) -> None:
        self.repository = name
        self._draw = random.Random(seed)
        self.blobs: dict[Digest, bytes] = {}
        self.tags: dict[str, bytes] = {}
        self.tried: dict[str, bytes] = {}
        self.number = 0

    def run(self, server: Served) -> None:
        with suppress(OSError, http.client.HTTPException):
            while True:
                self.one(server)

    def one(self, server: Served) -> None:
        self.number += 1
        layers = [self._draw.randbytes(self._draw.choice([10, 5_000, 300_000])) for _ in range(2)]
        config = json.dumps({"number": self.number}).encode()
        for blob in (config, *layers):
            answer = server.ask(
                "POST", f"/v2/{self.repository}/blobs/uploads/?digest={Digest.of(blob)}", blob
            )
            assert answer.status == 201, answer
            self.blobs[Digest.of(blob)] = blob
        data, tag = manifest_of(config, layers), f"v{self.number % 7}"
        self.tried[tag] = data
        answer = server.ask("PUT", f"/v2/{self.repository}/manifests/{tag}", data, content_type=MANIFEST)
        assert answer.status == 201, answer
        self.tags[tag] = data

    def verify(self, server: Served) -> None:
        """What was acknowledged is there; what was not is there as a whole or not at all."""
        for digest, blob in self.blobs.items():
            assert server.ask("GET", f"/v2/{self.repository}/blobs/{digest}").body == blob
        for tag, data in self.tried.items():
            got = server.ask("GET", f"/v2/{self.repository}/manifests/{tag}")
            if got.status == 404:
                assert tag not in self.tags
                continue
            assert got.body in (data, self.tags.get(tag)), tag
            for part in (json.loads(got.body)["config"], *json.loads(got.body)["layers"]):
                blob = server.ask("GET", f"/v2/{self.repository}/blobs/{part['digest']}").body
                assert Digest.of(blob) == part["digest"]
            self.tags[tag] = got.body


def await_pushes(pushers: list[Pusher], count: int) -> None:
    """Until so many more images were begun."""
    least = count + sum(pusher.number for pusher in pushers)
    until(lambda: sum(pusher.number for pusher in pushers) > least)


def test_kills_at_any_moment_lose_nothing_that_was_said(tmp_path: Path, workers: tuple[str, str]) -> None:
    draw = random.Random(7)
    pushers = [Pusher(f"team/{number}", number) for number in range(3)]

    for _ in range(3):
        with served(tmp_path, *workers) as server:
            for pusher in pushers:
                pusher.verify(server)
            threads = [threading.Thread(target=pusher.run, args=(server,)) for pusher in pushers]
            for thread in threads:
                thread.start()
            await_pushes(pushers, 4)
            time.sleep(draw.uniform(0.0, 0.5))  # the moment is what is tested
            kill(server)
            for thread in threads:
                thread.join()

    with restarted(tmp_path, *workers) as server:
        for pusher in pushers:
            pusher.verify(server)
    assert sum(len(pusher.tags) for pusher in pushers) > 3


RULES = """
[keep]
interval = "1s"
grace = "0s"
untagged = "0s"
[[keep.rule]]
tags = ["v*"]
newest = 2
"""


def test_beside_housekeeping_nothing_that_is_offered_is_ever_missing(tmp_path: Path) -> None:
    """Without any grace: what is swept under a push makes the client push again, and no more than that."""
    (tmp_path / "serve.toml").write_text(RULES)
    with served(tmp_path, "--config", str(tmp_path / "serve.toml"), "--workers", "2") as server:
        failures: list[str] = []
        threads = [
            threading.Thread(target=churn, args=(server, f"team/{number}", number, failures))
            for number in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failures == []
        said = server.said()
        assert "failed" not in said, said
        assert "housekeeping: retention: removed " in said
    check_store(tmp_path)


def churn(server: Served, repository: str, seed: int, failures: list[str]) -> None:
    """Push versions that share a layer; the last two must be whole at any time."""
    draw = random.Random(seed)
    base = draw.randbytes(50_000)
    known: dict[str, bytes] = {}
    end = time.monotonic() + 8
    number = 0
    while time.monotonic() < end and not failures:
        number += 1
        layers, config = [base, draw.randbytes(2000)], f'{{"n": {number}}}'.encode()
        data = manifest_of(config, layers)
        for _ in range(50):
            for blob in (config, *layers):
                if server.ask("HEAD", f"/v2/{repository}/blobs/{Digest.of(blob)}").status != 200:
                    server.push(repository, blob)
            put = server.ask("PUT", f"/v2/{repository}/manifests/v{number}", data, content_type=MANIFEST)
            if put.status == 201:
                break
        else:
            failures.append(f"{repository}: v{number} cannot be pushed: {put}")
        known[f"v{number}"] = data
        for name in list(known)[:-2]:
            del known[name]
        for tag, want in known.items():
            look(server, repository, tag, want, failures)


def look(server: Served, repository: str, tag: str, want: bytes, failures: list[str]) -> None:
    got = server.ask("GET", f"/v2/{repository}/manifests/{tag}")
    if got.body != want:
        failures.append(f"{repository}:{tag}: {got}")
        return
    for part in (json.loads(want)["config"], *json.loads(want)["layers"]):
        found = server.ask("GET", f"/v2/{repository}/blobs/{part['digest']}")
        if found.status != 200 or Digest.of(found.body) != part["digest"]:
            failures.append(f"{repository}:{tag}: {part['digest']}: {found.status}")


def test_a_full_disk_refuses_pushes_and_serves_pulls(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20000000", "distore-test", str(small)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=30).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (small / "serve.toml").write_text("[keep]\nfree = 0\n")
        with served(small, "--config", str(small / "serve.toml")) as server:
            server.push("a", BLOB)
            big = random.Random(2).randbytes(19_000_000)
            refused = server.ask("POST", f"/v2/a/blobs/uploads/?digest={Digest.of(big)}", big)
            path = begin(server)
            chunked = unannounced(server, plain(path), big)

            assert refused.status == 507, refused
            assert "disk of this registry is full" in json.loads(refused.body)["errors"][0]["message"]
            assert chunked in (507, 0)
            assert server.ask("GET", f"/v2/a/blobs/{DIGEST}").body == BLOB
            assert server.ask("DELETE", plain(path)).status == 204
            assert server.push("a", b"small again")
        check_store(small)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True, timeout=30)


def unannounced(server: Served, path: str, data: bytes) -> int:
    """The status of a PATCH whose length nobody knows; 0: the connection was ended."""
    with server.plug() as client:
        head = f"PATCH {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        try:
            client.sendall(head.encode())
            for start in range(0, len(data), 100_000):
                piece = data[start : start + 100_000]
                client.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            client.sendall(b"0\r\n\r\n")
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = client.recv(1000)
        except ConnectionResetError:
            return 0
        return int(answer.split()[1]) if answer else 0
