"""``dist copy`` from every end to every other, and what it leaves when it fails."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from tests.e2e.offered import failure, offer, offer_index

from distore.content.local.store import LocalStore
from distore.oci.digest import Digest
from distore.testing import server
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]
DIST = [sys.executable, "-I", "-m", "distore"]


def layout_names(folder: Path) -> dict[str, str]:
    entries = json.loads((folder / "index.json").read_text())["manifests"]
    return {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in entries}


def test_an_image_goes_round_every_end_and_keeps_its_digest(dist: Dist, registry: FakeRegistry) -> None:
    root = offer(registry, "team/app:1")
    ends = [
        f"{registry.address}/team/app:1",
        "oci:layout:a",
        "oci-archive:one.tar:b",
        "store:app:c",
        "oci:layout:d",
        "store:app:e",
        f"docker://{registry.address}/again/app:f",
        "oci-archive:two.tar",
        f"{registry.address}/third/app:g",
    ]

    results = [dist("copy", "-q", source, to) for source, to in pairwise(ends)]

    assert [(done.returncode, done.stderr, done.stdout.decode().strip()) for done in results] == [
        (0, b"", root.digest)
    ] * len(results)
    assert registry.repositories["third/app"]["g"].digest == root.digest


def test_a_docker_archive_is_written_and_read(dist: Dist, registry: FakeRegistry, tmp_path: Path) -> None:
    offer(registry, "team/app:1")

    out = dist("copy", "-q", f"{registry.address}/team/app:1", "docker-archive:app.tar:app:1")
    back = dist("copy", "-q", "docker-archive:app.tar", "store:app:1")
    config = dist("inspect", "--config", "store:app:1")

    assert (out.returncode, back.returncode) == (0, 0), (out, back)
    with tarfile.open(tmp_path / "app.tar") as tar:
        assert "manifest.json" in tar.getnames()
    assert config.stdout == dist("inspect", "--config", f"{registry.address}/team/app:1").stdout


def test_what_happens_is_told_on_standard_error_and_the_result_alone_on_standard_output(
    dist: Dist, registry: FakeRegistry
) -> None:
    root = offer(registry, "team/app:1")

    done = dist("copy", f"{registry.address}/team/app:1", "oci-archive:app.tar:1")

    first, plan, *_, last = done.stderr.decode().splitlines()
    assert done.stdout.decode() == f"{root.digest}\n"
    assert first == f"oci-archive:app.tar:1: {root.digest}"
    assert plan.startswith("4 blobs, ")
    assert " moved in " in last


def test_an_archive_in_the_store_gets_no_label_of_a_registry(
    dist: Dist, registry: FakeRegistry, tmp_path: Path
) -> None:
    offer(registry, "team/app:1")
    dist("copy", "-q", f"{registry.address}/team/app:1", "oci-archive:app.tar:1")

    dist("copy", "-q", "oci-archive:app.tar", "store:app")

    labels = {key for info in LocalStore(str(tmp_path / ".content")).walk() for key in info.labels}
    assert labels
    assert all(key.startswith("containerd.io/gc.ref.content.") for key in labels)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("store:a", "store:docker.io/library/a:latest"),
        ("oci:x:1", "oci:x:1"),
        ("r.example/a:1", "docker://r.example/a:1"),
        ("oci-archive:a.tar", "oci-archive:a.tar"),
    ],
)
def test_an_image_is_not_copied_onto_itself(dist: Dist, source: str, destination: str) -> None:
    assert "is both the source and the destination" in failure(dist("copy", source, destination), 2)


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_that_is_there_is_replaced_by_force_alone(
    dist: Dist, registry: FakeRegistry, tmp_path: Path, kind: str
) -> None:
    offer(registry, "team/app:1")
    (tmp_path / "file").write_text("precious")
    words = ("copy", "-q", f"{registry.address}/team/app:1", f"{kind}:file")

    message = failure(dist(*words), 12)
    kept = (tmp_path / "file").read_text()
    forced = dist(*words, "--force")

    assert message == f"{kind}:file: the file is there already; replace it with --force"
    assert kept == "precious"
    assert forced.returncode == 0
    assert tarfile.is_tarfile(tmp_path / "file")


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        ("oci:none", 11, ["oci:none", "no image layout there"]),
        ("oci:folder", 11, ["oci:folder", "index.json is missing"]),
        ("oci:garbage", 14, ["oci:garbage: not a folder", "oci-archive:"]),
        ("oci-archive:none", 11, ["oci-archive:none", "no such file"]),
        ("oci-archive:folder", 14, ["oci-archive:folder", "not a regular file"]),
        ("oci-archive:garbage", 14, ["oci-archive:garbage: not a tar file"]),
        ("docker-archive:garbage", 14, ["docker-archive:garbage: not a tar file"]),
        ("oci-archive:empty", 14, ["oci-archive:empty"]),
        ("store:none", 11, ["docker.io/library/none:latest", "dist pull"]),
        ("127.0.0.1:1/none", 13, ["127.0.0.1:1", "refused"]),
        ("docker-daemon:x", 2, ["docker-daemon:x", "want docker://REF"]),
        ("./file", 2, ["./file", "oci-archive:FILE"]),
        ("Bad/Name", 2, ["Bad/Name", "lower case"]),
        ("oci:", 2, ["want a path"]),
        ("", 2, ["want docker://REF"]),
    ],
)
def test_a_source_that_is_none_is_one_line(
    dist: Dist, tmp_path: Path, source: str, status: int, words: list[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "garbage").write_bytes(os.urandom(3000))

    done = dist("copy", "-q", source, "oci:out:1")

    last = done.stderr.decode().splitlines()[-1]
    assert (done.returncode, done.stdout) == (status, b""), done
    assert last.startswith("dist: ")
    assert all(word in last for word in words), last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("destination", "status", "words"),
    [
        ("oci:file", 14, ["oci:file: not a folder"]),
        ("oci-archive:folder", 12, ["oci-archive:folder"]),
        ("oci-archive:none/x.tar", 11, ["oci-archive:none/x.tar"]),
        ("docker-archive:a.tar:b@sha256:" + "0" * 64, 2, ["a tag, not a digest"]),
        ("dir:x", 2, ["dir:x", "oci:DIR"]),
    ],
)
def test_a_destination_that_is_none_is_one_line(
    dist: Dist,
    registry: FakeRegistry,
    tmp_path: Path,
    destination: str,
    status: int,
    words: list[str],
) -> None:
    offer(registry, "team/app:1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")

    message = failure(dist("copy", "-q", f"{registry.address}/team/app:1", destination), status)

    assert all(word in message for word in words), message
    assert (tmp_path / "file").read_text() == "precious"
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_name_that_an_archive_lacks_is_told_with_those_it_has(dist: Dist, registry: FakeRegistry) -> None:
    offer(registry, "team/app:1")
    dist("copy", "-q", f"{registry.address}/team/app:1", "oci-archive:app.tar:one")

    message = failure(dist("copy", "-q", "oci-archive:app.tar:two", "store:x"), 11)

    assert message == "oci-archive:app.tar: no image 'two'; there are 'one'"


def test_one_platform_goes_as_its_manifest_and_the_store_keeps_the_index(
    dist: Dist, registry: FakeRegistry
) -> None:
    index, images = offer_index(registry, "team/app:1")
    source = f"{registry.address}/team/app:1"

    layout = dist("copy", "-q", "--platform", "linux/s390x", source, "oci:layout:1")
    store = dist("copy", "-q", "--platform", "linux/s390x", source, "store:app")
    every = dist("copy", "-q", source, "oci:layout:2")

    assert layout.stdout.decode().strip() == images["s390x"].digest
    assert store.stdout.decode().strip() == every.stdout.decode().strip() == index.digest
    assert dist("inspect", "--platform", "linux/s390x", "store:app").returncode == 0


@pytest.mark.parametrize("destination", ["oci:out:1", "oci-archive:out", "store:app"])
def test_a_platform_that_is_not_there_is_told_with_those_that_are(
    dist: Dist, registry: FakeRegistry, tmp_path: Path, destination: str
) -> None:
    offer_index(registry, "team/app:1")

    done = dist("copy", "-q", "--platform", "plan9/mips", f"{registry.address}/team/app:1", destination)

    assert "has nothing for plan9/mips; it has linux/amd64, linux/s390x" in failure(done, 11)
    assert not (tmp_path / "out").exists()
    assert dist("images", "-q").stdout == b""


def test_platforms_that_contradict_are_refused(dist: Dist) -> None:
    words = ("copy", "r.example/a", "oci:b", "--all-platforms", "--platform")

    assert "--all-platforms" in failure(dist(*words, "linux/arm64"), 2)
    assert "platform 'nonsense'" in failure(dist(*words[:3], "--platform", "nonsense"), 2)


def test_many_copies_at_once_fill_one_layout(registry: FakeRegistry, tmp_path: Path) -> None:
    roots = {str(seed): offer(registry, f"team/app:{seed}", seed // 2).digest for seed in range(6)}
    running = [
        subprocess.Popen(
            [*DIST, "copy", "-q", f"{registry.address}/team/app:{tag}", f"oci:layout:{tag}"], cwd=tmp_path
        )
        for tag in roots
    ]

    assert [process.wait(60) for process in running] == [0] * 6
    assert layout_names(tmp_path / "layout") == roots
    assert sorted(path.name for path in (tmp_path / "layout").iterdir()) == [
        "blobs",
        "index.json",
        "oci-layout",
    ]


def test_every_registry_gets_its_own_login(
    dist: Dist, registry_factory: Callable[..., FakeRegistry], tmp_path: Path
) -> None:
    one = registry_factory(users={"ann": "secret-one"})
    two = registry_factory(users={"bob": "secret-two"}, with_tokens=True)
    root = offer(one, "team/app:1")
    logins = {
        fake.address: {"auth": base64.b64encode(pair).decode()}
        for fake, pair in ((one, b"ann:secret-one"), (two, b"bob:secret-two"))
    }
    (tmp_path / "auth.json").write_text(json.dumps({"auths": logins}))
    words = ("copy", "-q", f"{one.address}/team/app:1", f"{two.address}/mirror/app:1")

    done = dist(*words, "--authfile", "auth.json")
    without = dist(*words, "--authfile", "none.json")

    assert (done.returncode, done.stdout.decode().strip()) == (0, root.digest)
    assert two.repositories["mirror/app"]["1"].digest == root.digest
    assert f"dist login {one.address}" in failure(without, 17)
    told = {request.headers.get("authorization", "") for request in two.requests}
    assert not any(logins[one.address]["auth"] in header for header in told)


def test_wrong_bytes_of_a_registry_come_nowhere(
    dist: Dist, registry_factory: Callable[..., FakeRegistry], tmp_path: Path
) -> None:
    registry, other = registry_factory(), registry_factory()
    offer(registry, "team/app:1")
    registry.inject(server.other_bytes(), path="/blobs/", times=None)

    for destination in ("oci:layout:1", "oci-archive:out.tar", f"{other.address}/other/app:1"):
        done = dist("copy", "-q", f"{registry.address}/team/app:1", destination)

        assert done.returncode in (20, 29), done
        assert b"Traceback" not in done.stderr
        assert done.stdout == b""
    assert not (tmp_path / "out.tar").exists()
    assert not (tmp_path / "layout" / "index.json").exists()
    assert not other.repositories.get("other/app")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_copy_leaves_no_half_archive_and_no_half_image(
    registry_factory: Callable[..., FakeRegistry],
    dist: Dist,
    tmp_path: Path,
    number: int,
    status: int,
) -> None:
    slow = registry_factory(rate=20_000)
    layer = os.urandom(80_000)
    root = slow.image("team/app", "1", [layer])
    for destination in ("oci-archive:out.tar:1", "oci:layout:1"):
        before = len(slow.seen(f"/blobs/{Digest.of(layer)}"))
        process = subprocess.Popen(
            [*DIST, "copy", f"{slow.address}/team/app:1", destination],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        end = time.monotonic() + 30
        while len(slow.seen(f"/blobs/{Digest.of(layer)}")) == before and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

        assert (process.returncode, out) == (status, b""), err
        assert b"Traceback" not in err
    left = {path.name for path in tmp_path.iterdir()}
    assert not any(name.startswith("out.tar") for name in left), left
    assert not (tmp_path / "layout" / "index.json").exists()
    again = dist("copy", "-q", f"{slow.address}/team/app:1", "oci:layout:1")
    assert again.stdout.decode().strip() == root.digest
    assert not (tmp_path / "layout" / "ingest").exists()


def test_a_store_that_takes_no_writes_is_told(
    dist: Dist, registry: FakeRegistry, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    offer(registry, "team/app:1")
    offer(registry, "team/app:2", 2)
    dist("pull", "-q", f"{registry.address}/team/app:1")
    for folder in (tmp_path / ".content", *(tmp_path / ".content").glob("**/")):
        folder.chmod(0o555)
    for file in (tmp_path / ".content").glob("dist.db*"):
        file.chmod(0o444)
    command = [*DIST, "pull", "-q", f"{registry.address}/team/app:2"]
    reading = [*DIST, "images", "-q"]
    if os.geteuid() == 0:  # root may write anywhere unless it gives that up
        drop = [peer("setpriv"), "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
        command, reading = [*drop, *command], [*drop, *reading]

    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    listed = subprocess.run(reading, cwd=tmp_path, capture_output=True, timeout=60, check=False)

    assert refused.returncode in (16, 26), refused
    assert refused.stderr.decode().count("\n") == 1
    assert listed.stdout.decode() == f"{registry.address}/team/app:1\n", listed


def test_a_reader_that_leaves_ends_a_copy_quietly(registry: FakeRegistry, tmp_path: Path) -> None:
    offer(registry, "team/app:1")
    script = (
        f"{' '.join(DIST)} copy --json {registry.address}/team/app:1 oci:layout:1 | head -n 1;"
        " echo ${PIPESTATUS[0]}"
    )

    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=60)

    first, status = done.stdout.decode().splitlines()
    assert json.loads(first)["event"] == "resolved"
    assert status in ("141", "0")
    assert done.stderr == b""


def test_json_is_one_object_a_line_that_ends_with_finished(dist: Dist, registry: FakeRegistry) -> None:
    root = offer(registry, "team/app:1")

    done = dist("copy", "--json", f"{registry.address}/team/app:1", "oci-archive:out.tar:1")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "resolved"
    assert events[-1]["event"] == "finished"
    assert events[-1]["descriptor"]["digest"] == root.digest
    assert done.stderr == b""
