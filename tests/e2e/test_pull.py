"""``dist pull``: what it prints, how it fails, and that nothing is lost however it ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.errors import NotFound
from distore.metadata.images import Images
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.remotes.refkey import ref_key
from distore.testing import server
from distore.testing.server import FakeRegistry

Dist = Callable[..., subprocess.CompletedProcess[bytes]]
LAYERS = [random.Random(n).randbytes(size) for n, size in enumerate((300_000, 100_000, 2))]
BIG = LAYERS[0]
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
BYTES = sum(map(len, LAYERS)) + len(CONFIG)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def root(registry: FakeRegistry) -> Descriptor:
    return registry.image("library/redis", "latest", LAYERS)


@pytest.fixture
def redis(registry: FakeRegistry) -> str:
    return f"{registry.address}/library/redis"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """The one that ``dist`` uses."""
    return LocalStore(str(tmp_path / ".content"))


def names(store: LocalStore) -> dict[str, str]:
    try:
        return {
            image.name: image.target.digest
            for image in Images(store.database, namespace="default", now=time.time).list()
        }
    finally:
        store.close()


def index(registry: FakeRegistry, tag: str = "all") -> dict[str, Descriptor]:
    """Images for two platforms under one name."""
    found, manifests = {}, []
    for architecture in ("amd64", "s390x"):
        child = registry.image("library/redis", architecture, [architecture.encode(), LAYERS[1]])
        found[architecture] = child
        manifests.append({**child.to_json(), "platform": {"os": "linux", "architecture": architecture}})
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": manifests}
    found["index"] = registry.tag("library/redis", tag, json.dumps(document).encode(), mediatypes.OCI_INDEX)
    return found


def check(store: LocalStore, root: Descriptor) -> None:
    """The image is there, right, and nothing else is left."""
    for data in (*LAYERS, CONFIG):
        assert read_blob(store, Digest.of(data), max_size=1 << 20) == data
    assert store.info(root.digest).size == root.size
    assert list(store.statuses()) == []


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "distore", "pull", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_the_digest_is_the_result_and_the_rest_is_talk(
    dist: Dist, registry: FakeRegistry, redis: str, root: Descriptor, store: LocalStore
) -> None:
    done = dist("pull", redis)

    assert (done.returncode, done.stdout.decode()) == (0, f"{root.digest}\n")
    lines = done.stderr.decode().splitlines()
    assert lines[:2] == [
        f"{redis}:latest: {root.digest}",
        "4 blobs, 400 kB; 0 there already, 400 kB to move",
    ]
    assert len([line for line in lines if line.startswith("fetched sha256:")]) == 4
    assert lines[-1].startswith("400 kB moved in ")
    check(store, root)
    assert names(store) == {f"{redis}:latest": root.digest}


def test_a_second_time_nothing_moves(
    dist: Dist, registry: FakeRegistry, redis: str, root: Descriptor
) -> None:
    dist("pull", redis)
    sent = registry.bytes_sent

    done = dist("pull", redis)

    assert done.returncode == 0
    assert "4 blobs, 400 kB; 4 there already, 0 B to move" in done.stderr.decode()
    assert registry.bytes_sent == sent


def test_quiet_leaves_only_the_result(dist: Dist, redis: str, root: Descriptor) -> None:
    done = dist("pull", "--quiet", redis)

    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{root.digest}\n", b"")


def test_json_is_the_documented_events_and_nothing_else(dist: Dist, redis: str, root: Descriptor) -> None:
    done = dist("pull", "--json", redis)

    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0] == {"event": "resolved", "name": f"{redis}:latest", "descriptor": root.to_json()}
    assert events[1] == {
        "event": "planned",
        "blobs": 4,
        "size": BYTES,
        "missing_blobs": 4,
        "missing": BYTES,
        "kept": 0,
        "unpack": 0,
    }
    assert {event["event"] for event in events[2:-1]} <= {"started", "moved", "done"}
    assert [event["how"] for event in events if event["event"] == "done"] == ["fetched"] * 4
    assert {**events[-1], "seconds": 0} == {
        "event": "finished",
        "name": f"{redis}:latest",
        "descriptor": root.to_json(),
        "size": BYTES + root.size,
        "moved": BYTES,
        "seconds": 0,
    }


def test_a_digest_is_pulled_under_its_whole_name(
    dist: Dist, redis: str, root: Descriptor, store: LocalStore
) -> None:
    done = dist("pull", "-q", f"{redis}@{root.digest}")

    assert done.returncode == 0
    assert names(store) == {f"{redis}@{root.digest}": root.digest}


def test_a_chosen_platform_comes_alone(
    dist: Dist, registry: FakeRegistry, redis: str, store: LocalStore
) -> None:
    found = index(registry)

    done = dist("pull", "-q", "--platform", "linux/s390x", f"{redis}:all")

    assert done.stdout.decode() == f"{found['index'].digest}\n"
    there = set(store.digests())
    assert Digest.of(b"s390x") in there
    assert Digest.of(b"amd64") not in there
    assert found["amd64"].digest not in there


def test_all_platforms_come_together(
    dist: Dist, registry: FakeRegistry, redis: str, store: LocalStore
) -> None:
    found = index(registry)

    assert dist("pull", "-q", "--all-platforms", f"{redis}:all").returncode == 0

    there = set(store.digests())
    assert {each.digest for each in found.values()} <= there
    assert {Digest.of(b"s390x"), Digest.of(b"amd64"), Digest.of(LAYERS[1])} <= there


def test_a_platform_that_is_not_there_names_those_that_are(
    dist: Dist, registry: FakeRegistry, redis: str, store: LocalStore
) -> None:
    found = index(registry)

    done = dist("pull", "-q", "--platform", "windows/amd64", f"{redis}:all")

    assert (done.returncode, done.stdout) == (11, b"")
    assert done.stderr.decode() == (
        f"dist: index {found['index'].digest}: has nothing for windows/amd64;"
        " it has linux/amd64, linux/s390x\n"
    )
    assert names(store) == {}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "required: reference"),
        (["a.example/UPPER"], "lower case"),
        (["https://a.example/b"], "leave out the scheme"),
        (["a/b@sha256:12"], "digest"),
        (["a/b", "--platform", "linux/"], "platform 'linux/'"),
        (["a/b", "--platform", "linux/arm64", "--all-platforms"], "want one of them"),
        (["a/b", "--concurrency", "0"], "number '0': want 1 to 64"),
        (["a/b", "--limit-rate", "fast"], "size 'fast'"),
    ],
)
def test_a_wrong_call_is_one_clear_line(dist: Dist, words: list[str], why: str) -> None:
    done = dist("pull", *words)

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().count("\n") == 1
    assert why in done.stderr.decode()


def test_a_bad_image_stops_no_other_and_decides_the_status(
    dist: Dist, redis: str, root: Descriptor, store: LocalStore
) -> None:
    done = dist("pull", "-q", f"{redis}:gone", redis, "BAD")

    assert (done.returncode, done.stdout.decode()) == (11, f"{root.digest}\n")
    gone, bad = done.stderr.decode().splitlines()
    assert gone.startswith(f"dist: {redis}:gone: not found")
    assert bad.startswith("dist: reference 'BAD'")
    check(store, root)


def test_json_of_a_failure_has_no_end_and_one_line_says_why(
    dist: Dist, registry: FakeRegistry, redis: str, root: Descriptor, store: LocalStore
) -> None:
    registry.inject(server.other_bytes(), path=f"/blobs/{Digest.of(BIG)}", times=None)

    done = dist("pull", "--json", redis)

    assert done.returncode == 20
    assert "finished" not in [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert done.stderr.decode().startswith(f"dist: {redis}@{Digest.of(BIG)}: sent other bytes")
    assert done.stderr.count(b"\n") == 1
    assert names(store) == {}
    with pytest.raises(NotFound):
        store.info(Digest.of(BIG))


def test_kept_bytes_are_not_fetched_again(
    dist: Dist, registry: FakeRegistry, redis: str, root: Descriptor, store: LocalStore
) -> None:
    digest = Digest.of(BIG)
    with store.writer(ref_key(mediatypes.OCI_LAYER_GZIP, digest), expected=digest) as writer:
        writer.write(BIG[:250_000])

    done = dist("pull", redis)

    assert done.returncode == 0
    assert "250 kB kept from before" in done.stderr.decode()
    assert f"dist: {redis}@{digest}: resuming" in done.stderr.decode()
    assert registry.bytes_sent == BYTES + root.size - 250_000
    check(store, root)


@pytest.mark.slow
def test_a_rate_is_kept(dist: Dist, redis: str, root: Descriptor) -> None:
    done = dist("pull", "--json", "--limit-rate", "800k", redis)

    finished = json.loads(done.stdout.splitlines()[-1])
    assert 0.3 < finished["seconds"] < 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
@pytest.mark.parametrize("words", [["--json"], []], ids=["json", "text"])
def test_only_the_missing_bytes_travel_after_a_signal(
    dist: Dist, tmp_path: Path, store: LocalStore, number: int, status: int, words: list[str]
) -> None:
    with FakeRegistry(rate=100_000) as slow:
        root = slow.image("a", "latest", LAYERS)
        process = start(tmp_path, *words, f"{slow.address}/a")
        wait_for(lambda: any(status.offset > 5000 for status in store.statuses()), process)

        began = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)

        assert time.monotonic() - began < 2
        assert process.returncode == status
        assert b"Traceback" not in err
        assert b"trying again" not in err
        if words:
            assert err.count(b"\n") <= 1
        kept = {each.ref: each.offset for each in store.statuses()}
        assert sum(kept.values()) > 0
        assert names(store) == {}

        slow._server.rate = None  # fast from here on
        before = len(slow.requests)
        done = dist("pull", "-q", f"{slow.address}/a")

        assert (done.returncode, done.stdout.decode()) == (0, f"{root.digest}\n")
        ranges = {seen.path.rpartition("/")[2]: seen.headers.get("range") for seen in slow.requests[before:]}
        for ref, offset in kept.items():
            assert ranges[ref.partition("-")[2]] == (f"bytes={offset}-" if offset else None)
    check(store, root)
    assert names(store) == {f"{slow.address}/a:latest": root.digest}


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.15, 0.25, 0.3, 0.35, 0.4, 0.6, 0.9])
def test_a_kill_at_any_moment_leaves_nothing_wrong(
    dist: Dist, tmp_path: Path, store: LocalStore, delay: float
) -> None:
    with FakeRegistry(rate=1_000_000) as slow:
        root = slow.image("a", "latest", LAYERS)
        process = start(tmp_path, "-q", f"{slow.address}/a")
        time.sleep(delay)
        process.kill()
        process.communicate(timeout=30)
        if names(store):
            check(store, root)

        done = dist("pull", "-q", f"{slow.address}/a")

        assert (done.returncode, done.stderr) == (0, b"")
    check(store, root)
    assert names(store) == {f"{slow.address}/a:latest": root.digest}
    assert dist("fsck").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 5])
def test_several_at_once_download_each_blob_once(tmp_path: Path, store: LocalStore, processes: int) -> None:
    with FakeRegistry(rate=400_000) as slow:
        root = slow.image("a", "latest", LAYERS)
        running = [start(tmp_path, "-q", f"{slow.address}/a") for _ in range(processes)]
        results = [(*process.communicate(timeout=60), process.returncode) for process in running]

        assert results == [(f"{root.digest}\n".encode(), b"", 0)] * processes
        for data in (*LAYERS, CONFIG):
            assert len(slow.seen(f"/blobs/{Digest.of(data)}")) == 1
    check(store, root)


@pytest.mark.slow
def test_ctrl_c_while_a_registry_says_nothing_ends_it(tmp_path: Path, store: LocalStore) -> None:
    with FakeRegistry(rate=1) as stalled:
        root = stalled.image("a", "latest", LAYERS)
        with stalled.blobs.reader(root.digest) as reader, store.writer("r") as writer:
            writer.write(reader.read_at(reader.size, 0))
            writer.commit()
        process = start(tmp_path, f"{stalled.address}/a")
        wait_for(lambda: len(list(store.statuses())) == 4, process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

        assert time.monotonic() - began < 1.5
        assert process.returncode == 130
        assert b"Traceback" not in err
        assert b"trying again" not in err


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, redis: str, root: Descriptor) -> None:
    process = start(tmp_path, "--json", redis)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()

    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


def test_a_token_is_had_without_being_asked_for(dist: Dist, store: LocalStore) -> None:
    with FakeRegistry(with_tokens=True) as gated:
        root = gated.image("a/b", "latest", LAYERS)

        done = dist("pull", "-q", f"{gated.address}/a/b")

        assert (done.returncode, done.stderr) == (0, b"")
    check(store, root)
