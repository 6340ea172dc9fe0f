"""Opening dist.db: older formats, other programs' files, logs left behind, several openings at once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from distore.content import blobs
from distore.content.local import database as under_test
from distore.content.local.database import Database
from distore.content.local.schema import TABLES
from distore.content.local.store import LocalStore
from distore.errors import DataLoss, DiskFull, FailedPrecondition, UnsupportedStore
from distore.oci.digest import Digest

GOLDEN = Path(__file__).parents[2] / "golden" / "database"
BLOBS = {n: Digest.of(b"blob %d" % n) for n in range(3)}
LATER = 1_767_323_045_123_459  # microseconds; what the golden databases say
VERIFIED = 1_767_323_045_123_460


def old(root: Path, version: int) -> Path:
    """A store as an older version left it."""
    root.mkdir()
    for n in range(3):
        path = root / "blobs" / "sha256" / BLOBS[n].encoded
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"blob %d" % n)
    connection = sqlite3.connect(root / "dist.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript((GOLDEN / f"v{version}.sql").read_text())
    connection.close()
    return root / "dist.db"


def version_of(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[60:64], "big")


def schema_of(path: Path) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return rows


def database(path: Path) -> Database:
    return Database(str(path), ensure_folder=lambda: path.parent.mkdir(exist_ok=True))


def in_another_process(script: str, *words: str) -> str:
    command = [sys.executable, "-I", "-c", script, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_older_database_comes_up_with_every_label_image_and_time(tmp_path: Path, version: int) -> None:
    path = old(tmp_path / "s", version)
    store = LocalStore(str(path.parent))

    labels = [store.info(BLOBS[n]).labels for n in range(3)]
    images = store.database.query("SELECT * FROM images ORDER BY name")
    store_times = [(store.records.updated(BLOBS[n]), store.records.verified(BLOBS[n])) for n in range(3)]
    store.close()

    assert labels[0] == {"a": "b", "containerd.io/gc.ref.content.l.0": "sha256:" + "0" * 64}
    assert labels[1] == {"set": "later"}
    assert labels[2] == {"quote": 'it\'s "x"\nline é', "long": "v" * 3000}
    assert store_times == [(None, VERIFIED), (LATER, VERIFIED), (None, VERIFIED)]
    kind = "application/vnd.oci.image.manifest.v1+json"
    assert images == [
        ("default", name, kind, BLOBS[n], 6, None, moment, moment)
        for name, n, moment in (
            ("docker.io/library/redis:7", 0, 1_767_323_045_123_461),
            ("registry.example/team/app:1", 2, 1_767_323_045_123_462),
        )
        if version >= 2
    ]
    assert version_of(path) == 5


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_older_database_gets_the_schema_of_a_new_one(tmp_path: Path, version: int) -> None:
    path = old(tmp_path / "s", version)
    Database(str(path), ensure_folder=lambda: None).query("SELECT 1")
    fresh = tmp_path / "fresh.db"
    under_test.fill(str(fresh))

    assert schema_of(path) == schema_of(fresh)


def test_an_older_database_on_a_read_only_file_system_is_read_as_it_is(tmp_path: Path) -> None:
    path = old(tmp_path / "s", 2)
    before = path.read_bytes()

    connection = under_test._open_read_only(str(path))

    assert connection.execute("SELECT count(*) FROM images").fetchone() == (2,)
    assert connection.execute("SELECT count(*) FROM content_labels").fetchone() == (5,)
    assert path.read_bytes() == before
    connection.close()


def test_a_log_in_a_read_only_folder_is_read_too(tmp_path: Path) -> None:
    there = database(tmp_path / "a" / "dist.db")
    there.change("INSERT INTO settings VALUES ('a', 'b')")
    (tmp_path / "b").mkdir()
    for suffix in ("", "-wal"):  # as kill -9 leaves them
        shutil.copyfile(f"{there.path}{suffix}", tmp_path / "b" / f"dist.db{suffix}")
    there.close()

    connection = under_test._open_read_only(str(tmp_path / "b" / "dist.db"))

    assert connection.execute("SELECT * FROM settings").fetchall() == [("a", "b")]
    assert sorted(os.listdir(tmp_path / "b")) == ["dist.db", "dist.db-wal"]
    connection.close()


@pytest.mark.slow
def test_what_a_killed_process_committed_is_there(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from distore.content.local.database import Database\n"
        "d = Database(sys.argv[1], ensure_folder=lambda: None)\n"
        "d.change(\"INSERT INTO settings VALUES ('a', 'b')\")\n"
        "with d.transaction() as c:\n"
        "    c.execute(\"INSERT INTO settings VALUES ('lost', '')\")\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "dist.db"
    subprocess.run([sys.executable, "-I", "-c", script, str(path)], check=False, timeout=60)

    assert (tmp_path / "dist.db-wal").exists()
    again = database(path)
    assert again.query("SELECT * FROM settings") == [("a", "b")]
    assert again.damage() is None
    again.close()


def test_looking_at_the_header_leaves_the_locks_of_an_open_database_alone(tmp_path: Path) -> None:
    first = database(tmp_path / "dist.db")
    first.change("INSERT INTO settings VALUES ('before', '')")

    LocalStore(str(tmp_path))  # looks whether it may be opened
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "print(len(c.execute('SELECT * FROM settings').fetchall())); c.close()"
    )
    in_another_process(script, first.path)  # the last one to close removes the log
    first.change("INSERT INTO settings VALUES ('after', '')")

    assert in_another_process(script, first.path) == "2\n"
    first.close()


def test_a_log_without_its_database_is_not_taken_for_one_of_the_new(tmp_path: Path) -> None:
    lost = database(tmp_path / "a" / "dist.db")
    lost.change("INSERT INTO settings VALUES ('of the', 'lost')")
    shutil.copyfile(f"{lost.path}-wal", tmp_path / "dist.db-wal")
    lost.close()

    there = database(tmp_path / "dist.db")
    there.change("INSERT INTO settings VALUES ('of the', 'new')")

    assert there.query("SELECT * FROM settings") == [("of the", "new")]
    assert (tmp_path / "dist.db.left-wal").exists()
    there.close()


def test_a_database_replaced_by_a_newer_one_is_refused_when_it_is_first_needed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    connection = sqlite3.connect(tmp_path / "dist.db")
    connection.executescript(
        f"PRAGMA application_id = {0x64697374}; PRAGMA user_version = 9; CREATE TABLE a(b)"
    )
    connection.close()

    with pytest.raises(UnsupportedStore, match=r"format 9.*upgrade distore"):
        store.database.query("SELECT 1")


@pytest.mark.parametrize("data", [b"dbm file of another age", b"\0" * 4096, b"SQLite format 3\0 and no more"])
def test_what_is_no_sqlite_file_is_refused_with_the_way_out(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "dist.db").write_bytes(data)

    with pytest.raises(FailedPrecondition, match="not an SQLite file; dist db rebuild"):
        LocalStore(str(tmp_path))
    assert (tmp_path / "dist.db").read_bytes() == data


@pytest.mark.parametrize("script", ["DROP TABLE content_labels", "DROP TABLE settings"])
def test_a_missing_table_is_damage_with_the_way_out(tmp_path: Path, script: str) -> None:
    store = LocalStore(str(tmp_path))
    digest = blobs.write_blob(store, "r", b"x")
    store.update(store.info(digest)._replace(labels={"a": "b"}), "labels")
    store.close()
    connection = sqlite3.connect(tmp_path / "dist.db")
    connection.execute(script)
    connection.close()

    with pytest.raises(DataLoss, match=r"no such table.*dist db rebuild"):
        store.info(digest)


def test_a_transaction_that_finds_no_room_changes_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    there = database(tmp_path / "dist.db")
    there.change("INSERT INTO settings VALUES ('a', 'b')")
    connection = there._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(DiskFull, match="store database"), there.transaction() as transaction:
        for n in range(100):
            transaction.execute("INSERT INTO settings VALUES (?, ?)", (f"k{n}", "v" * 4000))

    there.change("INSERT INTO settings VALUES ('c', 'd')")
    assert there.query("SELECT * FROM settings") == [("a", "b"), ("c", "d")]
    assert there.damage() is None
    there.close()


def test_a_stream_sees_the_moment_it_began_and_outlives_close(tmp_path: Path) -> None:
    there = database(tmp_path / "dist.db")
    with there.transaction() as connection:
        connection.executemany("INSERT INTO settings VALUES (?, '')", [(f"{n:04}",) for n in range(1200)])

    rows = there.stream("SELECT key FROM settings ORDER BY key")
    first = next(rows)
    there.change("DELETE FROM settings")
    there.close()

    assert [first, *rows] == [(f"{n:04}",) for n in range(1200)]


MIGRATE_AND_DIE = """
import os, sqlite3, sys
from distore.content.local import schema
path, last = sys.argv[1], 0
for number in range(1, 500):
    data = open(path, "rb").read()
    child = os.fork()
    if not child:
        connection = sqlite3.connect(path, isolation_level=None)
        steps = [0]
        def step(statement):
            steps[0] += 1
            if steps[0] == number:
                os.kill(os.getpid(), 9)
        connection.set_trace_callback(step)
        connection.execute("BEGIN IMMEDIATE")
        schema.migrate(connection)
        connection.execute("COMMIT")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    connection = sqlite3.connect(path, isolation_level=None)
    version = schema.version_of(connection)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert ("old_content" in tables, "content" in tables) == (False, True), tables
    assert ("repository_tags" in tables) == (version == 5), (version, tables)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    if status == 0:
        assert version == 5
        print(number - 1)
        break
    assert version in (int(sys.argv[2]), 5)
    if version == 5:
        open(path, "wb").write(data)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_migration_killed_at_any_statement_leaves_one_format_or_the_other(
    tmp_path: Path, version: int, count: object
) -> None:
    path = old(tmp_path / "s", version)

    steps = int(in_another_process(MIGRATE_AND_DIE, str(path), str(version)))

    assert steps > 10
    assert callable(count)
    count(f"killed at each statement of the migration from {version}", steps)


@pytest.mark.slow
def test_processes_that_migrate_at_once_all_find_what_was_there(tmp_path: Path) -> None:
    path = old(tmp_path / "s", 1)
    script = (
        "import sys; from distore.content.local.store import LocalStore\n"
        "from distore.oci.digest import Digest\n"
        "s = LocalStore(sys.argv[1]); print(s.info(Digest(sys.argv[2])).labels)"
    )
    command = [sys.executable, "-I", "-c", script, str(path.parent), BLOBS[1]]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]

    outs = [process.communicate(timeout=60)[0] for process in running]

    assert outs == ["{'set': 'later'}\n"] * 8
    assert version_of(path) == 5


def test_the_tables_of_the_schema_are_the_ones_that_a_salvage_knows() -> None:
    from distore.content.local.salvage import PASSING, SHAPES

    connection = sqlite3.connect(":memory:")
    connection.executescript(TABLES)
    columns = {
        table: "".join("i" if row[2] == "INTEGER" else "t" for row in rows)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        if (rows := connection.execute(f"PRAGMA table_info({table})").fetchall())
    }
    connection.close()

    kinds = {
        table: "".join("i" if each in "iI" else "t" for each in shape) for table, shape in SHAPES.items()
    }
    assert kinds == {
        name: each for name, each in columns.items() if name not in (*PASSING, "sqlite_sequence")
    }
