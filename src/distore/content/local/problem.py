"""Problem: one thing that fsck found, and what it did about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Actions after which nothing is left to do.
_RESOLVED: Final = frozenset({"repaired", "fixed", "removed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """``subject`` is a digest, an ingest ref, an image's name or a path.

    ``kind``: damaged, unreadable, writable, stray, ingest, database, missing, row (records about a
    blob that nobody has), image (its root is missing). ``action``: none, repaired (right bytes are
    in place again), quarantined, fixed (the mode), removed (the empty rest of an ingest, or the
    records). ``inode`` is that of the file looked at.
    """

    kind: str
    subject: str
    detail: str
    action: str = "none"
    inode: int | None = None

    @property
    def resolved(self) -> bool:
        """Nothing is left to do about it."""
        return self.action in _RESOLVED
