"""A registry on a loopback port, and the client that reads it, without real pauses."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.remotes.budgeting import Clock
from tests.unit.remotes.pushing import BLOB, Clients

from distore._internal.retry import Policy, Retrier
from distore.content.memory import MemoryStore
from distore.oci.reference import Reference
from distore.remotes.budget import SharedBudget
from distore.remotes.http.body import Limits
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.testing.server import FakeRegistry

# A certificate for 127.0.0.1 and localhost, valid to 2120, and the authority that signed it. Its
# key protects nothing; the authority's was thrown away.
TLS = Path(__file__).parent / "tls"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


@pytest.fixture
def gated() -> Iterator[FakeRegistry]:
    """A registry that wants a token."""
    with FakeRegistry(with_tokens=True) as server:
        yield server


@pytest.fixture
def ca() -> str:
    """The authority that the encrypted registry's certificate comes from."""
    return str(TLS / "ca.pem")


@pytest.fixture
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    return context


@pytest.fixture
def encrypted(server_context: ssl.SSLContext) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=server_context) as server:
        yield server


@pytest.fixture
def connect() -> Iterator[Callable[..., HttpFetcher]]:
    """Make a fetcher: ``connect("127.0.0.1:5000/demo", options=...)``; connections end with the test.

    Loopback is reached without TLS unless ``over`` says otherwise.
    """
    resolvers: list[HttpResolver] = []

    def make(
        repository: str,
        *,
        options: RegistryOptions | None = None,
        over: str | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] | None = None,
    ) -> HttpFetcher:
        resolver = HttpResolver(
            options or RegistryOptions(), limits=limits or Limits(), clock=clock or time.monotonic
        )
        resolvers.append(resolver)
        if over:
            return resolver.fetcher_at(f"{over}://{repository}")
        return resolver.fetcher(Reference.parse(repository, default_tag=None))

    yield make
    for resolver in resolvers:
        resolver.close()


@pytest.fixture
def naps() -> list[float]:
    """Every pause that a retrier made."""
    return []


@pytest.fixture
def retrier(naps: list[float]) -> Retrier:
    """Three attempts; pauses are only written down."""
    return Retrier(Policy(attempts=3), sleep=naps.append, random=lambda: 0.0)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clients() -> Iterator[Clients]:
    with Clients() as made:
        yield made


@pytest.fixture
def upload(clients: Clients, registry: FakeRegistry) -> Callable[..., str]:
    """Upload into the repository ``demo`` of ``registry``."""
    client = clients.client(f"{registry.address}/demo")
    return lambda data=BLOB, **more: clients.upload(client, data, **more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "hosts"


@pytest.fixture
def process(clock: Clock, folder: Path) -> Callable[[], SharedBudget]:
    """Another process on the same store."""
    return lambda: SharedBudget(str(folder), now=clock, random=lambda: 0.0, sleep=clock.sleep)


@pytest.fixture
def budget(process: Callable[[], SharedBudget]) -> SharedBudget:
    return process()
