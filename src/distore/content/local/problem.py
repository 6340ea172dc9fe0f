"""Problem: one thing that fsck found, and what it did about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os

# Actions after which nothing is left to do.
_RESOLVED: Final = frozenset({"repaired", "fixed", "removed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """``subject`` is a digest, an ingest ref, the name of an image or a repository, or a path.

    ``kind``: damaged, unreadable, writable, stray, ingest, database, missing, row (records about a
    blob that nobody has), image (its root is missing), repository (a blob that it offers is), snapshot
    (its files are). ``action``: none, repaired (right bytes are in place again), quarantined, fixed (the
    mode), removed (the empty rest of an ingest, or the records). ``file`` is the one looked at: its
    inode, and when it was written, in nanoseconds, for an inode's number is given again.
    """

    kind: str
    subject: str
    detail: str
    action: str = "none"
    file: tuple[int, int] | None = None

    @property
    def resolved(self) -> bool:
        """Nothing is left to do about it."""
        return self.action in _RESOLVED


def file_of(there: os.stat_result) -> tuple[int, int]:
    """What ``Problem.file`` is for a file."""
    return there.st_ino, there.st_mtime_ns
