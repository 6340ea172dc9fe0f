"""Snapshots that were committed without waiting for the device, and what becomes of them after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distore.snapshots.snapshotter import Info

UNSYNCED: Final = "distore/unsynced"  # label: the boot during which the files were written
_BOOT: Final = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """What tells this run of the machine from all others; "unknown" where nothing does."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def is_suspect(info: Info) -> bool:
    """Whether a power cut may have taken bytes of its files: nobody waited for them to be on the device,
    and the machine was started again since."""
    boot = info.labels.get(UNSYNCED)
    return boot is not None and boot != boot_id()
