"""Neighbours: the numbers of all workers of one server, for whichever of them is asked."""

from __future__ import annotations

import http.client
import os
import socket
from typing import TYPE_CHECKING, Final

from distore.registry.metrics import load, page, summed
from distore.registry.server import past

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.registry.metrics import Family

_PATIENCE: Final = 2.0  # seconds
_MOST: Final = 4 * 1024 * 1024  # bytes that one tells


class Neighbours:
    """``folder``: where each has its socket; ``own``: the numbers of this process, whose ``pid`` it is."""

    def __init__(self, folder: str, *, pid: int, own: Callable[[], list[Family]]) -> None:
        self._folder = folder
        self._pid = pid
        self._own = own

    def page(self) -> bytes:
        """As Prometheus reads them."""
        return page(summed([self._own(), past.read(self._folder), *self._theirs()]))

    def _theirs(self) -> Iterator[list[Family]]:
        for name in sorted(os.listdir(self._folder)):
            if name.endswith(".sock") and name != f"{self._pid}.sock":
                try:
                    yield load(_ask(os.path.join(self._folder, name)))
                except (OSError, http.client.HTTPException, ValueError, TypeError):
                    continue  # it has just ended


def _ask(path: str) -> bytes:
    connection = http.client.HTTPConnection("worker", timeout=_PATIENCE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as reached:
        reached.settimeout(_PATIENCE)
        reached.connect(path)
        connection.sock = reached
        connection.request("GET", "/metrics")
        return connection.getresponse().read(_MOST)
