"""The folder of a store: whether it can be one, and the room there."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from distore._internal.oserrors import translated
from distore.content.local.databasefile import check_version
from distore.errors import FailedPrecondition

if TYPE_CHECKING:
    from distore.content.local.paths import Paths


def check(root: str, paths: Paths) -> None:
    """Whether a store may be at ``root``, an absolute path; it may be missing.

    Raises:
        FailedPrecondition: It is a file or a dangling link.
        UnsupportedStore: Made by a newer version.
    """
    with translated(f"store {root}"):
        try:
            there = os.stat(root)
        except FileNotFoundError as error:
            if os.path.islink(root):
                target = os.readlink(root)
                raise FailedPrecondition(
                    f"store {root}: a link to {target!r}, which does not exist;"
                    " make that folder or remove the link"
                ) from error
            return
        except NotADirectoryError as error:
            raise FailedPrecondition(f"store {root}: its parent is not a folder") from error
        if not stat.S_ISDIR(there.st_mode):
            raise FailedPrecondition(f"store {root}: not a folder; name another with --root")
        check_version(paths.database)


def free_space(root: str) -> int | None:
    """Bytes that this user may still write where ``root`` lies, or None when nobody tells."""
    folder = root
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    try:
        there = os.statvfs(folder)
    except OSError:
        return None
    return there.f_bavail * there.f_frsize if there.f_blocks else None
