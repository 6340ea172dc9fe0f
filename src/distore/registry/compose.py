"""Compose: a registry as its settings say, out of parts that somebody else has made."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from distore.content.store import Follower, Store
from distore.registry.admission import Admission
from distore.registry.cache import Cache, CacheParts
from distore.registry.cachenames import Naming
from distore.registry.crosssite import CrossSite
from distore.registry.documents import Documents
from distore.registry.keeping import Keeping
from distore.registry.pages.service import Pages
from distore.registry.routes import PushRegistry
from distore.registry.shelf import Shelf
from distore.registry.shelfimages import ShelfImages
from distore.registry.sizes import human
from distore.registry.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.images.image import ImageStore
    from distore.registry.cachesettings import CacheSettings, UpstreamSettings
    from distore.registry.keeping import Upkeep
    from distore.registry.message import Service
    from distore.registry.metrics import Metrics
    from distore.registry.room import Room
    from distore.registry.settings import ServeSettings
    from distore.remotes.resolver import Resolver
    from distore.repositories import Repositories


class ServedStore(Store, Follower, Protocol):
    """A content store that several processes serve."""


class Parts(NamedTuple):
    """What a registry is made of. ``connect``: makes a resolver of the cache's own, for an upstream with
    settings of its own or (None) for all the others; ``now``: seconds since the epoch; ``metrics``: where
    the numbers of a layer go; ``free``: bytes that are free where the store is, None when nobody knows;
    ``state``: the folder of the store; ``note``: gets a line for the operator; ``upkeep``: what
    housekeeping can do with the store, None: there is no housekeeping."""

    content: ServedStore
    repositories: Repositories
    images: ImageStore
    connect: Callable[[UpstreamSettings | None], Resolver]
    now: Callable[[], float]
    metrics: Metrics
    free: Callable[[], int | None] = lambda: None
    state: str = "."
    note: Callable[[str], None] = lambda _line: None
    upkeep: Upkeep | None = None


class Composed(NamedTuple):
    """``close`` ends what works behind ``service``, when no more requests come."""

    service: Service
    close: Callable[[], None]


def compose(settings: ServeSettings, parts: Parts) -> Composed:
    """From the inside out: the registry, the store's images, the cache, the page, the gate."""
    registry = PushRegistry(parts.content, parts.repositories, now=parts.now)
    service: Service = registry
    documents = Documents(parts.content)
    shelf = ShelfImages(parts.images, parts.content, documents, clock=parts.now) if settings.images else None
    close, caching = registry.close, settings.cache
    upstreams = Upstreams(caching, parts.connect)
    if shelf is not None:
        takes = partial(_takes_pushes, caching, upstreams)
        service = Shelf(service, shelf, parts.content, parts.repositories, takes=takes)
    keeping = keeping_of(settings, parts, registry)
    if caching.upstreams:
        cache = Cache(service, caching, cache_parts(parts, upstreams, keeping.room))
        keeping.evict = partial(evicted, cache, keeping.room)
        service, close = cache, in_turn(cache.close, close)
    if settings.page:
        service = _pages(service, parts, documents, shelf)
    if parts.upkeep is not None:  # there is a store to keep house in
        keeping.housekeeper.start()
    service, close = _admission(service, keeping.room, parts), in_turn(keeping.housekeeper.close, close)
    if settings.auth.enabled:
        from distore.registry.gatesetup import GateParts, gate_of  # loads cryptography

        service = gate_of(settings.auth, service, GateParts(parts.state, parts.now, parts.note))
    else:
        service = CrossSite(service)
    if caching.upstreams:
        names = caching.names
        service = Naming(service, upstreams, parts.repositories, names=names, now=parts.now)
    return Composed(service, close)


def _pages(service: Service, parts: Parts, documents: Documents, shelf: ShelfImages | None) -> Pages:
    return Pages(
        service,
        repositories=parts.repositories,
        content=parts.content,
        documents=documents,
        shelf=shelf,
        now=parts.now,
        free=parts.free,
    )


def _admission(service: Service, room: Room, parts: Parts) -> Admission:
    return Admission(service, room, content=parts.content, repositories=parts.repositories)


def keeping_of(settings: ServeSettings, parts: Parts, registry: PushRegistry) -> Keeping:
    """What decides what is kept."""
    keeping = Keeping(
        settings.keep,
        parts.repositories,
        parts.upkeep,
        expire=registry.expire,
        write_pulls=registry.write_pulls,
        now=parts.now,
        monotonic=time.monotonic,
        tell=parts.note,
    )
    keeping.measure(parts.metrics)
    return keeping


def _takes_pushes(caching: CacheSettings, upstreams: Upstreams, repository: str) -> bool:
    """Whether a push to a repository gets past the cache."""
    return caching.push or upstreams.copy(repository) is None


def cache_parts(parts: Parts, upstreams: Upstreams, room: Room) -> CacheParts:
    """Those that a cache is made of."""
    return CacheParts(
        content=parts.content,
        repositories=parts.repositories,
        upstreams=upstreams,
        metrics=parts.metrics,
        now=parts.now,
        note=parts.note,
        check=room.check_disk,
    )


def evicted(cache: Cache, room: Room) -> str:
    """Have copies give way; what came of it, in words."""
    went = cache.evict(short=room.short())
    return f"gave up {human(went)} of copies" if went else ""


def in_turn(*steps: Callable[[], None]) -> Callable[[], None]:
    """One step after the other."""

    def run() -> None:
        for step in steps:
            step()

    return run
