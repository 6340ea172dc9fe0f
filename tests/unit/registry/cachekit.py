"""A cache in front of registries that can be told to misbehave, asked without a network of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from distore.content.local.store import LocalStore
from distore.registry.cache import Cache, CacheParts
from distore.registry.cachenames import Naming
from distore.registry.cachesettings import CacheSettings, UpstreamSettings, prefix_of
from distore.registry.message import BytesBody, Request, Response, Slice
from distore.registry.metrics import Metrics
from distore.registry.routes import PushRegistry
from distore.registry.upstreams import Upstreams
from distore.remotes.budget import SharedBudget
from distore.remotes.http.body import Limits
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.repositories import Repositories
from distore.testing.memory_repositories import MemoryRepositories


@dataclass
class Clock:
    """Seconds since the epoch that go on when they are told to."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    @classmethod
    def real(cls) -> Clock:
        """That of the machine, as it is now."""
        return cls(now=time.time())


@dataclass
class Kit:
    """A running cache and what it is made of."""

    store: LocalStore
    repositories: Repositories
    service: Naming
    cache: Cache
    metrics: Metrics
    clock: Clock
    notes: list[str] = field(default_factory=list)

    def ask(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Response:
        """``path`` begins behind /v2/ and may have a query; the quick way first, as a server does."""
        bare, _, query = path.partition("?")
        pairs = [part.partition("=") for part in query.split("&") if part]
        request = Request(
            method=method,
            path=f"/v2/{bare}",
            query={name: value for name, _, value in pairs},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            body=BytesBody(body),
        )
        return self.service.quick(request) or self.service.handle(request)

    def get(self, path: str, **headers: str) -> bytes:
        """The whole body of an answer that must be good."""
        response = self.ask(path, "GET", b"", **headers)
        assert response.status in (200, 206), (response.status, response.body)
        return read(response)

    def counted(self, result: str) -> float:
        """How often requests ended like that."""
        return self.metrics.counter("distore_cache_requests_total", "", ("result",)).value(result)


def read(response: Response, piece: int = 64 * 1024) -> bytes:
    """The body, piece by piece; raises what a server would break off for."""
    if isinstance(response.body, bytes):
        return response.body
    body = response.body
    assert isinstance(body, Slice)
    data = bytearray()
    try:
        while len(data) < body.length:
            got = body.reader.read_at(min(piece, body.length - len(data)), body.start + len(data))
            assert got
            data += got
    finally:
        response.close()
    return bytes(data)


def upstream(host: str, **settings: object) -> UpstreamSettings:
    """One with the usual prefix."""
    prefix = settings.pop("prefix", prefix_of(host))
    return UpstreamSettings(host=host, prefix=prefix, **settings)  # type: ignore[arg-type] # as given


@contextmanager
def running(
    store: LocalStore,
    settings: CacheSettings,
    *,
    repositories: Repositories | None = None,
    clock: Clock | None = None,
    connect: Callable[[UpstreamSettings | None], HttpResolver] | None = None,
) -> Iterator[Kit]:
    """A cache until the block ends."""
    clock, notes, metrics = clock or Clock(), list[str](), Metrics()
    repositories = repositories if repositories is not None else MemoryRepositories(now=clock)
    resolver = HttpResolver(RegistryOptions(), limits=Limits(), budget=SharedBudget(None))
    upstreams = Upstreams(settings, connect or (lambda _upstream: resolver))
    registry = PushRegistry(store, repositories)
    parts = CacheParts(
        content=store,
        repositories=repositories,
        upstreams=upstreams,
        metrics=metrics,
        now=clock,
        note=notes.append,
    )
    cache = Cache(registry, settings, parts)
    naming = Naming(cache, upstreams, repositories, names=settings.names, now=clock)
    try:
        yield Kit(store, repositories, naming, cache, metrics, clock, notes)
    finally:
        cache.close()
        registry.close()
        resolver.close()
