"""Debian's docker-registry in several shapes: plain, TLS, passwords, and tokens of a server of our own."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.interop.conftest import eventually, free_port, program, stop

from distore.remotes.options import RegistryOptions

# For 127.0.0.1, valid to 2120; its key protects nothing.
TLS = Path(__file__).parents[1] / "unit" / "remotes" / "tls"
USER, PASSWORD = "ann", "interop-secret"
# What `htpasswd -nbB` makes of both.
HTPASSWD = "ann:$2y$05$Z5F9NBqtJZoBXIn5VGucKeBaTzWu7YrKxmg2gyFuxsuNlbf1BCZZ.\n"
SHAPES = ("plain", "tls", "passwords", "tokens")
SERVICE = "interop"


@dataclass(frozen=True)
class Served:
    """A running docker-registry; its ``tree`` is where it keeps repositories."""

    host: str
    tree: Path
    options: RegistryOptions


@contextmanager
def served(base: Path, shape: str = "plain") -> Iterator[Served]:
    """A docker-registry of one of the SHAPES with its data below ``base``."""
    with ExitStack() as running:
        port = free_port()
        settings = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {
                "filesystem": {"rootdirectory": str(base / "data")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        if shape == "tls":
            pair = {"certificate": str(TLS / "server.pem"), "key": str(TLS / "server.pem")}
            settings["http"] = {"addr": f"127.0.0.1:{port}", "tls": pair}
        elif shape == "passwords":
            (base / "htpasswd").write_text(HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "interop", "path": str(base / "htpasswd")}}
        elif shape == "tokens":
            realm = running.enter_context(token_server())
            bundle = str(TLS / "ca.pem")
            settings["auth"] = {
                "token": {"realm": realm, "service": SERVICE, "issuer": SERVICE, "rootcertbundle": bundle}
            }
        (base / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
        running.enter_context(docker_registry(base))
        eventually(lambda: listens(port), "docker-registry's first answer")
        yield Served(f"127.0.0.1:{port}", base / "data/docker/registry/v2/repositories", options(base, port))


@contextmanager
def docker_registry(base: Path) -> Iterator[None]:
    with (base / "log").open("wb") as log:
        command = [program("docker-registry"), "serve", str(base / "config.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            stop(process)


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


def options(base: Path, port: int) -> RegistryOptions:
    """How we reach it: hosts.toml with its authority, and a file with the password."""
    host = f"127.0.0.1:{port}"
    tls = '"tls"' in (base / "config.yml").read_text()
    folder = base / "hosts" / host
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(
        f'server = "http{"s" if tls else ""}://{host}"\nca = "{TLS / "ca.pem"}"\n'
    )
    auth = base / "auth.json"
    auth.write_text(json.dumps({"auths": {host: {"username": USER, "password": PASSWORD}}}))
    return RegistryOptions(hosts_dir=str(base / "hosts"), auth_files=(str(auth),))


@contextmanager
def token_server() -> Iterator[str]:
    """Gives tokens to USER for whatever is asked; the address to ask at."""
    sign = signer()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            good = self.headers.get("authorization") == f"Basic {pair}"
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            document = {"token": sign(scopes), "expires_in": 300} if good else {"errors": []}
            body = json.dumps(document).encode()
            self.send_response(200 if good else 401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def signer() -> Callable[[list[str]], str]:
    """Makes tokens (RFC 7519) that the key of the certificate signs; openssl does the arithmetic."""
    openssl = program("openssl")
    text = (TLS / "server.pem").read_text()
    found = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    assert found is not None
    certificate = base64.b64encode(ssl.PEM_cert_to_DER_cert(found[0])).decode()

    def sign(scopes: list[str]) -> str:
        now = int(time.time())
        granted = [scope.split(":") for text in scopes for scope in text.split()]
        access = [{"type": kind, "name": name, "actions": do.split(",")} for kind, name, do in granted]
        header = {"typ": "JWT", "alg": "ES256", "x5c": [certificate]}
        claims = {"iss": SERVICE, "sub": USER, "aud": SERVICE, "iat": now, "nbf": now - 10, "exp": now + 300}
        signed = ".".join(
            encoded(json.dumps(part).encode()) for part in (header, {**claims, "access": access})
        )
        command = [openssl, "dgst", "-sha256", "-sign", str(TLS / "server.pem")]
        done = subprocess.run(command, input=signed.encode(), capture_output=True, check=True)
        return f"{signed}.{encoded(plain_signature(done.stdout))}"

    return sign


def plain_signature(der: bytes) -> bytes:
    """Both numbers of an ECDSA signature side by side (RFC 7518, section 3.4)."""
    size = der[3]
    numbers = der[4 : 4 + size], der[6 + size :]
    return b"".join(int.from_bytes(number, "big").to_bytes(32, "big") for number in numbers)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
