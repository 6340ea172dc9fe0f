"""``dist serve`` as systemd runs it: sockets that are open already, and news about how it goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.serving import until

pytestmark = pytest.mark.slow
# What systemd does between fork and exec: the socket becomes descriptor 3, and the variables name it.
START = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3, inheritable=True)\n"
    "os.environ['LISTEN_PID'] = str(os.getpid())\n"
    "os.execv(sys.executable, [sys.executable, '-I', '-m', 'distore', *sys.argv[2:]])\n"
)


def test_it_serves_on_the_socket_it_is_given_and_says_how_it_goes(tmp_path: Path) -> None:
    news = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    news.bind(str(tmp_path / "notify"))
    news.settimeout(30)
    listener = socket.create_server(("127.0.0.1", 0))
    environment = {**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")}
    with news, listener, (tmp_path / "err").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(listener.fileno()), "serve", "--root", str(tmp_path / "store")],
            pass_fds=[listener.fileno()],
            stderr=errors,
            env=environment,
        )
        heard = [news.recv(1000).decode()]
        with socket.create_connection(listener.getsockname(), timeout=30) as client:
            client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGHUP)
        heard += [news.recv(1000).decode(), news.recv(1000).decode()]
        process.send_signal(signal.SIGTERM)
        heard.append(news.recv(1000).decode())
        assert process.wait(30) == 0

    assert heard[0].startswith("READY=1\n")
    assert f"MAINPID={process.pid}" in heard[0]
    assert heard[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert heard[2].startswith("READY=1\n")
    assert heard[3] == "STOPPING=1"
    until(lambda: b"listening on http://127.0.0.1:" in (tmp_path / "err").read_bytes())


def test_a_socket_that_others_reach_is_warned_about_whatever_the_settings_say(tmp_path: Path) -> None:
    listener = socket.create_server(("0.0.0.0", 0))
    with listener, (tmp_path / "err").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(listener.fileno()), "serve", "--root", str(tmp_path / "store")],
            pass_fds=[listener.fileno()],
            stderr=errors,
            env={**os.environ, "LISTEN_FDS": "1"},
        )
        until(lambda: b"listening on" in (tmp_path / "err").read_bytes())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0

    assert b"warning: whoever reaches every address may pull, push" in (tmp_path / "err").read_bytes()
