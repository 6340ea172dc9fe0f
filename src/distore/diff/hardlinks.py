"""Links: which names of two trees are one file, so that a layer tells of all of them or of none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


class Group:
    """The names of one file of the upper tree, as far as they were met."""

    __slots__ = ("changed", "count", "lower")

    def __init__(self, lower: tuple[int, int] | None) -> None:
        self.lower = lower  # the file that the first of them is in the lower tree
        self.count = 0
        self.changed = False


class Links:
    """Groups of names. A name that is not in the upper tree counts for none: it goes by itself."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], Group] = {}
        self._lower: dict[tuple[int, int], int] = {}

    def note(self, new: os.stat_result, old: os.stat_result | None, *, changed: bool) -> Group:
        """One more name; ``old`` is what it is in the lower tree.

        Args:
            changed: It is something else there.
        """
        lower = None if old is None else (old.st_dev, old.st_ino)
        group = self._groups.setdefault((new.st_dev, new.st_ino), Group(lower))
        group.count += 1
        if changed or lower is None or lower != group.lower:
            group.changed = True
        else:
            self._lower[lower] = self._lower.get(lower, 0) + 1
        return group

    def is_changed(self, group: Group) -> bool:
        """Whether a layer tells of its names; once all names were noted."""
        return group.changed or group.lower is None or self._lower[group.lower] != group.count
