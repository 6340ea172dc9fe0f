"""Letting go of roots of other containers in a namespace that only copied them.

A new mount namespace sees all that is mounted. Where the machine's mounts are not shared, unmounting a
bundle outside does not reach it, and its snapshot could not be removed as long as another container runs.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from distore.errors import DistoreError
from distore.mount import mounts, unmount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.mount import Mounted


def detach(folder: str, *, keep: Sequence[str] = ()) -> None:
    """Unmount every overlay, here, and what shows something of ``folder`` elsewhere, as far as that is
    allowed: in a user namespace it is not.

    Args:
        folder: Of a store, which stays where it is.
        keep: Paths that must stay as they are, with what is mounted below.
    """
    real = os.path.realpath(folder)
    kept = [os.path.realpath(path) + "/" for path in keep]
    for one in reversed(tuple(mounts())):
        target = one.target.rstrip("/") + "/"
        is_above = any(path.startswith(target) for path in (real + "/", *kept))
        is_kept = is_above or any(target.startswith(path) for path in kept)
        if not is_kept and _shows(one, real):
            with suppress(DistoreError):
                unmount(one.target, lazy=True)


def _shows(one: Mounted, folder: str) -> bool:
    if one.type == "overlay":
        return True
    try:
        return os.path.samestat(os.stat(folder + _below(one.root, folder)), os.stat(one.target))
    except (OSError, ValueError):
        return False


def _below(root: str, folder: str) -> str:
    """The end of ``root``, the path within a file system, behind the name of ``folder``.

    Raises:
        ValueError: It is not in there.
    """
    name = f"/{os.path.basename(folder)}/"
    return "/" + root[root.rindex(name) + len(name) :]
