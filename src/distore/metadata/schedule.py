"""Schedule: when garbage is collected by itself; off until somebody sets a threshold.

The thresholds have the names and the meaning of those of containerd's scheduler. They and the counts
are in the table ``settings``, so that all processes on the store share them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from distore._internal.gotime import parse_duration
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distore.content.local.database import Database

_PREFIX: Final = "gc."
_ON: Final = "gc.schedule"
_DELETIONS: Final = "gc.deletions"  # since the last pass
_MUTATIONS: Final = "gc.mutations"  # the same, deletions among them
_SINCE: Final = "gc.since"  # seconds since the epoch: the first of them
_ENDED: Final = "gc.ended"  # the same: when the last pass ended
_TOOK: Final = "gc.took"  # seconds that it took
_COUNTS: Final = (_DELETIONS, _MUTATIONS, _SINCE)
_MOST_PAUSE: Final = 0.5
_LEAST_TOOK: Final = 0.005  # seconds
_MOST: Final = 10**9  # a threshold
_ALL: Final = "SELECT key, value FROM settings WHERE key >= ? AND key < ?"
_SET: Final = "INSERT OR REPLACE INTO settings VALUES (?, ?)"
_COUNT_UP: Final = (
    "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + excluded.value"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The thresholds.

    Args:
        enabled: Whether anything is collected by itself at all.
        pause_threshold: Part of the time, 0 to 0.5, that passes may take; 0: as often as it comes.
        deletion_threshold: Deletions after which a pass is due; 0: they do not count by themselves.
        mutation_threshold: Changes after which one is due when there was a deletion among them; 0: never.
        schedule_delay: Seconds from the first change until a pass may begin.
        startup_delay: Seconds that a server runs before its first pass.
    """

    enabled: bool = False
    pause_threshold: float = 0.02
    deletion_threshold: int = 0
    mutation_threshold: int = 100
    schedule_delay: float = 0.0
    startup_delay: float = 0.1

    def texts(self) -> dict[str, str]:
        """The thresholds as they are written."""
        texts = {
            each.name: f"{getattr(self, each.name):g}" for each in fields(self) if each.name != "enabled"
        }
        return {name: f"{text}s" if name.endswith("_delay") else text for name, text in texts.items()}


def load(database: Database) -> Schedule:
    """What is set; what is not, or cannot be read, is as by default."""
    rows = {str(key): str(value) for key, value in database.query(_ALL, _PREFIX, "gc/")}
    schedule = Schedule(enabled=rows.get(_ON) == "on")
    for name in schedule.texts():
        text = rows.get(_PREFIX + name)
        if text is not None:
            try:
                schedule = _with(schedule, name, text)
            except InvalidArgument:
                continue
    return schedule


def parse(schedule: Schedule, words: Iterable[str]) -> Schedule:
    """``schedule`` changed by ``on``, ``off`` or ``NAME=VALUE`` each; a value turns it on.

    Raises:
        InvalidArgument: A name that is none, or a bad value.
    """
    for word in words:
        if word in ("on", "off"):
            schedule = replace(schedule, enabled=word == "on")
            continue
        name, equals, text = word.partition("=")
        if not equals or name not in schedule.texts():
            names = ", ".join(schedule.texts())
            raise InvalidArgument(f"schedule {word[:60]!a}: want on, off, or NAME=VALUE with one of {names}")
        schedule = replace(_with(schedule, name, text), enabled=True)
    return schedule


def save(database: Database, schedule: Schedule) -> None:
    """Keep it, durably."""
    with database.transaction() as connection:
        connection.execute(_SET, (_ON, "on" if schedule.enabled else "off"))
        connection.executemany(_SET, [(_PREFIX + name, text) for name, text in schedule.texts().items()])


def note_deletion(database: Database, now: float, *, count: int = 1) -> None:
    """Something that may have kept content is gone: names, leases, labels.

    Args:
        now: Seconds since the epoch.
    """
    _note(database, now, {_DELETIONS: count, _MUTATIONS: count})


def note_mutation(database: Database, now: float, *, count: int = 1) -> None:
    """Something was changed or added."""
    _note(database, now, {_MUTATIONS: count})


def due(database: Database, now: float, *, started: float | None = None) -> bool:
    """Whether a pass should run now.

    Args:
        now: Seconds since the epoch.
        started: The same, when a server began; None: nobody's start has to be spared.
    """
    schedule = load(database)
    if not schedule.enabled or (started is not None and now - started < schedule.startup_delay):
        return False
    counts = {str(key): _number(value) for key, value in database.query(_ALL, _PREFIX, "gc/")}
    deletions, mutations = counts.get(_DELETIONS, 0.0), counts.get(_MUTATIONS, 0.0)
    enough = 0 < schedule.deletion_threshold <= deletions
    enough = enough or (deletions > 0 and 0 < schedule.mutation_threshold <= mutations)
    # Whoever's clock was set back does not wait for the old time to come again.
    if not enough or 0 <= now - counts.get(_SINCE, 0.0) < schedule.schedule_delay:
        return False
    if _ENDED not in counts or not schedule.pause_threshold:
        return True
    took = max(counts.get(_TOOK, 0.0), _LEAST_TOOK)
    return not 0 <= now - counts[_ENDED] < took / schedule.pause_threshold - took


def note_pass(database: Database, now: float, *, took: float) -> None:
    """A pass has ended and took ``took`` seconds: the counts begin again."""
    if not load(database).enabled:
        return
    with database.transaction(durable=False) as connection:
        connection.executemany("DELETE FROM settings WHERE key = ?", [(key,) for key in _COUNTS])
        connection.executemany(_SET, [(_ENDED, f"{now:.3f}"), (_TOOK, f"{took:.3f}")])


def _note(database: Database, now: float, counts: Mapping[str, int]) -> None:
    if not load(database).enabled:  # a store that collects nothing by itself is not written for it
        return
    with database.transaction(durable=False) as connection:
        connection.executemany(_COUNT_UP, list(counts.items()))
        connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (_SINCE, f"{now:.3f}"))


def _with(schedule: Schedule, name: str, text: str) -> Schedule:
    if name == "pause_threshold":
        return replace(schedule, pause_threshold=_part(text))
    if name == "schedule_delay":
        return replace(schedule, schedule_delay=parse_duration(text))
    if name == "startup_delay":
        return replace(schedule, startup_delay=parse_duration(text))
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= _MOST):
        raise InvalidArgument(f"schedule {name}: {text[:40]!a}: want a number from 0 to {_MOST}")
    if name == "deletion_threshold":
        return replace(schedule, deletion_threshold=int(text))
    return replace(schedule, mutation_threshold=int(text))


def _part(text: str) -> float:
    part = _number(text, -1.0)
    if not 0 <= part <= _MOST_PAUSE:
        raise InvalidArgument(f"schedule pause_threshold: {text[:40]!a}: want 0 to {_MOST_PAUSE}")
    return part


def _number(value: object, otherwise: float = 0.0) -> float:
    try:
        return float(str(value))
    except ValueError:
        return otherwise
