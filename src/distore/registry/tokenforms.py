"""Requests for a token: the query of Docker's token protocol, and the form of OAuth2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from distore.registry.basic import Credentials, credentials_of, is_empty
from distore.registry.message import small_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.registry.message import Request

TOKEN_PATH: Final = "/token"  # noqa: S105 - a path
MAX_SCOPE: Final = 512  # characters of one scope
MAX_SCOPES: Final = 32  # in one token
_MAX_FORM: Final = 64 * 1024  # bytes
_MAX_FIELDS: Final = 100  # of a form


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for a token, and for what."""

    scopes: Sequence[str]
    credentials: Credentials | None = None
    refresh_token: str | None = field(default=None, repr=False)
    offline: bool = False  # with a refresh token for the next time


def asked_of(request: Request) -> Asked | None:
    """What a client wants; None: it is no form that is known.

    Raises:
        Unavailable: As ``Body.read``.
    """
    return _posted(request) if request.method == "POST" else _queried(request)


def _queried(request: Request) -> Asked:
    header = request.headers.get("authorization", "")
    # What cannot be read is a wrong pair, and not nothing: nobody shall believe to have logged in with it.
    wrong = None if is_empty(header) else Credentials("", "")
    return Asked(
        scopes=_split(request.values("scope")),
        credentials=credentials_of(header) or wrong,
        offline=request.query.get("offline_token", "").lower() in ("true", "1"),
    )


def _posted(request: Request) -> Asked | None:
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
        return Asked(scopes=scopes, refresh_token=token, offline=offline)
    if grant == "password":
        shown = Credentials(form.get("username", [""])[0], form.get("password", [""])[0])
        return Asked(scopes=scopes, credentials=shown, offline=offline)
    return None


def _split(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for text in texts for part in text.split())
