"""BasicGate: lets in who shows a name and a password (RFC 7617)."""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from distore.registry import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.registry.message import Handler, Request, Response


class Credentials(NamedTuple):
    """A name, and the password that belongs to it."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"

    def match(self, users: Mapping[str, str]) -> bool:
        """Whether ``users`` has them."""
        known = users.get(self.user, "")
        return hmac.compare_digest(known.encode(), self.password.encode()) and self.user in users


def credentials_of(header: str) -> Credentials | None:
    """Of an Authorization header; None when there are none in it."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return Credentials(user, password) if colon else None


def refused(service: str, message: str) -> Response:
    """401, with the question for a name and a password."""
    response = errors.refusal(401, errors.UNAUTHORIZED, message)
    return replace(response, headers={**response.headers, "www-authenticate": f'Basic realm="{service}"'})


def too_many(message: str, *, seconds: int) -> Response:
    """429: come again after so many seconds."""
    return errors.refusal(429, errors.TOO_MANY_REQUESTS, message, retry_after=str(seconds))


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
        if not shown.match(self._users):
            return refused(self._service, "wrong name or password")
        return self._handler(request)
