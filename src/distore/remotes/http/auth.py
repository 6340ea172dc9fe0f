"""Authorizer: answers the challenges of registries with tokens, or with user name and password."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import Unauthenticated
from distore.remotes.http.scopes import covers, join_scopes, parse_scopes, spell_scopes
from distore.remotes.http.tokens import TokenRequest, basic_header, check_realm, fetch_token, login_hint
from distore.remotes.keylocks import KeyLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore.remotes.credentials import Credentials, Found
    from distore.remotes.http.challenge import Challenge
    from distore.remotes.http.scopes import Scopes
    from distore.remotes.http.tls import Trust
    from distore.remotes.http.transport import Transport

_MARGIN: Final = 5.0  # seconds before its end in which a token is not used any more


class Account(NamedTuple):
    """Whose credentials are asked for: ``server`` is scheme and host as asked, ``netloc`` the host
    alone, ``repository`` the path, for credentials that hold for a part of a registry only."""

    server: str
    netloc: str
    repository: str


class _Giver(NamedTuple):
    """Who gives tokens, and to whom."""

    realm: str
    service: str
    found: Found | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    text: str = field(repr=False)
    scopes: Scopes
    until: float  # on the clock


class Authorizer:
    """Fetches tokens and keeps them while they hold. Safe to share between threads: those who want
    the same token wait for one fetch, others do not wait for them.

    Args:
        clock: Monotonic seconds.
        credentials: None: everything is asked for anonymously.
        offline: Ask for identity tokens too, as a login does.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Callable[[], float],
        credentials: Credentials | None = None,
        offline: bool = False,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._credentials = credentials
        self._offline = offline
        self._guard = threading.Lock()
        self._fetching: KeyLocks[tuple[_Giver, Scopes]] = KeyLocks()
        self._tokens: dict[_Giver, list[_Token]] = {}
        self._givers: dict[Account, _Giver] = {}  # who gave it a token last
        self._basic: dict[Account, str] = {}  # the header that it wants
        self._meant: dict[tuple[Account, str], Scopes] = {}  # scope -> what it asked for last
        self._identity_token: str | None = None

    @property
    def identity_token(self) -> str | None:
        """The one that came last, when it was asked for and the token server gives them."""
        with self._guard:
            return self._identity_token

    def known(self, account: Account, scope: str) -> str | None:
        """An Authorization header that the server is likely to take for ``scope``, without asking
        anybody."""
        with self._guard:
            if account in self._basic:
                return self._basic[account]
            giver = self._givers.get(account)
            if giver is None:
                return None
            token = self._held(giver, self._meant.get((account, scope)) or parse_scopes(scope))
            return None if token is None else f"Bearer {token.text}"

    def answer(
        self,
        challenges: Sequence[Challenge],
        *,
        account: Account,
        scope: str,
        refused: str | None,
        trust: Trust,
    ) -> str:
        """An Authorization header for the strongest of ``challenges`` that can be answered.

        Args:
            account: Who sent them.
            scope: What is needed, besides what the challenge asks for.
            refused: The header that was not good enough, or None.
        Raises:
            Unauthenticated: The server wants what we do not have, or the token server refuses.
            PermissionDenied: The token server refuses that user.
            Unavailable: The token server cannot be reached.
            FailedPrecondition: The token server answers nonsense.
            InvalidArgument, FailedPrecondition, DeadlineExceeded: As Credentials.
        """
        bearer, problem = _usable_bearer(challenges, account.server)
        if bearer is not None:
            return self._bearer(bearer, account=account, scope=scope, refused=refused, trust=trust)
        schemes = {challenge.scheme for challenge in challenges}
        if "basic" in schemes:
            header = self._name_and_password(account, problem)
            if header == refused:
                raise self.refused(account)
            return header
        if problem is not None:
            raise problem
        if "bearer" in schemes:
            raise Unauthenticated(f"{account.server}: wants a token and does not say who gives it")
        raise Unauthenticated(f"{account.server}: refuses, and does not say what it wants")

    def refused(self, account: Account) -> Unauthenticated:
        """The error to raise when the server answers 401 even to what ``answer`` gave."""
        found = self._found(account)
        who = (
            "nobody in particular"
            if found is None
            else f"user {found.credential.username!r} of {found.source}"
        )
        hint = login_hint(account.server)
        return Unauthenticated(f"{account.server}: answered 401 to {who}; for other credentials: {hint}")

    def _found(self, account: Account) -> Found | None:
        if self._credentials is None:
            return None
        return self._credentials.credential(account.netloc, account.repository)

    def _name_and_password(self, account: Account, problem: Unauthenticated | None) -> str:
        found = self._found(account)
        header = None if found is None else basic_header(found.credential)
        if header is None:
            raise problem or Unauthenticated(
                f"{account.server}: wants a user name and a password; {login_hint(account.server)}"
            )
        with self._guard:
            self._basic[account] = header
        return header

    def _bearer(
        self, challenge: Challenge, *, account: Account, scope: str, refused: str | None, trust: Trust
    ) -> str:
        wanted = join_scopes(parse_scopes(challenge.parameters.get("scope", "")), parse_scopes(scope))
        giver = _Giver(
            realm=challenge.parameters["realm"],
            service=challenge.parameters.get("service", ""),
            found=self._found(account),
        )
        with self._fetching.of((giver, wanted)):
            with self._guard:
                self._forget(giver, refused)
                token = self._held(giver, wanted)
            if token is None:
                token = self._fetch(giver, wanted, server=account.server, trust=trust)
        with self._guard:
            self._basic.pop(account, None)
            self._givers[account] = giver
            self._meant[account, scope] = wanted
        return f"Bearer {token.text}"

    def _fetch(self, giver: _Giver, scopes: Scopes, *, server: str, trust: Trust) -> _Token:
        request = TokenRequest(
            realm=giver.realm,
            service=giver.service,
            scopes=spell_scopes(scopes),
            server=server,
            trust=trust,
            found=giver.found,
            offline=self._offline,
        )
        answer = fetch_token(self._transport, request)
        token = _Token(text=answer.text, scopes=scopes, until=self._clock() + answer.lifetime)
        with self._guard:
            self._tokens.setdefault(giver, []).append(token)
            self._identity_token = answer.identity_token or self._identity_token
        return token

    def _held(self, giver: _Giver, wanted: Scopes) -> _Token | None:
        now = self._clock()
        held = self._tokens.get(giver, [])
        good = (token for token in reversed(held) if now < token.until - _MARGIN)
        return next((token for token in good if covers(token.scopes, wanted)), None)

    def _forget(self, giver: _Giver, refused: str | None) -> None:
        """Drop what has ended and what was refused: others have no better luck with it."""
        now = self._clock()
        self._tokens[giver] = [
            token
            for token in self._tokens.get(giver, [])
            if now < token.until - _MARGIN and f"Bearer {token.text}" != refused
        ]


def _usable_bearer(
    challenges: Sequence[Challenge], server: str
) -> tuple[Challenge | None, Unauthenticated | None]:
    """The first one with a token server to ask, or why there is none."""
    problem = None
    for challenge in challenges:
        realm = challenge.parameters.get("realm", "")
        if challenge.scheme != "bearer" or not realm:
            continue
        try:
            check_realm(realm, server)
        except Unauthenticated as error:
            problem = problem or error
            continue
        return challenge, None
    return None, problem
