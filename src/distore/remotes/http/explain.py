"""Explain: how each host that stands for a registry is reached, and what decides that."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from distore.errors import DistoreError
from distore.remotes.credentials import FileCredentials
from distore.remotes.explanation import Explanation
from distore.remotes.http.address import split_url
from distore.remotes.http.auth import Authorizer
from distore.remotes.http.body import Limits
from distore.remotes.http.hosts import hosts_of
from distore.remotes.http.probe import Probe, probe, transport_of
from distore.remotes.http.proxies import proxy_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.oci.reference import Reference
    from distore.remotes.credentials import Credentials
    from distore.remotes.http.hosts import Host
    from distore.remotes.options import RegistryOptions

LIMITS: Final = Limits(connect_timeout=5.0, read_timeout=10.0)


def explain(
    reference: Reference,
    options: RegistryOptions,
    *,
    live: bool,
    limits: Limits = LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Explanation, ...]:
    """Every host for ``reference``, in the order to ask them.

    Args:
        live: Ask each for its ``/v2/``.
        clock: Monotonic seconds.
    Raises:
        InvalidArgument: The configuration is wrong; names file and key.
    """
    credentials = FileCredentials(options.auth_files)
    with closing(transport_of(options, limits=limits, clock=clock)) as transport:
        authorizer = Authorizer(transport, clock=clock, credentials=credentials)

        def ask(host: Host) -> Probe:
            scope = f"repository:{reference.path}:pull"
            return probe(
                host,
                transport=transport,
                authorizer=authorizer,
                repository=reference.path,
                scope=scope,
                clock=clock,
            )

        return tuple(
            _explained(host, reference.path, options, credentials=credentials, ask=ask if live else None)
            for host in hosts_of(reference.domain, options)
        )


def _explained(
    host: Host,
    repository: str,
    options: RegistryOptions,
    *,
    credentials: Credentials,
    ask: Callable[[Host], Probe] | None,
) -> Explanation:
    errors: list[DistoreError] = []
    found = proxy = None
    try:
        found = credentials.credential(host.netloc, repository)
    except DistoreError as error:
        errors.append(error)
    try:
        proxy = _proxy(host, options.proxies)
    except DistoreError as error:
        errors.append(error)
    seen = Probe() if ask is None else ask(host)
    if seen.error is not None:
        errors.append(seen.error)
    encrypted = host.scheme == "https"
    return Explanation(
        url=host.url,
        decided_by=host.decided_by,
        capabilities=tuple(sorted(host.capabilities)),
        namespace=host.namespace,
        headers=tuple(sorted(name for name, _ in host.headers)),
        user=None if found is None else found.credential.username,
        source=None if found is None else found.source,
        verify=not host.skip_verify if encrypted else None,
        ca=(*((options.ca,) if options.ca else ()), *host.ca) if encrypted else (),
        only_ca=options.ca is not None,
        client=tuple(certificate for certificate, _ in host.client),
        proxy=proxy,
        status=seen.status,
        seconds=seen.seconds,
        schemes=seen.schemes if seen.status is not None else None,
        error=errors[0] if errors else None,
    )


def _proxy(host: Host, proxies: Mapping[str, str]) -> str | None:
    proxy = proxy_for(split_url(host.url), proxies)
    if proxy is None:
        return None
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
