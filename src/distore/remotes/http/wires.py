"""Wires: connections whose sockets are in reach, to time each read and to break all of them off."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import wait_for_read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer, SupportsRead

_ABORTED: Final = (errno.ECONNABORTED, "broken off on request")


class Wires:
    """The sockets of the connections that are open, in use or not.

    Args:
        patience: Seconds that the other side may take none of what is sent to it.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.aborts = 0  # how often everything was broken off
        self._guard = threading.Lock()
        self._open: WeakSet[socket.socket] = WeakSet()

    def add(self, wire: socket.socket, aborts: int) -> None:
        """A connection that was begun after ``aborts`` aborts.

        Raises:
            ConnectionAbortedError: There was another one meanwhile.
        """
        with self._guard:
            if self.aborts != aborts:
                raise ConnectionAbortedError(*_ABORTED)
            self._open.add(wire)

    def abort(self) -> None:
        """End every connection: whoever reads or writes sees its end at once."""
        with self._guard:
            self.aborts += 1
            wires = list(self._open)
            self._open.clear()
        for wire in wires:
            # TLS within TLS has no socket of its own. The shutdown of an SSLSocket would make what
            # is still to come look like plain text; that of its base class leaves TLS alone.
            base = getattr(wire, "socket", wire)
            with suppress(OSError):  # closed already
                socket.socket.shutdown(base, socket.SHUT_RDWR)

    def pools(self) -> dict[str, type[HTTPConnectionPool]]:
        """Pool classes by scheme, whose connections are counted here."""

        class Plain(_Connection):
            wires = self

        class Encrypted(_Connection, HTTPSConnection):
            wires = self

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        return {"http": PlainPool, "https": EncryptedPool}


class _Connection(HTTPConnection):
    wires: Wires
    wire: socket.socket | None = None
    _cut = False  # a request was not sent to its end: nothing else can follow it

    def connect(self) -> None:
        aborts = self.wires.aborts
        super().connect()
        self.wire = self.sock
        try:
            self.wires.add(self.sock, aborts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        super().close()
        self._cut = False

    @property
    def is_connected(self) -> bool:
        """Asked before the connection is used again."""
        return not self._cut and super().is_connected

    def send(self, data: ReadableBuffer | Iterable[ReadableBuffer] | SupportsRead[bytes] | str) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self.wires.patience)
        try:
            super().send(data)
        except TimeoutError as error:
            self._cut = True
            if not wait_for_read(self.sock, timeout=0):
                raise
            # It has answered and listens no more; a broken pipe makes urllib3 read the answer.
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        except ssl.SSLEOFError as error:  # how TLS calls a broken pipe
            self._cut = True
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        except OSError:
            self._cut = True
            raise
