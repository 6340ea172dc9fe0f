"""Verify: whether a registry takes a credential, before anybody keeps it."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from distore.errors import FailedPrecondition
from distore.remotes.credentials import Found, OneCredential
from distore.remotes.http.auth import Authorizer
from distore.remotes.http.body import Limits
from distore.remotes.http.hosts import hosts_of
from distore.remotes.http.probe import probe, transport_of
from distore.remotes.logins import Verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.remotes.credentials import Credential
    from distore.remotes.http.hosts import Host
    from distore.remotes.options import RegistryOptions


def verify(
    server: str,
    credential: Credential,
    options: RegistryOptions,
    *,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    clock: Callable[[], float] = time.monotonic,
) -> Verified:
    """Ask ``server``, as ``parse_server`` gives it, for its ``/v2/`` with ``credential``.

    Args:
        clock: Monotonic seconds.
    Raises:
        Unauthenticated, PermissionDenied: It refuses.
        FailedPrecondition: No registry answers there, or another one stands for it.
        DistoreError: It cannot be reached.
    """
    domain, _, path = server.partition("/")
    host = _own_host(domain, options)
    given = Found(credential=credential, source="what was given")
    with closing(transport_of(options, limits=limits, clock=clock)) as transport:
        authorizer = Authorizer(transport, clock=clock, credentials=OneCredential(found=given), offline=True)
        seen = probe(host, transport=transport, authorizer=authorizer, repository=path, scope="", clock=clock)
    if seen.error is not None:
        raise seen.error
    if seen.status != 200:
        raise FailedPrecondition(f"{host.url}/: answered {seen.status}: no registry, or not one of ours")
    token = authorizer.identity_token
    if token is not None:
        credential = replace(credential, secret=None, identity_token=token)
    return Verified(credential=credential, asked=bool(seen.schemes))


def _own_host(domain: str, options: RegistryOptions) -> Host:
    """Never a mirror: the password is for the registry itself."""
    hosts = hosts_of(domain, options)
    for host in reversed(hosts):
        if host.namespace is None:
            return host
    last = hosts[-1]
    raise FailedPrecondition(
        f"login {domain}: {last.decided_by} puts {last.netloc} in its place; log in there instead"
    )
