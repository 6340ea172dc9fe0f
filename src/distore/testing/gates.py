"""Gates of other registries: let in who shows a password, or a token as anybody gets it from Docker Hub.

Those of this registry are in ``distore.registry.gate``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from distore.registry import errors
from distore.registry.basic import credentials_of, refused
from distore.registry.message import Response
from distore.registry.scopes import Access, parse_all, scopes_for
from distore.registry.tokenforms import MAX_SCOPE, MAX_SCOPES, TOKEN_PATH, Asked, asked_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.registry.basic import Credentials
    from distore.registry.message import Handler, Request


class BasicGate:
    """A Handler in front of another.

    Args:
        users: Passwords by name.
    """

    def __init__(self, handler: Handler, *, users: Mapping[str, str], service: str = "distore") -> None:
        self._handler = handler
        self._users = users
        self._service = service

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        shown = credentials_of(request.headers.get("authorization", ""))
        if shown is None:
            return refused(self._service, "a name and a password are needed")
        if not _match(shown, self._users):
            return refused(self._service, "wrong name or password")
        return self._handler(request)


class TokenGate:
    """A Handler in front of another; everything needs a token.

    Without users everybody gets one for whatever they ask; with users it takes a name and a password,
    or a refresh token.

    Args:
        secret: Signs the tokens; whoever knows it can make them.
        clock: Seconds that only go up.
        scheme: How clients reach the token server: ``http`` or ``https``.
        lifetime: Seconds that a token holds.
        users: Passwords by name, or None when everybody gets a token.
        refresh_tokens: Names by refresh token.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        secret: bytes,
        clock: Callable[[], float],
        service: str = "distore",
        scheme: str = "http",
        lifetime: int = 300,
        users: Mapping[str, str] | None = None,
        refresh_tokens: Mapping[str, str] | None = None,
    ) -> None:
        self._handler = handler
        self._secret = secret
        self._clock = clock
        self._service = service
        self._scheme = scheme
        self._lifetime = lifetime
        self._users = users
        self._refresh_tokens = refresh_tokens or {}

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == TOKEN_PATH:
            return self._token(request)
        needed = scopes_for(request)
        header = request.headers.get("authorization", "")
        granted = self._granted(header)
        if granted is not None and covers(granted, needed):
            return self._handler(request)
        answer = errors.refusal(401, errors.UNAUTHORIZED, "a token is needed")
        realm = f"{self._scheme}://{request.headers.get('host', '')}{TOKEN_PATH}"
        challenge = f'Bearer realm="{realm}",service="{self._service}"'
        if needed:
            challenge += f',scope="{" ".join(map(str, needed))}"'
        if header.lower().startswith("bearer "):
            challenge += f',error="{"invalid_token" if granted is None else "insufficient_scope"}"'
        return replace(answer, headers={**answer.headers, "www-authenticate": challenge})

    def _token(self, request: Request) -> Response:
        asked = asked_of(request)
        if asked is None:
            return errors.refusal(
                400, errors.UNSUPPORTED, "token: want a form with a grant_type that is known"
            )
        if any(len(scope) > MAX_SCOPE for scope in asked.scopes) or len(asked.scopes) > MAX_SCOPES:
            return errors.refusal(400, errors.DENIED, "the scope is too long")
        user = self._user(asked)
        if user is None:
            return refused(self._service, "token: wrong name, password or refresh token")
        claim = json.dumps([list(asked.scopes), self._clock() + self._lifetime]).encode()
        token = f"{_text(claim)}.{_text(self._signature(claim))}"
        # The names are those of Docker's token protocol for GET, and of OAuth2 for POST.
        name = "access_token" if request.method == "POST" else "token"
        document: dict[str, object] = {name: token, "expires_in": self._lifetime}
        if request.method == "POST":
            document["scope"] = " ".join(asked.scopes)
        lasting = [known for known, owner in self._refresh_tokens.items() if owner == user]
        if asked.offline and lasting:
            document["refresh_token"] = lasting[0]
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        return Response(status=200, headers=headers, body=json.dumps(document).encode())

    def _user(self, asked: Asked) -> str | None:
        """Who it is, by what is shown; empty for nobody in particular, None for nobody who may."""
        if asked.refresh_token is not None:
            return self._refresh_tokens.get(asked.refresh_token)
        if self._users is None:
            return asked.credentials.user if asked.credentials else ""
        shown = asked.credentials
        return shown.user if shown is not None and _match(shown, self._users) else None

    def _granted(self, header: str) -> tuple[Access, ...] | None:
        """What a token allows; None when it is none, or no more."""
        kind, _, token = header.partition(" ")
        claim_text, _, signature_text = token.partition(".")
        try:
            claim = base64.urlsafe_b64decode(claim_text)
            signature = base64.urlsafe_b64decode(signature_text)
        except ValueError:
            return None
        if kind.lower() != "bearer" or not hmac.compare_digest(signature, self._signature(claim)):
            return None
        scopes, until = json.loads(claim)
        return parse_all(scopes) if self._clock() < until else None

    def _signature(self, claim: bytes) -> bytes:
        return hmac.new(self._secret, claim, hashlib.sha256).digest()


def covers(granted: Sequence[Access], needed: Sequence[Access]) -> bool:
    """Whether everything needed is granted, by one scope or by several together."""
    return all(_allows(granted, access, action) for access in needed for action in access.actions)


def _allows(granted: Sequence[Access], access: Access, action: str) -> bool:
    return any(
        (given.kind, given.name) == (access.kind, access.name)
        and (action in given.actions or "*" in given.actions)
        for given in granted
    )


def _match(shown: Credentials, users: Mapping[str, str]) -> bool:
    known = users.get(shown.user, "")
    return hmac.compare_digest(known.encode(), shown.password.encode()) and shown.user in users


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
