"""Watching an ingest that another process runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore._internal import filelock
from distore._internal.oserrors import translated
from distore.content.local import ingests
from distore.content.store import Status
from distore.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.local.paths import IngestPaths
    from distore.oci.digest import Digest

_PAUSES: Final = (0.02, 0.05, 0.1, 0.2)  # seconds between looks; the last repeats


def watch(
    ref: str,
    paths: IngestPaths,
    *,
    now: Callable[[], float],
    sleep: Callable[[float], None],
    report: Callable[[Status], None] | None,
    timeout: float | None,
) -> Digest | None:
    """Wait until nobody holds the ingest; see ``Follower.follow``.

    The lock file outlives its name while we hold it open, and says how the ingest ended.
    """
    with translated(f"ingest {ref!r}"):
        fd = filelock.open_to_look(paths.lock)
    if fd is None:
        return None
    try:
        return _watch(ref, paths, fd, now=now, sleep=sleep, report=report, timeout=timeout)
    finally:
        os.close(fd)


def peek(ref: str, paths: IngestPaths) -> int | None:
    """The data, open to be read; None where there is none."""
    with translated(f"ingest {ref!r}"):
        try:
            return os.open(paths.data, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None


def _watch(
    ref: str,
    paths: IngestPaths,
    fd: int,
    *,
    now: Callable[[], float],
    sleep: Callable[[float], None],
    report: Callable[[Status], None] | None,
    timeout: float | None,
) -> Digest | None:
    waited, look = 0.0, 0
    while filelock.is_held(fd):
        if timeout is not None and waited >= timeout:
            owner = ingests.owner_of(filelock.read_fields(fd))
            raise DeadlineExceeded(
                f"{ingests.locked(ref, owner, ingests.from_timestamp(now()))}; waited {timeout:g} s"
            )
        if report:
            report(_followed(ref, paths, fd, now))
        pause = _PAUSES[min(look, len(_PAUSES) - 1)]
        sleep(pause)
        waited, look = waited + pause, look + 1
    return ingests.result_of(filelock.read_fields(fd))


def _followed(ref: str, paths: IngestPaths, fd: int, now: Callable[[], float]) -> Status:
    """Of an ingest whose lock is held; before its first byte and after its last one, too, or whoever
    follows could not give up beside an owner that was stopped there."""
    with translated(f"ingest {ref!r}"):
        status = ingests.status(paths)
        if status is not None:
            return status
        owner = ingests.owner_of(filelock.read_fields(fd))
    since = owner.since or ingests.from_timestamp(now())
    return Status(ref, 0, None, None, started=since, updated=since, owner=owner)
