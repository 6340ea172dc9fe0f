"""UpperLaying: one layer on its way into the upper folder of overlayfs (``applyupper``)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from distore.diff.below import is_whiteout
from distore.diff.copyup import copy_up
from distore.diff.laying import MAX_REMEMBERED, UNTOLD, Laying
from distore.diff.safepath import follow, join, shown_path
from distore.diff.settle import Open, Settling
from distore.diff.tarmember import FOLDER, HARD_LINK
from distore.errors import FailedPrecondition

if TYPE_CHECKING:
    from distore.diff.below import Below
    from distore.diff.entry import ApplyOptions
    from distore.diff.safepath import Root
    from distore.diff.tarmember import Member, Meta

_UNKNOWN: Final = 0  # no mode of anything


class UpperLaying(Laying):
    """One layer in an upper folder.

    A *weak* name is there without the layer having it: a folder for the whiteouts in it, a file copied
    up for a hard link to it. A folder is *clear* when nothing of lower layers is seen in it.
    """

    def __init__(
        self, root: Root, options: ApplyOptions, subject: str, *, below: Below | None, attributes: bytes
    ) -> None:
        super().__init__(root, options, subject)
        self._below = below
        self._options = options
        self._attributes = attributes
        info = os.fstat(root.folder(b""))
        self._maker.drop_default_acl(root.folder(b""))
        self.open = Open(times=(info.st_atime_ns, info.st_mtime_ns))
        # All folders in the upper one, by real path; None: as it is below.
        self._folders: dict[bytes, Meta | None] = {b"": None}
        self._weak = self.open.weak
        self._clear = self.open.clear
        self._real: dict[bytes, bytes] = {}
        self._passed: list[bytes] = []  # unknown folders on the way of a name

    def lay(self, member: Member) -> None:
        """The next member; once the layer leans on others it is only read."""
        if self.open.leans:
            return
        try:
            super().lay(member)
        except FailedPrecondition:
            if self._below is not None or not self.open.assumed:
                raise
            self._lean()  # what was assumed may have led here

    def finish(self) -> None:
        """Give the folders their times, which everything in them changed."""
        if self.open.leans:
            return
        # Those below another one first: nobody has to get through a folder that is done.
        for path in sorted(self._folders, reverse=True):
            meta = self._folders[path]
            if meta is None:
                self.open.untold.add(path)
                continue
            self.at = f"{self._subject}: {shown_path(path)}"
            fd = self._root.open(path)
            try:
                self._maker.finish(fd, meta, self.at)
            finally:
                os.close(fd)
        # Those in folders that went, or became something else, are gone.
        gone = {path for path in self.open.whiteouts if path.rpartition(b"/")[0] not in self._folders}
        self.open.whiteouts -= gone
        if self._below is not None:
            settling = Settling(
                self._root, self._below, self._options, self._subject, attributes=self._attributes
            )
            settling.settle(self.open)

    def _tell_root(self, meta: Meta) -> None:
        self._folders[b""] = meta

    def _put(self, member: Member, head: bytes, base: bytes) -> None:
        folder = self._folder(head)
        if folder is None:
            return
        path = join(folder, base)
        fd = self._root.folder(folder)
        if member.kind == FOLDER:
            self._put_folder(path, fd, member.meta)
        elif member.kind == HARD_LINK:
            self._put_link(member, path)
        else:
            self._make(member, path, fd)
        self.open.whiteouts.discard(path)
        self._strengthen(path)

    def _put_folder(self, path: bytes, fd: int, meta: Meta) -> None:
        if path not in self._folders:
            try:
                self._mkdir(path, fd)
            except FileExistsError:
                self._replace(path)
        self._folders[path] = meta

    def _put_link(self, member: Member, path: bytes) -> None:
        head, _, source = member.link.encode("utf-8", "surrogateescape").rpartition(b"/")
        folder = self._resolve(head, make=False) if source else None
        target = None if folder is None else join(folder, source)
        mode = None if target is None else self._look(target)
        if self.open.leans or mode == _UNKNOWN:
            self._lean()
        elif target is None or mode is None or stat.S_ISDIR(mode):
            raise self._no_target(member, is_there=mode is not None or not source)
        else:
            if self._there(target) is None:
                self._copy_up(target)
            self._link(target, path)

    def _copy_up(self, target: bytes) -> None:
        """Have a file of lower layers in the upper folder, with all of its names."""
        assert self._below is not None
        found = self._below.find(target)
        assert found is not None
        layer, info = found
        folder = target.rpartition(b"/")[0]
        self._ensure(folder)
        copy_up(self._below, layer, target, self._root, self._maker)
        self._weak.add(target)
        for other in self._below.linked(layer, info.st_ino) if info.st_nlink > 1 else ():
            if other != target and self._is_seen(other, layer):
                self._ensure(other.rpartition(b"/")[0])
                self._link(target, other)
                self._weak.add(other)

    def _is_seen(self, path: bytes, layer: int) -> bool:
        """Whether this name of a lower layer is seen through this one."""
        assert self._below is not None
        parts = path.split(b"/")
        for end in range(1, len(parts) + 1):
            at = b"/".join(parts[:end])
            mode = self._look(at)
            if mode is None or (end < len(parts) and not stat.S_ISDIR(mode)):
                return False
        found = self._below.find(path)
        return found is not None and found[0] == layer and self._there(path) is None

    def _hide(self, head: bytes, name: bytes) -> None:
        folder = self._resolve(head, make=False)
        if folder is None or self.open.leans:
            return
        path = join(folder, name)
        is_weak, is_folder = path in self._weak, path in self._folders
        if is_folder and not is_weak:
            self._clear_folder(path)
            return
        if self._there(path) is not None:
            if not is_weak:
                return
            self._remove(path)
        elif self._is_clear(folder):
            return
        if self._below is not None and self._below.find(path) is None:
            return
        self._ensure(folder)
        self._mark(path)

    def _hide_all(self, head: bytes) -> None:
        folder = self._resolve(head, make=False)
        if folder is None or self.open.leans or self._is_clear(folder):
            return
        self._ensure(folder)
        self._clear_folder(folder)

    def _mark(self, path: bytes) -> None:
        """Hide a name."""
        parent, _, base = path.rpartition(b"/")
        os.mknod(base, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self._root.folder(parent))
        self._keep(path)
        self.open.whiteouts.add(path)
        self._real.clear()  # it may hide a link of lower layers that a name led through

    def _clear_folder(self, folder: bytes) -> None:
        """Hide what lower layers have in a folder of this one."""
        if self._is_clear(folder):
            return
        self._clear.add(folder)
        self._real.clear()  # as in _mark
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            for name, is_folder in self._root.names(at):
                path = join(at, name)
                if path in self._weak or path in self.open.whiteouts:
                    self._remove(path)
                elif is_folder and path not in self._clear:  # what is clear has nothing weak in it
                    waiting.append(path)

    def _is_clear(self, path: bytes) -> bool:
        if not self._clear:
            return False
        while path not in self._clear:
            if not path:
                return False
            path = path.rpartition(b"/")[0]
        return True

    def _there(self, path: bytes) -> os.stat_result | None:
        """What the upper folder has at a path."""
        return self._root.stat(path) if path.rpartition(b"/")[0] in self._folders else None

    def _look(self, path: bytes) -> int | None:
        """What is seen at a path in a folder, as in ``st_mode``, or _UNKNOWN."""
        if path in self._folders:
            return stat.S_IFDIR
        info = self._there(path)
        if info is not None:
            return None if is_whiteout(info) else info.st_mode
        if self._is_clear(path.rpartition(b"/")[0]):
            return None
        return _UNKNOWN if self._below is None else self._below.kind(path)

    def _kind(self, path: bytes) -> int | None:
        """The same on the way of a name: what is not known is a folder until it is looked at."""
        mode = self._look(path)
        if mode == _UNKNOWN:
            self._passed.append(path)
            if path not in self.open.assumed:
                self._keep(path)
                self.open.assumed.add(path)
            return stat.S_IFDIR
        return mode

    def _readlink(self, path: bytes) -> bytes:
        if self._below is None or self._there(path) is not None:
            return self._root.readlink(path)
        return self._below.readlink(path)

    def _resolve(self, head: bytes, *, make: bool) -> bytes | None:
        """The real path of a folder; it is not in the upper one yet where lower layers have it."""
        if head in self._folders:
            return head
        self._passed.clear()
        made = self._make_missing if make else None
        above = head.rpartition(b"/")[0]
        real = follow(
            head,
            kind=self._kind,
            readlink=self._readlink,
            make=made,
            spend=self._spend,
            known=above if above in self._folders else b"",
        )
        # A link may lead through a folder and out of it again. The layer has no name in there, so that
        # nothing may be made of it; but whether it is there decides where the link leads.
        for path in self._passed:
            if real is None or not (real + b"/").startswith(path + b"/"):
                self._lean()
        return real

    def _folder(self, head: bytes) -> bytes | None:
        """The real path of the folder of a name, which is there then; None: the layer leans on others."""
        real = self._real.get(head)
        if real is None:
            real = self._resolve(head, make=True)
            if self.open.leans or real is None:
                return None
            self._ensure(real)
            self._strengthen(real)
            if len(self._real) >= MAX_REMEMBERED:
                self._real.clear()
            self._real[head] = real
        return real

    def _ensure(self, folder: bytes) -> None:
        """Have a folder that is seen in the upper one."""
        missing: list[bytes] = []
        while folder not in self._folders:
            missing.append(folder)
            folder = folder.rpartition(b"/")[0]
        for path in reversed(missing):
            self._mkdir(path, self._root.folder(path.rpartition(b"/")[0]))
            self._folders[path] = None
            self._weak.add(path)

    def _strengthen(self, path: bytes) -> None:
        """The layer has this name, and so the folders above."""
        self._weak.discard(path)
        path = path.rpartition(b"/")[0]
        while path in self._weak:
            self._weak.discard(path)
            path = path.rpartition(b"/")[0]

    def _make_missing(self, path: bytes) -> None:
        parent = path.rpartition(b"/")[0]
        self._ensure(parent)
        try:
            self._mkdir(path, self._root.folder(parent))
        except FileExistsError:  # a file in the way, or a whiteout
            self._replace(path)
        self._folders[path] = UNTOLD
        self.open.whiteouts.discard(path)
        self._strengthen(path)

    def _replace(self, path: bytes) -> None:
        """A folder in the place of what is none, and of all that this hid."""
        self._remove(path)
        self._mkdir(path, self._root.folder(path.rpartition(b"/")[0]))
        self._clear.add(path)

    def _remove(self, path: bytes) -> None:
        info = self._there(path)
        if info is None:
            return
        if stat.S_ISDIR(info.st_mode):
            for folder in self._root.remove(path):
                del self._folders[folder]
                self._weak.discard(folder)
                self._clear.discard(folder)
        else:
            self._root.remove(path)
            self._weak.discard(path)
            self.open.whiteouts.discard(path)
        if stat.S_ISDIR(info.st_mode) or stat.S_ISLNK(info.st_mode):
            self._real.clear()  # a name may lead elsewhere now

    def _lean(self) -> None:
        self.open.leans = True
