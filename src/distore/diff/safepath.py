"""Root: a folder that no path of an image leads out of, whatever links there are in it.

Paths are bytes, relative to it, with ``/`` between their parts. A path is *real* when no part of it is
a symbolic link: such a path is opened in one step that refuses links (openat2(2), Linux 5.6), or part
by part. Links are only ever followed here, by reading them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Self

from distore.diff.tarmember import MAX_NAME, shown
from distore.errors import FailedPrecondition, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINKS: Final = 40  # that are followed for one path, as Linux has it (path_resolution(7))
_MAX_STEPS: Final = 4096  # parts that are looked at for one path, those of links in it too
_MAX_PATH: Final = MAX_NAME - 1  # bytes; the system counts the NUL at the end
_MAX_OPEN: Final = 48  # folders that are kept open
_FOLDER: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TO_NAME: Final = os.O_PATH | _FOLDER  # good for making names in it; needs no permission to read
TO_READ: Final = os.O_RDONLY | _FOLDER
_OPENAT2: Final = 437  # on every architecture since 5.6, but alpha
_BENEATH_WITHOUT_LINKS: Final = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH, _NO_SYMLINKS, _NO_MAGICLINKS
_NOT_HERE: Final = (errno.ENOSYS, errno.EPERM, errno.EAGAIN)  # no such call, or a filter forbids it
_OWNER: Final = 0o700


class _How(ctypes.Structure):
    """struct open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _openat2() -> Callable[[int, bytes, int], int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    call.restype = ctypes.c_long
    how = _How(0, 0, _BENEATH_WITHOUT_LINKS)
    at, size = ctypes.addressof(how), ctypes.sizeof(how)

    def openat2(folder: int, path: bytes, flags: int) -> int:
        how.flags = flags
        fd = call(_OPENAT2, folder, path, at, size)
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return int(fd)

    return openat2


def join(folder: bytes, name: bytes) -> bytes:
    """A name in a folder."""
    return folder + b"/" + name if folder else name


def shown_path(path: bytes) -> str:
    """A path for a message."""
    return shown(path.decode("utf-8", "surrogateescape"))


def follow(
    path: bytes,
    *,
    kind: Callable[[bytes], int | None],
    readlink: Callable[[bytes], bytes],
    make: Callable[[bytes], None] | None,
    spend: Callable[[int], None],
    known: bytes = b"",
) -> bytes | None:
    """The real path of a folder, links in it followed as if they were in the root of a system.

    Args:
        kind: What a name in a real path stands for, as in ``st_mode``; None: it is not there.
        readlink: Where a link leads.
        make, spend: As for ``Root.real``.
        known: What the path begins with that is a real folder.
    Raises:
        FailedPrecondition: Too many links.
    """
    at = known.split(b"/") if known else []
    waiting = path[len(known) :].split(b"/")[::-1]
    links = steps = 0
    while waiting:
        part, steps = waiting.pop(), steps + 1
        if part in (b"", b"."):
            continue
        if part == b"..":  # of a link
            del at[-1:]
            continue
        here = b"/".join((*at, part))
        spend(len(here))
        mode = kind(here)
        if mode is not None and stat.S_ISLNK(mode):
            links += 1
            link = readlink(here)
            at = [] if link.startswith(b"/") else at
            waiting += link.split(b"/")[::-1]
        else:
            at.append(part)
            if mode is None or not stat.S_ISDIR(mode):
                if make is None:
                    return None
                make(here)
        if links > MAX_LINKS or steps > _MAX_STEPS:
            raise FailedPrecondition(f"too many links on the way to {shown_path(path)}")
    return b"/".join(at)


class Root:
    """One thread at a time uses it, and nobody else changes the tree meanwhile: a folder that is
    moved out of the root while it is open takes what is made in it along.

    All methods raise OSError as the system does.

    Args:
        path: An existing folder; links in this path are followed.
        unlock: Give the owner all permissions of folders that lack some; ``unlocked`` has the modes
            that they had, by real path. For those who are not root.
        in_one_step: Use openat2 where the system has it.
    """

    def __init__(self, path: str, *, unlock: bool = False, in_one_step: bool = True) -> None:
        self._open_at = _openat2() if in_one_step else None
        self._unlock = unlock
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self.unlocked: dict[bytes, int] = {}
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.forget()
        os.close(self._fd)

    def forget(self) -> None:
        """Let go of the folders that are kept open: some may be elsewhere, or gone."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def folder(self, path: bytes) -> int:
        """A descriptor of a real path, to make and look up names in; good until 48 others were
        asked for, or ``forget``."""
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        fd = self._open[path] = self.open(path, _TO_NAME)
        self._unlocked(path, fd)
        if len(self._open) > _MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def open(self, path: bytes, flags: int = TO_READ) -> int:
        """A new descriptor of the folder of a real path.

        Raises:
            NotADirectoryError, OSError: (ELOOP) It is none, or a link is on the way to it.
        """
        if len(path) > _MAX_PATH:
            raise ResourceExhausted(f"a path of over {_MAX_PATH} bytes: {shown_path(path)}")
        if self._open_at is not None:
            try:
                return self._open_at(self._fd, path or b".", flags)
            except OSError as error:
                if error.errno not in (*_NOT_HERE, errno.EACCES):
                    raise
        return self._walk(path, flags)

    def _walk(self, path: bytes, flags: int) -> int:
        """The same part by part."""
        at = b""
        fd = os.open(b".", _TO_NAME, dir_fd=self._fd)
        try:
            for part in path.split(b"/") if path else ():
                inner = os.open(part, _TO_NAME, dir_fd=fd)
                os.close(fd)
                fd, at = inner, join(at, part)
                self._unlocked(at, fd)
            return os.open(b".", flags, dir_fd=fd)
        finally:
            os.close(fd)

    def _unlocked(self, path: bytes, fd: int) -> None:
        if self._unlock:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            if mode & _OWNER != _OWNER:
                os.chmod(f"/proc/self/fd/{fd}", mode | _OWNER)
                self.unlocked.setdefault(path, mode)

    def kind(self, path: bytes) -> int | None:
        """What a name in a real path stands for, as in ``st_mode``; None: it is not there."""
        info = self.stat(path)
        return None if info is None else info.st_mode

    def stat(self, path: bytes) -> os.stat_result | None:
        """All of that."""
        parent, _, name = path.rpartition(b"/")
        try:
            return os.stat(name, dir_fd=self.folder(parent), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def real(
        self,
        path: bytes,
        *,
        make: Callable[[bytes], None] | None,
        spend: Callable[[int], None] = lambda _size: None,
    ) -> bytes | None:
        """The real path of a folder, links in it followed as if this were the root of a system.

        Args:
            make: Called with the real path of each folder on the way that is not there, or is no
                folder, to make it; None: the answer is None then.
            spend: Called with the bytes of each path that is looked at; raises when it was enough.
        Raises:
            FailedPrecondition, ResourceExhausted: Too many links, or too long.
        """
        if path in self._open or self._is_real(path):
            return path
        above = path.rpartition(b"/")[0]
        known = above if above and self._is_real(above) else b""
        return follow(path, kind=self.kind, readlink=self.readlink, make=make, spend=spend, known=known)

    def readlink(self, path: bytes) -> bytes:
        """Where the link of a real path leads."""
        parent, _, name = path.rpartition(b"/")
        return os.readlink(name, dir_fd=self.folder(parent))

    def _is_real(self, path: bytes) -> bool:
        try:
            self.folder(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        return True

    def names(self, path: bytes) -> list[tuple[bytes, bool]]:
        """The names in the folder of a real path, and whether they are folders themselves."""
        fd = self.open(path)
        try:
            with os.scandir(fd) as entries:
                return [(os.fsencode(one.name), one.is_dir(follow_symlinks=False)) for one in entries]
        finally:
            os.close(fd)

    def remove(self, path: bytes) -> list[bytes]:
        """Remove a name and all below it; the folders that went, the outermost first."""
        mode = self.kind(path)
        if mode is None:
            return []
        if not stat.S_ISDIR(mode):
            self._drop(os.unlink, path)
            if stat.S_ISLNK(mode):
                self.forget()
            return []
        folders = [path]
        for folder in folders:  # which grows; without recursion: a layer may nest deeply
            self.folder(folder)
            for name, is_folder in self.names(folder):
                if is_folder:
                    folders.append(join(folder, name))
                else:
                    self._drop(os.unlink, join(folder, name))
        self.forget()
        for folder in reversed(folders):
            self._drop(os.rmdir, folder)
            self.unlocked.pop(folder, None)
        self.forget()
        return folders

    def _drop(self, call: Callable[..., None], path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        call(name, dir_fd=self.folder(parent))
