"""Bars on a terminal: a line for each blob that moves, and one for all of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

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

from distore.cli.progress import describe, short
from distore.transfer.progress import Done, Finished, Moved, Noted, Planned, Resolved, Started

if TYPE_CHECKING:
    from distore.cli.output import Output
    from distore.oci.digest import Digest
    from distore.transfer.progress import Event


class Bars:
    """A Renderer for people."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._console = Console(file=sys.stderr, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._tasks: dict[Digest, TaskID] = {}
        self._at: dict[Digest, int] = {}
        self._total: TaskID | None = None
        self._progress.start()

    def show(self, event: Event, /) -> None:
        if isinstance(event, Planned):
            self._total = self._progress.add_task("total".ljust(19), total=event.size - event.kept)
        elif isinstance(event, Started):
            self._at[event.digest] = event.offset
            self._tasks[event.digest] = self._progress.add_task(
                short(event.digest), total=event.size, completed=event.offset
            )
        elif isinstance(event, Moved):
            self._move(event.digest, event.offset)
        elif isinstance(event, Done):
            self._end(event)
        if isinstance(event, Resolved | Planned | Noted | Finished):
            self._say(describe(event) or "")

    def close(self) -> None:
        self._progress.stop()

    def _move(self, digest: Digest, offset: int) -> None:
        task = self._tasks.get(digest)
        if task is not None:
            self._progress.update(task, completed=offset)
            if self._total is not None:
                self._progress.advance(self._total, offset - self._at[digest])
            self._at[digest] = offset

    def _end(self, event: Done) -> None:
        if event.digest in self._tasks:
            self._move(event.digest, event.size)
            self._progress.remove_task(self._tasks.pop(event.digest))
        elif self._total is not None:
            self._progress.advance(self._total, event.size)
        self._say(describe(event) or "")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
