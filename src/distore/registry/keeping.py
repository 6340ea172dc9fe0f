"""Keeping: the parts that decide what a registry keeps, put together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from distore.registry.housekeeping import Housekeeper, Step
from distore.registry.pruning import prune
from distore.registry.room import Room, Space
from distore.registry.sizes import human

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from distore.registry.keepsettings import KeepSettings
    from distore.registry.metrics import Metrics
    from distore.repositories import Repositories


class Sized(Protocol):
    """Something that went."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...


class Upkeep(Protocol):
    """What can be removed from the store behind a registry."""

    def turn(self, within: float, /) -> AbstractContextManager[bool]:
        """As ``Housekeeper`` wants it."""
        ...

    def promise(self, grace: float, /) -> None:
        """Have everybody who sweeps the store, also by hand, leave as much time."""
        ...

    def promised(self) -> float:
        """The longest grace that anybody promised."""
        ...

    def sweep(self, *, grace: float, dry_run: bool = False) -> Iterable[Sized]:
        """Have repositories offer blobs no more that no manifest names."""
        ...

    def collect_dropped(self) -> int:
        """Remove what repositories offered once and nothing needs now; how many blobs."""
        ...

    def collect(self) -> None:
        """Remove all that nothing needs."""
        ...

    def space(self) -> tuple[int, int] | None:
        """Bytes of the file system that are free, and all of them; None: nobody can tell."""
        ...


class Keeping:
    """The room for pushes, and the housekeeper, of one registry.

    Args:
        upkeep: None: nothing but the rules is carried out, and no disk is ever full.
        expire: Drops uploads that are idle at a moment (seconds since the epoch) for so many seconds.
        write_pulls: Writes down who pulled what, for all processes to know.
        now: Seconds since the epoch.
        tell: Takes one line.
    """

    def __init__(
        self,
        settings: KeepSettings,
        repositories: Repositories,
        upkeep: Upkeep | None,
        *,
        expire: Callable[[float, float], int],
        write_pulls: Callable[[], None],
        now: Callable[[], float],
        monotonic: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._repositories = repositories
        self._upkeep = upkeep
        self._expire = expire
        self._write_pulls = write_pulls
        # Gives up copies of upstreams that are over their budget; says what came of it. Set by who has some.
        self.evict: Callable[[], str] = lambda: ""
        self._now = now
        steps = [
            Step("retention", self._prune),
            Step("uploads", self._uploads),
            Step("cache", self._evict),
        ]
        if upkeep is not None:
            steps.insert(1, Step("unlinked blobs", self._sweep))
            steps.append(Step("collection", self._collect))
        self.housekeeper = Housekeeper(
            steps,
            interval=settings.interval,
            turn=_always if upkeep is None else upkeep.turn,
            often=self._often,
            tell=tell,
            monotonic=monotonic,
        )
        self.room = Room(
            repositories, settings, space=self._space, monotonic=monotonic, on_full=self.housekeeper.wake
        )

    def measure(self, metrics: Metrics) -> None:
        """Have ``metrics`` show it."""
        counts = self.housekeeper.counts
        metrics.gauge("distore_housekeeping_rounds", "Rounds of housekeeping", lambda: counts.rounds)
        metrics.gauge("distore_housekeeping_failures", "Steps that failed", lambda: counts.failures)
        metrics.gauge(
            "distore_disk_free_bytes",
            "Bytes that are free where the store is",
            lambda: -1 if (space := self._space()) is None else space.free,
            shared=True,
        )

    def _space(self) -> Space | None:
        told = None if self._upkeep is None else self._upkeep.space()
        return None if told is None else Space(*told)

    def _often(self) -> None:
        """What each process has to tell the others, whoever keeps house."""
        self._write_pulls()
        if self._upkeep is not None:
            self._upkeep.promise(self._settings.grace)

    def _prune(self) -> str:
        tags = manifests = 0
        settings = self._settings
        if self._upkeep is not None:
            settings = replace(settings, grace=max(settings.grace, self._upkeep.promised()))
        for one in prune(self._repositories, settings, now=self._now()):
            tags += one.gone and one.tag is not None
            manifests += one.gone and one.tag is None
        return f"removed {count(tags, 'tag')} and {count(manifests, 'manifest')}" if tags + manifests else ""

    def _evict(self) -> str:
        return self.evict()

    def _sweep(self) -> str:
        assert self._upkeep is not None
        sizes = [one.size for one in self._upkeep.sweep(grace=self._settings.grace)]
        return f"removed {count(len(sizes), 'blob')}, {human(sum(sizes))}" if sizes else ""

    def _uploads(self) -> str:
        dropped = self._expire(self._now(), self._settings.uploads)
        return f"dropped {count(dropped, 'upload')} that nobody goes on with" if dropped else ""

    def _collect(self) -> str:
        assert self._upkeep is not None
        if self._settings.collect == "all":
            self._upkeep.collect()
        elif self._settings.collect == "registry":
            gone = self._upkeep.collect_dropped()
            return f"freed {count(gone, 'blob')}" if gone else ""
        return ""


def count(number: int, noun: str) -> str:
    """``1 tag``, ``2 tags``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class _Always:
    def __enter__(self) -> bool:
        return True

    def __exit__(self, *exc: object) -> None:
        return None


def _always(_within: float) -> AbstractContextManager[bool]:
    return _Always()
