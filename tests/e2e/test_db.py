"""``dist db``, and every verb beside a database that is damaged, newer or none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from distore.content.local.store import LocalStore
from distore.metadata.images import Images
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

pytestmark = pytest.mark.slow
Dist = Callable[..., "CompletedProcess[bytes]"]

HELLO = Digest.of(b"hello\n")
NAME = "registry.example/app:1"
# Verbs over the store, each as it is typed; the first ones need no database.
PLAIN = (["list"], ["get", HELLO], ["path", HELLO], ["active"], ["ingest", "new"])
NEEDY = (
    ["info", HELLO],
    ["label", HELLO, "c=d"],
    ["images"],
    ["images", "rm", NAME],
    ["leases"],
    ["namespaces"],
    ["gc"],
    ["db", "info"],
    ["delete", HELLO],
    ["commit", "kept", "--label", "a=b"],
)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A store with a labelled blob, many others, a name and a kept ingest; where its database is."""
    store = LocalStore(str(tmp_path / ".content"))
    with store.writer("r") as writer:
        writer.write(b"hello\n")
        writer.commit(labels={"a": "b"})
    with store.writer("kept") as writer:
        writer.write(b"kept")
    images = Images(store.database, namespace="default", now=lambda: 0.0)
    images.put(NAME, Descriptor(media_type="application/x", digest=HELLO, size=6))
    store.close()
    return tmp_path / ".content" / "dist.db"


def break_rows(database: Path) -> None:
    """Make all pages behind the schema unreadable for SQLite, and keep the header."""
    with database.open("r+b") as file:
        for page in range(1, database.stat().st_size // 4096):
            file.seek(4096 * page)
            file.write(b"\xff")


def contents(root: Path) -> dict[str, bytes]:
    return {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()}


def test_info_tells_the_format_and_the_rows(dist: Dist, database: Path) -> None:
    text = dist("db", "info").stdout.decode().splitlines()
    first, *tables = map(json.loads, dist("db", "info", "--json").stdout.splitlines())

    assert text[0].startswith(f"{database}: format 5, ")
    assert "content_labels: 1 rows" in text
    assert (first["event"], first["version"], first["size"]) == ("database", 5, database.stat().st_size)
    assert {"event": "table", "table": "images", "rows": 1} in tables


def test_a_store_without_a_database_is_told_so(dist: Dist, tmp_path: Path) -> None:
    dist("ingest", "r", input=b"hello\n")

    done = dist("db", "info")

    assert (done.returncode, done.stdout) == (0, b"")
    assert b"has no database yet" in done.stderr
    assert dist("db", "check").returncode == 0
    assert not (tmp_path / ".content" / "dist.db").exists()


def test_check_and_fsck_find_damage_and_rows_that_fit_nothing(dist: Dist, database: Path) -> None:
    assert dist("db", "check").stdout == b""
    (database.parent / "blobs" / "sha256" / HELLO.encoded).unlink()

    check = dist("db", "check", "--dry-run")
    fsck = dist("fsck")
    again = dist("db", "check", "--quick")

    expected = [f"row: {HELLO}: has records, and no file", f"image: {NAME}: its target {HELLO} is missing;"]
    lines = check.stdout.decode().splitlines()
    assert [line[: len(want)] for line, want in zip(lines, expected, strict=True)] == expected
    assert f"dist pull {NAME} brings it" in lines[1]
    assert f"row: {HELLO}: has records, and no file [removed]" in fsck.stdout.decode()
    assert [line[:5] for line in again.stdout.decode().splitlines()] == ["image"]
    assert check.returncode == fsck.returncode == again.returncode == 29


def test_check_finds_an_index_that_does_not_agree_with_its_table(dist: Dist, database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA writable_schema = ON")
    (at,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'namespaces'").fetchone()
    connection.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'images_targets'", (at,))
    connection.commit()
    connection.close()

    check = dist("db", "check")
    rebuilt = dist("db", "rebuild")

    assert check.returncode == 29
    assert b"dist db rebuild" in check.stdout
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert dist("db", "check").returncode == 0
    assert dist("images", "-q").stdout.decode() == f"{NAME}\n"


def test_every_verb_beside_a_damaged_database_says_how_to_mend_it_and_loses_nothing(
    dist: Dist, database: Path
) -> None:
    break_rows(database)
    before = database.read_bytes()

    for words in PLAIN:
        done = dist(*words, input=b"new")
        assert (done.returncode, done.stderr) == (0, b""), words
    for words in NEEDY:
        done = dist(*words)
        lines = done.stderr.decode().splitlines()
        assert done.returncode == 29, (words, done)
        assert len(lines) == 1, (words, lines)
        assert "dist db rebuild" in lines[0], (words, lines)
    assert b"dist db rebuild" in dist("fsck").stdout
    assert dist("get", HELLO).stdout == b"hello\n"
    assert dist("active", "-q").stdout == b"kept\n"
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("pragma", "status", "way_out"),
    [("user_version = 9", 22, "upgrade distore"), ("application_id = 7", 14, "dist db rebuild")],
)
def test_every_verb_refuses_a_newer_or_foreign_database_untouched(
    dist: Dist, database: Path, pragma: str, status: int, way_out: str
) -> None:
    connection = sqlite3.connect(database)
    connection.execute(f"PRAGMA {pragma}")
    connection.close()
    before = contents(database.parent)

    rebuild = ["db", "rebuild"]
    for words in (
        *PLAIN,
        *NEEDY,
        ["fsck"],
        ["prune", "ingests"],
        ["db", "check"],
        ["abort", "kept"],
        rebuild,
    ):
        done = dist(*words, input=b"new")
        assert (done.returncode, done.stdout) == (status, b""), (words, done)
        assert way_out in done.stderr.decode() or words == rebuild, (words, done.stderr)
    assert contents(database.parent) == before


def test_rebuild_brings_everything_back_and_keeps_the_damaged_file(dist: Dist, database: Path) -> None:
    with database.open("r+b") as file:
        file.write(bytes(4096))
    damaged = database.read_bytes()

    would = dist("db", "rebuild", "--dry-run", "--json")
    done = dist("db", "rebuild", "--json")

    records = [json.loads(line) for line in done.stdout.splitlines()]
    fields = "event dry_run kept version problem refused labels names held lease"
    assert list(records[-1]) == fields.split()
    labels = next(each for each in records if each.get("table") == "content_labels")
    assert labels == {"event": "table", "table": "content_labels", "rows": 1, "complete": False}
    assert (would.returncode, done.returncode) == (0, 0)
    assert [list(json.loads(line)) for line in would.stdout.splitlines()] == [list(each) for each in records]
    assert Path(records[-1]["kept"]).read_bytes() == damaged
    assert dist("images", "-q").stdout.decode() == f"{NAME}\n"
    assert dist("label", HELLO).stdout.decode() == f"{HELLO} a=b\n"
    assert b"nothing to do" in dist("db", "rebuild").stderr


def test_rebuild_waits_for_nobody_who_has_the_database_open(dist: Dist, database: Path) -> None:
    store = LocalStore(str(database.parent))
    store.info(HELLO)

    done = dist("db", "rebuild", "--force")

    assert done.returncode == 13
    assert b"has it open; try again when that has ended" in done.stderr
    store.close()
    assert dist("db", "rebuild", "--force").returncode == 0


@pytest.mark.parametrize(
    "words", [["rebuild", "--quick"], ["info", "--force"], ["check", "--force"], ["mend"], []]
)
def test_wrong_calls_are_refused(dist: Dist, words: list[str]) -> None:
    assert dist("db", *words).returncode == 2
