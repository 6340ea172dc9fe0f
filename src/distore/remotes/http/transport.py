"""Transport: pooled connections, time limits, proxies, and redirects that leak nothing."""

from __future__ import annotations

import base64
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote_to_bytes, urljoin

from urllib3 import PoolManager, ProxyManager, Timeout, disable_warnings, exceptions
from urllib3.util import parse_url

from distore.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from distore.remotes.budget import NoBudget
from distore.remotes.http import tls
from distore.remotes.http.address import origin, split_url
from distore.remotes.http.body import Limits, Response
from distore.remotes.http.errors import patience_asked, requests_left
from distore.remotes.http.failures import network_error, with_abort
from distore.remotes.http.proxies import proxy_for
from distore.remotes.http.tls import Trust
from distore.remotes.http.wires import Wires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from urllib.parse import SplitResult

    from distore.remotes.budget import Budget


class Body(Protocol):
    """What a request carries: its length in bytes, and its pieces from the first one on, as often
    as it is iterated. ``bytes`` will not do: iterating them gives numbers."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_SAME_METHOD: Final = frozenset((307, 308))
_POOLS: Final = 16
_CONNECTIONS: Final = 16  # kept open for each host


class Transport:
    """Sends requests. Safe to share between threads; close it to close its connections.

    Args:
        ca: PEM bundle to trust instead of the system's, or None.
        skip_verify: Check no certificate at all, wherever a redirect leads.
        proxies: As ``proxies.proxy_for`` takes them.
        budget: Asked before each request, redirects included, and told of each answer.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        ca: str | None = None,
        skip_verify: bool = False,
        proxies: Mapping[str, str] | None = None,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._ca = ca
        self._skip_verify = skip_verify
        self._proxies = proxies or {}
        self._budget = budget or NoBudget()
        self._clock = clock
        self._guard = threading.Lock()
        self._wires = Wires(limits.read_timeout)
        self._managers: dict[tuple[Trust | None, str | None], PoolManager] = {}

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        private: Mapping[str, str] | None = None,
        trust: Trust = Trust(),  # noqa: B008 - immutable
        connect_timeout: float | None = None,
        body: Body | None = None,
    ) -> Response:
        """The answer after redirects, whatever its status.

        Args:
            body: Sent again, from its start, wherever a redirect leads that keeps the method
                (307, 308); any other redirect is followed with a GET, as every client does.
            private: Headers for the origin of ``url`` only. They and the client certificate are
                gone for good once a redirect leads elsewhere.
            connect_timeout: Seconds, instead of the limit's.
        Raises:
            Unavailable: No connection, or it broke; or the host wants to be left alone for long.
            Cancelled: ``abort`` was called while the host wanted to be left alone.
            DeadlineExceeded: The time allowed is over.
            PermissionDenied: A redirect leads from https to http.
            FailedPrecondition: Too many redirects, one to no usable address, or a certificate that is
                not trusted.
            InvalidArgument: ``url`` or a proxy is no usable address.
        """
        here = split_url(url)
        home, at_home = origin(here), True
        for _ in range(self._limits.max_redirects + 1):
            response = self._send(
                method,
                url,
                here,
                headers={**headers, **(private or {})} if at_home else headers,
                trust=trust if at_home else self.elsewhere(trust),
                connect_timeout=connect_timeout,
                body=body,
            )
            response.at_home, response.secrets = at_home, tuple((private or {}).values())
            location = response.header("location")
            if response.status not in _REDIRECTS or not location:
                return response
            response.discard()
            if body is not None and response.status not in _SAME_METHOD:
                method, body = "GET", None
            url, there = _destination(url, location)
            if (here.scheme, there.scheme) == ("https", "http"):
                raise PermissionDenied(f"{here.netloc}: redirects from https to http ({there.netloc})")
            at_home = at_home and origin(there) == home
            here = there
        raise FailedPrecondition(f"{here.netloc}: more than {self._limits.max_redirects} redirects")

    def elsewhere(self, trust: Trust) -> Trust:
        """``trust`` for another server than the one it was made for."""
        return trust.abroad(skip_verify=self._skip_verify)

    def abort(self) -> None:
        """Break off every request and every answer that is being read: whoever waits for one gets
        Unavailable at once. The transport can be used on."""
        self._wires.abort()
        self._budget.abort()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._guard:
            managers, self._managers = list(self._managers.values()), {}
        for manager in managers:
            manager.clear()

    def _send(
        self,
        method: str,
        url: str,
        parts: SplitResult,
        *,
        headers: Mapping[str, str],
        trust: Trust,
        connect_timeout: float | None,
        body: Body | None,
    ) -> Response:
        limits, where = self._limits, parts.netloc
        self._budget.enter(where)
        aborts = self._wires.aborts
        now = self._clock()
        connect = limits.patience(connect_timeout or limits.connect_timeout, now, where)
        read = limits.patience(limits.read_timeout, now, where)
        manager = self._manager(parts, trust)
        try:
            raw = manager.urlopen(
                method,
                url,
                body=None if body is None else self._pieces(body, where, aborts),
                headers=headers if body is None else {**headers, "Content-Length": str(len(body))},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=Timeout(connect=connect, read=read),
            )
        except (exceptions.HTTPError, OSError, ValueError) as error:
            silent = isinstance(error, exceptions.ReadTimeoutError)
            expired = limits.expired(self._clock())
            failure = network_error(error, where, expired=expired, patience=read if silent else connect)
            raise (with_abort(failure) if self._wires.aborts != aborts else failure) from error
        response = Response(
            raw,
            where=where,
            wire=getattr(raw.connection, "wire", None),
            limits=limits,
            clock=self._clock,
            is_aborted=lambda: self._wires.aborts != aborts,
        )
        self._tell(response)
        return response

    def _tell(self, response: Response) -> None:
        refusal = response.status in (429, 503)
        self._budget.told(
            response.where,
            response.status,
            retry_after=patience_asked(response) if refusal else None,
            remaining=requests_left(response),
        )

    def _pieces(self, body: Body, where: str, aborts: int) -> Iterator[bytes]:
        """Those of ``body``, while there is time."""
        for piece in body:
            self._limits.patience(0.0, self._clock(), where)
            if self._wires.aborts != aborts:
                raise with_abort(Unavailable(f"{where}: broken off on request"))
            yield piece

    def _manager(self, parts: SplitResult, trust: Trust) -> PoolManager:
        proxy = proxy_for(parts, self._proxies)
        # Reading the CA bundle takes 15 ms; plain HTTP does without.
        key = (trust if parts.scheme == "https" else None, proxy)
        with self._guard:
            manager = self._managers.get(key)
            if manager is None:
                manager = self._managers[key] = self._new_manager(key[0], proxy)
            return manager

    def _new_manager(self, trust: Trust | None, proxy: str | None) -> PoolManager:
        context = None if trust is None else tls.context(trust, ca=self._ca)
        if trust is not None and trust.skip_verify:
            disable_warnings(exceptions.InsecureRequestWarning)  # it was asked for
        manager: PoolManager
        if proxy is None:
            manager = PoolManager(num_pools=_POOLS, maxsize=_CONNECTIONS, ssl_context=context)
        else:
            address = parse_url(proxy)
            manager = ProxyManager(
                address._replace(auth=None).url,
                num_pools=_POOLS,
                maxsize=_CONNECTIONS,
                proxy_headers=_proxy_headers(address.auth),
                ssl_context=context,
            )
        manager.pool_classes_by_scheme = self._wires.pools()
        return manager


def _proxy_headers(auth: str | None) -> dict[str, str] | None:
    """What a proxy is shown of ``USER:PASSWORD``, in which %XX stands for what no URL may have."""
    if not auth:
        return None
    return {"Proxy-Authorization": f"Basic {base64.b64encode(unquote_to_bytes(auth)).decode()}"}


def _destination(url: str, location: str) -> tuple[str, SplitResult]:
    """Where a redirect leads.

    Raises:
        FailedPrecondition: To nothing that can be asked.
    """
    try:
        there = urljoin(url, location)
        return there, split_url(there)
    except (InvalidArgument, ValueError) as error:
        why = error if isinstance(error, InvalidArgument) else "not a URL"
        raise FailedPrecondition(f"{split_url(url).netloc}: redirects to no usable address: {why}") from error
