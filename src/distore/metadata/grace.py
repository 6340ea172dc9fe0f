"""Grace: how long servers over a store said that a blob stays which no manifest names; whoever sweeps heeds
the longest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distore.content.local.database import Database

_PREFIX: Final = "keep.grace."  # of keys in ``settings``; seconds follow
_AGAIN: Final = 3600.0  # seconds until a server says it again
_LASTS: Final = 2 * _AGAIN  # seconds that it counts beyond the grace itself
_ALL: Final = "SELECT key, value FROM settings WHERE key >= ? AND key < ?"
_SET: Final = "INSERT OR REPLACE INTO settings VALUES (?, ?)"
_DROP: Final = "DELETE FROM settings WHERE key = ? AND value = ?"


def promise(database: Database, grace: float, *, now: float) -> None:
    """Note that a server lives by ``grace``; call it now and then. Costs a write an hour.

    Args:
        now: Seconds since the epoch.
    """
    rows = _rows(database)
    said = [noted for seconds, noted, _ in rows if seconds == grace]
    if not database.exists() or any(0 <= now - noted < _AGAIN for noted in said):
        return
    with database.transaction(durable=False) as connection:
        for seconds, noted, row in rows:
            if not _counts(seconds, noted, now):
                connection.execute(_DROP, row)
        connection.execute(_SET, (f"{_PREFIX}{grace:.6f}", f"{now:.3f}"))


def promised(database: Database, *, now: float) -> float:
    """The longest grace, in seconds, by which a server lives, or has told clients not long ago; 0: none."""
    return max(
        (seconds for seconds, noted, _ in _rows(database) if _counts(seconds, noted, now)), default=0.0
    )


def _counts(seconds: float, noted: float, now: float) -> bool:
    """A clock that was set back lets it count for longer."""
    return math.isfinite(seconds) and now - noted < seconds + _LASTS


def _rows(database: Database) -> list[tuple[float, float, tuple[object, ...]]]:
    found = []
    for row in database.read(_ALL, _PREFIX, f"{_PREFIX}:"):  # ":" comes after the digits
        try:
            seconds, noted = float(str(row[0]).removeprefix(_PREFIX)), float(str(row[1]))
        except ValueError:
            continue
        found.append((seconds, noted, row))
    return found
