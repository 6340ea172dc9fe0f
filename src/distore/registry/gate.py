"""Gate: finds out who asks, lets in who may, and tells everybody else how to show who they are."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import DistoreError, Unauthenticated
from distore.registry import errors
from distore.registry.basic import Credentials, credentials_of, is_empty, refused, too_many, wrong
from distore.registry.crosssite import is_cross_site
from distore.registry.crosssite import refused as cross_site
from distore.registry.grants import PULL
from distore.registry.message import Response
from distore.registry.routes import target_of
from distore.registry.scopes import needed_in, scopes_for
from distore.registry.tags import CATALOG_PATH
from distore.registry.tokenforms import TOKEN_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore.registry.bearers import Bearer, Bearers
    from distore.registry.message import Request, Service
    from distore.registry.passwords import Passwords
    from distore.registry.routes import Target
    from distore.registry.rules import Rules
    from distore.registry.tokenserver import TokenServer
    from distore.registry.watched import Watched

LOGIN_PATH: Final = "/login"
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
_VERSION: Final = {"docker-distribution-api-version": "registry/2.0"}


class Means(NamedTuple):
    """How clients show who they are; what is None is not there.

    Args:
        passwords: Names and passwords, with every request or for a token.
        tokens: Gives tokens out here.
        bearers: Looks at tokens.
        realm: URL of another server that gives them out.
        service: What tokens are for.
        bounded: Rules hold for tokens, too; without, a token's own word is enough.
    """

    passwords: Passwords | None = None
    tokens: TokenServer | None = None
    bearers: Bearers | None = None
    realm: str | None = None
    service: str = "distore"
    bounded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """Grants. ``name`` without ``bearer``: showed a password; neither: showed nothing."""

    rules: Rules | None
    user: str | None = None
    bearer: Bearer | None = None
    listing: bool = False  # asks for what there is, with a token that is for that

    def may(self, action: str, repository: str, /) -> bool:
        if self.rules is not None and action not in self.rules.allowed(self.user, repository):
            return False
        if self.bearer is None or (self.listing and action == PULL):
            return True
        return action in self.bearer.access.get(repository, ())

    @property
    def is_nobody(self) -> bool:
        """Has shown nothing."""
        return self.user is None and self.bearer is None


class Gate:
    """A Service around a Service; safe to call from any thread.

    Args:
        rules: Those that hold now.
        means: At least one of them, or rules for everybody.
        watched: Files that are looked at again now and then.
        url: Where clients reach this server; None: as the request says.
    """

    def __init__(
        self,
        service: Service,
        *,
        rules: Callable[[], Rules],
        means: Means,
        watched: Sequence[Watched[object]] = (),
        url: str | None = None,
    ) -> None:
        self._service = service
        self._rules = rules
        self._means = means
        self._watched = watched
        self._url = url

    def handle(self, request: Request, /) -> Response:
        """Answer one request; never raises a DistoreError."""
        for file in self._watched:
            file.look()
        try:
            if request.path == TOKEN_PATH and self._means.tokens is not None:
                return self._means.tokens.handle(request)
            shown = self._shown(request)
        except DistoreError as error:
            return errors.response_for(error)
        passed = shown if isinstance(shown, Response) else self._passed(request, shown)
        return passed if isinstance(passed, Response) else self._service.handle(passed)

    def quick(self, request: Request, /) -> Response | None:
        """The answer, if who asks is known already."""
        if request.path == TOKEN_PATH or any(file.due() for file in self._watched):
            return None
        shown = self._at_hand(request)
        if shown is None:
            return None
        passed = self._passed(request, shown)
        return passed if isinstance(passed, Response) else self._service.quick(passed)

    def _at_hand(self, request: Request) -> _Shown | None:
        """Who asks, if that takes no time to find out."""
        header = request.headers.get("authorization", "")
        if is_empty(header):
            return _Shown(rules=self._rules())
        means = self._means
        if (token := _token_of(header)) is not None:
            bearer = means.bearers.at_hand(token) if means.bearers else None
            return self._of_token(bearer) if bearer is not None else None
        shown = credentials_of(header)
        passwords = means.passwords
        if shown is None or passwords is None or not passwords.remembers(request.client, shown):
            return None
        return _Shown(rules=self._rules(), user=shown.user)

    def _shown(self, request: Request) -> _Shown | Response:
        """Who asks; an answer, if it is not who it says."""
        header = request.headers.get("authorization", "")
        if is_empty(header):
            return _Shown(rules=self._rules())
        if (token := _token_of(header)) is not None:
            return self._of_bearer(request, token)
        credentials = credentials_of(header)
        if credentials is None or self._means.passwords is None:
            return self._challenge(request, "this kind of credential is not known here")
        return self._of_password(request, credentials, self._means.passwords)

    def _of_password(
        self, request: Request, credentials: Credentials, passwords: Passwords
    ) -> _Shown | Response:
        verdict = passwords.check(request.client, credentials)
        if verdict.wait:
            return too_many("too many wrong passwords; try again later", seconds=verdict.wait)
        if not verdict.right:
            return self._challenge(request, wrong(credentials))
        return _Shown(rules=self._rules(), user=credentials.user)

    def _of_bearer(self, request: Request, token: str) -> _Shown | Response:
        if self._means.bearers is None:
            return self._challenge(request, "tokens are not known here")
        try:
            shown = self._of_token(self._means.bearers.check(token))
        except Unauthenticated as error:
            return self._challenge(request, str(error), error="invalid_token")
        return shown or self._challenge(request, "token: of a user who is gone", error="invalid_token")

    def _of_token(self, bearer: Bearer) -> _Shown | None:
        """None: of a user who is gone."""
        means = self._means
        ours = means.passwords if means.tokens is not None and bearer.user is not None else None
        if ours is not None and ours.proof(bearer.user or "") is None:
            return None
        return _Shown(rules=self._rules() if means.bounded else None, user=bearer.user, bearer=bearer)

    def _passed(self, request: Request, shown: _Shown) -> Request | Response:
        """The request with what is granted in it; or why it goes no further."""
        target = target_of(request.path)
        if shown.bearer is None and is_cross_site(request):  # with the password that a browser remembers
            return cross_site()
        if target.repository:
            refused = self._in_repository(request, target, shown)
        elif request.path.lstrip("/").partition("/")[0] == "v2":
            refused = self._at_root(request, shown)
        else:
            refused = self._at_page(request, shown)
        if refused is not None:
            return refused
        if shown.user is not None:
            request.notes["user"] = shown.user
        if shown.bearer is not None and shown.bearer.catalog and _is_catalog(request):
            shown = replace(shown, listing=True)
        return replace(request, grants=shown)

    def _in_repository(self, request: Request, target: Target, shown: _Shown) -> Response | None:
        needed = needed_in(request, target)
        if shown.may(needed.action, target.repository):
            if (
                needed.source is None
                or shown.may(PULL, needed.source)
                or not self._could(shown, needed.source)
            ):
                return None  # a mount of what may not be read becomes an upload
        elif shown.bearer is None and not shown.is_nobody:
            # The same for a repository that is there and for one that is not.
            return errors.refusal(
                403, errors.DENIED, f"{shown.user} may not {needed.action} {target.repository[:255]}"
            )
        if shown.bearer is not None:
            message = f"the token does not allow to {needed.action} {target.repository[:255]}"
            return self._challenge(request, message, error="insufficient_scope")
        return self._challenge(request, "log in first")

    def _could(self, shown: _Shown, source: str) -> bool:
        """Whether another token would help to read ``source``."""
        rules = shown.rules
        return shown.bearer is not None and rules is not None and PULL in rules.allowed(shown.user, source)

    def _at_root(self, request: Request, shown: _Shown) -> Response | None:
        # Whoever can log in is asked to here: clients learn at the root alone how to, and one that has
        # a login shall list what that lets it see. Everybody else gets a token for nothing.
        if shown.is_nobody and (self._has_logins or not self._is_open):
            return self._challenge(request, "log in first")
        if not _is_catalog(request):
            return None
        if shown.bearer is not None and not shown.bearer.catalog:
            message = "the token does not allow to list repositories"
            return self._challenge(request, message, error="insufficient_scope")
        return None

    def _at_page(self, request: Request, shown: _Shown) -> Response | None:
        """For browsers, which know names and passwords only."""
        passwords = self._means.passwords
        if request.path == LOGIN_PATH and passwords is not None:
            if shown.is_nobody:
                return self._asked(request)
            return Response(status=303, headers={"location": "/", "cache-control": "no-store"})
        if not shown.is_nobody or self._is_open:
            return None
        return self._challenge(request, "log in first") if passwords is None else self._asked(request)

    def _asked(self, request: Request) -> Response:
        """The question that browsers understand, and what they show to somebody who does not answer it."""
        asked = refused(self._means.service, "log in first")
        if "text/html" not in request.headers.get("accept", ""):
            return asked
        headers = {**asked.headers, "content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
        return replace(asked, headers=headers, body=b"This registry shows nothing without a login.\n")

    @property
    def _has_logins(self) -> bool:
        return self._means.passwords is not None or self._means.bearers is not None

    @property
    def _is_open(self) -> bool:
        return self._rules().may_somewhere(None, PULL)

    def _challenge(self, request: Request, message: str, *, error: str | None = None) -> Response:
        """401, with the question that standard clients understand (RFC 7235, RFC 6750)."""
        means = self._means
        realm = means.realm
        if realm is None and means.tokens is not None:
            base = self._url or _base_of(request)
            if base is None:
                return errors.refusal(400, errors.UNSUPPORTED, "the Host header is missing or is none")
            realm = f"{base}{TOKEN_PATH}"
        if realm is None:
            return _with_version(refused(means.service, message))
        challenge = f'Bearer realm="{realm}",service="{means.service}"'
        named = " ".join(str(scope) for scope in scopes_for(request) if _is_quotable(str(scope)))
        if named:
            challenge += f',scope="{named}"'
        if error is not None:
            challenge += f',error="{error}"'
        answer = errors.refusal(401, errors.UNAUTHORIZED, message)
        return _with_version(replace(answer, headers={**answer.headers, "www-authenticate": challenge}))


def _token_of(header: str) -> str | None:
    kind, _, token = header.partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _base_of(request: Request) -> str | None:
    """Where the client has reached this server; None when it says something else than a host."""
    host = request.headers.get("host", "")
    scheme = "https" if request.scheme == "https" else "http"
    return f"{scheme}://{host}" if _HOST.fullmatch(host) else None


def _is_catalog(request: Request) -> bool:
    return request.path.rstrip("/") == CATALOG_PATH


def _is_quotable(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & set('"\\ ')


def _with_version(response: Response) -> Response:
    return replace(response, headers={**response.headers, **_VERSION})
