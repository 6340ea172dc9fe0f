"""``dist export`` and ``dist inventory``: to files, folders and pipes, and what is left when they fail."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.offered import failure, offer, offer_index

from distore.content.local.store import LocalStore
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]
DIST = [sys.executable, "-I", "-m", "distore"]
BIG = 20_000_000  # bytes


@pytest.fixture
def pulled(dist: Dist, registry: FakeRegistry) -> str:
    """The digest of ``app:1`` in the store."""
    root = offer(registry, "team/app:1")
    assert dist("copy", "-q", f"{registry.address}/team/app:1", "store:app:1").returncode == 0
    return str(root.digest)


@pytest.fixture
def big(tmp_path: Path) -> str:
    """An artifact in the store that takes a while to write."""
    store = LocalStore(str(tmp_path / ".content"))
    with store.writer("big") as writer:
        writer.write(bytes(BIG))
        digest = writer.commit()
    blob = {"mediaType": mediatypes.OCI_EMPTY, "digest": digest, "size": BIG}
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "config": blob, "layers": []}
    with store.writer("document") as writer:
        writer.write(json.dumps(document).encode())
        root = writer.commit()
    store.close()
    return str(root)


def test_a_file_a_folder_and_a_pipe_hold_the_same_image(dist: Dist, pulled: str, tmp_path: Path) -> None:
    file = dist("export", "-q", "app.tar", "app:1")
    folder = dist("export", "-q", "oci:layout", "app:1")
    pipe = dist("export", "-q", "-", "app:1")

    assert [(done.returncode, done.stderr) for done in (file, folder, pipe)] == [(0, b"")] * 3
    assert file.stdout == folder.stdout == f"{pulled}\n".encode()
    assert pipe.stdout == (tmp_path / "app.tar").read_bytes()
    for end in ("oci-archive:app.tar:1", "oci:layout:1", "docker-archive:app.tar:app:1"):
        assert dist("copy", "-q", end, f"oci:back-{end[:3]}:1").stdout.decode().strip() == pulled


@pytest.mark.parametrize("words", [(), ("--format", "docker")])
def test_what_a_pipe_carries_is_imported_on_the_other_side(
    dist: Dist, pulled: str, words: tuple[str, ...]
) -> None:
    stream = dist("export", "-q", *words, "-", "app:1").stdout

    done = dist("import", "-q", "-", "--root", "other", input=stream)

    assert done.returncode == 0, done
    assert dist("images", "-q", "--root", "other").stdout == b"docker.io/library/app:1\n"
    here = dist("inspect", "--config", "store:app:1")
    assert dist("inspect", "--config", "store:app:1", "--root", "other").stdout == here.stdout != b""
    if not words:
        assert dist("export", "-q", "-", "app:1", "--root", "other").stdout == stream


def test_an_update_without_what_the_other_side_has_is_imported_there(
    dist: Dist, registry: FakeRegistry, pulled: str, tmp_path: Path
) -> None:
    dist("import", "-q", "-", "--root", "far", input=dist("export", "-q", "-", "app:1").stdout)
    offer(registry, "team/app:2", seed=1, layers=5)
    dist("copy", "-q", f"{registry.address}/team/app:2", "store:app:2")
    there = dist("inventory", "--root", "far")

    done = dist("export", "--exclude-inventory", "-", "update.tar", "app:2", input=there.stdout)
    lacking = dist("import", "-q", "update.tar", "--root", "empty")
    updated = dist("import", "-q", "update.tar", "--root", "far")

    assert there.stdout.startswith(b"# distore inventory 1\nsha256:")
    assert b"dist: left out " in done.stderr
    assert updated.returncode == 0, updated
    assert dist("images", "-q", "--root", "far").stdout.splitlines() == [
        b"docker.io/library/app:1",
        b"docker.io/library/app:2",
    ]
    assert dist("export", "-q", "-", "app:2", "--root", "far").returncode == 0
    assert lacking.returncode != 0
    assert b"sha256:" in lacking.stderr


def test_a_sparse_index_goes_with_what_is_here(dist: Dist, registry: FakeRegistry, tmp_path: Path) -> None:
    index, images = offer_index(registry, "team/app:1")
    source = f"{registry.address}/team/app:1"
    dist("pull", "-q", "--platform", "linux/s390x", source)

    every = dist("export", "sparse.tar", source)
    strict = dist("export", "-q", "--require-all", "strict.tar", source)
    one = dist("export", "-q", "--platform", "linux/s390x", "one.tar", source)
    other = dist("export", "-q", "--platform", "linux/amd64", "other.tar", source)

    assert every.stdout.decode().strip() == index.digest
    assert "'linux/amd64' is not in the store and left out" in every.stderr.decode()
    assert failure(strict, 11).endswith(f"dist pull --platform linux/amd64 {source} brings it")
    assert one.stdout.decode().strip() == images["s390x"].digest
    assert "linux/amd64 is not in the store" in failure(other, 11)
    assert sorted(path.name for path in tmp_path.glob("*.tar*")) == ["one.tar", "sparse.tar"]


def test_several_images_go_by_name_by_digest_and_from_standard_input(
    dist: Dist, registry: FakeRegistry, pulled: str, tmp_path: Path
) -> None:
    root = offer(registry, "team/other:1", seed=2)
    dist("copy", "-q", f"{registry.address}/team/other:1", "store:other:1")

    by_name = dist("export", "-q", "one.tar", "other:1", "app:1")
    piped = dist("export", "-q", "two.tar", "-", input=dist("images", "-q").stdout)
    by_digest = dist("export", "-q", "three.tar", root.digest)

    assert by_name.stdout == piped.stdout
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert by_digest.stdout.decode().strip() == root.digest
    with tarfile.open(tmp_path / "three.tar") as tar:
        member = tar.extractfile("index.json")
        assert member is not None
        assert [set(entry) for entry in json.load(member)["manifests"]] == [{"mediaType", "digest", "size"}]


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (("a.tar", "none"), 11, "docker.io/library/none:latest: not in the store; dist pull"),
        (("a.tar", "sha256:" + "0" * 64), 11, "sha256:000"),
        (("folder/none/a.tar", "app:1"), 11, "folder/none/a.tar"),
        (("none/a.tar", "app:1"), 11, "none/a.tar: there is no folder"),
        (("--force", "/dev/null", "app:1"), 14, "/dev/null: not a regular file, and so not replaced"),
        (("there.tar", "app:1"), 12, "there.tar: the file is there already; replace it with --force"),
        (("oci:there.tar", "app:1"), 14, "oci:there.tar: not a folder"),
        (("oci-archive:a.tar", "app:1"), 2, "want a FILE, oci:DIR, or -"),
        (("oci:", "app:1"), 2, "want a FILE, oci:DIR, or -"),
        (("", "app:1"), 2, "want a FILE, oci:DIR, or -"),
        (("--json", "-", "app:1"), 2, "--json: standard output is the archive"),
        (("--format", "docker", "folder", "app:1"), 2, "want a FILE or -, not a folder"),
        (("--format", "docker", "--all-platforms", "a.tar", "app:1"), 2, "choose one with --platform"),
        (("--format", "docker", "--exclude-inventory", "inventory", "a.tar", "app:1"), 2, "--format oci"),
        (("--platform", "linux/arm64", "--all-platforms", "a.tar", "app:1"), 2, "want one of them"),
        (("--exclude-inventory", "bad", "a.tar", "app:1"), 2, "bad: line 2: digest 'nonsense'"),
        (("--exclude-inventory", "none", "a.tar", "app:1"), 11, "none: no such file"),
        (("a.tar",), 2, "image"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_no_file(
    dist: Dist, pulled: str, tmp_path: Path, words: tuple[str, ...], status: int, part: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.tar").write_text("precious")
    (tmp_path / "bad").write_text("# comment\nnonsense\n")
    (tmp_path / "inventory").write_text("")

    message = failure(dist("export", "-q", *words), status)

    assert part in message
    assert (tmp_path / "there.tar").read_text() == "precious"
    assert [path.name for path in tmp_path.glob("a.tar*")] == []
    assert list((tmp_path / "folder").iterdir()) == []


def test_an_archive_does_not_go_to_a_terminal(dist: Dist, pulled: str, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            [*DIST, "export", "-q", "-", "app:1"],
            stdout=follower,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            check=False,
            timeout=60,
        )
    finally:
        os.close(leader)
        os.close(follower)

    assert done.returncode == 2
    assert done.stderr == b"dist: standard output is a terminal; redirect it, or name a FILE\n"


def test_a_reader_that_goes_away_ends_it_quietly(big: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*DIST, "export", "-q", "-", big], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stderr is not None

    process.stdout.read(1000)
    process.stdout.close()

    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 141


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_export_leaves_no_file(
    big: str, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    os.mkfifo(tmp_path / "pipe")
    # The inventory is read before anything is written, and the export waits there for us; then it runs.
    process = subprocess.Popen(
        [*DIST, "export", "-q", "--exclude-inventory", "pipe", "out.tar", big], cwd=tmp_path
    )
    with (tmp_path / "pipe").open("wb") as pipe:
        pipe.write(b"# nothing\n")
    while not list(tmp_path.glob("out.tar*")) and process.poll() is None:
        time.sleep(0.001)

    process.send_signal(number)

    assert process.wait(60) in (status, 0)  # it may have been done before the signal came
    assert [path.name for path in tmp_path.glob("out.tar*")] == ["out.tar"] * (process.returncode == 0)


def test_a_damaged_blob_is_data_loss_and_no_file(dist: Dist, pulled: str, tmp_path: Path) -> None:
    layer = json.loads(dist("inspect", "--json", "store:app:1").stdout)["layers"][0]["digest"]
    path = tmp_path / ".content" / "blobs" / layer.replace(":", "/")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)

    message = failure(dist("export", "-q", "out.tar", "app:1"), 29)

    assert message == f"content {layer}: damaged in the store; run dist fsck"
    assert list(tmp_path.glob("out.tar*")) == []


def test_an_inventory_lists_what_is_here_of_an_image_or_of_all(
    dist: Dist, registry: FakeRegistry, pulled: str
) -> None:
    dist("ingest", "x", input=b"no image names me")

    every = dist("inventory").stdout.decode().splitlines()
    image = dist("inventory", "app:1").stdout.decode().splitlines()
    objects = [json.loads(line) for line in dist("inventory", "--json", "app:1").stdout.splitlines()]

    assert every[0] == image[0] == "# distore inventory 1"
    assert every[1:] == sorted({*image[1:], Digest.of(b"no image names me")})
    assert [each["digest"] for each in objects] == image[1:]
    assert all(set(each) == {"digest", "size"} for each in objects)
    assert pulled in image
    assert "not in the store" in failure(dist("inventory", "none"), 11)
