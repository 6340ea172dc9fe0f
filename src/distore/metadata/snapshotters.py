"""Snapshotters: which there are, and the one to use where the store lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.metadata.snapshots import SnapshotRecords
from distore.snapshots.native import Native
from distore.snapshots.overlay import Overlay
from distore.snapshots.probe import supported

if TYPE_CHECKING:
    from distore.metadata.db import Metadata
    from distore.snapshots.driver import Driver
    from distore.snapshots.snapshotter import Snapshotter

DRIVERS: Final[dict[str, type[Driver]]] = {"overlayfs": Overlay, "native": Native}


def open_snapshotter(metadata: Metadata, name: str | None, *, sync: bool = True) -> Snapshotter:
    """The snapshots of a namespace, held by the lease of its content when there is one.

    Args:
        name: One of DRIVERS; None: overlayfs where the file system takes it, else native.
        sync: Whether commits wait until the files are on the device.
    Raises:
        InvalidArgument: Another name.
    """
    folder = metadata.content.paths.snapshots
    if name is None:
        name = "native" if supported(os.path.join(folder, "overlayfs")) else "overlayfs"
    driver = DRIVERS.get(name)
    if driver is None:
        raise InvalidArgument(f"snapshotter {name[:60]!a}: want {' or '.join(DRIVERS)}")
    content = metadata.content
    records = SnapshotRecords(content.database, content.visibility, snapshotter=name, now=metadata.now)
    return driver(os.path.join(folder, name), records, sync=sync)
