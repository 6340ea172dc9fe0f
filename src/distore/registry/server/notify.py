"""Notify: what systemd wants to hear, and the sockets that it hands over."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_FIRST: Final = 3  # descriptor of the first socket that is handed over
_MOST: Final = 256


class Notifier:
    """Tells the manager of services how it goes; does nothing where there is none.

    Args:
        target: The value of NOTIFY_SOCKET.
    """

    def __init__(self, target: str | None) -> None:
        # An @ stands for the zero byte of an abstract address.
        self._target = "\0" + target[1:] if target and target.startswith("@") else target

    def ready(self, status: str) -> None:
        """It serves."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """The configuration is being read again; ``ready`` follows."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """It ends what is under way."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._target:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto(text.encode(), self._target)
            except OSError:
                return  # nobody listens: nothing depends on it


def handed_over(environment: Mapping[str, str], *, pid: int) -> list[socket.socket]:
    """The sockets of socket activation (LISTEN_FDS), which listen already."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(pid) or not (count.isascii() and count.isdecimal()):
        return []
    return [socket.socket(fileno=_FIRST + at) for at in range(min(int(count[:4]), _MOST))]


def forget(environment: MutableMapping[str, str]) -> None:
    """Let no child believe that the sockets are for it."""
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"):
        environment.pop(name, None)
