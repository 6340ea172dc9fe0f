"""What this process may do to the files of an image: owners and devices."""

from __future__ import annotations

import os
from typing import Final

from distore.diff.entry import ApplyOptions, Devices

_ALL_IDS: Final = 0xFFFFFFFF  # that the first user namespace has
_ENOUGH: Final = 65_536  # ids of a namespace in which images can have their owners


def own_options() -> ApplyOptions:
    """Owners where this process may set them, devices where it may make them.

    In a user namespace with one id all belongs to that; in none of them a device can be made.
    """
    mapped = _mapped_ids()
    as_root = os.geteuid() == 0 and mapped >= _ENOUGH
    is_first = os.geteuid() == 0 and mapped == _ALL_IDS
    return ApplyOptions(as_root=as_root, devices=Devices.MAKE if is_first else Devices.SKIP)


def _mapped_ids() -> int:
    """How many user ids the user namespace has."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return sum(int(line.split()[2]) for line in file)
    except (OSError, ValueError, IndexError):
        return _ALL_IDS
