"""Copies of whole trees: blocks are shared where the file system can, holes stay holes."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore._internal.holes import stretches
from distore.snapshots.filetree import changed, entries, open_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_CLONE: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM)
_NO_COPY: Final = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_PIECE: Final = 64 * 1024  # bytes of one write; see fsops
_MOST: Final = 1 << 30  # bytes of one copy_file_range
_LABELS: Final = "security.selinux"  # the system gives it to every file


def copy_tree(source: str, target: str) -> None:
    """Copy what the folder ``source`` has into the empty folder ``target``, and what it is itself.

    Owners, modes, times, attributes, devices and hard links are kept; nothing is synced. Nobody
    changes either meanwhile. OSErrors come as they are.
    """
    Copy(target).tree(source)


class Copy:
    """One copy of a tree. Goes down and up again with two folders open, however deep it is.

    Args:
        target: An empty folder.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._clones = True  # until the file system says that it cannot
        self._links: dict[int, str] = {}  # inode -> where its copy is, below the target
        self._path: list[str] = []

    def tree(self, source: str) -> None:
        """Do it."""
        old, new = open_folder(source), open_folder(self._target)
        self._top = os.dup(new)
        try:
            waiting = [self._level(old, new)]
            while True:
                if waiting[-1]:
                    name = waiting[-1].pop()
                    os.mkdir(name, 0o700, dir_fd=new)
                    old, new = changed(old, name), changed(new, name)
                    self._path.append(name)
                    waiting.append(self._level(old, new))
                    continue
                copy_attributes(old, new)  # last: to fill a folder changes its time
                waiting.pop()
                if not waiting:
                    return
                self._path.pop()
                old, new = changed(old, ".."), changed(new, "..")
        finally:
            for fd in (old, new, self._top):
                os.close(fd)

    def _level(self, old: int, new: int) -> list[str]:
        """Copy what a folder has; the names of the folders in it, which come later."""
        folders = []
        for entry in entries(old):
            there = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(there.st_mode):
                folders.append(entry.name)
            elif not self._is_linked(entry.name, there, new):
                self._file(entry.name, there, old, new)
        return folders

    def _is_linked(self, name: str, there: os.stat_result, new: int) -> bool:
        """Make a hard link to the copy of another name of the file, if there is one already."""
        if there.st_nlink == 1:
            return False
        first = self._links.setdefault(there.st_ino, "/".join((*self._path, name)))
        if first == "/".join((*self._path, name)):
            return False
        os.link(first, name, src_dir_fd=self._top, dst_dir_fd=new, follow_symlinks=False)
        return True

    def _file(self, name: str, there: os.stat_result, old: int, new: int) -> None:
        if stat.S_ISREG(there.st_mode):
            source = os.open(name, _OLD, dir_fd=old)
            try:
                target = os.open(name, _NEW, 0o600, dir_fd=new)
                try:
                    self._bytes(source, target, there)
                    copy_attributes(source, target)
                finally:
                    os.close(target)
            finally:
                os.close(source)
            return
        if stat.S_ISLNK(there.st_mode):
            os.symlink(os.readlink(name, dir_fd=old), name, dir_fd=new)
        else:
            os.mknod(name, 0o600 | stat.S_IFMT(there.st_mode), there.st_rdev, dir_fd=new)
        _copy_by_name(name, there, old, new)

    def _bytes(self, source: int, target: int, there: os.stat_result) -> None:
        if not there.st_size:
            return
        if self._clones:
            try:
                fsops.clone(source, target)
                return
            except OSError as error:
                if error.errno not in _NO_CLONE:
                    raise
                self._clones = False
        os.ftruncate(target, there.st_size)
        if not there.st_blocks:
            return
        for start, end in stretches(source, there.st_size):
            _copy_range(source, target, start, end)


def copy_attributes(source: int, target: int, *, leave_out: Sequence[bytes] = ()) -> None:
    """Give an open file or folder the owner, mode, extended attributes and times of another one.

    Each step undoes nothing of those before: a change of owner drops the setuid bit and capabilities.

    Args:
        leave_out: What attributes that are not copied begin with.
    """
    there, here = os.fstat(source), os.fstat(target)
    if (there.st_uid, there.st_gid) != (here.st_uid, here.st_gid):
        os.fchown(target, there.st_uid, there.st_gid)
    os.fchmod(target, stat.S_IMODE(there.st_mode))
    for name in _listed(source):
        if name != _LABELS and not os.fsencode(name).startswith(tuple(leave_out)):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(there.st_atime_ns, there.st_mtime_ns))


def _copy_by_name(name: str, there: os.stat_result, old: int, new: int) -> None:
    """The same for what cannot be opened: links, devices, pipes and sockets."""
    here = os.stat(name, dir_fd=new, follow_symlinks=False)
    if (there.st_uid, there.st_gid) != (here.st_uid, here.st_gid):
        os.chown(name, there.st_uid, there.st_gid, dir_fd=new, follow_symlinks=False)
    if not stat.S_ISLNK(there.st_mode):
        os.chmod(name, stat.S_IMODE(there.st_mode), dir_fd=new)
    source, target = f"/proc/self/fd/{old}/{name}", f"/proc/self/fd/{new}/{name}"
    for attribute in _listed(source):
        if attribute != _LABELS:
            value = os.getxattr(source, attribute, follow_symlinks=False)
            os.setxattr(target, attribute, value, follow_symlinks=False)
    os.utime(name, ns=(there.st_atime_ns, there.st_mtime_ns), dir_fd=new, follow_symlinks=False)


def _listed(file: int | str) -> list[str]:
    try:
        return os.listxattr(file, follow_symlinks=isinstance(file, int))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, min(end - start, _MOST), start, start)
        except OSError as error:
            if error.errno not in _NO_COPY:
                raise
            data = os.pread(source, min(end - start, _PIECE), start)
            fsops.write(target, data, start)
            done = len(data)
        if not done:  # cut by somebody meanwhile
            return
        start += done
