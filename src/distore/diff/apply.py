"""Apply: lay a layer over a folder (image-spec, layer.md, "Applying Changesets").

The tree is the one that ``overlaytar`` tells of: links on the way to a name are followed, never out
of the folder; a whiteout hides what lay there before, never what its own layer has, whatever the order
of the two; of members with one name the last counts.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distore.diff.entry import DEFAULT_ACL
from distore.diff.laying import MAX_REMEMBERED, UNTOLD, Laying, open_root
from distore.diff.safepath import join, shown_path
from distore.diff.tarmember import FOLDER, HARD_LINK, Meta
from distore.oci.digest import DEFAULT_ALGORITHM

if TYPE_CHECKING:
    from distore.content.store import Input
    from distore.diff.entry import ApplyOptions
    from distore.diff.safepath import Root
    from distore.diff.tarmember import Member
    from distore.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was applied.

    Args:
        diff_id: The digest of the plain tar file; the caller compares it.
        size: Its bytes.
        left_out: Devices and extended attributes that could not, or must not, be made.
    """

    diff_id: Digest
    size: int
    left_out: int


def apply(
    layer: Input, root: str, options: ApplyOptions, *, subject: str, algorithm: str = DEFAULT_ALGORITHM
) -> Applied:
    """Lay a plain tar file over the folder ``root``, which nobody else changes meanwhile.

    Nothing is synced. After an error the folder is in between, and good for nothing.

    Args:
        layer: Its bytes, read to their end in another thread.
        subject: What messages call it.
        algorithm: Of the DiffID.
    Raises:
        FailedPrecondition: Not a tar file, a name that leads out of the folder, or what no folder
            can be made to have.
        ResourceExhausted: Over a limit; DiskFull, QuotaExceeded: no room.
        DataLoss: Damaged or truncated.
        PermissionDenied: A device, or an owner, that takes more rights.
        Unimplemented: A sparse member, or one of an unknown kind.
    """
    with open_root(root, options, subject) as folder:
        laid = _Layer(folder, options, subject)
        ahead = laid.take(layer, options, algorithm=algorithm)
    return Applied(diff_id=ahead.digest(), size=ahead.size, left_out=laid.left_out)


class _Kept:
    """What a folder that no member tells of had before something in it changed."""

    __slots__ = ("acl", "times")

    def __init__(self, info: os.stat_result, acl: bytes | None) -> None:
        self.times = (info.st_atime_ns, info.st_mtime_ns)
        self.acl = acl


class _Layer(Laying):
    """One layer over a plain folder, which has no whiteouts: what they hide goes."""

    def __init__(self, root: Root, options: ApplyOptions, subject: str) -> None:
        super().__init__(root, options, subject)
        # Real paths that this layer wrote, and all above them: no whiteout hides these. None: the
        # folder was empty, so that there is nothing to hide.
        self._own: set[bytes] | None = set() if root.names(b"") else None
        self._folders: dict[bytes, Meta | _Kept] = {}  # what they get in the end, by real path
        self._before: set[bytes] = set()  # those of them that were there, and are told of
        self._cleared: set[bytes] = set()  # folders that have only what this layer wrote: it stays so
        self._real: dict[bytes, bytes] = {}

    def finish(self) -> None:
        """Give the folders their times, which everything in them changed."""
        # Those below another one first: nobody has to get through a folder that is done.
        for path in sorted({*self._folders, *self._root.unlocked}, reverse=True):
            self.at = f"{self._subject}: {shown_path(path)}"
            fd = self._root.open(path)
            try:
                self._finish_folder(path, fd, self._folders.get(path))
            finally:
                os.close(fd)

    def _finish_folder(self, path: bytes, fd: int, told: Meta | _Kept | None) -> None:
        if isinstance(told, Meta):
            if path in self._before:
                self._maker.clear_attributes(fd)
            self._maker.finish(fd, told, self.at)
            return
        if told is not None:
            if told.acl is not None:
                os.setxattr(fd, DEFAULT_ACL, told.acl)
            os.utime(fd, ns=told.times)
        if path in self._root.unlocked:
            os.fchmod(fd, self._root.unlocked[path])

    def _tell_root(self, meta: Meta) -> None:
        self._tell(b"", meta, was_there=True)

    def _put(self, member: Member, head: bytes, base: bytes) -> None:
        folder = self._folder(head)
        path = join(folder, base)
        fd = self._touch(folder)
        self._note_own(path, folder)
        if member.kind == FOLDER:
            self._put_folder(path, fd, member.meta)
        elif member.kind == HARD_LINK:
            self._put_link(member, path)
        else:
            self._make(member, path, fd)

    def _put_folder(self, path: bytes, fd: int, meta: Meta) -> None:
        was_there = False
        try:
            self._mkdir(path, fd)
        except FileExistsError:
            mode = self._root.kind(path)
            was_there = mode is not None and stat.S_ISDIR(mode)
            if not was_there:  # also a link to a folder: its target is not what the layer means
                self._remove(path)
                self._mkdir(path, self._touch(path.rpartition(b"/")[0]))
        self._tell(path, meta, was_there=was_there)

    def _put_link(self, member: Member, path: bytes) -> None:
        head, _, source = member.link.encode("utf-8", "surrogateescape").rpartition(b"/")
        folder = self._root.real(head, make=None, spend=self._spend) if source else None
        target = None if folder is None else join(folder, source)
        mode = None if target is None else self._root.kind(target)
        if target is None or mode is None or stat.S_ISDIR(mode):
            raise self._no_target(member, is_there=mode is not None or not source)
        self._link(target, path)

    def _hide(self, head: bytes, name: bytes) -> None:
        folder = self._root.real(head, make=None, spend=self._spend)
        if folder is None or self._own is None:
            return
        path = join(folder, name)
        mode = self._root.kind(path)
        if mode is None:
            return
        if path not in self._own:
            self._touch(folder)
            self._remove(path)
        elif stat.S_ISDIR(mode):
            self._hide_below(path)

    def _hide_all(self, head: bytes) -> None:
        folder = self._root.real(head, make=None, spend=self._spend)
        if folder is not None and self._own is not None:
            self._hide_below(folder)

    def _hide_below(self, folder: bytes) -> None:
        assert self._own is not None
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            if at in self._cleared:  # the same whiteout may come again and again
                continue
            self._cleared.add(at)
            for name, is_folder in self._root.names(at):
                path = join(at, name)
                if path not in self._own:
                    self._touch(at)
                    self._remove(path)
                elif is_folder:
                    waiting.append(path)

    def _folder(self, head: bytes) -> bytes:
        """The real path of the folder of a name, made as far as it is missing."""
        real = self._real.get(head)
        if real is None:
            real = self._root.real(head, make=self._make_missing, spend=self._spend)
            assert real is not None
            if len(self._real) >= MAX_REMEMBERED:
                self._real.clear()
            self._real[head] = real
        return real

    def _make_missing(self, path: bytes) -> None:
        self._remove(path)  # a file in the way
        folder = path.rpartition(b"/")[0]
        self._mkdir(path, self._touch(folder))
        self._note_own(path, folder)
        self._tell(path, UNTOLD, was_there=False)

    def _tell(self, path: bytes, meta: Meta, *, was_there: bool) -> None:
        if was_there and path not in self._folders:
            self._keep(path)
            self._maker.drop_default_acl(self._root.folder(path))
        self._folders[path] = meta
        if was_there:
            self._before.add(path)

    def _touch(self, folder: bytes) -> int:
        """A descriptor of a folder, to change names in it; its time is kept."""
        if folder in self._folders:
            return self._root.folder(folder)
        self._keep(folder)
        fd = self._root.folder(folder)
        info = os.fstat(fd)
        self._folders[folder] = _Kept(info, self._maker.drop_default_acl(fd))
        return fd

    def _note_own(self, path: bytes, folder: bytes) -> None:
        own = self._own
        if own is None:
            return
        if path not in own:
            self._keep(path)
            own.add(path)
        while folder not in own:
            self._keep(folder)
            own.add(folder)
            folder = folder.rpartition(b"/")[0]

    def _remove(self, path: bytes) -> None:
        mode = self._root.kind(path)
        if mode is None:
            return
        self._touch(path.rpartition(b"/")[0])
        for folder in self._root.remove(path):
            self._folders.pop(folder, None)
            self._before.discard(folder)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._real.clear()  # a name may lead elsewhere now
