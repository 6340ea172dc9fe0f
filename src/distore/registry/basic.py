"""Credentials: a name and a password, and how they are asked for (RFC 7617)."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.registry import errors

if TYPE_CHECKING:
    from distore.registry.message import Response


MAX_PASSWORD: Final = 72  # bytes; bcrypt looks at no more
_EMPTY: Final = base64.b64encode(b":").decode()


class Credentials(NamedTuple):
    """A name, and the password that belongs to it."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"


def credentials_of(header: str) -> Credentials | None:
    """Of an Authorization header; None when there are none in it."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    # An empty pair is what clients without a login send when they are asked for one: they show nothing.
    return Credentials(user, password) if colon and (user or password) else None


def is_empty(header: str) -> bool:
    """Whether an Authorization header shows nothing: there is none, or one with an empty pair."""
    kind, _, encoded = header.partition(" ")
    return not header or (kind.lower() == "basic" and encoded.strip() == _EMPTY)


def wrong(shown: Credentials) -> str:
    """What a client is told of a password that is not taken; nothing about who has an account."""
    if is_usable(shown.password):
        return "wrong name or password"
    return f"wrong name or password: a password has 1 to {MAX_PASSWORD} bytes, and no NUL"


def is_usable(password: str) -> bool:
    """Whether bcrypt looks at all of it: it stops at 72 bytes and at NUL."""
    return 0 < len(password.encode()) <= MAX_PASSWORD and "\0" not in password


def refused(service: str, message: str) -> Response:
    """401, with the question for a name and a password."""
    response = errors.refusal(401, errors.UNAUTHORIZED, message)
    return replace(response, headers={**response.headers, "www-authenticate": f'Basic realm="{service}"'})


def too_many(message: str, *, seconds: int) -> Response:
    """429: come again after so many seconds."""
    return errors.refusal(429, errors.TOO_MANY_REQUESTS, message, retry_after=str(seconds))
