"""Whether a name is the same file in two trees: everything that a layer tells, its bytes last."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from distore.diff.ownership import owner_at, same_owner, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.diff.ownership import Owner
    from distore.diff.readtree import Tree

SECOND: Final = 1_000_000_000  # nanoseconds
_PIECE: Final = 256 * 1024  # bytes read of each side at a time
_DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)


class Sameness:
    """Compares files of one tree with those of others.

    Args:
        checksum: Read all bytes, whatever the times say.
        latest: Nanoseconds since the epoch; what changed later counts as changed then.
        owner, lower_owner: What the image calls users and groups of either tree.
    """

    def __init__(
        self,
        upper: Tree,
        *,
        checksum: bool,
        latest: int | None,
        owner: Callable[[int, int], Owner] = same_owner,
        lower_owner: Callable[[int, int], Owner] = same_owner,
    ) -> None:
        self._upper = upper
        self._checksum = checksum
        self._latest = latest
        self._owner, self._lower_owner = owner, lower_owner
        self._space = (bytearray(_PIECE), bytearray(_PIECE))

    def differs(
        self, path: bytes, new: os.stat_result, lower: Tree, old: os.stat_result, *, times: bool = True
    ) -> bool:
        """Whether a layer has to tell of a name that both trees have.

        Args:
            times: Its time counts, too.
        """
        if os.path.samestat(new, old):
            return False
        kind = stat.S_IFMT(new.st_mode)
        if new.st_mode != old.st_mode:
            return True
        ours = owner_at(self._upper, path, new, self._owner)
        if ours != owner_at(lower, path, old, self._lower_owner):
            return True
        if times and not self._is_same_time(new.st_mtime_ns, old.st_mtime_ns):
            return True
        if kind == stat.S_IFREG and new.st_size != old.st_size:
            return True
        if kind == stat.S_IFLNK and self._upper.link(path) != lower.link(path):
            return True
        if kind in _DEVICES and new.st_rdev != old.st_rdev:
            return True
        first, second = self._upper.attributes(path), lower.attributes(path)
        if (first or second) and [*unmapped(first, self._owner)] != [*unmapped(second, self._lower_owner)]:
            return True
        return kind == stat.S_IFREG and bool(new.st_size) and self._read_differs(path, new, lower, old)

    def _is_same_time(self, new: int, old: int) -> bool:
        return new == old or (self._latest is not None and new > self._latest == old)

    def _read_differs(self, path: bytes, new: os.stat_result, lower: Tree, old: os.stat_result) -> bool:
        # Whole seconds are what a layer or a package gave the file; another version may have the same.
        exact = new.st_mtime_ns == old.st_mtime_ns and new.st_mtime_ns % SECOND
        if exact and not self._checksum:
            return False
        ours = self._upper.open(path, new)
        try:
            theirs = lower.open(path, old)
            try:
                return self._bytes_differ(path, ours, lower, theirs)
            finally:
                os.close(theirs)
        finally:
            os.close(ours)

    def _bytes_differ(self, path: bytes, ours: int, lower: Tree, theirs: int) -> bool:
        first, second = self._space
        while True:
            size = self._upper.read(path, ours, first)
            if lower.read(path, theirs, second) != size:
                return True
            # Not memoryviews, which compare byte by byte; the rest of the buffers may differ.
            same = first == second if size == _PIECE else first[:size] == second[:size]
            if not same or size < _PIECE:
                return not same
