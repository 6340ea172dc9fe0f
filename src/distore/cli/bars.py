"""Bars on a terminal: a line for each blob that moves, and one for all of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from distore.cli.output import inert
from distore.cli.progress import describe, short
from distore.oci import mediatypes
from distore.transfer.progress import (
    Done,
    Finished,
    Moved,
    Noted,
    Planned,
    Resolved,
    Started,
    Unpacked,
    Unpacking,
)

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from distore.oci.digest import Digest
    from distore.transfer.progress import Event

_NAME: Final = 19  # characters of a short digest
_NARROW: Final = 80  # columns of a terminal that has no room for speed and time
_BAR: Final = 40  # columns
_SIZES: Final = 15  # columns that "123.4/123.4 MB" needs


class Bars:
    """A Renderer for people. The bars go when it closes; the lines above them stay.

    Args:
        brief: Show bars and notes alone, no line for each thing that happened.
    """

    def __init__(self, *, brief: bool = False) -> None:
        self._lines = (Noted,) if brief else (Resolved, Planned, Done, Unpacked, Noted, Finished)
        self._console = Console(file=sys.stderr, highlight=False)
        self._progress = Progress(*_columns(self._console.width), console=self._console, transient=True)
        self._tasks: dict[Digest, TaskID] = {}
        self._at: dict[Digest, int] = {}
        self._unpacking: dict[Digest, TaskID] = {}
        self._unpacked: dict[Digest, int] = {}
        self._total: TaskID | None = None
        self._missing = 0
        self._moved = 0
        self._progress.start()

    def show(self, event: Event, /) -> None:
        if isinstance(event, Planned):
            self._missing = event.missing + event.unpack
            self._total = self._progress.add_task("total".ljust(_NAME), total=self._missing)
        elif isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Moved):
            self._move(event.digest, event.offset)
        elif isinstance(event, Done):
            self._end(event)
        elif isinstance(event, Unpacking):
            self._unpack(event)
        elif isinstance(event, Unpacked):
            self._end_unpacking(event)
        if isinstance(event, self._lines):
            self._console.print(inert(describe(event) or ""), markup=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()

    def _start(self, event: Started) -> None:
        if event.digest in self._tasks:  # it starts over
            self._move(event.digest, event.offset)
            return
        self._at[event.digest] = event.offset
        self._tasks[event.digest] = self._progress.add_task(
            short(event.digest), total=event.size, completed=event.offset
        )

    def _move(self, digest: Digest, offset: int) -> None:
        task = self._tasks.get(digest)
        if task is not None:
            self._progress.update(task, completed=offset)
            self._count(offset - self._at[digest])
            self._at[digest] = offset

    def _end(self, event: Done) -> None:
        if event.digest in self._tasks:
            self._move(event.digest, event.size)
            self._progress.remove_task(self._tasks.pop(event.digest))
        elif not (mediatypes.is_manifest(event.media_type) or mediatypes.is_index(event.media_type)):
            self._count(event.size)  # the plan counts blobs, not documents

    def _unpack(self, event: Unpacking) -> None:
        if event.digest not in self._unpacking:
            self._unpacked[event.digest] = 0
            self._unpacking[event.digest] = self._progress.add_task(
                f"unpack {short(event.digest)}"[:_NAME], total=event.size
            )
        self._progress.update(self._unpacking[event.digest], completed=event.offset)
        self._count(event.offset - self._unpacked[event.digest])
        self._unpacked[event.digest] = event.offset

    def _end_unpacking(self, event: Unpacked) -> None:
        self._count(event.size - self._unpacked.pop(event.digest, 0))
        task = self._unpacking.pop(event.digest, None)
        if task is not None:
            self._progress.remove_task(task)

    def _count(self, size: int) -> None:
        if self._total is not None:
            self._moved += size
            self._progress.update(self._total, completed=min(self._moved, self._missing))


def _columns(width: int) -> list[ProgressColumn]:
    bar = min(_BAR, max(4, width - _NAME - _SIZES - 2))
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=bar),
        DownloadColumn(table_column=Column(no_wrap=True)),
    ]
    if width >= _NARROW:
        columns += [TransferSpeedColumn(table_column=Column(no_wrap=True)), TimeRemainingColumn(compact=True)]
    return columns
