"""A client of registries that is no bottleneck: sockets, sendfile, and no look at what comes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_BUFFER = 1024 * 1024
_TIMEOUT = 120.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Of one request; ``body`` only when it was asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Wire:
    """One connection that stays open; not thread-safe."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = address
        self._socket = socket.create_connection((host, int(port)), timeout=_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(_BUFFER)
        self._ahead = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        want: int | None = None,
    ) -> Answer:
        """Send a small request and read the answer."""
        self._socket.sendall(self._head(method, path, len(body), headers) + body)
        return self._answer(method, path, want)

    def send_file(self, method: str, path: str, file: Path, *, want: int) -> Answer:
        """Send a file as the body."""
        with file.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            kind = {"content-type": "application/octet-stream"}
            self._socket.sendall(self._head(method, path, size, kind))
            if size:
                self._socket.sendfile(source)
        return self._answer(method, path, want)

    def begin(self, path: str) -> None:
        """Ask for something whose answer is read with ``some``, at leisure."""
        self._socket.sendall(self._head("GET", path, 0, None))

    def some(self) -> int:
        """Bytes that came, up to a buffer; 0 when the connection has ended."""
        return self._socket.recv_into(self._buffer)

    def send_some(self, data: bytes) -> None:
        """A part of a body whose head was sent by ``promise``."""
        self._socket.sendall(data)

    def promise(self, method: str, path: str, size: int) -> None:
        """The head of a request with a body that comes later."""
        kind = {"content-type": "application/octet-stream"}
        self._socket.sendall(self._head(method, path, size, kind))

    def _head(self, method: str, path: str, size: int, headers: Mapping[str, str] | None) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._address}"]
        if size or method in ("POST", "PUT", "PATCH"):
            lines.append(f"content-length: {size}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _answer(self, method: str, path: str, want: int | None) -> Answer:
        data = self._ahead
        while (end := data.find(b"\r\n\r\n")) < 0:
            piece = self._socket.recv(65536)
            if not piece:
                raise SystemExit(f"{method} {path}: the server has closed the connection")
            data += piece
        first, *lines = data[:end].decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split()[1])
        body = data[end + 4 :]
        left = 0 if method == "HEAD" or status == 204 else int(headers.get("content-length", "0")) - len(body)
        if want is not None and status != want:
            raise SystemExit(f"{method} {path}: {status} {body[:300]!r}")
        self._ahead = b""
        while left > 0:
            came = self._socket.recv_into(self._buffer, min(left, _BUFFER))
            if not came:
                raise SystemExit(f"{method} {path}: the answer ended early")
            left -= came
        return Answer(status=status, headers=headers, body=body)


def push_blob(wire: Wire, repository: str, digest: str, file: Path) -> None:
    """As docker, podman and skopeo do: POST, PATCH, PUT."""
    where = _begun(wire, repository)
    sent = wire.send_file("PATCH", where, file, want=202)
    where = _path(sent.headers["location"])
    wire.ask("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", want=201)


def push_small(wire: Wire, repository: str, digest: str, data: bytes) -> None:
    """As clients do with what is in memory: POST, PUT."""
    where = _begun(wire, repository)
    kind = {"content-type": "application/octet-stream"}
    joined = f"{where}{'&' if '?' in where else '?'}digest={digest}"
    wire.ask("PUT", joined, body=data, headers=kind, want=201)


def begin_push(wire: Wire, repository: str, size: int) -> None:
    """POST, and the head of a PATCH."""
    wire.promise("PATCH", _begun(wire, repository), size)


def put_manifest(wire: Wire, repository: str, tag: str, document: Mapping[str, object]) -> None:
    """PUT of a manifest."""
    kind = {"content-type": str(document["mediaType"])}
    wire.ask(
        "PUT",
        f"/v2/{repository}/manifests/{tag}",
        body=json.dumps(document).encode(),
        headers=kind,
        want=201,
    )


def _begun(wire: Wire, repository: str) -> str:
    answer = wire.ask("POST", f"/v2/{repository}/blobs/uploads/", want=202)
    return _path(answer.headers["location"])


def _path(location: str) -> str:
    if "://" not in location:
        return location
    return "/" + location.split("://", 1)[1].partition("/")[2]
