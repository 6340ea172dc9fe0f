"""What ``dist db`` tells about the database of a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distore.content.local import rowcheck
from distore.content.local.problem import Problem
from distore.content.local.salvage import SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distore.content.local.store import LocalStore


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseInfo:
    """``size`` and ``log_size`` (of what is not in the file yet) in bytes; ``rows`` of each table."""

    path: str
    version: int
    size: int
    log_size: int
    rows: Mapping[str, int]


def describe(store: LocalStore) -> DatabaseInfo | None:
    """About the database; None while there is none.

    Raises:
        DataLoss: It is damaged.
    """
    database = store.database
    if not database.exists():
        return None
    rows = {}
    for table in SHAPES:
        rows[table] = _number(database.query(f"SELECT count(*) FROM {table}"))  # noqa: S608 - ours
    log = f"{database.path}-wal"
    return DatabaseInfo(
        path=database.path,
        version=_number(database.query("PRAGMA user_version")),
        size=os.path.getsize(database.path),
        log_size=os.path.getsize(log) if os.path.exists(log) else 0,
        rows=rows,
    )


def problems(store: LocalStore, *, quick: bool, dry_run: bool) -> Iterator[Problem]:
    """What is wrong with the database, or does not fit the blobs; see ``rowcheck.problems``."""
    damage = store.records.damage(quick=quick)
    if damage:
        yield Problem(kind="database", subject=store.paths.database, detail=damage)
        return
    yield from rowcheck.problems(store.database, store.paths, dry_run=dry_run)


def _number(rows: list[tuple[object, ...]]) -> int:
    return int(str(rows[0][0]))
