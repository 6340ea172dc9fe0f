"""The contract with registries on FakeRegistry in its shapes; a new shape is one line in SHAPES."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distore.oci.reference import Reference
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.testing.remote_suite import RemoteSuite
from distore.testing.server import FakeRegistry

# For 127.0.0.1 and localhost, and the authority that signed it.
TLS = Path(__file__).parents[1] / "unit" / "remotes" / "tls"
USERS = {"ann": "secret"}

# What FakeRegistry is made with; "tls" is put in the place of a context.
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "tokens": {"with_tokens": True},
    "users": {"users": USERS},
    "users with tokens": {"with_tokens": True, "users": USERS},
    "tls": {"tls": True},
    "without referrers": {"referrers": False},
    "without mounts": {"mount": False},
    "without chunks": {"chunked": False},
    "large chunks": {"min_chunk": 100_000},
    "short pages": {"page": 1},
}


class TestRemotes(RemoteSuite):
    @pytest.fixture(params=list(SHAPES))
    def registry(self, request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
        shape = dict(SHAPES[request.param])
        if "tls" in shape:
            shape["tls"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            shape["tls"].load_cert_chain(TLS / "server.pem")
        with FakeRegistry(**shape) as registry:
            yield registry

    @pytest.fixture
    def resolver(self, registry: FakeRegistry, tmp_path: Path) -> Iterator[HttpResolver]:
        auth, hosts = tmp_path / "auth.json", tmp_path / "hosts"
        auth.write_text(json.dumps({"auths": {registry.address: {"username": "ann", "password": "secret"}}}))
        (hosts / registry.address).mkdir(parents=True)
        (hosts / registry.address / "hosts.toml").write_text(
            f'server = "{registry.url}"\nca = "{TLS / "ca.pem"}"\n'
        )
        options = RegistryOptions(hosts_dir=str(hosts), auth_files=(str(auth),))
        with HttpResolver(options) as resolver:
            yield resolver

    @pytest.fixture
    def repository(self, registry: FakeRegistry) -> Reference:
        return Reference(domain=registry.address, path="suite/app")
