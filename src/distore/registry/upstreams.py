"""Upstreams: which registry a repository is a copy of, and how that one is reached."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from distore.errors import InvalidArgument
from distore.oci.reference import DEFAULT_DOMAIN, OFFICIAL, Reference
from distore.registry.cachesettings import ANY, prefix_of
from distore.registry.names import is_repository
from distore.remotes.credentials import Credential, Found, ServerCredentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.cachesettings import CacheSettings, UpstreamSettings
    from distore.remotes.credentials import Credentials
    from distore.remotes.resolver import Resolver

_LANES: Final = 16  # of hosts that are no upstreams of their own
_PORT: Final = "_"  # in a prefix, before the port of a host


class Copy(NamedTuple):
    """A repository here, and what it is a copy of."""

    repository: str
    reference: Reference
    upstream: UpstreamSettings

    @property
    def lane(self) -> tuple[UpstreamSettings, int]:
        """Who waits for each other (see Flights): of any host, few of the others."""
        return self.upstream, hash(self.reference.domain) % _LANES if self.upstream.host == ANY else 0


class Upstreams:
    """Safe to use from any thread.

    Args:
        connect: Makes the way to an upstream that is reached in a way of its own; None: to all others.
            Nobody else uses it: ``abort`` breaks off all that is on it.
    """

    def __init__(
        self, settings: CacheSettings, connect: Callable[[UpstreamSettings | None], Resolver]
    ) -> None:
        by_length = sorted(settings.upstreams, key=lambda upstream: -len(upstream.prefix))
        self._named = tuple(upstream for upstream in by_length if upstream.host != ANY)
        self._any = next((upstream for upstream in settings.upstreams if upstream.host == ANY), None)
        self._default = next((each for each in self._named if each.host == settings.default), None)
        self._connect = connect
        self._guard = threading.Lock()
        self._resolvers: dict[UpstreamSettings | None, Resolver] = {}

    def copy(self, repository: str) -> Copy | None:
        """What ``repository`` is a copy of; None: of nothing. An official image may be named without
        ``library/``: ``repository`` of the answer has it."""
        for upstream in self._named:
            if repository.startswith(f"{upstream.prefix}/"):
                return _copy(upstream, upstream.prefix, upstream.host, repository)
        if self._any is None:
            return None
        prefix = repository.partition("/")[0]
        host, separator, port = prefix.partition(_PORT)
        if separator:
            host = f"{host}:{port}" if port.isascii() and port.isdecimal() else ""
        # One label alone is a folder of this registry, and no host.
        if not ("." in host or ":" in host or host == "localhost"):
            return None
        return _copy(self._any, prefix, host, repository)

    def repository(self, host: str, path: str) -> str | None:
        """The repository here of one of ``host``; None when it is no upstream."""
        host = DEFAULT_DOMAIN if host in ("index.docker.io", "registry-1.docker.io") else host
        for upstream in self._named:
            if upstream.host == host:
                return f"{upstream.prefix}/{path}"
        found = f"{prefix_of(host)}/{path}"
        return found if self._any is not None and self.copy(found) is not None else None

    def default(self, repository: str) -> str | None:
        """Where to look for what is not here and has no prefix."""
        return f"{self._default.prefix}/{repository}" if self._default is not None else None

    def resolver(self, upstream: UpstreamSettings) -> Resolver:
        """The way to it."""
        key = upstream if upstream.is_special else None
        with self._guard:
            if key not in self._resolvers:
                self._resolvers[key] = self._connect(key)
            return self._resolvers[key]

    def abort(self) -> None:
        """Break off every transfer and pause."""
        with self._guard:
            resolvers = list(self._resolvers.values())
        for resolver in resolvers:
            resolver.abort()


def credentials_of(upstream: UpstreamSettings) -> Credentials | None:
    """What to show to the upstream, and to nobody else; None: whatever the credential files say."""
    if upstream.username is None or upstream.password is None:
        return None
    server = urlsplit(upstream.server).netloc if upstream.server else upstream.host
    found = Found(
        credential=Credential(username=upstream.username, secret=upstream.password),
        source="the settings of the cache",
    )
    return ServerCredentials(found, (server,))


def _copy(upstream: UpstreamSettings, prefix: str, host: str, repository: str) -> Copy | None:
    path = repository.removeprefix(f"{prefix}/")
    if host == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    name = f"{prefix}/{path}"
    if not is_repository(name):
        return None
    try:
        return Copy(name, Reference(domain=host, path=path), upstream)
    except InvalidArgument:
        return None
