"""Tree: a folder that is read name by name; no link in it is followed, and nothing is changed."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, Self

from distore._internal.oserrors import translate
from distore.diff.safepath import Root, shown_path
from distore.errors import FailedPrecondition

if TYPE_CHECKING:
    from distore.errors import DistoreError

Attributes = tuple[tuple[bytes, bytes], ...]
# Not blocking: a fifo may have taken the place of a file.
_TO_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_KEPT: Final = (b"user.", b"security.", b"trusted.", b"system.posix_acl_")
# What a kernel stacks folders by, and what a system gives to every file by rules of its own.
_NEVER: Final = (
    b"user.overlay.",
    b"trusted.overlay.",
    b"security.selinux",
    b"security.ima",
    b"security.evm",
)
_NO_ATTRIBUTE: Final = (errno.EOPNOTSUPP, errno.ENODATA)
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


class Tree:
    """One thread at a time uses it. Paths are bytes, relative to it, as ``Root`` has them.

    Args:
        path: An existing folder; links in this path are followed.
        subject: What messages call it, ``path`` without it.
    Raises:
        NotFound, PermissionDenied, DistoreError: (all methods) It cannot be read.
        FailedPrecondition: (all methods but ``find``) It changed since a name was found in it.
    """

    def __init__(self, path: str, *, subject: str | None = None) -> None:
        self.subject = path if subject is None else subject
        try:
            self._root = Root(path)
        except OSError as error:
            raise translate(error, self.subject) from error
        self.device = self.stat(b"").st_dev
        self._last: tuple[bytes, os.stat_result]  # of ``stat``

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._root.__exit__(*exc)

    def shown(self, path: bytes) -> str:
        """A path for a message."""
        return f"{self.subject}: {shown_path(path)}" if path else self.subject

    def changed(self, path: bytes) -> FailedPrecondition:
        """What to raise when a name is no longer what it was."""
        return FailedPrecondition(f"{self.shown(path)}: changed while it was read")

    def names(self, path: bytes) -> list[bytes]:
        """The names in a folder, in the order of their bytes."""
        try:
            fd = self._root.open(path)
            try:
                with os.scandir(fd) as entries:
                    return sorted([os.fsencode(entry.name) for entry in entries])
            finally:
                os.close(fd)
        except OSError as error:
            raise self._wrong(error, path) from error

    def stat(self, path: bytes) -> os.stat_result:
        """What a name stands for."""
        try:
            folder, name = self._place(path)
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            raise self._wrong(error, path) from error
        self._last = path, info
        return info

    def last_stat(self, path: bytes) -> os.stat_result:
        """The same, without asking the system when this name was the last one."""
        last, info = self._last
        return info if last == path else self.stat(path)

    def find(self, path: bytes) -> os.stat_result | None:
        """The same; None when it is not there. Its folder is."""
        try:
            folder, name = self._place(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._wrong(error, path) from error

    def link(self, path: bytes) -> bytes:
        """Where a symbolic link leads."""
        try:
            folder, name = self._place(path)
            return os.readlink(name, dir_fd=folder)
        except OSError as error:
            raise self._wrong(error, path) from error

    def attributes(self, path: bytes, fd: int | None = None) -> Attributes:
        """The extended attributes that a layer tells of, by name.

        Args:
            fd: The file, when it is open.
        """
        try:
            file = self._by_path(path) if fd is None else fd
            names = os.listxattr(file, follow_symlinks=fd is not None)
            return tuple(
                (name, os.getxattr(file, name, follow_symlinks=fd is not None))
                for name in sorted(map(os.fsencode, names))
                if _is_kept(name)
            )
        except OSError as error:
            if error.errno in _NO_ATTRIBUTE:
                return ()
            raise self._wrong(error, path) from error

    def attribute(self, path: bytes, name: bytes) -> bytes | None:
        """One extended attribute, whichever it is; None without it."""
        try:
            return os.getxattr(self._by_path(path), name, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_ATTRIBUTE:
                return None
            raise self._wrong(error, path) from error

    def open(self, path: bytes, info: os.stat_result) -> int:
        """A descriptor of a regular file, which still is what ``info`` says."""
        try:
            folder, name = self._place(path)
            fd = os.open(name, _TO_READ, dir_fd=folder)
        except OSError as error:
            raise self._wrong(error, path) from error
        try:
            self.check(path, fd, info)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def read(self, path: bytes, fd: int, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer`` with what follows, as far as the file goes; how many bytes those are."""
        space, filled = memoryview(buffer), 0
        try:
            while filled < len(space) and (size := os.readv(fd, [space[filled:]])):
                filled += size
        except OSError as error:
            raise self._wrong(error, path) from error
        return filled

    def check(self, path: bytes, fd: int, info: os.stat_result) -> None:
        """Whether an open file is still what ``info`` says."""
        now = os.fstat(fd)
        same = now.st_ino == info.st_ino and stat.S_ISREG(now.st_mode)
        if not same or (now.st_size, now.st_mtime_ns) != (info.st_size, info.st_mtime_ns):
            raise self.changed(path)

    def _place(self, path: bytes) -> tuple[int, bytes]:
        head, _, name = path.rpartition(b"/")
        return self._root.folder(head), name or b"."

    def _by_path(self, path: bytes) -> bytes:
        return b"/proc/self/fd/%d/%s" % self._place(path)

    def _wrong(self, error: OSError, path: bytes) -> DistoreError:
        if error.errno in _GONE:
            return self.changed(path)
        return translate(error, self.shown(path))


def _is_kept(name: bytes) -> bool:
    return name.startswith(_KEPT) and not name.startswith(_NEVER)
