"""Serving: a store as a registry, for as long as a block of a Python program runs."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from distore.errors import Unimplemented
from distore.remotes.budget import SharedBudget
from distore.remotes.http.resolver import HttpResolver

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from typing import Unpack

    from distore.api.registry import Registry
    from distore.metadata.db import Metadata
    from distore.registry.compose import Composed
    from distore.registry.settings import ServeSettings
    from distore.remotes.options import RegistryOptions


class Served(NamedTuple):
    """Where a registry listens: ``address`` is HOST:PORT, ``url`` has the scheme in front."""

    address: str
    url: str


class ServeKeywords(TypedDict, total=False):
    """Of ``Store.serve``."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    settings: Mapping[str, object]
    note: Callable[[str], None]


@contextmanager
def serve_store(metadata: Metadata, registry: Registry, **options: Unpack[ServeKeywords]) -> Iterator[Served]:
    """Serve a store in threads of this process; see ``Store.serve``."""
    try:
        from distore.registry.app import RegistryServer, Surroundings
    except ImportError as error:
        raise Unimplemented("Store.serve: needs aiohttp; pip install 'distore[server]' brings it") from error
    from distore.registry.server.settings import Limits

    tls = options.get("tls")
    note = options.get("note", lambda _line: None)
    with _composed(metadata, registry, _settings(options.get("settings", {})), note) as composed:
        around = Surroundings(
            quick=composed.service.quick,
            limits=Limits(),
            say=note,
            tls=None if tls is None else lambda: tls,
        )
        server = RegistryServer(
            composed.service.handle,
            host=options.get("host", "127.0.0.1"),
            port=options.get("port", 0),
            around=around,
        )
        with server:
            yield Served(server.address, f"{'http' if tls is None else 'https'}://{server.address}")


def _settings(given: Mapping[str, object]) -> ServeSettings:
    from distore.registry.settings import ServeSettings
    from distore.registry.table import Table

    table = Table(given, where="settings", folder=os.getcwd())
    settings = ServeSettings.read(table)
    table.done()
    return settings


def _composed(
    metadata: Metadata, registry: Registry, settings: ServeSettings, note: Callable[[str], None]
) -> AbstractContextManager[Composed]:
    from distore.metadata.upkeep import Upkeep
    from distore.registry.metrics import Metrics
    from distore.serving import serving

    hosts = os.path.join(metadata.content.root, "hosts")

    def connect(options: RegistryOptions) -> HttpResolver:
        return HttpResolver(options, budget=SharedBudget(hosts))

    return serving(
        metadata,
        settings,
        Metrics(),
        options=registry.options(),
        connect=connect,
        note=note,
        upkeep=Upkeep(metadata),
    )
