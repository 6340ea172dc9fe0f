"""What runs of this store leave when they are killed, and its removal."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from distore.errors import NotFound

if TYPE_CHECKING:
    from distore.app import App
    from distore.bundle.running import Record
    from distore.cli.output import Output


def before_collecting(app: App, out: Output) -> None:
    """Have the right to remove files of all ids that this user has, where runs may have made some; and
    clear away what they left."""
    root = app.content.root
    if not any(os.path.isdir(os.path.join(root, name)) for name in ("run", "snapshots")):
        return
    from distore.cli.runflags import enter_namespace, is_root, outer_maps

    if os.geteuid() != 0 and not is_root() and outer_maps().groups:
        enter_namespace()
    clear_left_over(app, out)


def clear_left_over(app: App, out: Output) -> None:
    """Remove containers whose ``dist run`` was killed, with their snapshots; what does not go is noted,
    and stays for the next time."""
    root = app.content.root
    if not os.path.isdir(os.path.join(root, "run")):
        return
    from distore.bundle.running import left_over

    for id, problem in left_over(root, drop=lambda record: drop(app, record), sleep=time.sleep):
        said = "removed what was left of it" if problem is None else str(problem)
        out.note(f"dist: container {id}: its dist run was killed; {said}")


def drop(app: App, record: Record) -> None:
    """Remove the snapshot of a run, in whatever namespace."""
    metadata = app.metadata.over(app.content.view(namespace=record.namespace))
    with suppress(NotFound):
        metadata.snapshotter(record.snapshotter).remove(record.key)
