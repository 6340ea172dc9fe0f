"""Settle: finish the upper folder of a layer once the layers below it are known."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distore.diff.below import NAMES_ONLY, is_whiteout
from distore.diff.entry import Maker
from distore.diff.laying import UNTOLD
from distore.diff.safepath import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.diff.below import Below
    from distore.diff.entry import ApplyOptions
    from distore.diff.safepath import Root


@dataclass(slots=True, kw_only=True)
class Open:
    """What only the layers below decide, by real path.

    Args:
        times: Of the upper folder itself before anything was in it (access, change; nanoseconds).
        leans: The layer needs what is in lower ones; nothing can be made of it without them.
        assumed: Taken for folders, or for nothing: no links.
        untold: Folders of which the layer does not tell; they are below, or new.
        weak: Names that are there only because they are below.
        clear: Folders in which nothing of lower layers is seen.
        whiteouts: Names in folders of the upper one that are hidden, unless they are something else by now.
    """

    times: tuple[int, int]
    leans: bool = False
    assumed: set[bytes] = field(default_factory=set)
    untold: set[bytes] = field(default_factory=set)
    weak: set[bytes] = field(default_factory=set)
    clear: set[bytes] = field(default_factory=set)
    whiteouts: set[bytes] = field(default_factory=set)


class Settling:
    """Raises OSErrors as they are; ``at`` says what was at work."""

    def __init__(
        self, root: Root, below: Below, options: ApplyOptions, subject: str, *, attributes: bytes
    ) -> None:
        self._root = root
        self._below = below
        self._maker = Maker(options, subject)
        self._subject = subject
        self._opaque = attributes + b"opaque"
        self._times: dict[bytes, tuple[int, int]] = {}  # of folders in which something changed
        self.at = subject

    def settle(self, ends: Open) -> bool:
        """Whether it was possible; if not, nothing was changed."""
        if ends.leans or any(self._is_link(path) for path in ends.assumed):
            return False
        self._drop_whiteouts(ends)
        self._drop_folders(ends)
        opaque = {path for path in ends.clear if path and self._below.is_folder(path)}
        if b"" in ends.clear:
            opaque |= self._hide_root()
        for path in sorted(ends.untold | opaque | {*self._times}, reverse=True):
            self._at(path)
            fd = self._root.open(path)
            try:
                self._finish(path, fd, ends, is_opaque=path in opaque)
            finally:
                os.close(fd)
        self._lock()
        return True

    def _finish(self, path: bytes, fd: int, ends: Open, *, is_opaque: bool) -> None:
        info = os.fstat(fd)
        if is_opaque:
            os.setxattr(fd, self._opaque, b"y")
        if path not in ends.untold:
            os.utime(fd, ns=self._times.get(path, (info.st_atime_ns, info.st_mtime_ns)))
            return
        found = self._below.find(path)
        if found is not None and stat.S_ISDIR(found[1].st_mode):
            source = self._below.open(found[0], path, NAMES_ONLY)
            try:
                self._maker.copy(f"/proc/self/fd/{source}", fd, found[1])
            finally:
                os.close(source)
        elif path:
            self._maker.finish(fd, UNTOLD, self.at)
        else:
            os.utime(fd, ns=ends.times)

    def _is_link(self, path: bytes) -> bool:
        mode = self._below.kind(path)
        return mode is not None and stat.S_ISLNK(mode)

    def _drop_whiteouts(self, ends: Open) -> None:
        """What hides nothing is no part of the layer."""
        for path in sorted(ends.whiteouts):
            self._at(path)
            if self._below.find(path) is None and self._is_whiteout(path):
                self._drop(os.unlink, path)

    def _is_whiteout(self, path: bytes) -> bool:
        info = self._root.stat(path)
        return info is not None and is_whiteout(info)

    def _drop_folders(self, ends: Open) -> None:
        """They had whiteouts in them alone, which are gone."""
        for path in sorted(ends.weak & ends.untold, reverse=True):
            self._at(path)
            if not self._below.is_folder(path):
                self._root.forget()
                self._drop(os.rmdir, path)
                self._times.pop(path, None)
                self._root.unlocked.pop(path, None)
                ends.untold.discard(path)
                ends.clear.discard(path)

    def _drop(self, call: Callable[..., None], path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        fd = self._root.folder(parent)
        self._keep_times(parent, fd)
        call(name, dir_fd=fd)

    def _keep_times(self, folder: bytes, fd: int) -> None:
        if folder not in self._times:
            info = os.fstat(fd)
            self._times[folder] = (info.st_atime_ns, info.st_mtime_ns)

    def _hide_root(self) -> set[bytes]:
        """Everything in the lower root by name, for the root of an overlay cannot be opaque; the
        folders that are to be."""
        opaque: set[bytes] = set()
        fd = self._root.folder(b"")
        self._keep_times(b"", fd)
        for name in self._below.names():
            self._at(name)
            mode = self._root.kind(name)
            if mode is None:
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=fd)
            elif stat.S_ISDIR(mode) and self._below.is_folder(name):
                opaque.add(name)
        return opaque

    def _lock(self) -> None:
        """Give folders that were opened their modes again."""
        for path in sorted(self._root.unlocked, reverse=True):
            fd = self._root.open(path)
            try:
                os.fchmod(fd, self._root.unlocked[path])
            finally:
                os.close(fd)
        self._root.unlocked.clear()

    def _at(self, path: bytes) -> None:
        self.at = f"{self._subject}: {shown_path(path)}"
