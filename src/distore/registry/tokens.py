"""TokenGate: lets in who shows a token, and gives tokens to whoever may have them.

Without users everybody may (the anonymous flow of a public registry); with users it takes a name
and a password, or a refresh token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from distore.registry import basic, errors
from distore.registry.basic import Credentials, credentials_of
from distore.registry.message import Response, small_body
from distore.registry.scopes import Access, covers, needed_for, parse_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.registry.message import Handler, Request

TOKEN_PATH: Final = "/token"  # noqa: S105 - a path
_MAX_SCOPE: Final = 512  # characters of one scope
_MAX_SCOPES: Final = 32  # in one token
_MAX_FORM: Final = 64 * 1024  # bytes
_MAX_FIELDS: Final = 100  # of a form


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who asks for a token, and for what."""

    scopes: Sequence[str]
    credentials: Credentials | None = None
    refresh_token: str | None = field(default=None, repr=False)
    offline: bool = False  # with a refresh token for the next time


class TokenGate:
    """A Handler in front of another.

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
        needed = needed_for(request)
        header = request.headers.get("authorization", "")
        granted = self._granted(header)
        if granted is not None and covers(granted, needed):
            return self._handler(request)
        refused = errors.refusal(401, errors.UNAUTHORIZED, "a token is needed")
        realm = f"{self._scheme}://{request.headers.get('host', '')}{TOKEN_PATH}"
        challenge = f'Bearer realm="{realm}",service="{self._service}"'
        if needed:
            challenge += f',scope="{" ".join(map(str, needed))}"'
        if header.lower().startswith("bearer "):
            challenge += f',error="{"invalid_token" if granted is None else "insufficient_scope"}"'
        return replace(refused, headers={**refused.headers, "www-authenticate": challenge})

    def _token(self, request: Request) -> Response:
        asked = _posted(request) if request.method == "POST" else _queried(request)
        if asked is None:
            return errors.refusal(
                400, errors.UNSUPPORTED, "token: want a form with a grant_type that is known"
            )
        if any(len(scope) > _MAX_SCOPE for scope in asked.scopes) or len(asked.scopes) > _MAX_SCOPES:
            return errors.refusal(400, errors.DENIED, "the scope is too long")
        user = self._user(asked)
        if user is None:
            return basic.refused(self._service, "token: wrong name, password or refresh token")
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

    def _user(self, asked: _Asked) -> str | None:
        """Who it is, by what is shown; empty for nobody in particular, None for nobody who may."""
        if asked.refresh_token is not None:
            return self._refresh_tokens.get(asked.refresh_token)
        if self._users is None:
            return asked.credentials.user if asked.credentials else ""
        shown = asked.credentials
        return shown.user if shown is not None and shown.match(self._users) else None

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


def _queried(request: Request) -> _Asked:
    return _Asked(
        scopes=_split(request.values("scope")),
        credentials=credentials_of(request.headers.get("authorization", "")),
        offline=request.query.get("offline_token", "").lower() in ("true", "1"),
    )


def _posted(request: Request) -> _Asked | None:
    """The form of OAuth2 (RFC 6749, sections 4.3 and 6); None when it is none."""
    data = small_body(request, limit=_MAX_FORM)
    try:
        form = parse_qs((data or b"").decode(), max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    grant, scopes = form.get("grant_type", [""])[0], _split(form.get("scope", []))
    offline = form.get("access_type", [""])[0] == "offline"
    if grant == "refresh_token":
        token = form.get("refresh_token", [""])[0]
        return _Asked(scopes=scopes, refresh_token=token, offline=offline)
    if grant == "password":
        shown = Credentials(form.get("username", [""])[0], form.get("password", [""])[0])
        return _Asked(scopes=scopes, credentials=shown, offline=offline)
    return None


def _split(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for text in texts for part in text.split())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
