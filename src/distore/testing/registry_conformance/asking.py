"""Asking: requests over a plain HTTP connection, with nothing between the rows and the wire."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

from distore.testing.registry_conformance.row import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TIMEOUT: Final = 60.0  # seconds
_MAX_BODY: Final = 64 * 1024 * 1024  # bytes
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``headers`` in the order they came; the names lower case."""

    asked: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """All values of a header, joined as HTTP does; None when there is none."""
        values = [value for given, value in self.headers if given == name]
        return ", ".join(values) if values else None

    def json(self) -> dict[str, object]:
        """The object in the body."""
        try:
            document = json.loads(self.body)
        except ValueError as error:
            raise Failed(f"{self.asked}: the body is no JSON") from error
        if not isinstance(document, dict):
            raise Failed(f"{self.asked}: the body is no JSON object")
        return document


class Asking:
    """Asks one registry, one request at a time; a new connection for each.

    Args:
        base: ``http://HOST:PORT/`` or https.
        user: ``NAME:PASSWORD``, or None.
        verify: Check the certificate.
    """

    def __init__(self, base: str, *, user: str | None = None, verify: bool = True) -> None:
        self.base = base if base.endswith("/") else f"{base}/"
        self._user = user
        self._tls = ssl.create_default_context()
        if not verify:
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._authorization: dict[str, str] = {}  # by what was challenged

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; a challenge for a token is met, a redirect of a GET or HEAD followed.

        Args:
            target: A path, or what a Location says.
            query: Comes on top of what the target has.
        """
        url = urljoin(self.base, quote(target, safe="/:?&=%+~@,;"))
        if query:
            url += ("&" if urlsplit(url).query else "?") + urlencode(query)
        answer = self._once(method, url, body, dict(headers or {}))
        if answer.status == 401 and (authorization := self._met(answer)) is not None:
            answer = self._once(method, url, body, {**(headers or {}), "Authorization": authorization})
        location = answer.header("location")
        if method in ("GET", "HEAD") and answer.status in _REDIRECTS and location is not None:
            return self._once(method, urljoin(url, location), body, dict(headers or {}))
        return answer

    def _once(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.hostname or ""
        connection = (
            http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT, context=self._tls)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT)
        )
        asked = f"{method} {path}"
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before the end
                connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            data = response.read(_MAX_BODY)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{asked}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        named = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(asked=asked, status=response.status, headers=named, body=data)

    def _met(self, answer: Answer) -> str | None:
        """What answers the challenge."""
        challenge = answer.header("www-authenticate") or ""
        kind = challenge.partition(" ")[0].lower()
        basic = None
        if self._user is not None:
            basic = "Basic " + base64.b64encode(self._user.encode()).decode()
        if kind != "bearer":
            return basic
        told = dict(_PARAMETER.findall(challenge))
        query = urlencode({name: told[name] for name in ("service", "scope") if name in told})
        if challenge not in self._authorization:
            url = f"{told.get('realm', '')}?{query}"
            given = self._once("GET", url, None, {} if basic is None else {"Authorization": basic})
            document = given.json()
            token = document.get("token") or document.get("access_token")
            self._authorization[challenge] = f"Bearer {token}"
        return self._authorization[challenge]
