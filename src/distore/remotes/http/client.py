"""Client: requests about one repository, with whatever credentials its servers ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode

from distore._internal.retry import retry_after
from distore.errors import (
    Cancelled,
    DeadlineExceeded,
    DistoreError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from distore.remotes.http.address import origin, split_url
from distore.remotes.http.auth import Account
from distore.remotes.http.challenge import parse_challenges
from distore.remotes.http.failures import is_abort
from distore.remotes.http.tls import Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.oci.reference import Reference
    from distore.remotes.http.auth import Authorizer
    from distore.remotes.http.body import Response
    from distore.remotes.http.health import Health
    from distore.remotes.http.hosts import Host
    from distore.remotes.http.transport import Body, Transport

T = TypeVar("T")

USER_AGENT: Final = "distore"
PULL: Final = "pull"
PUSH: Final = "pull,push"
DELETE: Final = "delete,pull"


class Client:
    """Safe to share between threads. Made by HttpResolver.

    Args:
        hosts: The servers that stand for the repository's registry, in the order to ask them; the
            last is the registry itself.
    """

    def __init__(
        self,
        repository: Reference,
        *,
        hosts: Sequence[Host],
        transport: Transport,
        authorizer: Authorizer,
        health: Health,
    ) -> None:
        self.repository = repository
        self.hosts = tuple(hosts)
        self._transport = transport
        self._authorizer = authorizer
        self._health = health

    def ask(self, needed: str, subject: str, attempt: Callable[[Host], T]) -> T:
        """The first answer of the hosts that may do what is ``needed``, in their order.

        A host that failed lately waits until the others have failed, too.

        Args:
            needed: ``pull``, ``resolve`` or ``push`` (capabilities of hosts.toml).
            subject: What messages call what is asked for.
        Raises:
            NotFound: Nobody has it; names whom was asked.
            FailedPrecondition: No host may do it.
            DistoreError: The registry's own failure, or the last of its mirrors'.
        """
        hosts = [host for host in self.hosts if needed in host.capabilities]
        if not hosts:
            raise FailedPrecondition(f"{subject}: no host may {needed!r}; see its hosts.toml")
        failures: dict[Host, DistoreError] = {}
        missing: dict[Host, NotFound] = {}
        registry = self.hosts[-1]  # the others are its mirrors
        for group in self._health.sorted(hosts):
            for host in group:
                try:
                    answer = attempt(host)
                except NotFound as error:
                    missing[host] = error
                except (Cancelled, DeadlineExceeded):
                    raise
                except DistoreError as error:
                    if is_abort(error):
                        raise
                    failures[host] = error
                    if isinstance(error, Unavailable) and retry_after(error) is None:
                        self._health.ill(host.netloc)
                    continue
                else:
                    self._health.well(host.netloc)
                    return answer
                self._health.well(host.netloc)
            if registry in missing:
                break  # no mirror that rests would know better
        own = failures.get(registry)
        if not missing:
            raise own or [*failures.values()][-1]
        if isinstance(own, Unavailable):
            # The registry itself could not say: that a mirror lacks it does not settle it.
            raise own
        asked = ", ".join(host.netloc for host in hosts)
        others = "".join(f"; {failure}" for failure in failures.values())
        raise NotFound(f"{subject}: not found (asked {asked}){others}") from [*missing.values()][-1]

    def scope(self, actions: str) -> str:
        """What a token must allow, in the spelling of token servers."""
        return f"repository:{self.repository.path}:{actions}"

    def request(
        self,
        host: Host,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        scope: str,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Response:
        """The answer to ``method`` on ``path`` of the repository, whatever its status.

        Args:
            path: Such as ``manifests/latest``, quoted already.
            scope: One or more scopes, with spaces between them.
        Raises:
            Unauthenticated: No credentials, or they are refused.
            Unavailable, DeadlineExceeded, FailedPrecondition, PermissionDenied: As Transport.
        """
        return self.request_url(
            host,
            method,
            f"{host.url}/{self.repository.path}/{path}",
            headers=headers,
            scope=scope,
            query=query,
            body=body,
        )

    def request_url(
        self,
        host: Host,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        scope: str,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Response:
        """As ``request``, for a whole URL that ``host`` gave, such as that of an upload.

        The host's headers and credentials go only to its own origin.

        Raises:
            InvalidArgument: ``url`` is no usable address.
            PermissionDenied: It has no TLS, and that of ``host`` has.
        """
        there, home = split_url(url), split_url(host.url)
        if (home.scheme, there.scheme) == ("https", "http"):
            raise PermissionDenied(f"{home.netloc}: leads from https to http ({there.netloc})")
        at_home = origin(there) == origin(home)
        # A foreign address may be signed with its query: nothing is added that was not asked for.
        namespace = {"ns": host.namespace} if host.namespace and at_home else {}
        asked = {**(query or {}), **namespace}
        if asked:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"
        if not at_home:
            return self._send(host, method, url, headers=headers, body=body, at_home=False)
        server = f"{host.scheme}://{host.netloc}"
        account = Account(server=server, netloc=host.netloc, repository=self.repository.path)
        known = self._authorizer.known(account, scope)
        response = self._send(host, method, url, headers=headers, authorization=known, body=body)
        # The challenge of another server, where a redirect leads, is not for the credentials of this one.
        if response.status != 401 or not response.at_home:
            return response
        challenges = parse_challenges(response.headers("www-authenticate"))
        if not challenges:
            return response
        response.discard()
        answer = self._authorizer.answer(
            challenges, account=account, scope=scope, refused=known, trust=trust_of(host)
        )
        response = self._send(host, method, url, headers=headers, authorization=answer, body=body)
        if response.status == 401 and response.at_home and answer.startswith("Basic "):
            response.discard()
            raise self._authorizer.refused(account)
        return response

    def _send(
        self,
        host: Host,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        authorization: str | None = None,
        body: Body | None,
        at_home: bool = True,
    ) -> Response:
        private = dict(host.headers) if at_home else {}
        if authorization is not None:
            private = {name: value for name, value in private.items() if name.lower() != "authorization"}
            private["Authorization"] = authorization
        trust = trust_of(host)
        return self._transport.request(
            method,
            url,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
            private=private,
            trust=trust if at_home else self._transport.elsewhere(trust),
            connect_timeout=host.connect_timeout,
            body=body,
        )


def trust_of(host: Host) -> Trust:
    """The TLS settings that a host's configuration asks for."""
    return Trust(ca=host.ca, client=host.client, skip_verify=host.skip_verify)
