"""Leases: what a piece of work needs, kept from the collector while it lasts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXPIRE: Final = "containerd.io/gc.expire"  # label: RFC 3339; the lease holds nothing afterwards
FLAT: Final = "containerd.io/gc.flat"  # label: it holds its resources alone, not what they refer to
PURPOSE: Final = "distore/purpose"  # label: what an owned lease is for, in a word
CONTENT: Final = "content"  # a resource's type: the key is a digest
INGESTS: Final = "ingests"  # the key is a ref
IMAGES: Final = "images"  # the key is a name
SNAPSHOTS: Final = "snapshots/"  # followed by the snapshotter
_DIGITS: Final = frozenset("0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that a lease holds: ``type`` as above, ``key`` its digest, ref or name."""

    type: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseOwner:
    """The process that works under a lease, for messages; ``since`` is aware UTC. None: unknown."""

    pid: int | None = None
    host: str | None = None
    command: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One record. ``owned`` leases end with the process that took them; ``owner`` is that process as
    far as it is known, and None once it is gone. ``created`` is aware UTC."""

    id: str
    created: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    owned: bool = False
    owner: LeaseOwner | None = None

    @property
    def is_dead(self) -> bool:
        """Whether its process is gone."""
        return self.owned and self.owner is None

    @property
    def expires(self) -> datetime | None:
        """When it ends by itself, aware UTC; None: never, or its label EXPIRE is no time."""
        text = self.labels.get(EXPIRE)
        return parse_expire(text) if text is not None else None

    def is_over(self, now: datetime) -> bool:
        """Whether it holds nothing any more: its process is gone, or its time (containerd: after it,
        not at it)."""
        return self.is_dead or (self.expires is not None and now > self.expires)


class LeaseManager(Protocol):
    """Knows the leases of one namespace (containerd core/leases/lease.go)."""

    def get(self, id: str, /) -> Lease:
        """About one lease.

        Raises:
            NotFound: No such lease.
        """
        ...

    def create(self, id: str | None = None, /, *, labels: Mapping[str, str] | None = None) -> Lease:
        """Make a lease that stays until it is deleted, or until its label EXPIRE says.

        Args:
            id: None: one is made up.
        Raises:
            AlreadyExists: There is one of that id.
            InvalidArgument: A bad id or label, or an EXPIRE that is no RFC 3339 time.
        """
        ...

    def delete(self, id: str, /, *, force: bool = False) -> None:
        """End a lease; the next collection may remove what it held.

        Args:
            force: Even though its process still works under it, which then fails.
        Raises:
            NotFound: No such lease.
            FailedPrecondition: Its process lives; names it.
        """
        ...

    def list(self, *filters: str) -> Iterator[Lease]:
        """Every lease that one of ``filters`` matches on ``id`` and ``labels.KEY`` (all without one)."""
        ...

    def add(self, id: str, resource: Resource, /) -> None:
        """Have a lease hold something, whether it is there yet or not; twice is once.

        Raises:
            NotFound: No such lease.
            InvalidArgument: A type that is none of those above, or a bad key.
        """
        ...

    def remove(self, id: str, resource: Resource, /) -> None:
        """Have a lease let go of something.

        Raises:
            NotFound: No such lease.
        """
        ...

    def resources(self, id: str, /) -> Iterator[Resource]:
        """What a lease holds, by type and key.

        Raises:
            NotFound: No such lease.
        """
        ...


def parse_expire(text: str) -> datetime | None:
    """The time in a label EXPIRE, aware UTC, as Go reads RFC 3339; None: it is none.

    Python's own parser takes more forms than Go's, so the form is looked at first. Digits beyond
    microseconds do not count.
    """
    clock, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    whole, point, fraction = clock.partition(".")
    form = "".join("0" if char in _DIGITS else char for char in whole + zone.replace("-", "+"))
    if form != "0000-00-00T00:00:00+00:00" or (point and not _DIGITS.issuperset(fraction or "-")):
        return None
    try:
        return datetime.fromisoformat(f"{whole}{point}{fraction[:6]}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
