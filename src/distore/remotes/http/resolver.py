"""HttpResolver: the way to registries that speak the OCI distribution protocol."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from distore.errors import InvalidArgument
from distore.oci.reference import Reference
from distore.remotes.http.address import with_port
from distore.remotes.http.auth import Tokens
from distore.remotes.http.body import Limits
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.http.hosts import host_at, hosts_of
from distore.remotes.http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.remotes.options import RegistryOptions


class HttpResolver:
    """A Resolver. Safe to share between threads; leaving the ``with`` block closes connections.

    Args:
        limits: Time limits; the floor of ``options.min_speed`` replaces theirs.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        options: RegistryOptions,
        *,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._transport = Transport(
            limits=replace(limits, min_speed=options.min_speed),
            ca=options.ca,
            skip_verify=options.skip_verify,
            proxies=options.proxies,
            clock=clock,
        )
        self._tokens = Tokens(self._transport, clock=clock)

    def fetcher(self, repository: Reference, /) -> HttpFetcher:
        hosts = hosts_of(repository.domain, self._options)
        return HttpFetcher(repository, hosts=hosts, transport=self._transport, tokens=self._tokens)

    def fetcher_at(self, url: str, /) -> HttpFetcher:
        """For one server and repository, ``http(s)://HOST/REPOSITORY``, whatever hosts.toml says.

        Raises:
            InvalidArgument: Another kind of URL.
        """
        host, path = host_at(url, self._options)
        named = Reference.parse(f"localhost/{path}", default_tag=None)
        if named.object is not None:
            raise InvalidArgument(f"registry {url[:80]!r}: leave out the tag or digest")
        # With its port even a name without a dot, as containers have them, is a domain.
        repository = replace(named, domain=with_port(host.scheme, host.netloc))
        return HttpFetcher(repository, hosts=(host,), transport=self._transport, tokens=self._tokens)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> HttpResolver:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
