"""``dist import``: images of archives and layouts, from files, folders and standard input."""

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
from tests.e2e.offered import failure
from tests.unit.transfer.ends_images import family, read
from tests.unit.transfer.import_archives import blob_path, files_of, images, layout, named, referrer, write

from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two images, one of them with a bare tag alone."""
    store, (one, two) = images(1, 2)
    files = layout(files_of(store, one, two), named(one, "redis:7"), named(two, "v2"))
    return Path(str(write(tmp_path, files, how="file")))


def test_images_come_from_a_file_and_from_a_pipe(dist: Dist, archive: Path) -> None:
    for words, data in ((["a.tar"], b""), (["-"], archive.read_bytes())):
        done = dist("import", "-q", *words, "--root", f"s-{words[0]}", input=data)

        (line,) = done.stdout.decode().splitlines()
        assert done.returncode == 0
        assert line.startswith("docker.io/library/redis:7 sha256:")
        assert dist("images", "-q", "--root", f"s-{words[0]}").stdout == b"docker.io/library/redis:7\n"


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_a_compressed_archive_is_unpacked_on_the_way(pack: str, dist: Dist, archive: Path) -> None:
    zstd = pytest.importorskip("backports.zstd") if sys.version_info < (3, 14) else None
    data = archive.read_bytes()
    if pack == "gzip":
        packed = gzip.compress(data)
    elif zstd is not None:
        packed = zstd.compress(data)
    else:
        pytest.skip("the module has another name here")
    archive.with_suffix(".packed").write_bytes(packed)

    from_file = dist("import", "-q", "a.packed", "--root", "s1")
    from_pipe = dist("import", "-q", "-", "--root", "s2", input=packed)

    assert from_file.returncode == from_pipe.returncode == 0
    assert from_file.stdout == from_pipe.stdout != b""


def test_a_base_name_completes_a_tag(dist: Dist, archive: Path) -> None:
    done = dist("import", "-q", "--base-name", "r.example/team/app", "a.tar")

    names = [line.split()[0] for line in done.stdout.decode().splitlines()]
    assert names == ["docker.io/library/redis:7", "r.example/team/app:v2"]


@pytest.mark.parametrize("flags", [[], ["-q"]])
def test_what_is_passed_over_is_a_note(flags: list[str], dist: Dist, archive: Path) -> None:
    done = dist("import", *flags, "a.tar")

    assert done.returncode == 0
    assert "has no name but the tag 'v2'; passed over; give --base-name" in done.stderr.decode()


def test_json_has_an_event_a_line(dist: Dist, archive: Path) -> None:
    lines = [json.loads(line) for line in dist("import", "--json", "a.tar").stdout.splitlines()]

    kinds = [line["event"] for line in lines]
    assert kinds[0] == "note"
    assert kinds[1] == "resolved"
    assert kinds[-1] == "finished"
    assert lines[-1]["name"] == "docker.io/library/redis:7"
    assert {line["how"] for line in lines if line["event"] == "done"} == {"copied", "pushed"}


def test_a_damaged_image_is_one_line_and_the_other_comes(dist: Dist, tmp_path: Path) -> None:
    store, (bad, good) = images(1, 2)
    files = layout(files_of(store, bad, good), named(bad, "bad:1"), named(good, "good:1"))
    layer = family(store, bad)[0]
    files[blob_path(layer.digest)] = bytes(layer.size)
    write(tmp_path, files, how="file")

    done = dist("import", "-q", "a.tar")

    assert done.returncode == 20
    assert done.stdout.decode().split()[0] == "docker.io/library/good:1"
    assert done.stderr.count(b"\n") == 1
    listed = set(dist("list", "-q").stdout.decode().split())
    assert listed == {good.digest, *(each.digest for each in family(store, good))}


def test_content_that_came_survives_the_collector(dist: Dist, tmp_path: Path) -> None:
    store, (one,) = images(1)
    signature = referrer(store, one)
    files = layout(files_of(store, one, signature), named(signature), named(one, "app:1"))
    write(tmp_path, files, how="file")
    dist("import", "-q", "a.tar")
    if dist("gc", "--help").returncode:
        pytest.skip("there is no dist gc yet")

    dist("gc")

    listed = set(dist("list", "-q").stdout.decode().split())
    assert listed == {each.partition("/")[2].replace("/", ":") for each in files if each.startswith("blobs/")}


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        ([""], 2, "want a FILE, the folder of a layout, or -"),
        (["none.tar"], 11, "none.tar: no such file"),
        (["empty"], 14, "empty: no images in it"),
        (["text"], 14, "text: not a tar file"),
        (["-"], 14, "standard input: not a tar file, or an empty one"),
        (["--name", "a", "--digests", "a.tar"], 2, "want one of them"),
        (["--platform", "linux/amd64", "--all-platforms", "a.tar"], 2, "want one of them"),
        (["--name", "a:1", "a.tar"], 2, "holds 2 images, a name is for one"),
        (["--base-name", "a:1", "a.tar"], 2, "want a name without tag and digest"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], status: int, part: str, dist: Dist, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello\n" * 200)

    done = dist("import", "-q", *words)

    assert part in failure(done, status)


def test_what_was_exported_to_a_pipe_is_imported_from_one(
    dist: Dist, archive: Path, registry: FakeRegistry
) -> None:
    dist("import", "-q", "a.tar")
    exported = dist("export", "-q", "-", "redis:7")

    done = dist("import", "-q", "-", "--root", "other", input=exported.stdout)

    assert done.returncode == 0
    assert dist("images", "--root", "other", "-q").stdout == dist("images", "-q").stdout
    assert set(dist("list", "-q", "--root", "other").stdout.split()) == set(dist("list", "-q").stdout.split())


def test_what_the_far_side_has_need_not_be_in_the_archive(dist: Dist, tmp_path: Path) -> None:
    store, (one,) = images(1)
    write(tmp_path, layout(files_of(store, one), named(one, "app:1")), how="file")
    dist("import", "-q", "a.tar")
    (tmp_path / "there").write_bytes(dist("inventory").stdout)
    dist("export", "-q", "--exclude-inventory", "there", "less.tar", "app:1")
    dist("images", "rm", "app:1")

    here = dist("import", "-q", "less.tar")
    elsewhere = dist("import", "-q", "less.tar", "--root", "other")

    assert here.returncode == 0
    assert "is neither in it nor in the store" in failure(elsewhere, 11)
    assert dist("list", "-q", "--root", "other").stdout == b""


def test_ctrl_c_leaves_nothing_named(dist: Dist, archive: Path, tmp_path: Path) -> None:
    store, (one,) = images(1)
    files = layout(files_of(store, one), named(one, "app:1"))
    data = Path(str(write(tmp_path, files, how="file"))).read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "distore", "import", "-q", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=dict(os.environ),
    )
    assert process.stdin is not None
    process.stdin.write(data[: len(data) // 2])
    process.stdin.flush()
    end = time.monotonic() + 10
    while not (tmp_path / ".content").exists() and time.monotonic() < end:
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 130
    assert dist("images", "-q").stdout == b""
    assert dist("list", "-q").stdout == b""
    assert read(store, one.digest)
