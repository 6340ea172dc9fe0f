"""Addresses: where a server listens, parsed and bound."""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import Final

from distore.errors import AlreadyExists, InvalidArgument, PermissionDenied, Unavailable

DEFAULT_PORT: Final = 5000
_BACKLOG: Final = 1024  # connections that wait to be taken
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """``path``: a unix socket; without it a host and a port (0: any free one)."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Of ``HOST:PORT``, ``HOST``, ``:PORT``, ``[V6]:PORT`` or ``unix:PATH``.

        Raises:
            InvalidArgument: It is none.
        """
        if text.startswith("unix:"):
            if not text[5:] or "\0" in text:
                raise InvalidArgument(f"address {text[:80]!a}: want unix:PATH")
            return cls(path=text[5:])
        host, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, port = text, str(DEFAULT_PORT)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise InvalidArgument(f"address {text[:80]!a}: want [{host}]:PORT around an IPv6 address")
        if not (port.isascii() and port.isdecimal()) or int(port[:6]) > _MAX_PORT:
            raise InvalidArgument(f"address {text[:80]!a}: want HOST:PORT, [V6]:PORT or unix:PATH")
        return cls(host=host, port=int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def bind(self) -> list[socket.socket]:
        """Sockets that listen there: several where a name stands for several addresses.

        Raises:
            AlreadyExists: Another process listens there, or a file is there that is no socket.
            PermissionDenied: Not allowed.
            Unavailable: There is no such address.
        """
        if self.port > _MAX_PORT:
            raise Unavailable(f"{self}: there is no port over {_MAX_PORT}")
        try:
            if self.path:
                return [_bind_path(self.path)]
            return [_bind_port(family, address) for family, address in self._resolve()]
        except OSError as error:
            raise _explained(error, str(self)) from error

    def _resolve(self) -> list[tuple[int, tuple[object, ...]]]:
        flags = socket.AI_PASSIVE
        found = socket.getaddrinfo(self.host or None, self.port, type=socket.SOCK_STREAM, flags=flags)
        unique = {(info[0], info[4]): None for info in found}
        if self.port == 0:  # one free port, not one for each family
            unique = dict([next(iter(unique.items()))])
        return [(family, tuple(address)) for family, address in unique]


def name_of(listener: socket.socket) -> str:
    """The address of a socket that listens, with its real port."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    return str(Address(host=name[0], port=name[1]))


def _bind_port(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_path(path: str) -> socket.socket:
    """A socket in the file system; one that nobody listens on any more is replaced."""
    if _is_left_over(path):
        os.unlink(path)
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise AlreadyExists(f"unix:{path}: a file that is no socket is there; --listen names another path")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_left_over(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # who listens may have no room for us
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except BlockingIOError:
            return False
    return False


def _explained(error: OSError, where: str) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return AlreadyExists(f"{where}: another process listens there; --listen names another address")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied(f"{where}: not allowed to listen there")
    if isinstance(error, socket.gaierror):
        return Unavailable(f"{where}: cannot listen there: the name is not known")
    why = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
    return Unavailable(f"{where}: cannot listen there: {why}")
