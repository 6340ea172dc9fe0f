"""Crowd: how many requests and connections each client has, and whether it may have more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore.registry.server.settings import Limits


class Crowd:
    """Of one worker; used in its event loop alone. A client without an address (a unix socket) has no
    limits of its own."""

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits
        self._connections: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._uploads: Counter[str] = Counter()
        self.connections = 0
        self.requests = 0
        self.uploads = 0

    @property
    def is_full(self) -> bool:
        """No more connections are taken for now."""
        return self._limits is not None and self.connections >= self._limits.connections

    def connect(self, client: str) -> bool:
        """Let a connection in; False: that client has enough."""
        if (
            self._limits is not None
            and client
            and self._connections[client] >= self._limits.client_connections
        ):
            return False
        self.connections += 1
        self._connections[client] += 1
        return True

    def disconnect(self, client: str) -> None:
        """What ``connect`` let in has gone."""
        self.connections -= 1
        _less(self._connections, client)

    def enter(self, client: str, *, upload: bool) -> str | None:
        """Let a request in; otherwise why not."""
        if self._limits is not None and client:
            if self._requests[client] >= self._limits.client_requests:
                return f"{self._limits.client_requests} requests of {client} are at work, the limit here"
            if upload and self._uploads[client] >= self._limits.client_uploads:
                return f"{self._limits.client_uploads} uploads of {client} are under way, the limit here"
        self.requests += 1
        self._requests[client] += 1
        if upload:
            self.uploads += 1
            self._uploads[client] += 1
        return None

    def leave(self, client: str, *, upload: bool) -> None:
        """What ``enter`` let in is done."""
        self.requests -= 1
        _less(self._requests, client)
        if upload:
            self.uploads -= 1
            _less(self._uploads, client)


def _less(counter: Counter[str], client: str) -> None:
    counter[client] -= 1
    if counter[client] <= 0:
        del counter[client]
