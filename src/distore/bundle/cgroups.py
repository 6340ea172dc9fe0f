"""Cgroups of containers whose runtime was killed before it wrote down that it made them."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

_ROOT: Final = "/sys/fs/cgroup"


def remove_cgroups(path: str, *, root: str = _ROOT) -> None:
    """Remove the cgroup ``path`` of every hierarchy, with those below it; what has processes stays.

    Args:
        path: As ``linux.cgroupsPath``: absolute, two names at least.
    """
    parts = path.split("/")[1:]
    if not path.startswith("/") or len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        return
    try:
        hierarchies = [
            root,
            *(entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)),
        ]
    except OSError:
        return
    for hierarchy in hierarchies:
        for folder, _, _ in os.walk(os.path.join(hierarchy, *parts), topdown=False):
            with suppress(OSError):
                os.rmdir(folder)  # the only way; the files in it are the kernel's
