"""Registries that are measured: `dist serve`, and Debian's docker-registry."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import measure
import peers
from wire import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running one."""

    address: str
    pid: int

    def peak(self) -> int:
        """Bytes of memory, resident at most, of all its processes."""
        return sum(_status(pid, "VmHWM") for pid in _family(self.pid))

    def resident(self) -> int:
        """Bytes of memory now."""
        return sum(_status(pid, "VmRSS") for pid in _family(self.pid))


def _family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        children = Path(f"/proc/{each}/task/{each}/children")
        if children.exists():
            found += [int(child) for child in children.read_text().split()]
    return found


def _status(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


@contextmanager
def dist(folder: Path, *, workers: int = 1) -> Iterator[Server]:
    """Ours, over a store in ``folder``."""
    address = f"127.0.0.1:{peers.free_port()}"
    command = [*measure.DIST, "serve", "--root", str(folder), "--listen", address, "--workers", str(workers)]
    with _serving(command, address, folder.with_suffix(".log")) as server:
        yield server


@contextmanager
def debian(folder: Path) -> Iterator[Server]:
    """Debian's docker-registry."""
    address = f"127.0.0.1:{peers.free_port()}"
    config = folder.with_suffix(".json")  # JSON is YAML
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    config.write_text(json.dumps(settings))
    with _serving(["docker-registry", "serve", str(config)], address, folder.with_suffix(".log")) as server:
        yield server


@contextmanager
def _serving(command: Sequence[str], address: str, log: Path) -> Iterator[Server]:
    with peers.started(command, log) as process:
        end = time.monotonic() + 30
        while not _answers(address):
            if time.monotonic() > end or process.poll() is not None:
                raise SystemExit(f"{command}: no answer\n{log.read_text()[-2000:]}")
            time.sleep(0.005)
        yield Server(address=address, pid=process.pid)


def _answers(address: str) -> bool:
    try:
        with Wire(address) as wire:
            return wire.ask("GET", "/v2/").status == 200
    except OSError:
        return False


SERVERS = {"dist serve": dist, "docker-registry": debian}
