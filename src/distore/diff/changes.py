"""Changes: what differs between two trees, found folder by folder in the order of names.

The lower tree is one folder, or several that overlayfs stacks; the upper one is a whole tree, or the
folder in which overlayfs keeps what was changed.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from distore.diff.hardlinks import Links
from distore.diff.overlaytar import WHITEOUT
from distore.diff.ownership import same_owner
from distore.diff.safepath import join
from distore.diff.sameness import SECOND, Sameness
from distore.errors import FailedPrecondition

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from distore.diff.hardlinks import Group
    from distore.diff.ownership import Owner
    from distore.diff.readtree import Tree

_WHITEOUT: Final = WHITEOUT.encode()


class Kind(StrEnum):
    """What became of a name."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"
    OPAQUE = "opaque"  # of what lay below in a folder nothing is left


_ADD, _MODIFY, _DELETE, _OPAQUE = b"+", b"*", b"-", b"o"
_PERHAPS: Final = b"?"  # modified, when another name of its file is
_TOUCHED: Final = b"t"  # modified, when anything else is: the root's time alone tells nothing
_KINDS: Final = {_ADD: Kind.ADD, _MODIFY: Kind.MODIFY, _DELETE: Kind.DELETE, _OPAQUE: Kind.OPAQUE}


@dataclass(frozen=True, slots=True)
class Change:
    """One name that differs; its path is relative to the tree, and empty for the root."""

    kind: Kind
    path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How trees are compared.

    Args:
        checksum: Read every file, also where its time is the same and finer than a second.
        source_date_epoch: Seconds since the epoch; what changed later counts as changed then.
        overlay: How overlayfs begins the names of its attributes, such as ``b"trusted.overlay."``,
            when the lower trees are folders in its form; None: there is one plain tree at most.
        is_upper: The upper tree is one, too: what it lacks is not gone.
        owner, lower_owner: What the image calls users and groups of the upper tree, and of the lower.
        note: Told, in one line, what is passed over.
    """

    checksum: bool = False
    source_date_epoch: int | None = None
    overlay: bytes | None = None
    is_upper: bool = False
    owner: Callable[[int, int], Owner] = same_owner
    lower_owner: Callable[[int, int], Owner] = same_owner
    note: Callable[[str], None] = lambda _text: None

    @property
    def latest(self) -> int | None:
        """``source_date_epoch`` in nanoseconds."""
        return None if self.source_date_epoch is None else self.source_date_epoch * SECOND


_Step = tuple[bytes, bytes, "tuple[Tree, ...] | None"]  # what became of a path, and what lies below it


def find_changes(lower: Sequence[Tree], upper: Tree, how: Comparison) -> Iterator[Change]:
    """Every change, folders before what is in them, names in the order of their bytes.

    With a lower tree all is read before the first one comes, as the names of one file are told of
    together; memory grows by the names that changed, and by those of files with several.

    Args:
        lower: The uppermost first.
    Raises:
        FailedPrecondition: A name that no layer can have, or something changed meanwhile.
        DistoreError: As ``Tree``.
    """
    walk = _Walk(upper, how)
    steps = walk.steps(tuple(lower))
    if not lower:
        return (Change(_KINDS[code], path) for code, path in steps)
    return _resolved(walk, steps)


def _resolved(walk: _Walk, steps: Iterator[tuple[bytes, bytes]]) -> Iterator[Change]:
    data = bytearray()  # a list of a million changes would take ten times the room
    for code, path in steps:
        data += b"%b%b\0" % (code, path)
    waiting = iter(walk.waiting)
    start = 0
    while start < len(data):
        end = data.index(0, start)
        code, path = bytes(data[start : start + 1]), bytes(data[start + 1 : end])
        start = end + 1
        if code == _PERHAPS:
            is_change = walk.links.is_changed(next(waiting))
        else:
            is_change = code != _TOUCHED or start < len(data)
        if is_change:
            yield Change(_KINDS.get(code, Kind.MODIFY), path)


class _Walk:
    """All sides at once."""

    def __init__(self, upper: Tree, how: Comparison) -> None:
        self._upper = upper
        self._note = how.note
        self._overlay = how.overlay
        self._is_upper = how.is_upper
        self._same = Sameness(
            upper,
            checksum=how.checksum,
            latest=how.latest,
            owner=how.owner,
            lower_owner=how.lower_owner,
        )
        self._is_compared = False  # with anything: else all is told of
        self.links = Links()
        self.waiting: list[Group] = []  # those of the names that changed perhaps, in their order

    def steps(self, lower: tuple[Tree, ...]) -> Iterator[tuple[bytes, bytes]]:
        """What became of each path; nothing is said of those that stayed as they were."""
        self._is_compared = bool(lower)
        # Without recursion: a tree may nest deeply.
        stack = [iter([self._both(b"", lower, self._upper.stat(b""))])]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                continue
            code, path, below = step
            if code:
                yield code, path
            if below is not None:
                is_opaque = self._is_upper and path != b"" and self._is_opaque(self._upper, path)
                if is_opaque and below:
                    yield _OPAQUE, path
                stack.append(self._inside(path, () if is_opaque else below))

    def _inside(self, folder: bytes, lower: tuple[Tree, ...]) -> Iterator[_Step]:
        ours = self._upper.names(folder)
        for name, is_ours, is_theirs in _merged(ours, self._lower_names(folder, lower)):
            path = join(folder, name)
            new = self._upper.stat(path) if is_ours else None
            if new is not None and self._is_passed_over(path, new):
                new = None
            step = self._step(path, lower if is_theirs or self._is_upper else (), new)
            if step is not None:
                if step[0] and name.startswith(_WHITEOUT):
                    raise FailedPrecondition(
                        f"{self._upper.shown(path)}: a name that begins with {WHITEOUT} removes another"
                        " one in a layer; rename it"
                    )
                yield step

    def _lower_names(self, folder: bytes, lower: tuple[Tree, ...]) -> list[bytes]:
        if self._is_upper or not lower:
            return []
        first, *more = (tree.names(folder) for tree in lower)
        return sorted({*first}.union(*more)) if more else first

    def _step(self, path: bytes, lower: tuple[Tree, ...], new: os.stat_result | None) -> _Step | None:
        if new is not None and self._is_upper and self._is_whiteout(self._upper, path, new):
            new = None
        if new is not None:
            return self._both(path, lower, new)
        tree, old, _ = self._below(path, lower)
        return None if tree is None or old is None else (_DELETE, path, None)

    def _both(self, path: bytes, lower: tuple[Tree, ...], new: os.stat_result) -> _Step:
        tree, old, below = self._below(path, lower)
        if self._is_upper:
            self._check_overlay(path, new)
        if tree is None or old is None:
            code, changed = _ADD, True
        else:
            changed = self._same.differs(path, new, tree, old)
            code = _MODIFY if changed else b""
            if self._is_upper and not path and changed:
                code = code if self._same.differs(path, new, tree, old, times=False) else _TOUCHED
        if stat.S_ISDIR(new.st_mode):
            if new.st_dev != self._upper.device:
                self._note(f"{self._upper.shown(path)}: another file system is mounted there; left out")
                return code, path, None
            return code, path, below
        # What was copied up is no longer one with its other names below, which are not here.
        was_linked = old is not None and old.st_nlink > 1 and not self._is_upper
        if self._is_compared and (new.st_nlink > 1 or was_linked):
            group = self.links.note(new, old, changed=changed)
            if not changed:
                self.waiting.append(group)
                code = _PERHAPS
        return code, path, None

    def _below(
        self, path: bytes, lower: tuple[Tree, ...]
    ) -> tuple[Tree | None, os.stat_result | None, tuple[Tree, ...]]:
        """What lies below a name, the tree it is in, and those in which more of the folder is."""
        found: tuple[Tree | None, os.stat_result | None] = (None, None)
        folders: list[Tree] = []
        for tree in lower:
            info = tree.find(path)
            if info is None or stat.S_ISSOCK(info.st_mode):
                continue
            if self._overlay is not None and self._is_whiteout(tree, path, info):
                break
            if found[0] is None:
                found = (tree, info)
            if not stat.S_ISDIR(info.st_mode):
                break
            folders.append(tree)
            if self._overlay is not None and path and self._is_opaque(tree, path):
                break
        return *found, tuple(folders)

    def _is_passed_over(self, path: bytes, info: os.stat_result) -> bool:
        if not stat.S_ISSOCK(info.st_mode):
            return False
        self._note(f"{self._upper.shown(path)}: a socket, which is nothing without its process; left out")
        return True

    def _is_whiteout(self, tree: Tree, path: bytes, info: os.stat_result) -> bool:
        """As overlayfs has them (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque")."""
        if stat.S_ISCHR(info.st_mode):
            return info.st_rdev == 0
        assert self._overlay is not None
        is_empty = stat.S_ISREG(info.st_mode) and not info.st_size
        return is_empty and tree.attribute(path, self._overlay + b"whiteout") is not None

    def _is_opaque(self, tree: Tree, path: bytes) -> bool:
        assert self._overlay is not None
        return tree.attribute(path, self._overlay + b"opaque") == b"y"

    def _check_overlay(self, path: bytes, info: os.stat_result) -> None:
        """Whether it is here with all that it is."""
        assert self._overlay is not None
        if stat.S_ISDIR(info.st_mode):
            option, name = "redirect_dir", b"redirect"
        elif stat.S_ISREG(info.st_mode):
            option = "metacopy"
            name = option.encode()
        else:
            return
        if self._upper.attribute(path, self._overlay + name) is not None:
            raise FailedPrecondition(
                f"{self._upper.shown(path)}: refers to a file below it; mount with {option}=off, or"
                " compare whole trees"
            )


def _merged(ours: list[bytes], theirs: list[bytes]) -> Iterator[tuple[bytes, bool, bool]]:
    """Names of both lists in their order, and in which they are."""
    at = 0
    for name in ours:
        while at < len(theirs) and theirs[at] < name:
            yield theirs[at], False, True
            at += 1
        is_theirs = at < len(theirs) and theirs[at] == name
        at += is_theirs
        yield name, True, is_theirs
    for name in theirs[at:]:
        yield name, False, True
