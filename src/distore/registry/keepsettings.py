"""KeepSettings: how long things are kept, and how much (table ``[keep]``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.registry.patterns import EVERY, Patterns

if TYPE_CHECKING:
    from distore.registry.table import Table

HOUR: Final = 3600.0  # seconds
COLLECT: Final = ("registry", "all", "nothing")
_LEAST_INTERVAL: Final = 1.0  # seconds between two rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """Which tags of which repositories it is about, and what keeps one of them; without any condition
    all of them stay. Durations are seconds."""

    repositories: Patterns = EVERY
    tags: Patterns = EVERY
    newest: int | None = None
    pushed_within: float | None = None
    pulled_within: float | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether it sets no condition."""
        return self.newest is None and self.pushed_within is None and self.pulled_within is None

    @classmethod
    def read(cls, table: Table) -> KeepRule:
        """Of one ``[[keep.rule]]``."""
        rule = cls(
            repositories=read_patterns(table, "repositories"),
            tags=read_patterns(table, "tags"),
            newest=table.number("newest"),
            pushed_within=table.seconds("pushed_within"),
            pulled_within=table.seconds("pulled_within"),
        )
        table.done()
        return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many bytes the repositories may have together, each blob counted once."""

    repositories: Patterns = EVERY
    size: int

    @classmethod
    def read(cls, table: Table) -> Quota:
        """Of one ``[[keep.quota]]``."""
        repositories, size = read_patterns(table, "repositories"), table.size("size")
        if size is None:
            raise table.wrong("size", "is missing")
        table.done()
        return cls(repositories=repositories, size=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSettings:
    """Durations in seconds, sizes in bytes.

    Args:
        collect: Remove from the store what repositories offered once and nothing needs now; ``all``: and what
            nothing needs that came in other ways; ``nothing``: leave all that to ``dist gc``.
        interval: Between two rounds of housekeeping; 0: none by itself.
        grace: How long a blob that no manifest names stays, after it was pushed or asked for.
        uploads: How long an upload stays that nobody goes on with.
        untagged: How long a manifest stays that nothing leads to; None: for ever.
        rules: The first one that is about a tag decides.
        quotas: Each of them must have room for a push.
        high_water: The share of the file system that may be used before pushes are refused.
        free: Bytes of the file system that must be free; None: a gigabyte or a twentieth of it.
    """

    collect: str = COLLECT[0]
    interval: float = HOUR
    grace: float = HOUR
    uploads: float = 24 * HOUR
    untagged: float | None = None
    rules: tuple[KeepRule, ...] = ()
    quotas: tuple[Quota, ...] = ()
    high_water: float | None = None
    free: int | None = None

    @classmethod
    def read(cls, table: Table) -> KeepSettings:
        """Of the table of a configuration file.

        Raises:
            InvalidArgument: As Table.
        """
        fallback = cls()
        interval = table.seconds("interval", fallback.interval)
        if interval is not None and 0 < interval < _LEAST_INTERVAL:
            raise table.wrong("interval", "want 0 for never, or a second or more")
        collect = table.text("collect", fallback.collect)
        if collect not in COLLECT:
            raise table.wrong("collect", f"want one of {', '.join(COLLECT)}")
        settings = cls(
            collect=collect,
            interval=fallback.interval if interval is None else interval,
            grace=table.seconds("grace", fallback.grace) or 0.0,
            uploads=table.seconds("uploads", fallback.uploads) or 0.0,
            untagged=table.seconds("untagged"),
            rules=tuple(KeepRule.read(part) for part in table.tables("rule")),
            quotas=_quotas(table),
            high_water=table.share("high_water"),
            free=table.size("free"),
        )
        table.done()
        return settings


def read_keep(path: str | None) -> KeepSettings:
    """The table of a configuration file of ``dist serve``, whatever else is in it.

    Raises:
        NotFound, InvalidArgument: As the server's own reading.
    """
    if path is None:
        return KeepSettings()
    from distore.registry.server.configuration import read

    return read(path, {}).serve.keep


def _quotas(table: Table) -> tuple[Quota, ...]:
    """Of ``quota = "50G"`` for all repositories together, or of each ``[[keep.quota]]``."""
    if table.is_list("quota"):
        return tuple(Quota.read(part) for part in table.tables("quota"))
    size = table.size("quota")
    return () if size is None else (Quota(size=size),)


def read_patterns(table: Table, key: str) -> Patterns:
    """A list of patterns.

    Raises:
        InvalidArgument: One is none; names file, table and key.
    """
    try:
        return Patterns.parse(table.texts(key))
    except InvalidArgument as error:
        raise table.wrong(key, str(error)) from error
