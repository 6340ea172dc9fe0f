"""TokenGate: lets in who shows a token, and gives a token to whoever asks (the anonymous flow)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from distore.registry import errors
from distore.registry.message import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.message import Handler, Request

TOKEN_PATH: Final = "/token"  # noqa: S105 - a path
_MAX_SCOPE: Final = 512  # characters


class TokenGate:
    """A Handler in front of another.

    Args:
        secret: Signs the tokens; whoever knows it can make them.
        clock: Seconds that only go up.
        scheme: How clients reach the token server: ``http`` or ``https``.
        lifetime: Seconds that a token holds.
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
    ) -> None:
        self._handler = handler
        self._secret = secret
        self._clock = clock
        self._service = service
        self._scheme = scheme
        self._lifetime = lifetime

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == TOKEN_PATH:
            return self._issue(request.query.get("scope", ""))
        scope = _scope_of(request.path)
        if self._is_good(request.headers.get("authorization", ""), scope):
            return self._handler(request)
        refused = errors.refusal(401, errors.UNAUTHORIZED, "a token is needed")
        realm = f"{self._scheme}://{request.headers.get('host', '')}{TOKEN_PATH}"
        challenge = f'Bearer realm="{realm}",service="{self._service}"'
        if scope:
            challenge += f',scope="{scope}"'
        return replace(refused, headers={**refused.headers, "www-authenticate": challenge})

    def _issue(self, scope: str) -> Response:
        if len(scope) > _MAX_SCOPE:
            return errors.refusal(400, errors.DENIED, "the scope is too long")
        claim = json.dumps([scope, self._clock() + self._lifetime]).encode()
        token = f"{_text(claim)}.{_text(self._signature(claim))}"
        document = {"token": token, "expires_in": self._lifetime}
        return Response(
            status=200, headers={"content-type": "application/json"}, body=json.dumps(document).encode()
        )

    def _is_good(self, header: str, scope: str) -> bool:
        kind, _, token = header.partition(" ")
        claim_text, _, signature_text = token.partition(".")
        try:
            claim = base64.urlsafe_b64decode(claim_text)
            signature = base64.urlsafe_b64decode(signature_text)
        except ValueError:
            return False
        if kind.lower() != "bearer" or not hmac.compare_digest(signature, self._signature(claim)):
            return False
        allowed, until = json.loads(claim)
        return bool(self._clock() < until and (not scope or allowed == scope))

    def _signature(self, claim: bytes) -> bytes:
        return hmac.new(self._secret, claim, hashlib.sha256).digest()


def _scope_of(path: str) -> str:
    """What a token must allow for ``path``; nothing for the root of the API."""
    parts = path.strip("/").split("/")
    return f"repository:{'/'.join(parts[1:-2])}:pull" if len(parts) > 3 else ""


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
