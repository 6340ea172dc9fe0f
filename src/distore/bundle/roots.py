"""Where a bundle gets the files of its root from: a snapshot that is mounted, or a copy."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from distore._internal.oserrors import translated
from distore.diff.safepath import Root
from distore.errors import DistoreError, NotFound, Unavailable
from distore.mount import mount, mounts_below, unmount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.snapshots.snapshotter import Snapshotter

GC_ROOT: Final = "containerd.io/gc.root"
KEY_PREFIX: Final = "bundle-"


class RootFiles(Protocol):
    """The files of one image, for one bundle."""

    def notes(self) -> Mapping[str, str]:
        """What has to be known later to undo it; asked before anything is made."""
        ...

    def make(self, folder: str) -> None:
        """Have the files in an empty folder that is there; nothing is left in it when this raises."""
        ...

    def undo(self, folder: str) -> None:
        """The folder is empty again, or gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedRoot:
    """An active snapshot, which the collector spares, mounted at the folder.

    Args:
        parent: The committed snapshot below it; None: whatever ``key`` lies on.
        key: That of the active one.
    """

    snapshotter: Snapshotter
    key: str
    parent: str | None = None
    now: Callable[[], datetime] = field(default=datetime.now, repr=False)

    def notes(self) -> Mapping[str, str]:
        return {"snapshotter": self.snapshotter.name, "key": self.key}

    def make(self, folder: str) -> None:
        labels = {GC_ROOT: self.now().astimezone().isoformat()}
        try:
            for one in self.snapshotter.prepare(self.key, self.parent, labels=labels):
                mount(replace(one, target=folder))
        except BaseException:
            self.undo(folder)
            raise

    def undo(self, folder: str) -> None:
        """Raises Unavailable while somebody uses it; it is mounted then. What cannot be removed is left to
        the collector."""
        real = os.path.realpath(folder)
        for one in reversed(mounts_below(real)):
            unmount(one.target)
        with suppress(OSError):
            os.rmdir(real)  # takes copies of the mount in other namespaces away
        with suppress(NotFound):
            try:
                self.snapshotter.remove(self.key)
            except Unavailable:
                info = self.snapshotter.stat(self.key)
                labels = {key: value for key, value in info.labels.items() if key != GC_ROOT}
                self.snapshotter.update(replace(info, labels=labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedRoot:
    """Files written by ``write``, which leaves nothing when it raises.

    Args:
        owner: User and group of the folder itself, where no layer tells of it; None: whoever makes it.
    """

    write: Callable[[str], None]
    owner: tuple[int, int] | None = None

    def notes(self) -> Mapping[str, str]:
        return {}

    def make(self, folder: str) -> None:
        if self.owner is not None:
            with translated(f"folder {folder}"):
                os.chown(folder, *self.owner)
        self.write(folder)

    def undo(self, folder: str) -> None:
        drop_files(folder)


def drop_files(folder: str) -> None:
    """Remove what is in a folder, and it; whatever links there are, nothing else.

    Raises:
        DistoreError: Not all of it goes.
    """
    parent, name = os.path.split(os.path.abspath(folder))
    if mounts_below(folder):
        raise DistoreError(f"folder {folder}: something is mounted there; unmount it first")
    with translated(f"folder {folder}"), Root(parent, unlock=True) as root:
        root.remove(os.fsencode(name))
