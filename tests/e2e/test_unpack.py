"""``dist unpack``, ``pull --unpack`` and ``rootfs``: what they print, make, and leave when they fail."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import archive, tar_of

from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.testing.server import FakeRegistry

Dist = Callable[..., subprocess.CompletedProcess[bytes]]
FILES = [
    {"etc/name": b"one", "bin/sh": b"shell"},
    {"etc/name": b"two"},
    {"etc/.wh.name": b"", "etc/new": b"3"},
]
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
URL = "http://127.0.0.1:9/layer"
pytestmark = pytest.mark.slow


def served(
    registry: FakeRegistry,
    layers: list[bytes],
    *,
    wrong: int | None = None,
    foreign: int | None = None,
    document: int | None = None,
) -> str:
    """An image of plain tar files in a registry; what to pull.

    Args:
        wrong: The layer of which the config promises something else.
        foreign: The one that only its URL has.
        document: The one that is the manifest of another image.
    """
    diff_ids = [Digest.of(b"else" if number == wrong else data) for number, data in enumerate(layers)]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = registry.put("library/app", data)
        return Descriptor(media_type=media_type, digest=digest, size=len(data)).to_json()

    described = [put(packed(data), mediatypes.OCI_LAYER_GZIP) for data in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": put(json.dumps(config).encode(), mediatypes.OCI_CONFIG),
        "layers": described,
    }
    if document is not None:
        other = registry.tag("library/app", "0", json.dumps(manifest | {"layers": []}).encode())
        described[document] = other.to_json()
    if foreign is not None:
        described[foreign] |= {"digest": Digest.of(b"foreign"), "mediaType": FOREIGN, "urls": [URL]}
    registry.tag("library/app", "1", json.dumps(manifest).encode(), mediatypes.OCI_MANIFEST)
    return f"{registry.address}/library/app:1"


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def events(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(found: list[dict[str, object]], kind: str) -> list[dict[str, object]]:
    return [each for each in found if each["event"] == kind]


@pytest.fixture
def app(dist: Dist, tmp_path: Path) -> str:
    """An image in the store."""
    done = dist("import", str(archive(tmp_path / "app.tar", tag="docker.io/library/app:1")))
    assert done.returncode == 0, done.stderr
    return "app:1"


def test_the_chain_id_is_the_result_and_the_rest_is_talk(dist: Dist, app: str) -> None:
    first, second = dist("unpack", app), dist("unpack", "-q", app)

    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout and Digest(first.stdout.decode().strip())
    assert b"3 layers" in first.stderr and first.stderr.count(b"unpacked sha256:") == 3
    assert second.stderr == b""


def test_json_tells_of_each_layer(dist: Dist, app: str) -> None:
    found, again = events(dist("unpack", "--json", app)), events(dist("unpack", "--json", app))

    assert [each["how"] for each in of(found, "unpacked")] == ["unpacked"] * 3
    assert [each["how"] for each in of(again, "unpacked")] == ["present"] * 3
    assert (of(again, "planned")[0]["unpack"], found[-1]["event"]) == (0, "finished")


def test_snapshots_stay_as_long_as_the_image(dist: Dist, app: str) -> None:
    chain = dist("unpack", "-q", app).stdout.decode().strip()
    dist("gc")
    assert chain in dist("snapshots", "ls", "-q").stdout.decode()

    dist("images", "rm", app)
    dist("gc")

    assert dist("snapshots", "ls", "-q").stdout == b""


def test_a_pull_unpacks_while_layers_arrive(dist: Dist, registry: FakeRegistry, tmp_path: Path) -> None:
    name = served(registry, [tar_of(files) for files in FILES])

    done = dist("pull", "--unpack", "--json", name)

    assert done.returncode == 0, done.stderr
    found = events(done)
    chain = of(found, "unpacked")[-1]["chain_id"]
    assert [each["how"] for each in of(found, "unpacked")] == ["unpacked"] * 3
    assert dist("unpack", "-q", name).stdout.decode().strip() == chain
    assert dist("rootfs", "-q", name, "r").returncode == 0
    assert {str(path.relative_to(tmp_path / "r")) for path in (tmp_path / "r").rglob("*")} == {
        "bin",
        "bin/sh",
        "etc",
        "etc/new",
    }


def test_a_pull_whose_layer_is_wrong_has_no_name_and_no_half_snapshot(
    dist: Dist, registry: FakeRegistry
) -> None:
    name = served(registry, [tar_of(files) for files in FILES], wrong=1)

    done = dist("pull", "--unpack", name)

    assert done.returncode == 29
    assert done.stderr.decode().splitlines()[-1].startswith("dist: layer sha256:")
    assert b"config promises" in done.stderr
    assert dist("images", "-q").stdout == b""
    assert not [one for one in dist("snapshots", "ls", "-q").stdout.split() if one.startswith(b"extract")]


@pytest.mark.timeout(30)
def test_a_pull_does_not_wait_for_what_never_arrives(dist: Dist, registry: FakeRegistry) -> None:
    layers = [tar_of(files) for files in FILES]

    foreign = dist("pull", "--unpack", served(registry, layers, foreign=1))
    document = dist("pull", "--unpack", served(registry, layers, document=1))

    assert foreign.returncode == 11
    assert b"is not in the store, only to be had from 'http://127.0.0.1:9/layer'; dist pull" in foreign.stderr
    assert document.returncode == 14
    assert document.stderr.endswith(b": not a tar file\n")


def test_a_snapshotter_goes_with_unpack(dist: Dist) -> None:
    done = dist("pull", "--snapshotter", "native", "localhost:1/app")

    assert (done.returncode, done.stderr) == (2, b"dist: pull: --snapshotter goes with --unpack\n")


def test_an_unknown_snapshotter_is_told_what_there_is(dist: Dist, app: str) -> None:
    done = dist("unpack", "--snapshotter", "btrfs", app)

    assert done.returncode == 2
    assert done.stderr.decode() == "dist: snapshotter 'btrfs': want overlayfs or native\n"


def test_missing_layers_and_images_are_named(dist: Dist, registry: FakeRegistry) -> None:
    name = served(registry, [tar_of(files) for files in FILES])
    dist("pull", name)
    layer = Digest.of(packed(tar_of(FILES[1])))
    assert layer in dist("list", "-q").stdout.decode()
    dist("delete", layer)

    none, less = dist("unpack", "none:1"), dist("unpack", name)

    assert none.returncode == 11 and b"dist pull brings it" in none.stderr
    last = less.stderr.decode().splitlines()[-1]
    assert less.returncode == 11
    assert last.startswith(f"dist: image {name}: the store lacks {layer}; dist pull --platform")


def test_a_rootfs_is_whole_or_not_there(dist: Dist, registry: FakeRegistry, tmp_path: Path) -> None:
    name = served(registry, [tar_of(files) for files in FILES], wrong=2)
    dist("pull", name)
    (tmp_path / "there").mkdir()

    for folder in ("new", "there"):
        assert dist("rootfs", name, folder).returncode == 29

    assert not (tmp_path / "new").exists()
    assert os.listdir(tmp_path / "there") == []


def test_a_folder_that_is_not_empty_is_refused(dist: Dist, app: str, tmp_path: Path) -> None:
    (tmp_path / "full" / "x").mkdir(parents=True)
    (tmp_path / "file").write_text("")

    for folder, says in (("full", "not empty"), ("file", "not a directory"), ("no/ne", "no such file")):
        done = dist("rootfs", app, folder)
        assert done.returncode != 0 and says in done.stderr.decode().splitlines()[-1]


def test_owners_can_be_mapped_or_left(dist: Dist, app: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may set owners")
    maps = ("--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536")

    assert dist("rootfs", "-q", *maps, app, "mapped").returncode == 0
    assert dist("rootfs", "-q", "--no-same-owner", app, "mine").returncode == 0
    both = dist("rootfs", "--no-same-owner", *maps, app, "both")
    bad = dist("rootfs", "--uid-map", "0:x", app, "bad")

    info, mine = (tmp_path / "mapped" / "file-0").stat(), (tmp_path / "mine" / "file-0").stat()
    assert (info.st_uid, info.st_gid) == (100_000, 200_000)
    assert (mine.st_uid, mine.st_gid) == (os.geteuid(), os.getegid())
    assert (both.returncode, bad.returncode) == (2, 2)
    assert not (tmp_path / "both").exists() and not (tmp_path / "bad").exists()


def test_ctrl_c_leaves_nothing_and_the_next_one_ends_it(
    dist: Dist, registry: FakeRegistry, tmp_path: Path
) -> None:
    big = tar_of({f"f{number}": os.urandom(1_000_000) for number in range(60)})
    name = served(registry, [big, tar_of({"a": b"b"})])
    dist("pull", name)
    command = [sys.executable, "-I", "-m", "distore", "unpack", name]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    files = tmp_path / ".content" / "snapshots"
    end = time.monotonic() + 20
    while not list(files.glob("*/*/fs/f1")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode in (0, 130)
    assert not [one for one in dist("snapshots", "ls", "-q").stdout.split() if one.startswith(b"extract")]
    assert dist("unpack", "-q", name).returncode == 0


def test_a_platform_that_somebody_named_must_be_that_of_the_image(dist: Dist, app: str) -> None:
    for words in (
        ("unpack", "--platform", "linux/s390x", app),
        ("rootfs", "--platform", "linux/s390x", app, "r"),
        ("ls", "--platform", "linux/s390x", f"{app}:/"),
    ):
        done = dist(*words)

        assert done.returncode == 11, words
        last = done.stderr.decode().splitlines()[-1]
        assert last == f"dist: image {app}: is for linux/amd64, not for linux/s390x"


def test_there_is_no_talk_of_what_was_unpacked_before(dist: Dist, app: str) -> None:
    dist("unpack", app)

    again = dist("unpack", app).stderr.decode()

    assert again.count("unpacked already (present)") == 3
    assert "to move" not in again and "to unpack" not in again
