"""``dist serve`` as people start and stop it: addresses, configuration, what it says, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.serving import DIST, Served, served, until

pytestmark = pytest.mark.slow


def fails(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Exit status and standard error of one that does not come to serve."""
    ended = subprocess.run(
        [*DIST, "serve", "--root", str(folder / "store"), *words],
        capture_output=True,
        cwd=folder,
        env={**os.environ, **environment},
        timeout=30,
        check=False,
    )
    assert ended.stdout == b""
    return ended.returncode, ended.stderr.decode()


def test_it_says_where_it_listens_and_answers_there(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        port = server.address.rpartition(":")[2]

        assert server.event == {
            "event": "listening",
            "addresses": [f"127.0.0.1:{port}"],
            "urls": [f"http://127.0.0.1:{port}/"],
        }
        assert server.said() == f"dist: listening on http://127.0.0.1:{port}/\n"
        assert server.ask("GET", "/v2/").status == 200
        assert server.ask("GET", "/healthz").body == b"ok\n"
        assert server.ask("GET", "/readyz").body == b"ready\n"


def test_a_page_of_another_site_cannot_push(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert server.ask("POST", "/v2/a/blobs/uploads/", origin="http://evil.example").status == 403
        assert server.ask("POST", "/v2/a/blobs/uploads/", sec_fetch_site="cross-site").status == 403
        assert server.ask("POST", "/v2/a/blobs/uploads/").status == 202


def test_it_listens_at_several_addresses_one_of_them_a_path(tmp_path: Path) -> None:
    path = tmp_path / "sock"

    with served(tmp_path, "--listen", f"unix:{path}") as server, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")

        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        assert server.ask("GET", "/v2/").status == 200
    assert not path.exists()


def test_what_was_pushed_is_there_after_a_restart(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        digest = server.push("a/b", b"some bytes")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0

    with served(tmp_path) as server:
        assert server.ask("GET", f"/v2/a/b/blobs/{digest}").body == b"some bytes"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_at_once_when_nothing_is_under_way(tmp_path: Path, number: int, status: int) -> None:
    with served(tmp_path) as server:
        idle = server.connect()
        idle.request("GET", "/v2/")
        idle.getresponse().read()

        server.signal(number)

        assert server.wait(5) == status
        idle.close()


def test_an_upload_that_is_under_way_is_taken_to_its_end(tmp_path: Path) -> None:
    with served(tmp_path) as server, server.plug() as client:
        client.sendall(put_head(length=6))
        client.sendall(b"abc")
        until(lambda: (tmp_path / "store/ingest").is_dir() and any((tmp_path / "store/ingest").iterdir()))

        server.signal(signal.SIGTERM)
        until(lambda: "stopping" in server.said())
        until(lambda: is_refused(server))
        client.sendall(b"def")

        assert client.recv(100).startswith(b"HTTP/1.1 201 ")
        assert server.wait() == 0


def test_a_second_signal_ends_it_in_the_middle(tmp_path: Path) -> None:
    with served(tmp_path) as server, server.plug() as client:
        client.sendall(put_head(length=6))
        client.sendall(b"abc")

        server.signal(signal.SIGTERM)
        until(lambda: "stopping" in server.said())
        server.signal(signal.SIGTERM)

        assert server.wait(5) == 0
        assert broke_off(client)


def test_what_does_not_end_is_broken_off_after_the_grace(tmp_path: Path) -> None:
    with served(tmp_path, "--grace", "200ms") as server, server.plug() as client:
        client.sendall(put_head(length=6))

        server.signal(signal.SIGTERM)

        assert server.wait(10) == 0
        assert broke_off(client)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"

        status, said = fails(tmp_path, "--listen", where)

    assert status == 12
    assert said == f"dist: {where}: another process listens there; --listen names another address\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers = 0", "'workers': want a whole number from 1 to 64"),
        ("wrokers = 2", "'wrokers': no such setting"),
        ('listen = ["::1:5000"]', "'listen': address '::1:5000': want [::1]:PORT around an IPv6 address"),
        ("[limits]\nmin_rate = -1", "[limits]: 'min_rate': want a number of bytes, such as 512Mi or 50G"),
        ('[tls]\nkey = "k"', "[tls]: 'certificate': want one beside what is given"),
        ("workers = ", "Invalid value (at end of document)"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "serve.toml").write_text(text)

    status, told = fails(tmp_path, "--config", "serve.toml")

    assert status == 2
    assert told.startswith("dist: serve.toml")
    assert said in told
    assert told.count("\n") == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert fails(tmp_path, DIST_SERVE_CONFIG="gone.toml") == (11, "dist: gone.toml: no such file\n")


def test_flags_count_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text('workers = 1\ngrace = "5s"\n[log]\naccess = "file.log"\n')
    environment = {
        "DIST_SERVE_CONFIG": "serve.toml",
        "DIST_SERVE_WORKERS": "2",
        "DIST_SERVE_ACCESS_LOG": "environment.log",
    }

    with served(tmp_path, "--access-log", "flag.log", environment=environment) as server:
        server.ask("GET", "/v2/")
        until(lambda: (tmp_path / "flag.log").stat().st_size > 0)

        assert len(server.workers()) == 2
    assert not (tmp_path / "environment.log").exists()
    assert not (tmp_path / "file.log").exists()


def test_a_worker_that_cannot_begin_ends_it_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")

    status, said = fails(tmp_path, "--listen", "127.0.0.1:0")

    assert status not in (0, 70)
    assert said.startswith("dist: ")
    assert said.count("\n") == 1


def test_without_its_extra_it_says_what_brings_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['aiohttp'] = None; sys.argv = ['dist', 'serve']\n"
        "from distore.cli.main import entry; entry()"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, check=False)

    assert ended.stderr == b"dist: dist serve: needs aiohttp; pip install 'distore[server]' brings it\n"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a name that sockets like."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_ctrl_c_while_it_starts_leaves_nothing_behind(tmp_path: Path, short: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(short)}
    for _ in range(5):
        process = subprocess.Popen(
            [*DIST, "serve", "--root", str(tmp_path / "store"), "--listen", "127.0.0.1:0"],
            stderr=subprocess.PIPE,
            env=environment,
        )
        until(lambda: any(short.iterdir()))

        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)

        assert process.returncode == 130
        assert b"Traceback" not in said
    assert not list(short.iterdir())


def test_each_request_is_a_line_of_the_log_without_secrets(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    with served(tmp_path, "--access-log", str(log)) as server:
        digest = server.push("a", b"bytes")
        answer = server.ask(
            "GET", f"/v2/a/blobs/{digest}?secret=tell&n=1", authorization="Basic c2VjcmV0", user_agent="me"
        )
        server.ask("GET", "/%1B[31m")
        until(lambda: log.read_text().count("\n") == 3)
        line = json.loads(log.read_text().splitlines()[1])

    del line["time"], line["ms"]
    assert line == {
        "id": answer.headers["x-request-id"],
        "client": "127.0.0.1",
        "user": None,
        "method": "GET",
        "path": f"/v2/a/blobs/{digest}",
        "query": {"n": "1"},
        "status": 200,
        "received": 0,
        "sent": 5,
        "agent": "me",
        "scheme": "http",
    }
    assert "secret" not in log.read_text()
    assert "c2VjcmV0" not in log.read_text()
    assert "\x1b" not in log.read_text()


def put_head(*, length: int) -> bytes:
    digest = "sha256:bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721"  # of abcdef
    return (
        f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def broke_off(client: socket.socket) -> bool:
    """Whether the upload did not succeed."""
    try:
        return client.recv(100)[:13] in (b"", b"HTTP/1.1 503 ")
    except ConnectionResetError:
        return True


def is_refused(server: Served) -> bool:
    try:
        server.plug().close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_connection_is_kept_for_the_next_request(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        connection = http.client.HTTPConnection(server.address, timeout=30)
        sockets = set()
        for _ in range(3):
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            sockets.add(id(connection.sock))
        connection.close()

    assert len(sockets) == 1
