"""Probe: whether a file system has what overlayfs needs."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from typing import Final

from distore.errors import DistoreError
from distore.mount import Mount, escaped, may_mount, mounting
from distore.snapshots.overlay import TRUSTED, USER, is_root, noted

_UNKNOWN: Final = 0  # DT_UNKNOWN (readdir(3))


def supported(folder: str) -> str | None:
    """Why there can be no snapshots of overlayfs in ``folder``, in one line; None: there can.

    Tries it in the nearest folder that is there: attributes of files, types in folders, and, with the
    right to mount, a mount.
    """
    prefix = noted(folder)
    if prefix == TRUSTED and not is_root():
        return f"the snapshots in {folder} are those of root: {TRUSTED.decode()}* says what is hidden"
    if prefix is not None:
        return None  # it was tried with the first of them
    if not _has_overlay():
        return "this kernel has no overlayfs"
    there = folder
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    try:
        with tempfile.TemporaryDirectory(prefix=".overlay-", dir=there) as probe:
            return _refused(os.path.realpath(probe), there)
    except OSError as error:
        return f"{there}: {os.strerror(error.errno or 0).lower()}"


def _has_overlay() -> bool:
    """Whether the kernel has it, or can load it when it is mounted first."""
    try:
        with open("/proc/filesystems", encoding="ascii") as file:
            if "\toverlay\n" in file.read():
                return True
    except OSError:
        return True
    module = f"/lib/modules/{os.uname().release}/kernel/fs/overlayfs/overlay.ko"
    return any(os.path.exists(module + end) for end in ("", ".xz", ".zst", ".gz"))


def _refused(probe: str, there: str) -> str | None:
    """What the file system of an empty folder lacks."""
    names = ("lower", "other", "upper", "work", "target")
    lower, other, upper, work, target = folders = [os.path.join(probe, name) for name in names]
    for folder in folders:
        os.mkdir(folder)
    prefix = (TRUSTED if is_root() else USER).decode()
    try:
        os.setxattr(lower, f"{prefix}opaque", b"y")
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EPERM, errno.EACCES):
            return f"the file system of {there} takes no attributes {prefix}*"
        raise
    if not _tells_types(probe):
        return f"the file system of {there} tells no types in folders (d_type)"
    if not may_mount():
        return None
    lowers = ":".join(escaped(each, colon=True) for each in (lower, other))
    options = (f"lowerdir={lowers}", f"upperdir={escaped(upper)}", f"workdir={escaped(work)}")
    own = () if prefix == TRUSTED.decode() else ("userxattr",)
    try:
        with mounting([Mount(type="overlay", source="overlay", target=target, options=(*options, *own))]):
            return None
    except DistoreError as error:
        return f"overlayfs on the file system of {there}: {error}"


class _Entry(ctypes.Structure):
    """struct dirent, 64 bits."""

    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("off", ctypes.c_int64),
        ("reclen", ctypes.c_uint16),
        ("type", ctypes.c_uint8),
    )


def _tells_types(folder: str) -> bool:
    """Whether listing a folder tells what each name is (DT_DIR); os.scandir hides that it does not."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return True
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype, libc.opendir.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
    libc.readdir.restype, libc.readdir.argtypes = ctypes.POINTER(_Entry), (ctypes.c_void_p,)
    libc.closedir.argtypes = (ctypes.c_void_p,)
    stream = libc.opendir(os.fsencode(folder))
    if not stream:
        return True
    try:
        while entry := libc.readdir(stream):
            if entry.contents.type == _UNKNOWN:
                return False
    finally:
        libc.closedir(stream)
    return True
