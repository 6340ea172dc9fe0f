"""``dist fetch``: to standard output, into the store, and what it says when it cannot."""

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

from distore.content.local.store import LocalStore
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.testing import server
from distore.testing.server import FakeRegistry

Dist = Callable[..., subprocess.CompletedProcess[bytes]]
LAYER = random.Random(4).randbytes(500_000)
DIGEST = Digest.of(LAYER)
OTHER = Digest.of(b"other")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """With the image ``library/redis:latest`` of one layer."""
    with FakeRegistry() as fake:
        fake.image("library/redis", "latest", [LAYER])
        yield fake


@pytest.fixture
def redis(registry: FakeRegistry) -> str:
    return f"{registry.address}/library/redis"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """The one that ``dist`` uses."""
    return LocalStore(str(tmp_path / ".content"))


def error(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line that it says, without the name of the program."""
    text = done.stderr.decode()
    assert text.startswith("dist: ")
    assert text.count("\n") == 1
    return text.removeprefix("dist: ").rstrip()


def test_a_tag_is_written_to_standard_output(dist: Dist, redis: str) -> None:
    done = dist("fetch", redis, "latest")

    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["layers"][0]["digest"] == DIGEST


def test_a_digest_is_written_to_standard_output(dist: Dist, redis: str, store: LocalStore) -> None:
    done = dist("fetch", redis, DIGEST)

    assert (done.returncode, done.stdout, done.stderr) == (0, LAYER, b"")
    assert not store.exists()


def test_the_line_of_2017_works_as_it_stands(
    dist: Dist, registry: FakeRegistry, tmp_path: Path, store: LocalStore
) -> None:
    (tmp_path / "hosts" / "docker.io").mkdir(parents=True)
    (tmp_path / "hosts" / "docker.io" / "hosts.toml").write_text(f'server = "{registry.url}"')
    env = {"DIST_HOSTS_DIR": "hosts"}
    hint = "mediatype:application/vnd.docker.distribution.manifest.v2+json"

    manifest = dist("fetch", "docker.io/library/redis", "latest", hint, env=env)
    (layer,) = json.loads(manifest.stdout)["layers"]
    blob = dist("fetch", "docker.io/library/redis", layer["digest"], env=env)
    kept = dist(
        "ingest",
        *("--expected-digest", layer["digest"]),
        *("--expected-size", str(layer["size"])),
        f"docker.io/library/redis@{layer['digest']}",
        input=blob.stdout,
    )

    assert (manifest.returncode, blob.returncode, kept.returncode) == (0, 0, 0)
    assert registry.requests[0].headers["accept"] == hint.removeprefix("mediatype:")
    assert list(store.digests()) == [DIGEST]


def test_the_store_gets_it_with_a_label_and_the_digest_is_printed(
    dist: Dist, registry: FakeRegistry, redis: str, store: LocalStore
) -> None:
    done = dist("fetch", "--store", redis, DIGEST, f"mediatype:{mediatypes.OCI_LAYER_GZIP}", "size:500000")

    assert (done.returncode, done.stdout.decode()) == (0, f"{DIGEST}\n")
    assert store.info(DIGEST).labels == {
        f"containerd.io/distribution.source.{registry.address}": "library/redis"
    }


def test_json_tells_digest_and_size(dist: Dist, redis: str) -> None:
    done = dist("fetch", "--store", "--json", redis, DIGEST)

    assert json.loads(done.stdout) == {"digest": DIGEST, "size": 500_000}


def test_digests_come_from_standard_input_and_a_bad_one_stops_no_other(
    dist: Dist, redis: str, registry: FakeRegistry, store: LocalStore
) -> None:
    second = registry.put("library/redis", b"second")
    words = f"{DIGEST}\n\nsha256:12\n{OTHER}\n{second}\n"

    done = dist("fetch", "--store", redis, "-", input=words.encode())

    assert done.returncode == 2
    assert done.stdout.decode() == f"{DIGEST}\n{second}\n"
    bad, missing = done.stderr.decode().splitlines()
    assert bad.startswith("dist: digest 'sha256:12'")
    assert missing == f"dist: {redis}@{OTHER}: not found (asked {registry.address})"
    assert set(store.digests()) == {DIGEST, second}


def test_an_interrupted_download_is_resumed(
    dist: Dist, redis: str, registry: FakeRegistry, store: LocalStore
) -> None:
    with store.writer(f"unknown-{DIGEST}", expected=DIGEST) as writer:
        writer.write(LAYER[:400_000])

    done = dist("fetch", "--store", redis, DIGEST)

    assert (done.returncode, done.stdout.decode()) == (0, f"{DIGEST}\n")
    assert error(done) == f"{redis}@{DIGEST}: resuming at byte 400000"
    assert registry.bytes_sent == 100_000


def test_what_is_there_is_not_downloaded(dist: Dist, redis: str, registry: FakeRegistry) -> None:
    dist("fetch", "--store", redis, DIGEST)
    sent = registry.bytes_sent

    assert dist("fetch", "--store", redis, DIGEST).stdout.decode() == f"{DIGEST}\n"

    assert registry.bytes_sent == sent


@pytest.mark.slow  # the pause is real
def test_a_connection_that_drops_is_resumed_and_said(dist: Dist, redis: str, registry: FakeRegistry) -> None:
    registry.inject(server.drop_at(300_000))

    done = dist("fetch", redis, DIGEST)

    assert (done.returncode, done.stdout) == (0, LAYER)
    assert "the connection broke off: 200000 bytes are missing; trying again in" in error(done)
    assert registry.bytes_sent == len(LAYER)


def test_other_bytes_are_an_error_after_they_were_written(
    dist: Dist, redis: str, registry: FakeRegistry
) -> None:
    registry.inject(server.other_bytes())

    done = dist("fetch", redis, DIGEST)

    assert (done.returncode, len(done.stdout)) == (20, len(LAYER))
    assert error(done).startswith(f"{redis}@{DIGEST}: sent other bytes: expected {DIGEST}, got sha256:")


def test_a_tag_with_a_wrong_digest_writes_nothing(dist: Dist, redis: str, registry: FakeRegistry) -> None:
    registry.inject(server.claim_digest(OTHER))

    done = dist("fetch", redis, "latest")

    assert (done.returncode, done.stdout) == (20, b"")
    assert "latest from" in error(done)


@pytest.mark.parametrize(
    ("fault", "status", "why"),
    [
        (server.refuse(401, "UNAUTHORIZED", "log in"), 17, "answered 401: unauthorized log in"),
        (server.refuse(403, "DENIED", "no"), 16, "answered 403: denied no"),
        (server.throttled(500), 13, "answered 429: toomanyrequests slow down"),
        (server.redirect("ftp://a.example/"), 14, "redirects to no usable address"),
        (server.lie_about_length(7), 20, "sent other bytes"),
        (server.with_headers(content_encoding="br"), 19, "sends content-encoding 'br'"),
    ],
)
def test_a_registry_that_misbehaves_is_one_clear_line(
    dist: Dist, redis: str, registry: FakeRegistry, fault: server.Fault, status: int, why: str
) -> None:
    registry.inject(fault, path="/blobs/", times=None)

    done = dist("fetch", redis, DIGEST)

    assert done.returncode == status
    assert why in error(done)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["example.com/a:tag", "x"], "leave out the tag or digest"),
        (["example.com/UPPER", "x"], "lower case"),
        (["a b", "x"], "reference 'a b'"),
        (["https://a.example/b", "x"], "leave out the scheme"),
        (["example.com/a", "x/y"], "tag 'x/y'"),
        (["example.com/a", "sha256:zz"], "digest 'sha256:zz'"),
        (["example.com/a", "x", "colour:red"], "hint 'colour:red': want mediatype:TYPE or size:BYTES"),
        (["example.com/a", "x", "size:-1"], "size '-1'"),
        (["example.com/a", "x", "mediatype:json"], "media type 'json'"),
        (["example.com/a", "x", "--timeout", "soon"], "duration 'soon'"),
        (["example.com/a", "x", "--timeout", "0"], "leaves no time"),
        (["example.com/a", "x", "--hosts-dir", "gone"], "hosts folder gone: not a folder"),
        (["example.com/a", "x", "--ca", "gone.pem"], "CA file gone.pem: no such file"),
        (["example.com/a"], "required: object"),
    ],
)
def test_a_wrong_call_is_one_clear_line(dist: Dist, words: list[str], why: str) -> None:
    done = dist("fetch", *words)

    assert (done.returncode, done.stdout) == (2, b"")
    assert why in error(done)


def test_a_hosts_file_that_is_wrong_is_named_with_its_key(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "a.example").mkdir()
    (tmp_path / "a.example" / "hosts.toml").write_text('[host."https://m.example"]\nskip = true')

    done = dist("fetch", "--hosts-dir", ".", "a.example/b", "x")

    assert done.returncode == 2
    assert error(done).startswith('./a.example/hosts.toml: host."https://m.example".skip: unknown')


def test_a_token_is_had_without_being_asked_for(dist: Dist) -> None:
    with FakeRegistry(with_tokens=True) as gated:
        digest = gated.put("a/b", b"content")

        done = dist("fetch", f"{gated.address}/a/b", digest)

        assert (done.returncode, done.stdout, done.stderr) == (0, b"content", b"")


@pytest.mark.slow
@pytest.mark.parametrize("store_it", [False, True])
def test_a_timeout_ends_a_download_and_keeps_what_came(dist: Dist, store: LocalStore, store_it: bool) -> None:
    with FakeRegistry(rate=200_000) as slow:
        slow.put("a", LAYER)
        words = [
            "fetch",
            *(["--store"] if store_it else []),
            "--timeout",
            "800ms",
            f"{slow.address}/a",
            DIGEST,
        ]

        done = dist(*words)

    assert done.returncode == 24
    assert error(done) == f"fetch {slow.address}/a: not done after 0.8 s; what came is kept"
    assert [status.offset > 0 for status in store.statuses()] == ([True] if store_it else [])


@pytest.mark.slow
def test_a_timeout_is_for_all_digests_together(dist: Dist) -> None:
    with FakeRegistry(rate=200_000) as slow:
        slow.put("a", LAYER)

        done = dist(
            "fetch", "--timeout", "500ms", f"{slow.address}/a", "-", input=f"{DIGEST}\n{OTHER}\n".encode()
        )

        assert done.returncode == 24
        assert error(done).startswith(f"fetch {slow.address}/a: not done")
        assert slow.seen(OTHER) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_only_the_missing_bytes_travel_after_a_signal(
    dist: Dist, tmp_path: Path, store: LocalStore, number: int
) -> None:
    with FakeRegistry(rate=400_000) as slow:
        slow.put("a", LAYER)
        name = f"{slow.address}/a"
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "distore", "fetch", "--store", name, DIGEST],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ),
        )
        end = time.monotonic() + 30
        while not any(status.offset for status in store.statuses()):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        (status,) = store.statuses()

        assert (out, err) == (b"", b"")
        done = dist("fetch", "--store", name, DIGEST)

        assert done.stdout.decode() == f"{DIGEST}\n"
        assert slow.requests[-1].headers["range"] == f"bytes={status.offset}-"


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, redis: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "distore", "fetch", redis, DIGEST],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None

    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


@pytest.mark.slow
def test_ten_at_once_download_it_once(tmp_path: Path, store: LocalStore) -> None:
    with FakeRegistry(rate=5_000_000) as registry:
        registry.put("a", LAYER)
        processes = [
            subprocess.Popen(
                [sys.executable, "-I", "-m", "distore", "fetch", "--store", f"{registry.address}/a", DIGEST],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for _ in range(10)
        ]
        results = [(*process.communicate(timeout=60), process.returncode) for process in processes]

        assert results == [(f"{DIGEST}\n".encode(), b"", 0)] * 10
        assert registry.bytes_sent == len(LAYER)


def test_damaged_blobs_are_repaired_from_the_registry_they_came_from(
    dist: Dist, redis: str, registry: FakeRegistry, store: LocalStore
) -> None:
    dist("fetch", "--store", redis, DIGEST)
    path = Path(store.path(DIGEST))
    path.chmod(0o644)
    path.write_bytes(b"x" * len(LAYER))

    done = dist("fsck", "--repair")

    assert (done.returncode, path.read_bytes()) == (0, LAYER), done.stderr


def test_what_no_registry_has_leaves_no_ingest(dist: Dist, redis: str, store: LocalStore) -> None:
    done = dist("fetch", "--store", redis, OTHER)

    assert done.returncode == 11
    assert list(store.statuses()) == []
