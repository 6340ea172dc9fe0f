"""Below: the layers below one, each a folder in the form of overlayfs, seen as the kernel stacks them.

Nobody changes them meanwhile. Paths are real ones, as in ``safepath``.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, Self

from distore.diff.safepath import TO_READ, join

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_REMEMBERED: Final = 65_536  # folders of which it is kept where they are
_YES: Final = b"y"
_NO_ATTRIBUTE: Final = (errno.ENODATA, errno.EOPNOTSUPP)
NAMES_ONLY: Final = os.O_PATH | os.O_DIRECTORY  # takes no permission to read


def is_whiteout(info: os.stat_result) -> bool:
    """Whether it is what overlayfs hides names with: a character device 0:0."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


class Below:
    """All methods raise OSError as the system does.

    Args:
        layers: Their folders, the uppermost first.
        attributes: What opaque folders are said by: ``b"trusted.overlay."`` or ``b"user.overlay."``.
    """

    def __init__(self, layers: Sequence[str], attributes: bytes) -> None:
        self._opaque = attributes + b"opaque"
        self._merged: dict[bytes, tuple[int, ...]] = {}
        self._linked: dict[int, dict[int, list[tuple[bytes, bytes]]]] = {}
        self.fds: list[int] = []
        try:
            for layer in layers:
                self.fds.append(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folders."""
        while self.fds:
            os.close(self.fds.pop())

    def find(self, path: bytes) -> tuple[int, os.stat_result] | None:
        """Which layer a path is seen in, and what it is there; None: it is not there."""
        if not path:
            return (0, os.stat(self.fds[0])) if self.fds else None
        for layer in self._folders(path.rpartition(b"/")[0]):
            info = self._stat(layer, path)
            if info is not None:
                return None if is_whiteout(info) else (layer, info)
        return None

    def kind(self, path: bytes) -> int | None:
        """What is seen there, as in ``st_mode``."""
        found = self.find(path)
        return None if found is None else found[1].st_mode

    def is_folder(self, path: bytes) -> bool:
        """Whether a folder is seen there."""
        mode = self.kind(path)
        return mode is not None and stat.S_ISDIR(mode)

    def readlink(self, path: bytes) -> bytes:
        """Where the link that is seen there leads."""
        found = self.find(path)
        if found is None:
            raise FileNotFoundError
        return os.readlink(path, dir_fd=self.fds[found[0]])

    def open(self, layer: int, path: bytes, flags: int = TO_READ) -> int:
        """A descriptor of what ``find`` found."""
        return os.open(path or b".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fds[layer])

    def names(self) -> list[bytes]:
        """What is seen in the root."""
        names: set[bytes] = set()
        for layer in range(len(self.fds)):
            names.update(name for name, _ in self._names(layer, b""))
        return [name for name in sorted(names) if self.find(name) is not None]

    def linked(self, layer: int, number: int) -> list[bytes]:
        """All paths in a layer of a file with more than one hard link, by its inode number."""
        if layer not in self._linked:
            found: dict[int, list[tuple[bytes, bytes]]] = {}  # folder and name: these share the folder
            waiting = [b""]
            while waiting:
                folder = waiting.pop()
                for name, is_folder in self._names(layer, folder):
                    path = join(folder, name)
                    if is_folder:
                        waiting.append(path)
                        continue
                    info = self._stat(layer, path)
                    if info is not None and info.st_nlink > 1:
                        found.setdefault(info.st_ino, []).append((folder, name))
            self._linked[layer] = found
        return [join(folder, name) for folder, name in self._linked[layer].get(number, [])]

    def _names(self, layer: int, path: bytes) -> list[tuple[bytes, bool]]:
        fd = self.open(layer, path)
        try:
            with os.scandir(fd) as entries:
                return [(os.fsencode(one.name), one.is_dir(follow_symlinks=False)) for one in entries]
        finally:
            os.close(fd)

    def _folders(self, path: bytes) -> tuple[int, ...]:
        """The layers whose folders of this path are seen as one, the uppermost first."""
        known = self._merged.get(path)
        if known is not None:
            return known
        layers, at = tuple(range(len(self.fds))), b""
        for part in path.split(b"/") if path else ():  # without recursion: a layer may nest deeply
            at = join(at, part)
            known = self._merged.get(at)
            layers = self._below(layers, at) if known is None else known
            if len(self._merged) >= _MAX_REMEMBERED:
                self._merged.clear()
            self._merged[at] = layers
            if not layers:
                return layers
        return layers

    def _below(self, parents: tuple[int, ...], path: bytes) -> tuple[int, ...]:
        found: list[int] = []
        for layer in parents:
            info = self._stat(layer, path)
            if info is None:
                continue
            if not stat.S_ISDIR(info.st_mode):
                break
            found.append(layer)
            if layer != parents[-1] and self._is_opaque(layer, path):
                break
        return tuple(found)

    def _stat(self, layer: int, path: bytes) -> os.stat_result | None:
        try:
            return os.stat(path, dir_fd=self.fds[layer], follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _is_opaque(self, layer: int, path: bytes) -> bool:
        fd = self.open(layer, path, NAMES_ONLY)
        try:
            return os.getxattr(f"/proc/self/fd/{fd}", self._opaque) == _YES
        except OSError as error:
            if error.errno in _NO_ATTRIBUTE:
                return False
            raise
        finally:
            os.close(fd)
