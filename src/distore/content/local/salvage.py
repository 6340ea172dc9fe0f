"""Everything that can still be read of a damaged ``dist.db``, written into a new one.

Two ways, one after the other: SQLite, which knows whose rows they are, reads each table from both of
its ends as far as the damage; then, where a table did not come whole, every page is looked at alone.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.content.local import sqlitepages
from distore.content.local.paths import DEFAULT_NAMESPACE
from distore.content.local.schema import SCHEMA_VERSION, version_of
from distore.content.local.visibility import SHARING_POLICY
from distore.errors import InvalidArgument
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from distore.content.local.sqlitepages import Row, Value

# What each column of a table may hold, in the order of its CREATE: n a namespace, t text, d a digest,
# i a number, I a number or nothing, T text or nothing, D a digest or nothing, r the type of a lease's
# resource, k the kind of a snapshot, o the origin of a repository.
SHAPES: Final = {
    "settings": "tt",
    "namespaces": "ni",
    "namespace_labels": "ntt",
    "blobs": "dI",
    "content": "dnI",
    "content_labels": "ndtt",
    "images": "nttdiTii",
    "image_labels": "nttt",
    "leases": "ntii",
    "lease_labels": "nttt",
    "lease_resources": "ntrt",
    "snapshots": "nttikTiiII",
    "snapshot_labels": "ntttt",
    "repositories": "ntoi",
    "repository_blobs": "ntdii",
    "repository_manifests": "ntdtTDTiiIi",
    "repository_links": "ntddi",
    "repository_tags": "nttdtiiII",
}
# Tables of formats 1 and 2, as theirs were: digests had no namespace.
_OLD: Final = {"content": "dII", "content_labels": "dtt", "images": "ttdiii"}
# Tables of which nothing has to stay: what they tell a collector, a whole pass finds, too.
PASSING: Final = ("gc_run", "gc_touched", "repository_dropped")
_KINDS: Final = ("active", "view", "committed")
_ORIGINS: Final = ("pushed", "cache")
_RESOURCE: Final = re.compile(r"content|ingests|images|snapshots/.+")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # no digest, and no key of a label of ours
_COLLECTOR: Final = "containerd.io/gc."
_BREF: Final = "containerd.io/gc.bref."
_SETTINGS: Final = (SHARING_POLICY, "gc.")
_NAMESPACED: Final = 3  # the first format whose rows have a namespace
_NEW_IN: Final = {
    4: ("snapshots", "snapshot_labels"),
    5: [name for name in SHAPES if name.startswith("repo")],
}
# Indexes of repositories: (namespace, repository, digest, and another digest or a tag).
_REPOSITORY_INDEXES: Final = ("ntdd", "ntdt")


@dataclass(slots=True, kw_only=True)
class Salvaged:
    """What came out of a database.

    Args:
        version: The format that it said it has; None: it said none.
        rows: How many of each table.
        partial: Tables of which rows may be missing.
        refused: Rows that were read and cannot be right.
        unknown: Tables that this version does not know, which were left behind.
        wrong: The first thing that SQLite said; None: nothing.
    """

    version: int | None = None
    rows: Counter[str] = field(default_factory=Counter)
    partial: set[str] = field(default_factory=set)
    refused: int = 0
    unknown: list[str] = field(default_factory=list)
    wrong: str | None = None

    def tables(self) -> Iterator[tuple[str, int, bool]]:
        """Each table, its rows, and whether these are all of them."""
        for table in SHAPES:
            yield table, self.rows[table], table not in self.partial


def salvage(original: str, copy: str, target: sqlite3.Connection) -> Salvaged:
    """Bring all rows into ``target``, which has empty tables; its transaction goes on.

    Args:
        original: The database, read alone, with the log beside it; nobody may have it open.
        copy: A copy of both, for SQLite to work on.
    """
    found = Salvaged()
    try:
        _by_sqlite(copy, target, found)
    finally:
        found.unknown.sort()
    if found.partial and os.path.exists(original):
        with translated(f"store database {original}"):
            _by_pages(original, target, found)
    return found


def _by_sqlite(copy: str, target: sqlite3.Connection, found: Salvaged) -> None:
    import sqlite3

    found.partial = set(SHAPES)
    try:
        source = sqlite3.connect(copy, isolation_level=None)
    except sqlite3.Error as error:
        found.wrong = str(error)
        return
    source.text_factory = bytes  # a text that is none must not end the whole table
    try:
        source.execute("PRAGMA writable_schema = ON")  # one bad entry of the schema is not its end
        found.version = version_of(source)
        checked = source.execute("PRAGMA integrity_check(1)").fetchone()[0].decode(errors="replace")
        found.wrong = None if checked == "ok" else " ".join(checked.split())
    except sqlite3.Error as error:
        found.wrong = str(error)
    try:
        if found.version in (1, 2):
            _from_old(source, target, found)
        else:
            _from_new(source, target, found)
    except sqlite3.Error as error:
        found.wrong = found.wrong or str(error)
    finally:
        source.close()


def _from_new(source: sqlite3.Connection, target: sqlite3.Connection, found: Salvaged) -> None:
    there = _tables(source)
    found.unknown = [name for name in there if name not in SHAPES and name not in PASSING]
    for version, names in _NEW_IN.items():
        if found.version in range(_NAMESPACED, version):
            found.partial -= set(names)
    for table, shape in SHAPES.items():
        wanted = _columns(target, table)
        if table in there and set(wanted) <= set(_columns(source, table)):
            _both_ways(source, table, wanted, found, _into(target, table, shape, found))


def _from_old(source: sqlite3.Connection, target: sqlite3.Connection, found: Salvaged) -> None:
    columns = {
        "content": ["digest", "updated", "verified"],
        "content_labels": ["digest", "key", "value"],
        "images": ["name", "media_type", "digest", "size", "created", "updated"],
    }
    there = _tables(source)
    found.unknown = [name for name in there if name not in columns]
    found.partial -= SHAPES.keys() - columns.keys()
    if found.version == 1 and "images" not in there:
        found.partial.discard("images")
    for table, names in columns.items():
        if table in there:
            _both_ways(source, table, names, found, _into_old(target, table, found))


def _tables(source: sqlite3.Connection) -> list[str]:
    rows = source.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    names = [bytes(row[0]).decode(errors="replace") for row in rows if row[0]]
    return [name for name in names if not name.startswith("sqlite_")]


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    return [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names]


def _both_ways(
    source: sqlite3.Connection,
    table: str,
    columns: list[str],
    found: Salvaged,
    take: Callable[[Row], None],
) -> None:
    """Read from the front, and from the end as well when there is damage between."""
    import sqlite3

    # The names are ours. Not by an index: the table itself is what counts.
    statement = f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED"  # noqa: S608
    refused = found.refused
    for order in ("ASC", "DESC"):
        try:
            for row in source.execute(f"{statement} ORDER BY {columns[0]} {order}"):
                take(tuple(_text(value) for value in row))
        except sqlite3.Error as error:
            found.wrong = found.wrong or str(error)
            continue
        if order == "ASC":
            if found.refused == refused:
                found.partial.discard(table)
            return


def _text(value: object) -> Value:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return value if isinstance(value, int | float | str) else None


def _into(target: sqlite3.Connection, table: str, shape: str, found: Salvaged) -> Callable[[Row], None]:
    statement = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(shape))})"  # noqa: S608 - ours

    def take(row: Row) -> None:
        if not _fits(row, shape):
            found.refused += 1
        elif target.execute(statement, row).rowcount > 0:
            found.rows[table] += 1

    return take


def _into_old(target: sqlite3.Connection, table: str, found: Salvaged) -> Callable[[Row], None]:
    """As the step to format 3 has it (schema.py)."""
    into = {name: _into(target, name, SHAPES[name], found) for name in (*_OLD, "blobs")}

    def take(row: Row) -> None:
        if not _fits(row, _OLD[table]):
            found.refused += 1
            return
        if table == "content":
            if row[1] is not None:
                into[table]((row[0], DEFAULT_NAMESPACE, row[1]))
            if row[2] is not None:
                into["blobs"]((row[0], row[2]))
        elif table == "content_labels":
            into[table]((DEFAULT_NAMESPACE, *row))
        else:
            into[table]((DEFAULT_NAMESPACE, *row[:4], None, *row[4:]))

    return take


def _by_pages(original: str, target: sqlite3.Connection, found: Salvaged) -> None:
    """Rows of the tables that are not whole, wherever in the file they lie."""
    named = found.version in (1, 2)
    into = {
        table: _into_old(target, table, found)
        if named and table in _OLD
        else _into(target, table, shape, found)
        for table, shape in SHAPES.items()
    }
    refused = found.refused
    labels: list[Row] = []  # of images or of leases: they look alike until both are known
    for row in _pages(original):
        table = _whose_old(row) if named else _whose(row)
        if table == "image_labels":
            labels.append(row)
        elif table in found.partial:
            into[table](row)
    for row in labels:
        for owner, column, table in (("leases", "id", "lease_labels"), ("images", "name", "image_labels")):
            statement = f"SELECT 1 FROM {owner} WHERE namespace = ? AND {column} = ?"  # noqa: S608 - ours
            if table in found.partial and target.execute(statement, row[:2]).fetchone():
                into[table](row)
    found.refused = refused


def _pages(path: str) -> Iterator[Row]:
    with suppress(FileNotFoundError):
        yield from sqlitepages.rows(path)


def _whose(row: Row) -> str | None:
    """The table that a row of format 3 is of; None: an index, or nothing of ours."""
    texts = [value if isinstance(value, str) else "" for value in row]
    fitting = [name for name, shape in SHAPES.items() if _fits(row, shape)]
    if any(_fits(row, shape) for shape in _REPOSITORY_INDEXES):
        return None
    if "lease_resources" in fitting:
        return "lease_resources"
    if "snapshot_labels" in fitting:  # its index has (namespace, value, snapshotter, name, key)
        return None if texts[4].startswith(_BREF) else "snapshot_labels"
    if "content_labels" in fitting:  # its index has (namespace, value, digest, key)
        return None if texts[3].startswith(_BREF) and _is_digest(texts[2]) else "content_labels"
    if "image_labels" in fitting:  # its index has (namespace, value, name, key)
        return None if texts[3].startswith(_BREF) else "image_labels"
    if "namespace_labels" in fitting:  # another has (key, namespace, digest)
        return None if texts[0].startswith(_COLLECTOR) else "namespace_labels"
    if "settings" in fitting:  # another has (namespace, digest)
        return "settings" if texts[0].startswith(_SETTINGS) else None
    return fitting[0] if fitting else None


def _whose_old(row: Row) -> str | None:
    return next((name for name, shape in _OLD.items() if _fits(row, shape)), None)


def _fits(row: Row, shape: str) -> bool:
    return len(row) == len(shape) and all(map(_fits_one, row, shape))


def _fits_one(value: Value, kind: str) -> bool:
    if kind in "iI":
        return (value is None and kind == "I") or (isinstance(value, int) and value >= 0)
    if value is None:
        return kind in "TD"
    if not isinstance(value, str):
        return False
    if kind in "dD":
        return _is_digest(value)
    if kind == "n":
        return bool(_NAMESPACE.fullmatch(value))
    if kind in "ko":
        return value in (_KINDS if kind == "k" else _ORIGINS)
    return bool(_RESOURCE.fullmatch(value)) if kind == "r" else True


def _is_digest(text: str) -> bool:
    try:
        Digest(text)
    except InvalidArgument:
        return False
    return True


def needs_saving(found: Salvaged) -> bool:
    """Whether a new database has anything over the one that ``found`` is about."""
    return bool(found.wrong or found.partial or found.refused) or found.version != SCHEMA_VERSION
