"""``dist serve`` as a process of its own, for tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from distore.oci.digest import Digest

DIST = [sys.executable, "-I", "-m", "distore"]


class Answer(NamedTuple):
    """``headers``: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Served:
    """One that runs. ``address``: of the first listener."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.process = process
        self._errors = errors
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, self.said()
        self.event = json.loads(line)
        self.address = str(self.event["addresses"][0])

    def said(self) -> str:
        """Standard error so far."""
        return self._errors.read_text()

    def workers(self) -> list[int]:
        """Their pids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def next_event(self) -> object:
        """The next line of standard output: a reload is done."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def wait(self, timeout: float = 30) -> int:
        return self.process.wait(timeout)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=30)

    def plug(self) -> socket.socket:
        """A bare connection."""
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Underscores in names of headers are dashes."""
        connection = self.connect()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body or None, headers=named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def push(self, repository: str, data: bytes) -> Digest:
        """A blob, in one request."""
        digest = Digest.of(data)
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
        assert answer.status == 201, answer
        return digest


@contextmanager
def served(
    folder: Path, *words: str, listen: str = "127.0.0.1:0", environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """``dist serve WORDS`` on a store in ``folder``; killed at the end, if it still runs."""
    errors = folder / "serve.err"
    with errors.open("ab") as error_file:
        process = subprocess.Popen(
            [*DIST, "serve", "--root", str(folder / "store"), "--json", "--listen", listen, *words],
            stdout=subprocess.PIPE,
            stderr=error_file,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield Served(process, errors)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


def until(check: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)
