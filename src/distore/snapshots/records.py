"""Records: what is kept of snapshots beside their files, and the rules that every driver keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from distore.errors import FailedPrecondition, InvalidArgument, NotFound
from distore.snapshots.snapshotter import Info, Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distore._internal.filters import Adaptor

MAX_KEY: Final = 4096  # characters of a key or name, as of a lease's resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One snapshot. ``id`` names its folder; ``usage`` is what was counted when it was committed."""

    id: int
    info: Info
    usage: Usage | None = None


class Records(Protocol):
    """The records of one namespace and one driver. Thread-safe, and safe beside other processes.

    With a lease, each key is held before it is looked up or made.
    """

    def get(self, key: str, /) -> Record:
        """One of them.

        Raises:
            NotFound: No such snapshot.
        """
        ...

    def chain(self, name: str, /) -> Sequence[int]:
        """The ids of a committed snapshot and its parents, the uppermost first.

        Raises:
            NotFound: No such snapshot.
            FailedPrecondition: Not committed.
            DataLoss: The record of one of the parents is lost.
        """
        ...

    def check_new(self, key: str, parent: str | None, /) -> Sequence[int]:
        """Refuse what ``add`` would refuse, before work is done for it; the chain of the parent.

        Raises:
            AlreadyExists, NotFound, FailedPrecondition, InvalidArgument: As ``add``.
        """
        ...

    def next_id(self) -> int:
        """A number above that of every snapshot of the driver, in all namespaces."""
        ...

    def add(
        self, key: str, /, *, id: int, kind: Kind, parent: str | None, labels: Mapping[str, str]
    ) -> Record:
        """Make a record, durably.

        Raises:
            AlreadyExists: The key is taken.
            NotFound: No such parent.
            FailedPrecondition: The parent is not committed.
        """
        ...

    def check_commit(
        self, name: str, key: str, /, *, parent: str | None, labels: Mapping[str, str]
    ) -> Record:
        """Refuse what ``commit`` would refuse, before work is done for it; the active snapshot."""
        ...

    def commit(
        self, name: str, key: str, /, *, parent: str | None, labels: Mapping[str, str], usage: Usage
    ) -> None:
        """Give an active snapshot its name, durably; see ``Snapshotter.commit``."""
        ...

    def remove(self, key: str, /) -> Record:
        """Remove a record, durably; what it was.

        Raises:
            NotFound: No such snapshot.
            FailedPrecondition: Another snapshot has it as its parent.
        """
        ...

    def update(self, info: Info, /, *fieldpaths: str) -> Info:
        """See ``Snapshotter.update``."""
        ...

    def walk(self, *filters: str) -> Iterator[Info]:
        """See ``Snapshotter.walk``."""
        ...

    def has(self, id: int, /) -> bool:
        """Whether a snapshot of any namespace has that number."""
        ...

    def ids(self) -> set[int]:
        """The numbers of all snapshots of the driver, in all namespaces."""
        ...


def check_key(key: str) -> str:
    """``key`` itself when a snapshot may have it.

    Raises:
        InvalidArgument: Empty, not printable, or over MAX_KEY characters.
    """
    if not key or not key.isprintable() or len(key) > MAX_KEY:
        raise InvalidArgument(f"snapshot {key[:60]!a}: want a printable key of up to {MAX_KEY} characters")
    return key


def check_committed(info: Info) -> None:
    """Refuse what nothing can lie upon.

    Raises:
        FailedPrecondition: It is not committed.
    """
    if info.kind != Kind.COMMITTED:
        raise FailedPrecondition(f"snapshot {info.name}: is {info.kind}; a parent must be committed")


def check_active(info: Info) -> None:
    """Refuse what cannot be changed.

    Raises:
        FailedPrecondition: It is not active.
    """
    if info.kind != Kind.ACTIVE:
        raise FailedPrecondition(f"snapshot {info.name}: is {info.kind}, not active")


def not_found(key: str) -> NotFound:
    """The error for a snapshot that is not there."""
    return NotFound(f"snapshot {key[:200]}: not found")


def adaptor(info: Info) -> Adaptor:
    """What a filter sees of a snapshot (containerd core/metadata/adaptors.go)."""

    def field(path: tuple[str, ...]) -> str | None:
        match path:
            case ("name",):
                return info.name
            case ("parent",):
                return info.parent
            case ("kind",):
                return info.kind
            case ("labels", *key) if key:
                return info.labels.get(".".join(key))
        return None

    return field
