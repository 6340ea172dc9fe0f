"""Token servers: how a token is asked for, with credentials or without."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from distore.errors import (
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from distore.remotes.credentials import TOKEN_USER, host_name
from distore.remotes.http.address import split_url
from distore.remotes.http.errors import error_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

    from distore.remotes.credentials import Credential, Found
    from distore.remotes.http.body import Response
    from distore.remotes.http.tls import Trust
    from distore.remotes.http.transport import Transport

MAX_TOKEN_RESPONSE: Final = 256 * 1024  # bytes
MAX_TOKEN: Final = 64 * 1024  # characters
_CLIENT: Final = "distore"
_DEFAULT_LIFETIME: Final = 60.0  # seconds (distribution's token specification)
_LONGEST_LIFETIME: Final = 86400.0  # seconds
_NO_OAUTH: Final = frozenset((404, 405))  # how a server without the OAuth 2 way answers a POST
_SHORTEST_HIDDEN: Final = 4  # characters; shorter ones are in any text by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What is asked of a token server.

    ``server`` is scheme and host of the registry that named ``realm``; ``trust`` holds for the
    registry. ``offline`` asks for an identity token too.
    """

    realm: str
    service: str
    scopes: tuple[str, ...]
    server: str
    trust: Trust
    found: Found | None = None
    offline: bool = False

    @property
    def credential(self) -> Credential | None:
        """Who asks; None: nobody in particular."""
        return None if self.found is None else self.found.credential


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """A token, for how many seconds it holds, and the identity token that came with it."""

    text: str = field(repr=False)
    lifetime: float
    identity_token: str | None = field(default=None, repr=False)


class SecretForm:
    """A form as the body of one request: a redirect that would carry it on is refused."""

    def __init__(self, fields: dict[str, str], where: str) -> None:
        self._data = urlencode(fields).encode()
        self._where = where
        self._sent = False

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[bytes]:
        if self._sent:
            raise PermissionDenied(f"token server {self._where}: redirects a request that holds a secret")
        self._sent = True
        yield self._data


def fetch_token(transport: Transport, request: TokenRequest) -> TokenAnswer:
    """Ask for a token: with the identity token by POST, with a password or nothing by GET.

    Raises:
        Unauthenticated: The server cannot be asked, or refuses; names user and source.
        PermissionDenied: It refuses that user, or redirects what holds a secret.
        Unavailable: It cannot be reached.
        FailedPrecondition: It answers nonsense.
    """
    parts = check_realm(request.realm, request.server)
    credential = request.credential
    if credential is not None and credential.identity_token is not None:
        response = _post(transport, request, parts, credential.identity_token)
        if response.status in _NO_OAUTH and credential.secret is not None:
            response.discard()
            response = _get(transport, request, parts)
    else:
        response = _get(transport, request, parts)
    subject = f"token for {request.server}"
    if response.status != 200:
        raise _refusal(error_from(response, subject), request)
    try:
        body = response.read_small(MAX_TOKEN_RESPONSE + 1)
    finally:
        response.close()
    return _parsed(body, f"{subject}: {parts.netloc}")


def check_realm(realm: str, server: str) -> SplitResult:
    """A token server's address in parts.

    Raises:
        Unauthenticated: Not one that ``server`` may send us to.
    """
    try:
        parts = split_url(realm)
    except InvalidArgument as error:
        raise Unauthenticated(f"{server}: names no usable token server: {error}") from error
    if server.startswith("https:") and parts.scheme != "https":
        raise Unauthenticated(f"{server}: its token server {parts.netloc} speaks no TLS")
    if parts.fragment:
        raise Unauthenticated(f"{server}: names no usable token server: leave out the fragment")
    return parts


def basic_header(credential: Credential) -> str | None:
    """The value of an Authorization header, or None when there is no password."""
    if credential.secret is None:
        return None
    pair = f"{credential.username}:{credential.secret}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def login_hint(server: str) -> str:
    """What to do about missing or wrong credentials."""
    return f"dist login {host_name(server.partition('://')[2])}"


def _get(transport: Transport, request: TokenRequest, parts: SplitResult) -> Response:
    query = [("service", request.service)] if request.service else []
    query += [("scope", scope) for scope in request.scopes]
    basic = None if request.credential is None else basic_header(request.credential)
    if request.credential is not None and request.credential.username != TOKEN_USER:
        query.append(("account", request.credential.username))
    if request.offline:
        query += [("client_id", _CLIENT), ("offline_token", "true")]
    asked = f"{'&' if parts.query else '?'}{urlencode(query)}" if query else ""
    return transport.request(
        "GET",
        request.realm + asked,
        headers={"Accept": "application/json", "User-Agent": _CLIENT},
        private=None if basic is None else {"Authorization": basic},
        trust=_trust(transport, request, parts),
    )


def _post(transport: Transport, request: TokenRequest, parts: SplitResult, identity_token: str) -> Response:
    fields = {
        "grant_type": "refresh_token",
        "service": request.service,
        "client_id": _CLIENT,
        "scope": " ".join(request.scopes),
        "refresh_token": identity_token,
    }
    return transport.request(
        "POST",
        request.realm,
        headers={
            "Accept": "application/json",
            "User-Agent": _CLIENT,
            "Content-Type": "application/x-www-form-urlencoded",
        },
        trust=_trust(transport, request, parts),
        body=SecretForm({name: value for name, value in fields.items() if value}, parts.netloc),
    )


def _trust(transport: Transport, request: TokenRequest, parts: SplitResult) -> Trust:
    at_home = parts.netloc.lower() == request.server.partition("://")[2].lower()
    return request.trust if at_home else transport.elsewhere(request.trust)


def _refusal(error: DistoreError, request: TokenRequest) -> DistoreError:
    """Who was refused, and what to do about it. A token server that knows nothing of us refuses."""
    kind = Unauthenticated if isinstance(error, NotFound | InvalidArgument) else type(error)
    if kind not in (Unauthenticated, PermissionDenied):
        return error
    hint = login_hint(request.server)
    if request.found is None:
        return kind(f"{error}; if it knows you: {hint}")
    credential = request.found.credential
    text = str(error)
    for secret in (credential.secret, credential.identity_token):
        if secret is not None and len(secret) >= _SHORTEST_HIDDEN:
            text = text.replace(secret, "***").replace(secret.lower(), "***")
    return kind(f"{text}; asked as user {credential.username!r} of {request.found.source}; mend it: {hint}")


def _parsed(body: bytes, subject: str) -> TokenAnswer:
    """Messages never repeat the body."""
    if len(body) > MAX_TOKEN_RESPONSE:
        raise FailedPrecondition(f"{subject} answered more than {MAX_TOKEN_RESPONSE} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = body
    if document is body:
        # Not inside the handler: a decoder's error has the body, and maybe a token, in it.
        raise FailedPrecondition(f"{subject} answered no JSON")
    if not isinstance(document, dict):
        raise FailedPrecondition(f"{subject} answered no JSON object")
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str) or not _is_usable(token):
        raise FailedPrecondition(f"{subject} answered without a usable token")
    lifetime = document.get("expires_in")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not lifetime > 0:
        lifetime = _DEFAULT_LIFETIME
    identity = document.get("refresh_token")
    return TokenAnswer(
        text=token,
        # Whatever a server says, a token that just came is worth a try for as long as a minute.
        lifetime=float(min(max(lifetime, _DEFAULT_LIFETIME), _LONGEST_LIFETIME)),
        identity_token=identity if isinstance(identity, str) and _is_usable(identity) else None,
    )


def _is_usable(token: str) -> bool:
    return 0 < len(token) <= MAX_TOKEN and all("!" <= character <= "~" for character in token)
