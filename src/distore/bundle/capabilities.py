"""Capabilities: their names, and which of them a container has (capabilities(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order of their numbers, linux/capability.h.
# fmt: off
NAMES: Final = tuple(f"CAP_{name}" for name in (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
))
# containerd's, in its order (pkg/oci/spec.go).
DEFAULT: Final = tuple(f"CAP_{name}" for name in (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
))
# fmt: on
ALL: Final = "ALL"
_LAST: Final = "/proc/sys/kernel/cap_last_cap"


def chosen(
    add: Iterable[str] = (), drop: Iterable[str] = (), *, known: tuple[str, ...] = NAMES
) -> tuple[str, ...]:
    """The default ones without those of ``drop``, with those of ``add``; ``ALL`` is all of them.

    What is added and dropped by name is there: a name tells more than ``ALL``, and ``drop ALL, add X``
    leaves X alone.

    Args:
        known: Those that this system has, which ``ALL`` stands for.
    Raises:
        InvalidArgument: No such capability.
    """
    added, dropped = [_name(text) for text in add], [_name(text) for text in drop]
    if ALL in dropped:
        found: list[str] = []
    else:
        found = [*(known if ALL in added else DEFAULT)]
    found = [name for name in found if name not in dropped]
    return tuple(dict.fromkeys([*found, *(name for name in added if name != ALL)]))


def known_here() -> tuple[str, ...]:
    """Those that the running kernel has; a runtime refuses or warns of others."""
    try:
        with open(_LAST, "rb") as file:
            last = int(file.read(16))
    except (OSError, ValueError):
        return NAMES
    return NAMES[: last + 1]


def _name(text: str) -> str:
    """``sys_admin``, ``CAP_SYS_ADMIN``: as the specification has it."""
    name = text.upper()
    if name == ALL:
        return ALL
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in NAMES:
        raise InvalidArgument(f"capability {text[:40]!a}: there is none; see capabilities(7)")
    return name
