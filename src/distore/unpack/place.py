"""Where the images of one store are unpacked to, by this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.unpack.rights import own_options
from distore.unpack.unpacker import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.metadata.db import Metadata

_LOCKS: Final = "unpacking"  # below the store's root (docs/formats/store.md#snapshots)


def place_of(
    metadata: Metadata,
    *,
    snapshotter: str | None,
    sync: bool,
    check: Callable[[], None],
    sleep: Callable[[float], None],
) -> Place:
    """The snapshots of a namespace, held by the lease of ``metadata.content`` if there is one.

    Args:
        snapshotter: ``overlayfs`` or ``native``; None: the best that there is.
        sync: Whether a snapshot is committed only once its files are on the device.
        check: Raises to stop the work.
        sleep: Waits that many seconds; raises as ``check`` does.
    Raises:
        InvalidArgument: No such snapshotter.
    """
    content = metadata.content
    return Place(
        content=content,
        snapshotter=metadata.snapshotter(snapshotter, sync=sync),
        options=own_options(),
        locks=os.path.join(content.root, _LOCKS),
        namespace=content.namespace,
        check=check,
        sleep=sleep,
    )
