"""TokenServer: gives tokens to whoever shows a name and a password (Docker's token protocol, OAuth2)."""

from __future__ import annotations

import hmac
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.errors import Unauthenticated
from distore.registry import errors
from distore.registry.basic import refused, too_many, wrong
from distore.registry.bearers import ACCESS_KIND
from distore.registry.grants import PULL
from distore.registry.jwt import Wanted, claims_of, signed
from distore.registry.message import Response
from distore.registry.rules import ACTIONS
from distore.registry.scopes import CATALOG, Access, parse_all
from distore.registry.tokenforms import MAX_SCOPE, MAX_SCOPES, Asked, asked_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.registry.jwtkeys import SigningKey
    from distore.registry.message import Request
    from distore.registry.passwords import Passwords
    from distore.registry.rules import Rules

REFRESH_KIND: Final = "refresh+jwt"
_MAX_ACCESS: Final = 5000  # characters in a token: clients send it in a header


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Of tokens. ``issuer`` and ``service`` are their ``iss`` and ``aud``; the rest is in seconds."""

    issuer: str
    service: str
    lifetime: float
    refresh_lifetime: float

    @property
    def access(self) -> Wanted:
        """What a token of this server says."""
        return self._wanted(self.service, ACCESS_KIND)

    @property
    def refresh(self) -> Wanted:
        """What a refresh token says; it is for nothing but to get others, and they are for nothing else."""
        return self._wanted(f"{self.service}/token", REFRESH_KIND)

    def _wanted(self, audience: str, kind: str) -> Wanted:
        algorithms = ("HS256", "RS256", "ES256", "ES384", "ES512", "EdDSA")
        return Wanted(issuer=self.issuer, audience=audience, algorithms=algorithms, kind=kind)


class _Refused(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class TokenServer:
    """Answers requests for TOKEN_PATH; safe to call from any thread.

    Args:
        passwords: Of its users.
        rules: Those that hold now; a token allows what was asked for as far as they do.
        key: Signs.
        random: So many bytes that nobody can guess.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        passwords: Passwords,
        rules: Callable[[], Rules],
        key: Callable[[], SigningKey],
        terms: Terms,
        random: Callable[[int], bytes],
        now: Callable[[], float],
    ) -> None:
        self._passwords = passwords
        self._rules = rules
        self._key = key
        self._terms = terms
        self._random = random
        self._now = now

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.method not in ("GET", "POST"):
            return errors.refusal(405, errors.UNSUPPORTED, "token: want GET or POST", allow="GET, POST")
        asked = asked_of(request)
        if asked is None:
            return errors.refusal(
                400, errors.UNSUPPORTED, "token: want a form with a grant_type that is known"
            )
        if any(len(scope) > MAX_SCOPE for scope in asked.scopes) or len(asked.scopes) > MAX_SCOPES:
            return errors.refusal(400, errors.DENIED, "token: the scope is too long")
        try:
            user = self._user(asked, request.client)
        except _Refused as refusal:
            return refusal.response
        access = self._access(user, parse_all(asked.scopes))
        if len(json.dumps(access)) > _MAX_ACCESS:
            return errors.refusal(400, errors.DENIED, "token: the scope is too long")
        return self._given(user, access, asked, posted=request.method == "POST")

    def _user(self, asked: Asked, client: str) -> str | None:
        """Who it is, by what is shown; None for nobody in particular.

        Raises:
            _Refused: Nobody who gets a token.
        """
        if asked.refresh_token is not None:
            user = self._refreshed(asked.refresh_token)
            if user is None:
                raise _Refused(
                    refused(self._terms.service, "token: wrong or old refresh token; log in again")
                )
            return user
        if asked.credentials is None:
            if any(rule.anonymous for rule in self._rules().rules):
                return None
            raise _Refused(refused(self._terms.service, "token: a name and a password are needed"))
        verdict = self._passwords.check(client, asked.credentials)
        if verdict.wait:
            raise _Refused(too_many("token: too many wrong passwords", seconds=verdict.wait))
        if not verdict.right:
            raise _Refused(refused(self._terms.service, f"token: {wrong(asked.credentials)}"))
        return asked.credentials.user

    def _access(self, user: str | None, scopes: Sequence[Access]) -> list[dict[str, object]]:
        """What is allowed of what was asked for."""
        rules = self._rules()
        given: dict[str, frozenset[str]] = {}
        catalog = False
        for scope in scopes:
            if scope.kind == "repository":
                wanted = set(ACTIONS if "*" in scope.actions else scope.actions)
                allowed = rules.allowed(user, scope.name) & wanted
                given[scope.name] = given.get(scope.name, frozenset()) | allowed
            elif (scope.kind, scope.name) == (CATALOG.kind, CATALOG.name):
                catalog = rules.may_somewhere(user, PULL)
        access: list[dict[str, object]] = [
            {"type": "repository", "name": name, "actions": [a for a in ACTIONS if a in actions]}
            for name, actions in given.items()
            if actions
        ]
        return [*access, CATALOG.to_json()] if catalog else access

    def _given(
        self, user: str | None, access: list[dict[str, object]], asked: Asked, *, posted: bool
    ) -> Response:
        now = self._now()
        token = self._signed(user, now, self._terms.access, self._terms.lifetime, {"access": access})
        # The names are those of Docker's token protocol for GET, and of OAuth2 for POST.
        document: dict[str, object] = {} if posted else {"token": token}
        document |= {
            "access_token": token,
            "expires_in": int(self._terms.lifetime),
            "issued_at": datetime.fromtimestamp(math.floor(now), UTC).isoformat().replace("+00:00", "Z"),
        }
        if posted:
            document |= {"token_type": "Bearer", "scope": " ".join(asked.scopes)}
        if asked.offline and user is not None:
            lasting = {"pwd": self._proof(user)}
            document["refresh_token"] = self._signed(
                user, now, self._terms.refresh, self._terms.refresh_lifetime, lasting
            )
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        return Response(status=200, headers=headers, body=json.dumps(document).encode())

    def _signed(
        self, user: str | None, now: float, wanted: Wanted, lifetime: float, more: Mapping[str, object]
    ) -> str:
        claims = {
            "iss": wanted.issuer,
            "sub": user or "",
            "aud": wanted.audience,
            "exp": math.floor(now + lifetime),
            "nbf": math.floor(now),
            "iat": math.floor(now),
            "jti": self._random(12).hex(),
            **more,
        }
        return signed(claims, self._key(), kind=wanted.kind or ACCESS_KIND)

    def _refreshed(self, token: str) -> str | None:
        """Whose refresh token it is; a new password ends those of the old one."""
        try:
            claims = claims_of(token, [self._key().verifying], self._terms.refresh, now=self._now())
        except Unauthenticated:
            return None
        user, proof = claims.get("sub"), claims.get("pwd")
        if not isinstance(user, str) or not isinstance(proof, str) or self._passwords.proof(user) is None:
            return None
        return user if hmac.compare_digest(proof.encode(), self._proof(user).encode()) else None

    def _proof(self, user: str) -> str:
        """That tells one password of a user from the next, and nothing about either."""
        kept = self._passwords.proof(user) or b""
        return hmac.digest(self._key().seal, user.encode() + b"\0" + kept, "sha256").hex()[:32]
