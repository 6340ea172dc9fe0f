"""``dist serve`` with several workers: they share connections, uploads and numbers, and may go and come."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest
from tests.e2e.serving import Served, served, until

pytestmark = pytest.mark.slow
BLOB = random.Random(7).randbytes(2_000_000)


class Load:
    """Clients that ask all the time. ``broken``: what went wrong, ``done``: how often it went well."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._over = threading.Event()
        self.broken: list[str] = []
        self.done = 0

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._ask()
            except (OSError, HTTPException, AssertionError) as error:
                self.broken.append(repr(error))
            else:
                self.done += 1

    @contextmanager
    def on(self, clients: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(30)

    def more(self, count: int) -> None:
        """Wait for so many answers from now on."""
        wanted = self.done + count
        until(lambda: self.done >= wanted)


@contextmanager
def kept_alive(server: Served, path: str, body: bytes) -> Iterator[Callable[[], None]]:
    """Ask over connections that are kept, each client its own; a connection that the server announced
    to close is opened again."""
    local = threading.local()
    connections = []

    def ask() -> None:
        if not hasattr(local, "connection"):
            local.connection = server.connect()
            connections.append(local.connection)
        try:
            local.connection.request("GET", path)
            response = local.connection.getresponse()
            assert (response.status, response.read()) == (200, body)
        except BaseException:
            local.connection.close()
            raise

    yield ask
    for connection in connections:
        connection.close()


def test_all_workers_take_their_share(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server:
        first, second = server.workers()
        connections = [server.connect() for _ in range(40)]
        for connection in connections:
            connection.request("GET", "/v2/")
        for connection in connections:
            connection.getresponse().read()
        sockets = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (first, second)]
        for connection in connections:
            connection.close()

    assert min(sockets) > 15  # a worker has some ten files of its own


def test_an_upload_goes_on_through_whichever_worker_is_asked(tmp_path: Path) -> None:
    digest = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
    with served(tmp_path, "--workers", "2", "--access-log", str(tmp_path / "log")) as server:
        for _ in range(3):
            location = server.ask("POST", "/v2/a/blobs/uploads/").headers["location"]
            for start in range(0, len(BLOB), 200_000):
                piece = BLOB[start : start + 200_000]
                span = f"{start}-{start + len(piece) - 1}"
                answer = server.ask("PATCH", location, piece, content_range=span)
                assert answer.status == 202, answer
                location = answer.headers["location"]
            assert server.ask("GET", location).status == 204
            joined = "&" if "?" in location else "?"
            answer = server.ask("PUT", f"{location}{joined}digest={digest}")
            assert answer.status == 201, answer

        assert server.ask("GET", f"/v2/a/blobs/{digest}").body == BLOB
        until(lambda: (tmp_path / "log").read_text().count("\n") == 3 * 13 + 1)  # each once


def test_the_numbers_are_those_of_all_workers(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server:
        for _ in range(20):
            server.ask("GET", "/v2/")

        def numbers() -> dict[str, str]:
            lines = server.ask("GET", "/metrics").body.decode().splitlines()
            return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

        name = 'distore_http_requests_total{method="GET",route="other",status="200"}'
        before = int(numbers()[name])
        assert before >= 20
        assert numbers()["distore_workers"] == "2"

        server.signal(signal.SIGHUP)
        server.next_event()
        until(lambda: len(server.workers()) == 2)

        assert int(numbers()[name]) > before  # those that have ended still count


def test_a_reload_refuses_and_breaks_nothing(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server:
        path = f"/v2/a/blobs/{server.push('a', BLOB)}"
        before = set(server.workers())
        fresh = Load(lambda: check(server.ask("GET", "/v2/").status == 200))

        with kept_alive(server, path, BLOB) as ask:
            kept = Load(ask)
            with kept.on(3), fresh.on(3):
                for _ in range(3):
                    kept.more(20)
                    server.signal(signal.SIGHUP)
                    server.next_event()
                kept.more(20)
                fresh.more(20)

        until(lambda: len(server.workers()) == 2)
        assert not before & set(server.workers())
        assert (kept.broken, fresh.broken) == ([], [])


def check(good: bool) -> None:
    assert good


def test_a_reload_reads_the_configuration_again(tmp_path: Path) -> None:
    settings = tmp_path / "serve.toml"
    settings.write_text("workers = 1\n")
    with served(tmp_path, "--config", "serve.toml") as server:
        settings.write_text("workers = 3\n")
        server.signal(signal.SIGHUP)
        server.next_event()
        until(lambda: len(server.workers()) == 3)

        settings.write_text("workers = 'many'\n")
        before = set(server.workers())
        server.signal(signal.SIGHUP)
        until(lambda: "stays as it was" in server.said())

        assert "dist: serve.toml: 'workers': want a whole number from 1 to 64" in server.said()
        assert set(server.workers()) == before
        assert server.ask("GET", "/v2/").status == 200


def test_workers_share_the_program_that_their_supervisor_has_loaded(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text()

        assert "/aiohttp/" in loaded
        assert len(os.listdir(f"/proc/{server.process.pid}/task")) == 1


def test_a_reload_that_nobody_hears_of_ends_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        (before,) = server.workers()
        assert server.process.stdout is not None
        server.process.stdout.close()

        server.signal(signal.SIGHUP)
        until(lambda: before not in server.workers() and bool(server.workers()))

        assert server.ask("GET", "/v2/").status == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_an_upload_that_a_reload_meets_is_taken_to_its_end(tmp_path: Path) -> None:
    digest = f"sha256:{hashlib.sha256(b'abcdef').hexdigest()}"
    with served(tmp_path) as server, server.plug() as client:
        head = f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"
        client.sendall(head.encode() + b"abc")
        [old] = server.workers()

        server.signal(signal.SIGHUP)
        server.next_event()
        assert server.ask("GET", "/v2/").status == 200
        client.sendall(b"def")

        answer = client.recv(1000)
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert b"connection: close" in answer.lower()
        until(lambda: old not in server.workers())
        assert server.ask("GET", f"/v2/a/blobs/{digest}").body == b"abcdef"


def test_a_worker_that_is_killed_is_replaced_and_others_go_on(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server, server.plug() as client:
        path = f"/v2/a/blobs/{server.push('a', BLOB)}"
        load = Load(lambda: check(server.ask("GET", path).body == BLOB))
        victim, other = server.workers()

        with load.on(4):
            load.more(10)
            os.kill(victim, signal.SIGKILL)
            until(lambda: f"worker {victim} was killed by signal 9" in server.said())
            until(lambda: len(server.workers()) == 2)
            load.more(20)
        until(lambda: len(server.workers()) == 2)

        # Whoever was with the one that was killed sees a broken connection: one for each client at most.
        assert len(load.broken) <= 4
        assert other in server.workers()
        client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")


def test_an_upload_that_dies_with_its_worker_leaves_nothing_to_see(tmp_path: Path) -> None:
    digest = f"sha256:{hashlib.sha256(b'abcdef').hexdigest()}"
    with served(tmp_path) as server, server.plug() as client:
        head = f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"
        client.sendall(head.encode() + b"abc")
        ingest = tmp_path / "store/ingest"
        until(lambda: ingest.is_dir() and any(ingest.glob("*/data")))

        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: "another one takes its place" in server.said())
        until(lambda: len(server.workers()) == 1)

        assert server.ask("GET", f"/v2/a/blobs/{digest}").status == 404
        assert server.push("a", b"abcdef") == digest


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server:
        workers = server.workers()

        os.kill(server.process.pid, signal.SIGKILL)
        server.wait()

        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_new_certificate_counts_for_the_next_connection(tmp_path: Path) -> None:
    make_certificate(tmp_path, "one")
    with served(tmp_path, "--tls-cert", "cert.pem", "--tls-key", "key.pem") as server:
        assert server.event["urls"] == [f"https://{server.address}/"]
        assert common_name(server) == "one"
        assert server.ask("GET", "/v2/").status == 400  # not closed without a word
        assert b"this address speaks TLS" in server.ask("GET", "/v2/").body

        make_certificate(tmp_path, "two")
        until(lambda: common_name(server) == "two")  # without any signal

        (tmp_path / "cert.pem").write_text("no certificate")
        until(lambda: "the certificate stays as it was" in server.said() or common_name(server) == "")
        assert common_name(server) == "two"
        server.signal(signal.SIGHUP)
        until(lambda: "the configuration stays as it was" in server.said())
        assert common_name(server) == "two"


def make_certificate(folder: Path, name: str) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-days", "1", "-keyout", "key.new", "-out", "cert.new"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "key.new").rename(folder / "key.pem")
    (folder / "cert.new").rename(folder / "cert.pem")


def common_name(server: Served) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with server.plug() as plain, context.wrap_socket(plain) as wrapped:
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None
    name = b"\x06\x03\x55\x04\x03\x0c"  # the object identifier of a common name, and a UTF-8 string
    at = der.rindex(name) + len(name)
    return der[at + 1 : at + 1 + der[at]].decode()
