"""Driver: what all snapshotters on a local file system do alike; each fills folders its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from distore._internal import fsops
from distore._internal.oserrors import translate, translated
from distore.content.rules import check_labels
from distore.errors import DiskFull, FailedPrecondition, Unavailable
from distore.snapshots import filetree
from distore.snapshots.durability import UNSYNCED, boot_id
from distore.snapshots.folders import Folders
from distore.snapshots.snapshotter import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distore.mount import Mount
    from distore.snapshots.records import Record, Records
    from distore.snapshots.snapshotter import Info, Usage


class Driver(ABC):
    """A Snapshotter; a subclass says how a folder is filled and what it is mounted by.

    Args:
        folder: Where the files lie: ROOT/snapshots/NAME.
        records: Of one namespace.
        sync: Whether a commit waits until the files are on the device. Without that its label UNSYNCED
            tells who looks after a restart that they may not be whole.
    """

    name: ClassVar[str]

    def __init__(self, folder: str, records: Records, *, sync: bool = True) -> None:
        self._records = records
        self._sync = sync
        self._folders = Folders(folder)

    # What a subclass adds

    @abstractmethod
    def _fill(self, id: int, kind: Kind, parents: Sequence[int]) -> None:
        """Put into the new folder what the snapshot begins with, and have it on the device.

        Args:
            parents: The committed snapshots it lies upon, the uppermost first.
        """

    @abstractmethod
    def _mounts(self, id: int, kind: Kind, parents: Sequence[int]) -> tuple[Mount, ...]:
        """As ``Snapshotter.mounts``."""

    @abstractmethod
    def _shown(self, record: Record, parents: Sequence[int]) -> int:
        """The number of the folder that a mount of the snapshot shows or has as its uppermost layer."""

    # Snapshotter

    def stat(self, key: str, /) -> Info:
        return self._records.get(key).info

    def update(self, info: Info, /, *fieldpaths: str) -> Info:
        return self._records.update(info, *fieldpaths)

    def usage(self, key: str, /) -> Usage:
        record = self._records.get(key)
        if record.usage is not None:
            return record.usage
        try:
            return filetree.usage(self._folders.files(record.id))
        except OSError as error:
            if self._records.get(key).id != record.id:  # committed, or made anew, since
                return self.usage(key)
            raise translate(error, f"snapshot {key}") from error

    def mounts(self, key: str, /) -> tuple[Mount, ...]:
        record = self._records.get(key)
        if record.info.kind == Kind.COMMITTED:
            raise FailedPrecondition(f"snapshot {key}: is committed; prepare or view one that lies on it")
        return self._mounts(record.id, record.info.kind, self._parents(record))

    def prepare(
        self, key: str, parent: str | None = None, /, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        return self._make(key, parent, Kind.ACTIVE, labels or {})

    def view(
        self, key: str, parent: str | None = None, /, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        return self._make(key, parent, Kind.VIEW, labels or {})

    def commit(
        self,
        name: str,
        key: str,
        /,
        *,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        record = self._records.check_commit(name, key, parent=parent, labels=labels or {})
        with translated(f"snapshot {key}"):
            # The order is the contract (docs/formats/store.md#snapshots): files, then the record.
            files, labels = self._folders.files(record.id), dict(labels or {})
            if self._sync:
                fsops.sync_file_system(files)
            else:
                labels[UNSYNCED] = boot_id()
            usage = filetree.usage(files)
            self._records.commit(name, key, parent=parent, labels=labels, usage=usage)
            self._folders.drop_work(record.id)

    def remove(self, key: str, /) -> None:
        record = self._records.get(key)
        with translated(f"snapshot {key}"):
            if self._shown(record, self._parents(record)) in self._folders.used():
                raise Unavailable(f"snapshot {key}: is mounted; unmount it first")
            try:
                removed = self._records.remove(key)
            except DiskFull:
                if record.info.kind == Kind.COMMITTED:
                    raise
                # The files would stay, and the disk full: of one that nothing lies on they may go first.
                self._folders.empty(record.id)
                removed = self._records.remove(key)
            self._folders.remove(removed.id, used=self._folders.used(), is_known=self._records.has)

    def walk(self, *filters: str) -> Iterator[Info]:
        return self._records.walk(*filters)

    def cleanup(self) -> int:
        with translated(f"snapshots {self._folders.path}"):
            return self._folders.sweep(self._records.ids, self._records.has)

    def _make(self, key: str, parent: str | None, kind: Kind, labels: Mapping[str, str]) -> tuple[Mount, ...]:
        check_labels(labels)
        parents = self._records.check_new(key, parent)
        with (
            translated(f"snapshot {key}"),
            self._folders.new(self._records.next_id(), self._records.has) as id,
        ):
            self._fill(id, kind, parents)
            self._records.add(key, id=id, kind=kind, parent=parent, labels=labels)
        return self._mounts(id, kind, parents)

    def _parents(self, record: Record) -> Sequence[int]:
        return () if record.info.parent is None else self._records.chain(record.info.parent)
