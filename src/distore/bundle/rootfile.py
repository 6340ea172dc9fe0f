"""Files in the root of a container, found as a process in there would find them, links and all."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translate
from distore.diff.safepath import Root, join
from distore.errors import FailedPrecondition, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_LINKS: Final = 40  # at the end of one path; those on the way are counted by Root
_MAX_PARTS: Final = 4096
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def opened(rootfs: str) -> Root:
    """A root to look into.

    Raises:
        DistoreError: As ``translate``.
    """
    try:
        return Root(rootfs)
    except OSError as error:
        raise translate(error, f"root {rootfs}") from error


def find_file(root: Root, path: bytes) -> tuple[bytes, int] | None:
    """The real path of what a path leads to, and its ``st_mode``; None: nothing is there.

    Raises:
        FailedPrecondition: Links in a circle.
        OSError: As the system says.
    """
    at: list[bytes] = []
    waiting = path.split(b"/")[::-1]
    links = steps = 0
    while waiting:
        part, steps = waiting.pop(), steps + 1
        if steps > _MAX_PARTS or links > _MAX_LINKS:
            raise FailedPrecondition(f"too many links on the way to /{_shown(path)}")
        if part in (b"", b"."):
            continue
        if part == b"..":  # of the root, it is the root
            del at[-1:]
            continue
        parent = b"/".join(at)
        try:
            mode = root.kind(join(parent, part))
        except NotADirectoryError:
            return None
        if mode is None:
            return None
        if stat.S_ISLNK(mode):
            links += 1
            link = os.readlink(part, dir_fd=root.folder(parent))
            at = [] if link.startswith(b"/") else at
            waiting += link.split(b"/")[::-1]
            continue
        at.append(part)
    real = b"/".join(at)
    mode = root.kind(real or b".")
    return None if mode is None else (real, mode)


def read_file(root: Root, path: bytes, *, limit: int) -> bytes | None:
    """What is in a plain file; None: there is none. Nothing else is opened: a FIFO or a device would
    hold us.

    Raises:
        FailedPrecondition: No plain file.
        ResourceExhausted: Over ``limit`` bytes.
        DistoreError: As ``translate``.
    """
    shown = f"/{_shown(path)} of the image"
    try:
        found = find_file(root, path)
        if found is None:
            return None
        real, mode = found
        if not stat.S_ISREG(mode):
            raise FailedPrecondition(f"{shown}: not a file")
        parent, _, name = real.rpartition(b"/")
        with os.fdopen(os.open(name, _FLAGS, dir_fd=root.folder(parent)), "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise translate(error, shown) from error
    if len(data) > limit:
        raise ResourceExhausted(f"{shown}: more than {limit} bytes")
    return data


def search(root: Root, command: str, folders: Sequence[str]) -> tuple[bytes, int] | None:
    """The program that execvp(3) would run: what can be run comes before what is only there."""
    best: tuple[bytes, int] | None = None
    for folder in folders:
        try:
            found = find_file(root, os.fsencode(f"{folder}/{command}"))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP):
                continue
            raise
        if found is not None and is_program(found[1]):
            return found
        best = best or found
    return best


def is_program(mode: int) -> bool:
    """Whether somebody may run it."""
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace").lstrip("/")
