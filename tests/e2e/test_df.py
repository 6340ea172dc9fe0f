"""``dist df``: every blob is counted once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.oci.digest import Digest
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]


def records(dist: Dist, *words: str) -> list[dict[str, object]]:
    done = dist("df", "--json", *words)
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


def totals(found: list[dict[str, object]]) -> dict[object, tuple[object, object]]:
    return {each["kind"]: (each["count"], each["size"]) for each in found if each["kind"] != "image"}


@pytest.fixture
def filled(dist: Dist, registry: FakeRegistry, tmp_path: Path) -> Path:
    """Two images that share a layer, a blob that nothing needs, a kept ingest, a blob in quarantine."""
    for tag, own in (("1", b"own"), ("2", b"other")):
        registry.image("team/app", tag, [b"shared layer", own])
        assert dist("copy", "-q", f"{registry.address}/team/app:{tag}", f"store:app:{tag}").returncode == 0
    dist("ingest", "loose", input=b"loose")
    dist("ingest", "kept", "--expected-size", "100", input=b"kept bytes")
    bad = Digest(dist("ingest", "bad", input=b"bad").stdout.decode().strip())
    path = tmp_path / ".content" / "blobs" / "sha256" / bad.encoded
    path.chmod(0o644)
    path.write_bytes(b"bad bytes")
    dist("fsck", "--repair")
    return tmp_path / ".content"


def test_images_and_the_whole_store_are_counted(dist: Dist, filled: Path) -> None:
    found = records(dist)
    first, second = [each for each in found if each["kind"] == "image"]
    blobs = [file for file in (filled / "blobs").rglob("*") if file.is_file()]
    database = [file for file in filled.iterdir() if file.name.startswith("dist.db")]

    assert (first["name"], second["name"]) == ("docker.io/library/app:1", "docker.io/library/app:2")
    for each in (first, second):
        assert each["total"] == each["shared"] + each["unique"]  # type: ignore[operator]  # numbers
        assert each["shared"] >= len(b"shared layer")  # type: ignore[operator]
    assert totals(found)["blobs"] == (len(blobs), sum(file.stat().st_size for file in blobs))
    assert totals(found)["ingests"] == (1, len(b"kept bytes"))
    assert totals(found)["quarantine"] == (1, len(b"bad bytes"))
    assert totals(found)["reclaimable"] == (1, len(b"loose"))
    size = totals(found)["database"][1]
    assert isinstance(size, int) and size >= max(file.stat().st_size for file in database)


def test_what_is_reclaimable_is_what_gc_removes(dist: Dist, filled: Path) -> None:
    dist("images", "rm", "app:2")
    before = totals(records(dist))

    dist("gc")
    after = totals(records(dist))

    gone = [one - two for one, two in zip(before["blobs"], after["blobs"], strict=True)]  # type: ignore[operator]
    assert tuple(gone) == before["reclaimable"]
    assert after["reclaimable"] == (0, 0)


def test_a_blob_of_two_namespaces_is_counted_once(dist: Dist, filled: Path) -> None:
    before = totals(records(dist))

    dist("--namespace", "team", "ingest", "again", input=b"loose")
    dist("--namespace", "team", "ingest", "twice", input=b"shared layer")

    assert totals(records(dist))["blobs"] == before["blobs"]
    assert [each for each in records(dist, "--namespace", "team") if each["kind"] == "image"] == []


def test_people_get_two_tables(dist: Dist, filled: Path) -> None:
    lines = dist("df").stdout.decode().splitlines()
    quiet = dist("df", "-q").stdout.decode().splitlines()

    assert lines[0].split() == ["IMAGE", "TOTAL", "SHARED", "UNIQUE"]
    assert lines[3:5] == ["", "STORE                                     COUNT     SIZE"]
    assert [line.split()[0] for line in lines[5:]] == [
        "blobs",
        "ingests",
        "quarantine",
        "repositories",
        "snapshots",
        "database",
        "reclaimable",
    ]
    for one, two in zip(quiet, lines[4:], strict=True):
        assert one == two or one.startswith("database ")  # its log comes and goes


def test_a_store_that_is_not_there_needs_nothing_and_is_not_made(dist: Dist, tmp_path: Path) -> None:
    done = dist("df", "--root", "none")

    assert done.returncode == 0
    assert done.stderr.decode() == f"dist: no store at {tmp_path / 'none'} yet\n"
    assert totals(records(dist)) == dict.fromkeys(
        ["blobs", "ingests", "quarantine", "repositories", "snapshots", "database", "reclaimable"], (0, 0)
    )
    assert list(tmp_path.iterdir()) == []
