"""Removal of files that belong to ids which a user may only be in a namespace (subuid(5)).

A container of an ordinary user leaves such files; outside the namespace nobody but root removes them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from distore._internal.userns import enter, in_first, own_maps
from distore.errors import DistoreError
from distore.snapshots import filetree

_SCRIPT: Final = (
    "import sys\nsys.path[:] = sys.argv[2:]\n"
    "from distore.snapshots.subordinate import remove_inside\nremove_inside(sys.argv[1])"
)


def remove(path: str) -> int:
    """As ``filetree.remove``; what this user may not remove itself, it removes as root of a namespace of its
    own, in a process of its own, for this one may have threads. Bytes removed there are not counted.

    Raises:
        OSError: As the system says it, of the first try.
    """
    try:
        return filetree.remove(path)
    except PermissionError:
        if os.geteuid() == 0 or not in_first() or not sys.executable:
            raise
        words = [sys.executable, "-I", "-c", _SCRIPT, os.path.abspath(path), *filter(None, sys.path)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise
    return 0


def remove_inside(path: str) -> None:
    """What that process does; ends it."""
    import pwd

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = None
    try:
        enter(own_maps(uid=os.geteuid(), gid=os.getegid(), name=name))
        filetree.remove(path)
    except (OSError, DistoreError) as error:
        sys.exit(str(error))
