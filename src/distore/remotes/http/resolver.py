"""HttpResolver: the way to registries that speak the OCI distribution protocol."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from distore._internal.retry import Retrier
from distore.errors import Cancelled, InvalidArgument
from distore.oci.reference import Reference
from distore.remotes.credentials import FileCredentials
from distore.remotes.http.address import with_port
from distore.remotes.http.auth import Authorizer
from distore.remotes.http.body import Limits
from distore.remotes.http.client import Client
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.http.health import Health
from distore.remotes.http.hosts import host_at, hosts_of
from distore.remotes.http.pusher import HttpPusher
from distore.remotes.http.repository import HttpRepository, catalog
from distore.remotes.http.transport import Transport
from distore.remotes.sessions import NoSessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distore.errors import Unavailable
    from distore.oci.descriptor import Descriptor
    from distore.remotes.budget import Budget
    from distore.remotes.http.hosts import Host
    from distore.remotes.options import RegistryOptions
    from distore.remotes.sessions import Sessions


class HttpResolver:
    """A Resolver. Safe to share between threads; leaving the ``with`` block closes connections.

    Args:
        sessions: Keeps uploads that break off.
        budget: Says when a host may be asked; None: at any time.
        on_retry: Told of a request that is sent again: the error, the pause in seconds, and how many
            attempts are left.
        limits: Time limits; the floor of ``options.min_speed`` replaces theirs.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        options: RegistryOptions,
        *,
        sessions: Sessions | None = None,
        budget: Budget | None = None,
        on_retry: Callable[[Unavailable, float, int], None] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._clock = clock
        self._halt = threading.Event()
        self._sessions = sessions or NoSessions()
        self._on_retry = on_retry
        self._health = Health(clock=clock)
        self._transport = Transport(
            limits=replace(limits, min_speed=options.min_speed),
            ca=options.ca,
            skip_verify=options.skip_verify,
            proxies=options.proxies,
            budget=budget,
            clock=clock,
        )
        self._authorizer = Authorizer(
            self._transport,
            clock=clock,
            credentials=options.credentials or FileCredentials(options.auth_files),
        )

    def resolve(self, reference: Reference, /) -> Descriptor:
        return self.fetcher(reference).resolve(reference)

    def fetcher(self, repository: Reference, /) -> HttpFetcher:
        hosts = hosts_of(repository.domain, self._options)
        return HttpFetcher(self._client(repository, hosts))

    def pusher(self, reference: Reference, /) -> HttpPusher:
        hosts = hosts_of(reference.domain, self._options)
        return HttpPusher(
            self._client(reference, hosts),
            reference,
            sessions=self._sessions,
            new_retrier=self.retrier,
        )

    def repository(self, repository: Reference, /) -> HttpRepository:
        """Tags, referrers and deletion of a repository."""
        return HttpRepository(
            self._client(repository, hosts_of(repository.domain, self._options)),
            new_retrier=partial(self.retrier, first_contact=True),
        )

    def catalog(self, registry: str, /) -> Iterator[str]:
        """The repositories of a registry, ``host[:port]``, where it lists them."""
        nobody = Reference(domain=registry, path="library/catalog")
        return catalog(self._client(nobody, hosts_of(registry, self._options)), registry)

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
        return HttpFetcher(self._client(repository, (host,)))

    def retrier(self, *, first_contact: bool = False) -> Retrier:
        halt = self._halt  # of now: what abort broke off is not tried again

        def check() -> None:
            if halt.is_set():
                raise Cancelled("stopped; what came is kept")

        def tell(error: Unavailable, pause: float, left: int) -> None:
            check()
            if self._on_retry is not None:
                self._on_retry(error, pause, left)

        def sleep(seconds: float) -> None:
            halt.wait(seconds)
            check()

        return Retrier(first_contact=first_contact, on_retry=tell, sleep=sleep, clock=self._clock)

    def sleep(self, seconds: float, /) -> None:
        if self._halt.wait(seconds):
            raise Cancelled("stopped; what came is kept")

    def abort(self) -> None:
        """Break off every transfer and pause; the resolver can be used on."""
        # Whoever begins meanwhile, and is broken off, must find the set one.
        self._halt.set()
        self._transport.abort()
        self._halt = threading.Event()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _client(self, repository: Reference, hosts: Sequence[Host]) -> Client:
        return Client(
            repository,
            hosts=hosts,
            transport=self._transport,
            authorizer=self._authorizer,
            health=self._health,
        )

    def __enter__(self) -> HttpResolver:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
