"""Tokens: anonymous bearer tokens, had by answering a registry's challenge."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from distore.errors import DistoreError, FailedPrecondition, InvalidArgument, NotFound, Unauthenticated
from distore.remotes.http.address import split_url
from distore.remotes.http.errors import error_from

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from urllib.parse import SplitResult

    from distore.remotes.http.challenge import Challenge
    from distore.remotes.http.tls import Trust
    from distore.remotes.http.transport import Transport

MAX_TOKEN_RESPONSE: Final = 256 * 1024  # bytes
MAX_TOKEN: Final = 64 * 1024  # characters
_DEFAULT_LIFETIME: Final = 60.0  # seconds (distribution's token specification)
_LONGEST_LIFETIME: Final = 86400.0  # seconds
_MARGIN: Final = 5.0  # seconds before its end in which a token is not used any more

_Key = tuple[str, str, str]  # realm, service, scope


class Tokens:
    """Fetches tokens and keeps them while they hold. Safe to share between threads.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, transport: Transport, *, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._clock = clock
        self._guard = threading.Lock()
        self._tokens: dict[_Key, tuple[str, float]] = {}
        self._wanted: dict[tuple[str, str], _Key] = {}  # (server, scope) -> what it asked for last

    def known(self, server: str, scope: str) -> str | None:
        """A token that ``server`` is likely to take for ``scope``, without asking anybody."""
        with self._guard:
            key = self._wanted.get((server, scope))
            return None if key is None else self._held(key)

    def answer(
        self, challenges: Sequence[Challenge], *, server: str, scope: str, refused: str | None, trust: Trust
    ) -> str:
        """A token for one of ``challenges``.

        Args:
            server: Scheme and host that sent them.
            scope: What is needed, should the challenge not say.
            refused: The token that was not good enough, or None.
        Raises:
            Unauthenticated: The server wants what we do not have, or the token server refuses.
            Unavailable: The token server cannot be reached.
            FailedPrecondition: The token server answers nonsense.
        """
        challenge = _bearer(challenges, server)
        key = (
            challenge.parameters["realm"],
            challenge.parameters.get("service", ""),
            challenge.parameters.get("scope") or scope,
        )
        with self._guard:  # others who want the same token wait for it instead of fetching it too
            held = self._held(key)
            if held is None or held == refused:
                held, lifetime = self._fetch(key, server, trust)
                self._tokens[key] = (held, self._clock() + lifetime)
            self._wanted[server, scope] = key
        return held

    def _held(self, key: _Key) -> str | None:
        token, until = self._tokens.get(key, ("", 0.0))
        return token if token and self._clock() < until - _MARGIN else None

    def _fetch(self, key: _Key, server: str, trust: Trust) -> tuple[str, float]:
        realm, service, scope = key
        parts = _checked_realm(realm, server)
        at_home = parts.netloc.lower() == server.partition("://")[2].lower()
        query = {name: value for name, value in (("service", service), ("scope", scope)) if value}
        url = f"{realm}{'&' if parts.query else '?'}{urlencode(query)}"
        response = self._transport.request(
            "GET",
            url,
            headers={"Accept": "application/json"},
            trust=trust if at_home else self._transport.elsewhere(trust),
        )
        subject = f"token for {server}"
        if response.status != 200:
            raise _refusal(error_from(response, subject))
        try:
            body = response.read_small(MAX_TOKEN_RESPONSE + 1)
        finally:
            response.close()
        return _parsed(body, f"{subject}: {parts.netloc}")


def _bearer(challenges: Sequence[Challenge], server: str) -> Challenge:
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
    schemes = {challenge.scheme for challenge in challenges}
    if "basic" in schemes:
        raise Unauthenticated(f"{server}: wants a user name and a password, which dist cannot give yet")
    if "bearer" in schemes:
        raise Unauthenticated(f"{server}: wants a token and does not say who gives it")
    raise Unauthenticated(f"{server}: refuses, and does not say what it wants")


def _checked_realm(realm: str, server: str) -> SplitResult:
    try:
        parts = split_url(realm)
    except InvalidArgument as error:
        raise Unauthenticated(f"{server}: names no usable token server: {error}") from error
    if server.startswith("https:") and parts.scheme != "https":
        raise Unauthenticated(f"{server}: its token server {parts.netloc} speaks no TLS")
    if parts.fragment:
        raise Unauthenticated(f"{server}: names no usable token server: leave out the fragment")
    return parts


def _refusal(error: DistoreError) -> DistoreError:
    """A token server that knows nothing of us is one that refuses."""
    if isinstance(error, NotFound | InvalidArgument):
        return Unauthenticated(str(error))
    return error


def _parsed(body: bytes, subject: str) -> tuple[str, float]:
    """Token and lifetime in seconds; messages never repeat the body."""
    if len(body) > MAX_TOKEN_RESPONSE:
        raise FailedPrecondition(f"{subject} answered more than {MAX_TOKEN_RESPONSE} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FailedPrecondition(f"{subject} answered no JSON") from error
    if not isinstance(document, dict):
        raise FailedPrecondition(f"{subject} answered no JSON object")
    token = document.get("token") or document.get("access_token")
    if (
        not isinstance(token, str)
        or not 0 < len(token) <= MAX_TOKEN
        or not all("!" <= c <= "~" for c in token)
    ):
        raise FailedPrecondition(f"{subject} answered without a usable token")
    lifetime = document.get("expires_in")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not lifetime > 0:
        lifetime = _DEFAULT_LIFETIME
    # Whatever a server says, a token that just came is worth a try for as long as a minute.
    return token, float(min(max(lifetime, _DEFAULT_LIFETIME), _LONGEST_LIFETIME))
