"""Probe: one look at a server's ``/v2/``, with whatever credentials it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distore.errors import DistoreError
from distore.remotes.http.auth import Account
from distore.remotes.http.challenge import parse_challenges
from distore.remotes.http.tls import Trust
from distore.remotes.http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.remotes.http.auth import Authorizer
    from distore.remotes.http.body import Limits, Response
    from distore.remotes.http.hosts import Host
    from distore.remotes.options import RegistryOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of it.

    ``status`` is the last one, ``seconds`` how long the first answer took; both are None when
    there was none. ``schemes`` are those the server asks for. ``error`` is what went wrong, in
    asking or in having credentials.
    """

    status: int | None = None
    seconds: float | None = None
    schemes: tuple[str, ...] = ()
    error: DistoreError | None = None


def probe(
    host: Host,
    *,
    transport: Transport,
    authorizer: Authorizer,
    repository: str,
    scope: str,
    clock: Callable[[], float],
) -> Probe:
    """Ask once as nobody and, if need be, once with credentials for ``scope``."""
    started = clock()
    try:
        response = _ask(host, transport, None)
    except DistoreError as error:
        return Probe(error=error)
    seconds = clock() - started
    # As for any request: a server where a redirect leads is told nothing.
    asks = response.status == 401 and response.at_home
    challenges = parse_challenges(response.headers("www-authenticate")) if asks else ()
    schemes = tuple(dict.fromkeys(challenge.scheme for challenge in challenges))
    status = response.status
    response.discard()
    if not challenges:
        return Probe(status=status, seconds=seconds)
    server = f"{host.scheme}://{host.netloc}"
    account = Account(server=server, netloc=host.netloc, repository=repository)
    trust = Trust(ca=host.ca, client=host.client, skip_verify=host.skip_verify)
    try:
        header = authorizer.answer(challenges, account=account, scope=scope, refused=None, trust=trust)
        response = _ask(host, transport, header)
    except DistoreError as error:
        return Probe(status=status, seconds=seconds, schemes=schemes, error=error)
    response.discard()
    refused = response.status == 401 and response.at_home
    refusal = authorizer.refused(account) if refused else None
    return Probe(status=response.status, seconds=seconds, schemes=schemes, error=refusal)


def transport_of(options: RegistryOptions, *, limits: Limits, clock: Callable[[], float]) -> Transport:
    """A Transport as ``options`` want it; whoever asked for it closes it."""
    return Transport(
        limits=limits,
        ca=options.ca,
        skip_verify=options.skip_verify,
        proxies=options.proxies,
        clock=clock,
    )


def _ask(host: Host, transport: Transport, authorization: str | None) -> Response:
    private = dict(host.headers)
    if authorization is not None:
        private = {name: value for name, value in private.items() if name.lower() != "authorization"}
        private["Authorization"] = authorization
    return transport.request(
        "GET",
        f"{host.url}/",
        headers={"User-Agent": "distore", "Accept-Encoding": "identity"},
        private=private,
        trust=Trust(ca=host.ca, client=host.client, skip_verify=host.skip_verify),
        connect_timeout=host.connect_timeout,
    )
