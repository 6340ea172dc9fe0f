"""Compose: a registry as its settings say, out of parts that somebody else has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from distore.registry.documents import Documents
from distore.registry.routes import PushRegistry
from distore.registry.shelf import Shelf
from distore.registry.shelfimages import ShelfImages

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Store
    from distore.images.image import ImageStore
    from distore.registry.message import Service
    from distore.registry.metrics import Metrics
    from distore.registry.settings import ServeSettings
    from distore.remotes.resolver import Resolver
    from distore.repositories import Repositories


class Parts(NamedTuple):
    """What a registry is made of. ``resolver`` is made when it is first asked for; ``now``: seconds
    since the epoch; ``metrics``: where the numbers of a layer go; ``free``:
    bytes that are free where the store is, None when nobody knows; ``state``: the folder of the store;
    ``note``: gets a line for the operator."""

    content: Store
    repositories: Repositories
    images: ImageStore
    resolver: Callable[[], Resolver]
    now: Callable[[], float]
    metrics: Metrics
    free: Callable[[], int | None] = lambda: None
    state: str = "."
    note: Callable[[str], None] = lambda _line: None


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
    if shelf is not None:
        service = Shelf(service, shelf, parts.content, parts.repositories)
    if settings.auth.enabled:
        from distore.registry.gatesetup import GateParts, gate_of  # loads cryptography

        service = gate_of(settings.auth, service, GateParts(parts.state, parts.now, parts.note))
    return Composed(service, registry.close)
