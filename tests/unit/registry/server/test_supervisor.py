"""Supervisor: it goes on when the system, its workers or its settings let it down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# A supervisor in a process of its own, for signals are a process's; workers only say that they serve.
_PROGRAM = """
import errno, os, signal, sys
from distore.registry.server.configuration import read
from distore.registry.server.supervisor import READY, Supervisor

def work(job):
    if os.environ.get("SLOWLY"):
        os.kill(os.getppid(), signal.SIGHUP)
    job.control.send(READY)
    job.control.recv(1)
    return 0

def tell(*what):
    print(*what, flush=True)

reads = []
def configuration():
    reads.append(1)
    tell("read", len(reads))
    return read(None, {"listen": ["127.0.0.1:0"]})

fork, forks = os.fork, []
def forked():
    forks.append(1)
    if len(forks) == int(os.environ.get("FAILS", "0")):
        raise OSError(errno.EAGAIN, "no")
    pid = fork()
    if pid:
        tell("worker", pid)
    return pid

os.fork = forked
supervisor = Supervisor(
    read=configuration,
    load=lambda: None,
    work=work,
    listening=lambda names, tls: tell("listening"),
    say=lambda line: tell("said", line),
)
status = supervisor.run()
tell("ended", status)
"""


class Running:
    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines: list[str] = []

    def until(self, start: str) -> str:
        """The next line that begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith(start):
                return line.strip()
        raise AssertionError(self.lines)

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.until("ended") == "ended 0"
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_a_worker_that_cannot_be_started_is_tried_again() -> None:
    running = Running(FAILS="2")
    first = int(running.until("worker").split()[1])
    running.until("listening")

    os.kill(first, signal.SIGKILL)

    assert "signal 9" in running.until("said")
    assert "a worker could not be started: resource temporarily" in running.until("said")
    running.until("worker")
    running.end()


def test_a_reload_whose_workers_cannot_be_started_changes_nothing() -> None:
    running = Running(FAILS="2")
    first = running.until("worker")
    running.until("listening")

    running.process.send_signal(signal.SIGHUP)

    assert "a worker could not be started" in running.until("said")
    assert "stays as it was" in running.until("said")
    os.kill(int(first.split()[1]), 0)
    running.end()


def test_a_reload_that_is_asked_for_while_it_starts_comes_after_that() -> None:
    running = Running(SLOWLY="1")

    running.until("listening")

    assert running.until("read") == "read 2"
    running.end()
