"""The contract of a snapshotter (containerd core/snapshots/snapshotter.go).

A *key* names an active snapshot or a view, a *name* a committed one; both live in one space of names in
a namespace. *parent* is the name of a committed snapshot. ``prepare`` or ``view`` make, ``commit`` turns
an active snapshot into a committed one, ``remove`` ends either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from distore.mount import Mount


class Kind(StrEnum):
    """What a snapshot is."""

    ACTIVE = "active"
    VIEW = "view"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """One snapshot; ``name`` is its key or its name, ``parent`` None for one without. Times are aware
    UTC."""

    name: str
    kind: Kind
    created: datetime
    updated: datetime
    parent: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one snapshot takes, without its parents: files and folders, and bytes on the disk."""

    inodes: int
    size: int


class Snapshotter(Protocol):
    """The snapshots of one namespace, made by one driver. Thread-safe, and safe beside other processes.

    Through a view with a lease, whatever is made or looked up is held by the lease first.
    """

    @property
    def name(self) -> str:
        """The driver, as labels and leases name it: ``overlayfs`` or ``native``."""
        ...

    def stat(self, key: str, /) -> Info:
        """About one snapshot.

        Raises:
            NotFound: No such snapshot.
        """
        ...

    def update(self, info: Info, /, *fieldpaths: str) -> Info:
        """Change labels of the snapshot ``info.name``, and return it as it is now.

        Field paths are ``labels`` and ``labels.KEY``, as for content; without one all labels are
        replaced.

        Raises:
            NotFound: No such snapshot.
            InvalidArgument: Another field path, or a label over MAX_LABEL_SIZE; nothing changed.
        """
        ...

    def usage(self, key: str, /) -> Usage:
        """What a snapshot takes; of a committed one what was counted when it was committed.

        Raises:
            NotFound: No such snapshot.
        """
        ...

    def mounts(self, key: str, /) -> tuple[Mount, ...]:
        """How to see an active snapshot or a view: mounts whose ``target`` is empty, for the caller to set.

        Raises:
            NotFound: No such snapshot.
            FailedPrecondition: A committed one.
        """
        ...

    def prepare(
        self, key: str, parent: str | None = None, /, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """Make an active snapshot that begins as ``parent`` is, or empty; as ``mounts``.

        Raises:
            AlreadyExists: The key is taken.
            NotFound: No such parent.
            FailedPrecondition: The parent is not committed.
            InvalidArgument: A bad key or label.
            DiskFull, QuotaExceeded, ReadOnly: Nothing was made.
        """
        ...

    def view(
        self, key: str, parent: str | None = None, /, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """As ``prepare``, but read-only; it cannot be committed."""
        ...

    def commit(
        self,
        name: str,
        key: str,
        /,
        *,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Turn an active snapshot into a committed one, durably: its files are on the disk before the
        name is, unless the snapshotter was told not to wait for that. The key is gone afterwards; its
        labels do not carry over.

        Args:
            parent: Of a ``Stacked`` snapshotter: the committed snapshot that an active one without a parent
                lies upon from here on. None: the parent stays as it was.
        Raises:
            NotFound: No such key, or parent.
            AlreadyExists: The name is taken; the active snapshot stays.
            FailedPrecondition: The key is not active, or has a parent already and another is named.
        """
        ...

    def remove(self, key: str, /) -> None:
        """Remove a snapshot, and its files.

        Raises:
            NotFound: No such snapshot.
            FailedPrecondition: Another snapshot has it as its parent.
            Unavailable: It is mounted.
        """
        ...

    def walk(self, *filters: str) -> Iterator[Info]:
        """Every snapshot that one of ``filters`` matches on ``name``, ``parent``, ``kind`` and
        ``labels.KEY`` (all without one), by name. Memory does not grow.

        Raises:
            InvalidArgument: A filter does not parse.
        """
        ...

    def cleanup(self) -> int:
        """Remove files that no record tells of (a crash left them); how many bytes that freed."""
        ...


@runtime_checkable
class Stacked(Protocol):
    """A snapshotter whose snapshots each hold what they change only, so that layers can be applied side
    by side and laid upon each other when they are committed (``commit`` with ``parent``)."""

    @property
    def attributes(self) -> bytes:
        """What whiteouts and opaque folders are said by: ``b"trusted.overlay."`` or ``b"user.overlay."``."""
        ...

    def upper(self, key: str, /) -> str:
        """The folder with what an active snapshot changes, in the form of overlayfs.

        Raises:
            NotFound: No such snapshot.
            FailedPrecondition: Not active.
        """
        ...

    def layers(self, name: str, /) -> tuple[str, ...]:
        """The folders of a committed snapshot and its parents, in the form of overlayfs, the
        uppermost first.

        Raises:
            NotFound: No such snapshot.
        """
        ...
