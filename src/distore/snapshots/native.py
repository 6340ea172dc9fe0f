"""The snapshotter ``native``: each snapshot is a whole tree, for file systems that overlayfs refuses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from distore._internal import fsops
from distore.mount import Mount
from distore.snapshots.copying import copy_tree
from distore.snapshots.driver import Driver
from distore.snapshots.snapshotter import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.snapshots.records import Record


class Native(Driver):
    """A Snapshotter."""

    name: ClassVar[str] = "native"

    def _fill(self, id: int, kind: Kind, parents: Sequence[int]) -> None:
        if kind == Kind.ACTIVE and parents:
            copy_tree(self._folders.files(parents[0]), self._folders.files(id))
            fsops.sync_file_system(self._folders.path)
        else:  # a view shows the parent itself
            self._folders.sync(id)

    def _mounts(self, id: int, kind: Kind, parents: Sequence[int]) -> tuple[Mount, ...]:
        shown = parents[0] if kind == Kind.VIEW and parents else id
        source = os.path.join(os.path.realpath(self._folders.path), str(shown), "fs")
        option = "rw" if kind == Kind.ACTIVE else "ro"
        return (Mount(type="bind", source=source, target="", options=(option, "rbind")),)

    def _shown(self, record: Record, parents: Sequence[int]) -> int:
        return parents[0] if record.info.kind == Kind.VIEW and parents else record.id
