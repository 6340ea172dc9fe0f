"""Rows out of damaged databases: what is not on a bad page comes back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.content.local import sqlitepages
from distore.content.local.database import fill
from distore.content.local.salvage import SHAPES, Salvaged, salvage
from distore.oci.digest import Digest

PAGE = 4096
GOLDEN = Path(__file__).parents[2] / "golden" / "database"
APP = "registry.example/app"
Tables = dict[str, set[tuple[object, ...]]]


def filled(path: Path, number: int = 300) -> Tables:
    """A database with rows in every table; what they are."""
    digests = [Digest.of(b"%d" % n) for n in range(number)]
    rows: Tables = {
        "settings": {("content_sharing_policy", "isolated"), ("gc.pause_threshold", "0.02")},
        "namespaces": {("team", 1)},
        "namespace_labels": {("team", "owner", "ann")},
        "blobs": {(digest, 7) for digest in digests},
        "content": {(digest, "team", n) for n, digest in enumerate(digests)},
        "content_labels": {
            ("team", digest, f"containerd.io/gc.ref.content.l.{n}", digests[n])
            for digest in digests
            for n in range(3)
        }
        | {("team", digests[0], "containerd.io/gc.bref.content.x", digests[1])}
        | {("team", digests[1], "containerd.io/gc.root", "1"), ("team", digests[2], "long", "é" * 2000)},
        "images": {
            ("team", f"{APP}:{n}", "application/x", digest, n, '{"a":"b"}' if n % 2 else None, n, n)
            for n, digest in enumerate(digests)
        },
        "image_labels": {
            ("team", f"{APP}:1", "containerd.io/gc.bref.image.x", "other"),
            ("team", f"{APP}:1", "a", "b"),
        },
        "leases": {("team", "work", 1, 0)},
        "lease_labels": {("team", "work", "a", "b")},
        "lease_resources": {("team", "work", "content", digest) for digest in digests[:9]}
        | {("team", "work", "snapshots/overlayfs", "key")},
        "snapshots": {
            ("team", "overlayfs", digest, n, "committed", digests[n - 1] if n else None, n, n, n, n)
            for n, digest in enumerate(digests)
        }
        | {("team", "overlayfs", "run 1", number, "active", digests[0], 1, 2, None, None)},
        "snapshot_labels": {
            ("team", "overlayfs", digests[0], "containerd.io/gc.bref.content.x", digests[1]),
            ("team", "overlayfs", digests[1], "containerd.io/gc.root", "1"),
            ("team", "overlayfs", "run 1", "a", "b"),
        },
        "repositories": {("team", "app", "pushed", 1), ("team", "hub/library/redis", "cache", 2)},
        "repository_blobs": {("team", "app", digest, n, n) for n, digest in enumerate(digests)},
        "repository_manifests": {
            ("team", "app", digest, "application/x", *about, n, n, n if n % 3 else None, n % 2)
            for n, digest in enumerate(digests)
            for about in [("a/b", digests[n - 1], "{}") if n % 2 else (None, None, None)]
        },
        "repository_links": {("team", "app", digest, digests[0], n) for n, digest in enumerate(digests)},
        "repository_tags": {
            ("team", "app", f"v{n}", digest, "application/x", n, n, n if n % 2 else None, None)
            for n, digest in enumerate(digests)
        },
    }

    def insert(connection: sqlite3.Connection) -> None:
        for table, some in rows.items():
            marks = ", ".join("?" * len(SHAPES[table]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", some)

    fill(str(path), insert)
    return rows


def rescued(path: Path, folder: Path) -> tuple[Tables, Salvaged]:
    """What comes out of a database."""
    copy = folder / "copy.db"
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
        if Path(f"{path}{suffix}").exists():
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    target, found = folder / "target.db", Salvaged()
    target.unlink(missing_ok=True)
    results: list[Salvaged] = []
    fill(str(target), lambda connection: results.append(salvage(str(path), str(copy), connection)))
    found = results[0]
    connection = sqlite3.connect(target)
    tables = {table: set(connection.execute(f"SELECT * FROM {table}").fetchall()) for table in SHAPES}
    connection.close()
    assert {table: len(rows) for table, rows in tables.items()} == {
        table: found.rows[table] for table in SHAPES
    }
    return tables, found


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Change a file as a bad disk does."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_whole_database_comes_out_whole(tmp_path: Path) -> None:
    rows = filled(tmp_path / "dist.db", 20)

    tables, found = rescued(tmp_path / "dist.db", tmp_path)

    assert tables == rows
    assert (found.version, found.partial, found.refused, found.wrong) == (5, set(), 0, None)


def test_pages_alone_tell_every_row_even_without_the_first_page(tmp_path: Path) -> None:
    rows = filled(tmp_path / "dist.db", 60)
    overwrite(tmp_path / "dist.db", 0, bytes(PAGE))

    tables, found = rescued(tmp_path / "dist.db", tmp_path)

    assert tables == rows
    assert found.partial == set(SHAPES)
    assert found.wrong is not None


@pytest.mark.slow
@pytest.mark.parametrize("fill_with", [b"\0", b"\xff", b"\x0a\x55"], ids=["zeros", "ones", "nonsense"])
def test_any_bad_page_costs_no_more_than_what_is_on_it(
    tmp_path: Path, fill_with: bytes, count: Callable[[str, int], None]
) -> None:
    rows = filled(tmp_path / "whole.db", 120)
    size = (tmp_path / "whole.db").stat().st_size // PAGE
    losses = []
    for number in range(size):
        shutil.copyfile(tmp_path / "whole.db", tmp_path / "dist.db")
        bad = (fill_with * PAGE)[:PAGE]
        overwrite(tmp_path / "dist.db", number * PAGE, bad)

        tables, _ = rescued(tmp_path / "dist.db", tmp_path)

        assert all(tables[table] <= rows[table] for table in SHAPES)  # nothing is made up
        losses.append(sum(len(rows[table] - tables[table]) for table in SHAPES))

    assert size > 30
    assert max(losses) < 60, losses  # what fits on a page
    assert losses[0] == 0  # the schema is known
    count(f"each page of a database replaced by {fill_with!r}", size)


@pytest.mark.parametrize("part", [0.9, 0.5])
def test_a_truncated_database_tells_what_is_before_the_cut(tmp_path: Path, part: float) -> None:
    rows = filled(tmp_path / "dist.db")
    data = (tmp_path / "dist.db").read_bytes()
    (tmp_path / "dist.db").write_bytes(data[: int(len(data) * part)])

    tables, found = rescued(tmp_path / "dist.db", tmp_path)

    assert all(tables[table] <= rows[table] for table in SHAPES)
    assert sum(map(len, tables.values())) > 0.5 * part * sum(map(len, rows.values()))
    assert found.partial


def test_what_the_log_has_counts_where_the_database_is_damaged(tmp_path: Path) -> None:
    filled(tmp_path / "a.db", 20)
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    connection.execute("DELETE FROM images WHERE size <> 3")
    connection.execute("INSERT INTO settings VALUES ('gc.last', '1')")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{tmp_path / 'a.db'}{suffix}", f"{tmp_path / 'dist.db'}{suffix}")
    connection.close()
    overwrite(tmp_path / "dist.db", 0, bytes(100))

    tables, _ = rescued(tmp_path / "dist.db", tmp_path)

    assert ("gc.last", "1") in tables["settings"]
    assert {row[4] for row in tables["images"]} == {3}


def test_a_torn_end_of_the_log_does_not_count(tmp_path: Path) -> None:
    fill(str(tmp_path / "a.db"))
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    connection.execute("INSERT INTO settings VALUES ('gc.first', '1')")
    connection.execute("INSERT INTO settings VALUES ('gc.second', '2')")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{tmp_path / 'a.db'}{suffix}", f"{tmp_path / 'dist.db'}{suffix}")
    connection.close()
    log = (tmp_path / "dist.db-wal").read_bytes()
    overwrite(tmp_path / "dist.db-wal", len(log) - 5, bytes([log[-5] ^ 1]))

    rows = set(sqlitepages.rows(str(tmp_path / "dist.db")))

    assert ("gc.first", "1") in rows
    assert ("gc.second", "2") not in rows


def test_what_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    filled(tmp_path / "dist.db")
    connection = sqlite3.connect(tmp_path / "dist.db", isolation_level=None)
    connection.execute("DELETE FROM images WHERE size >= 5")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'settings'").fetchone()
    connection.close()
    overwrite(tmp_path / "dist.db", (root - 1) * PAGE, bytes(PAGE))

    tables, found = rescued(tmp_path / "dist.db", tmp_path)

    assert len(tables["images"]) == 5
    assert found.partial == {"settings"}


def test_a_row_that_cannot_be_is_refused(tmp_path: Path) -> None:
    rows = filled(tmp_path / "dist.db", 20)
    connection = sqlite3.connect(tmp_path / "dist.db", isolation_level=None)
    connection.execute("INSERT INTO content_labels VALUES ('team', 'no digest', 'a', 'b')")
    connection.execute(
        "INSERT INTO content_labels VALUES ('team', ?, 'a', CAST(x'ff' AS TEXT))", (Digest.of(b"0"),)
    )
    connection.close()

    tables, found = rescued(tmp_path / "dist.db", tmp_path)

    assert (tables["content_labels"], found.refused) == (rows["content_labels"], 2)


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_older_formats_come_out_as_a_migration_has_them(
    tmp_path: Path, version: int, *, broken: bool
) -> None:
    connection = sqlite3.connect(tmp_path / "dist.db")
    connection.executescript((GOLDEN / f"v{version}.sql").read_text())
    connection.execute("PRAGMA writable_schema = ON")
    if broken:  # SQLite does not find the tables any more
        connection.execute("UPDATE sqlite_master SET rootpage = 1 WHERE type = 'table'")
    connection.commit()
    connection.close()

    tables, found = rescued(tmp_path / "dist.db", tmp_path)

    assert found.version == version
    assert [len(tables[name]) for name in ("blobs", "content", "content_labels", "images")] == [
        3,
        1,
        5,
        2 * (version >= 2),
    ]
    assert {row[0] for row in tables["content_labels"]} == {"default"}


def test_a_newer_database_gives_the_columns_that_are_known(tmp_path: Path) -> None:
    rows = filled(tmp_path / "dist.db", 20)
    connection = sqlite3.connect(tmp_path / "dist.db", isolation_level=None)
    connection.execute("ALTER TABLE images ADD COLUMN colour TEXT")
    connection.execute("CREATE TABLE sandboxes (id TEXT)")
    connection.execute("PRAGMA user_version = 9")
    connection.close()

    tables, found = rescued(tmp_path / "dist.db", tmp_path)

    assert tables == rows
    assert (found.version, found.unknown, found.partial) == (9, ["sandboxes"], set())


@pytest.mark.parametrize("data", [b"", b"no database", b"\x0a" * 9000, b"SQLite format 3\0" + b"\xff" * 9000])
def test_nonsense_gives_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "dist.db").write_bytes(data)

    tables, found = rescued(tmp_path / "dist.db", tmp_path)

    assert not any(tables.values())
    assert found.partial == set(SHAPES)
