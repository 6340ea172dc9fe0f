"""The tables of ``dist.db`` and the steps from one format to the next (docs/formats/store.md#distdb)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.content.local.paths import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

SCHEMA_VERSION: Final = 5
APPLICATION_ID: Final = 0x64697374  # "dist", at byte 68 of the file (sqlite.org/fileformat.html)

# What a running collector must look at again. Keys from gc. up to gc/ are those of the collector.
_GC_KEY: Final = "NEW.key >= 'containerd.io/gc.' AND NEW.key < 'containerd.io/gc/'"
_BREF: Final = "key >= 'containerd.io/gc.bref.' AND key < 'containerd.io/gc.bref/'"
_ROOT: Final = "key >= 'containerd.io/gc.expire' AND key < 'containerd.io/gc.flat'"
_GC_ROOT: Final = "key >= 'containerd.io/gc.root' AND key < 'containerd.io/gc.roou'"


def _touching(table: str, event: str, kind: str, key: str, when: str) -> str:
    name = f"{table}_touched_{event.lower()}"
    # The names are those of this file.
    return f"""
CREATE TRIGGER {name} AFTER {event} ON {table} WHEN {when} AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, {kind}, NEW.{key});
END;"""  # noqa: S608


# Times are microseconds since the epoch, UTC.
_TABLES_3: Final = f"""
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE namespaces (name TEXT PRIMARY KEY, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE namespace_labels (
    namespace TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
CREATE TABLE blobs (
    digest   TEXT PRIMARY KEY,
    verified INTEGER           -- when fsck last found the bytes right
) WITHOUT ROWID;
CREATE TABLE content (         -- who sees a blob; one that nobody has a row of belongs to 'default'
    digest    TEXT NOT NULL,
    namespace TEXT NOT NULL,
    updated   INTEGER,         -- NULL: the file's own time
    PRIMARY KEY (digest, namespace)
) WITHOUT ROWID;
CREATE INDEX content_elsewhere ON content (namespace, digest) WHERE namespace <> '{DEFAULT_NAMESPACE}';
CREATE TABLE content_labels (
    namespace TEXT NOT NULL, digest TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, digest, key)
) WITHOUT ROWID;
CREATE INDEX content_brefs ON content_labels (namespace, value) WHERE {_BREF};
CREATE INDEX content_roots ON content_labels (key) WHERE {_GC_ROOT};
CREATE INDEX content_expiring ON content_labels (key) WHERE {_ROOT};
CREATE TABLE images (
    namespace   TEXT NOT NULL,
    name        TEXT NOT NULL,   -- a whole reference
    media_type  TEXT NOT NULL,
    digest      TEXT NOT NULL,
    size        INTEGER NOT NULL,
    annotations TEXT,            -- JSON object of the target's annotations; NULL: none
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE INDEX images_targets ON images (digest);
CREATE TABLE image_labels (
    namespace TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, name, key)
) WITHOUT ROWID;
CREATE INDEX image_brefs ON image_labels (namespace, value) WHERE {_BREF};
CREATE TABLE leases (
    namespace TEXT NOT NULL,
    id        TEXT NOT NULL,
    created   INTEGER NOT NULL,
    owned     INTEGER NOT NULL,  -- 1: it ends with the process that holds its lock
    PRIMARY KEY (namespace, id)
) WITHOUT ROWID;
CREATE TABLE lease_labels (
    namespace TEXT NOT NULL, id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, id, key)
) WITHOUT ROWID;
CREATE TABLE lease_resources (
    namespace TEXT NOT NULL, id TEXT NOT NULL,
    type      TEXT NOT NULL,     -- content, ingests, images or snapshots/NAME, as containerd has it
    key       TEXT NOT NULL,
    PRIMARY KEY (namespace, id, type, key)
) WITHOUT ROWID;
CREATE TABLE gc_run (started INTEGER NOT NULL);  -- a row while a collector runs, or one has died
CREATE TABLE gc_touched (                        -- what gained a reference meanwhile, in its order
    seq       INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    kind      TEXT NOT NULL,                     -- content or image; of a lease's resource its type
    key       TEXT NOT NULL
);
{_touching("content_labels", "INSERT", "'content'", "digest", _GC_KEY)}
{_touching("content_labels", "UPDATE", "'content'", "digest", _GC_KEY)}
{_touching("images", "INSERT", "'image'", "name", "1")}
{_touching("images", "UPDATE", "'image'", "name", "1")}
{_touching("image_labels", "INSERT", "'image'", "name", _GC_KEY)}
{_touching("image_labels", "UPDATE", "'image'", "name", _GC_KEY)}
{_touching("lease_resources", "INSERT", "NEW.type", "key", "1")}
"""

_SNAPSHOT: Final = "'snapshots/' || NEW.snapshotter"  # as leases have it
_TABLES_4: Final = f"""
CREATE TABLE snapshots (
    namespace   TEXT NOT NULL,
    snapshotter TEXT NOT NULL,
    key         TEXT NOT NULL,   -- or the name of a committed one
    id          INTEGER NOT NULL,  -- names its folder
    kind        TEXT NOT NULL,   -- active, view or committed
    parent      TEXT,            -- the name of a committed one; NULL: none
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    inodes      INTEGER,         -- of a committed one: what was counted
    size        INTEGER,         -- the same: bytes on the disk
    PRIMARY KEY (namespace, snapshotter, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX snapshots_ids ON snapshots (snapshotter, id);
CREATE INDEX snapshots_parents ON snapshots (parent, snapshotter, namespace) WHERE parent IS NOT NULL;
CREATE TABLE snapshot_labels (
    namespace TEXT NOT NULL, snapshotter TEXT NOT NULL, name TEXT NOT NULL,
    key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, snapshotter, name, key)
) WITHOUT ROWID;
CREATE INDEX snapshot_brefs ON snapshot_labels (namespace, value) WHERE {_BREF};
CREATE INDEX snapshot_roots ON snapshot_labels (key) WHERE {_GC_ROOT};
CREATE INDEX snapshot_expiring ON snapshot_labels (key) WHERE {_ROOT};
{_touching("snapshots", "INSERT", _SNAPSHOT, "key", "1")}
{_touching("snapshots", "UPDATE", _SNAPSHOT, "key", "1")}
{_touching("snapshot_labels", "INSERT", _SNAPSHOT, "name", _GC_KEY)}
{_touching("snapshot_labels", "UPDATE", _SNAPSHOT, "name", _GC_KEY)}
"""
# What the repositories of a registry offer. An index that has the size answers for it alone.
_TABLES_5: Final = f"""
CREATE TABLE repositories (
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    origin    TEXT NOT NULL,     -- pushed, or cache: made by a pull-through cache
    created   INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE TABLE repository_blobs (  -- manifests, too
    namespace  TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    used       INTEGER NOT NULL, -- when it was last added, or somebody was told that it is there
    PRIMARY KEY (namespace, repository, digest)
) WITHOUT ROWID;
CREATE INDEX repository_owners ON repository_blobs (namespace, digest, repository, size);
CREATE TABLE repository_manifests (
    namespace     TEXT NOT NULL,
    repository    TEXT NOT NULL,
    digest        TEXT NOT NULL,
    media_type    TEXT NOT NULL,
    artifact_type TEXT,
    subject       TEXT,
    annotations   TEXT,          -- JSON object; NULL: none
    size          INTEGER NOT NULL,
    pushed        INTEGER NOT NULL,
    pulled        INTEGER,
    cached        INTEGER NOT NULL, -- 1: nobody has pushed it, a pull-through cache got it
    PRIMARY KEY (namespace, repository, digest)
) WITHOUT ROWID;
CREATE INDEX repository_referrers ON repository_manifests (namespace, repository, subject, digest)
    WHERE subject IS NOT NULL;
CREATE TABLE repository_links (  -- what a manifest names, whether it is there or not
    namespace  TEXT NOT NULL,
    repository TEXT NOT NULL,
    manifest   TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       INTEGER NOT NULL, -- what the manifest says
    PRIMARY KEY (namespace, repository, manifest, digest)
) WITHOUT ROWID;
CREATE INDEX repository_linked ON repository_links (namespace, repository, digest);
CREATE TABLE repository_tags (
    namespace  TEXT NOT NULL,
    repository TEXT NOT NULL,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size       INTEGER NOT NULL,
    updated    INTEGER NOT NULL, -- when it came to name this digest
    pulled     INTEGER,
    checked    INTEGER,          -- when the upstream was last asked about it
    PRIMARY KEY (namespace, repository, name)
) WITHOUT ROWID;
CREATE INDEX repository_tagged ON repository_tags (namespace, repository, digest);
{_touching("repository_blobs", "INSERT", "'content'", "digest", "1")}
CREATE TABLE repository_dropped ( -- what a repository offers no more: the collector has not looked at it
    namespace TEXT NOT NULL,
    digest    TEXT NOT NULL,
    PRIMARY KEY (namespace, digest)
) WITHOUT ROWID;
CREATE TRIGGER repository_blobs_touched_delete AFTER DELETE ON repository_blobs BEGIN
    INSERT OR IGNORE INTO repository_dropped (namespace, digest) VALUES (OLD.namespace, OLD.digest);
END;
"""  # noqa: S608 - no value of a stranger
TABLES: Final = _TABLES_3 + _TABLES_4 + _TABLES_5

TRIGGERS: Final = TABLES.count("CREATE TRIGGER")

_FROM_1: Final = """
CREATE TABLE IF NOT EXISTS images (
    name TEXT PRIMARY KEY, media_type TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    created INTEGER NOT NULL, updated INTEGER NOT NULL
) WITHOUT ROWID;
"""
_BEFORE_3: Final = """
ALTER TABLE content RENAME TO old_content;
ALTER TABLE content_labels RENAME TO old_labels;
ALTER TABLE images RENAME TO old_images;
"""
_AFTER_3: Final = f"""
INSERT INTO blobs SELECT digest, verified FROM old_content WHERE verified IS NOT NULL;
INSERT INTO content SELECT digest, '{DEFAULT_NAMESPACE}', updated FROM old_content WHERE updated IS NOT NULL;
INSERT INTO content_labels SELECT '{DEFAULT_NAMESPACE}', digest, key, value FROM old_labels;
INSERT INTO images SELECT '{DEFAULT_NAMESPACE}', name, media_type, digest, size, NULL, created, updated
    FROM old_images;
DROP TABLE old_content;
DROP TABLE old_labels;
DROP TABLE old_images;
"""  # noqa: S608 - no value of a stranger


def make(connection: sqlite3.Connection) -> None:
    """Make the tables of a new database; the caller's transaction goes on."""
    _run(connection, TABLES)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an older database to SCHEMA_VERSION; the caller's transaction goes on."""
    version = version_of(connection)
    for step in range(version, SCHEMA_VERSION):
        _STEPS[step](connection)
        connection.execute(f"PRAGMA user_version = {step + 1}")


def version_of(connection: sqlite3.Connection) -> int:
    """The format that a database says it has; 0 when it has nothing yet."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _to_2(connection: sqlite3.Connection) -> None:
    _run(connection, _FROM_1)


def _to_3(connection: sqlite3.Connection) -> None:
    _run(connection, _BEFORE_3)
    _run(connection, _TABLES_3)
    _run(connection, _AFTER_3)


def _to_4(connection: sqlite3.Connection) -> None:
    _run(connection, _TABLES_4)


def _to_5(connection: sqlite3.Connection) -> None:
    _run(connection, _TABLES_5)


def _run(connection: sqlite3.Connection, script: str) -> None:
    """As executescript, but within the transaction that is open."""
    import sqlite3

    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


_STEPS: Final[dict[int, Callable[[sqlite3.Connection], None]]] = {1: _to_2, 2: _to_3, 3: _to_4, 4: _to_5}
