"""HttpFetcher: reads objects of one repository from the servers that stand for its registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from distore.errors import DeadlineExceeded, DistoreError, FailedPrecondition, InvalidArgument, NotFound
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.remotes.http.challenge import parse_challenges
from distore.remotes.http.decoding import Decoded, is_encoded
from distore.remotes.http.errors import error_from, one_line
from distore.remotes.http.ranges import parse_content_range
from distore.remotes.http.tls import Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.oci.reference import Reference
    from distore.remotes.http.auth import Tokens
    from distore.remotes.http.body import Response
    from distore.remotes.http.hosts import Host
    from distore.remotes.http.transport import Transport
    from distore.remotes.resolver import Target

MANIFEST_ACCEPT: Final = ", ".join((*mediatypes.INDEXES, *mediatypes.MANIFESTS))
USER_AGENT: Final = "distore"


class HttpStream:
    """A Stream over one answer."""

    def __init__(
        self, response: Response, body: Response | Decoded, *, offset: int, size: int | None, source: str
    ) -> None:
        self._response = response
        self._body = body
        self._done = False
        self.offset = offset
        self.size = size
        self.source = source
        self.media_type = _media_type(response)
        self.digest = _digest(response, source)
        self.validator = _validator(response)

    def read(self, limit: int, /) -> bytes:
        if self._done:
            return b""
        data = self._body.read(limit)
        self._done = not data
        return data

    def close(self) -> None:
        self._done = True
        self._response.close()

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class HttpFetcher:
    """A Fetcher. Made by HttpResolver."""

    def __init__(
        self, repository: Reference, *, hosts: Sequence[Host], transport: Transport, tokens: Tokens
    ) -> None:
        self.repository = repository
        self._hosts = hosts
        self._transport = transport
        self._tokens = tokens

    def open(self, target: Target, /, *, offset: int = 0, validator: str | None = None) -> HttpStream:
        needed = "pull" if target.digest is not None else "resolve"
        hosts = [host for host in self._hosts if needed in host.capabilities]
        if not hosts:
            raise FailedPrecondition(f"{self._subject(target)}: no host may {needed!r}; see its hosts.toml")
        failures: list[DistoreError] = []
        missing: NotFound | None = None
        for host in hosts:
            for kind in _kinds(target):
                try:
                    return self._open(host, kind, target, offset, validator)
                except NotFound as error:
                    missing = error
                except DeadlineExceeded:
                    raise
                except DistoreError as error:
                    failures.append(error)
                    missing = None
                    break  # the next host
        if missing is None:
            raise failures[-1]
        asked = ", ".join(host.netloc for host in hosts)
        others = "".join(f"; {failure}" for failure in failures)
        raise NotFound(f"{self._subject(target)}: not found (asked {asked}){others}") from missing

    def _open(self, host: Host, kind: str, target: Target, offset: int, validator: str | None) -> HttpStream:
        """From one place; without a range when the answer to a range makes no sense."""
        subject = self._subject(target)
        headers = {"Accept": _accept(kind, target)}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator
        response = self._get(host, f"{kind}/{quote(target.name, safe=':')}", headers)
        try:
            stream = _stream(response, target, offset, f"{subject} from {host.netloc}")
        except BaseException:
            response.close()
            raise
        if stream is not None:
            return stream
        if offset and response.status in (206, 416):
            response.discard()
            return self._open(host, kind, target, 0, None)
        raise error_from(response, subject)

    def _get(self, host: Host, path: str, headers: dict[str, str]) -> Response:
        """One GET with whatever token is known, and another with the one it asks for."""
        server = f"{host.scheme}://{host.netloc}"
        scope = f"repository:{self.repository.path}:pull"
        token = self._tokens.known(server, scope)
        response = self._send(host, path, headers, token)
        if response.status != 401:
            return response
        challenges = parse_challenges(response.headers("www-authenticate"))
        if not challenges:
            return response
        response.discard()
        token = self._tokens.answer(challenges, server=server, scope=scope, refused=token, trust=_trust(host))
        return self._send(host, path, headers, token)

    def _send(self, host: Host, path: str, headers: dict[str, str], token: str | None) -> Response:
        query = f"?{urlencode({'ns': host.namespace})}" if host.namespace else ""
        private = dict(host.headers)
        if token is not None:
            private = {name: value for name, value in private.items() if name.lower() != "authorization"}
            private["Authorization"] = f"Bearer {token}"
        return self._transport.request(
            "GET",
            f"{host.url}/{self.repository.path}/{path}{query}",
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
            private=private,
            trust=_trust(host),
            connect_timeout=host.connect_timeout,
        )

    def _subject(self, target: Target) -> str:
        name = f"{self.repository.domain}/{self.repository.path}"
        return f"{name}@{target.digest}" if target.digest else f"{name}:{target.tag}"


def _stream(response: Response, target: Target, offset: int, source: str) -> HttpStream | None:
    """The stream that an answer holds; None when it is an error, or a range nobody asked for."""
    if response.status == 200:
        if is_encoded(response, target.size):
            return HttpStream(response, Decoded(response), offset=0, size=None, source=source)
        return HttpStream(response, response, offset=0, size=response.length, source=source)
    told = parse_content_range(response.header("content-range"))
    if (
        response.status == 206
        and told is not None
        and told.start == offset
        and not is_encoded(response, None)
    ):
        return HttpStream(response, response, offset=offset, size=told.size, source=source)
    if response.status == 416 and told is not None and told.size == offset and offset:
        response.discard()  # every byte is here already
        stream = HttpStream(response, response, offset=offset, size=offset, source=source)
        stream.close()
        return stream
    return None


def _kinds(target: Target) -> tuple[str, ...]:
    """Where to look, in that order."""
    if target.digest is None:
        return ("manifests",)
    media_type = target.media_type or ""
    if (
        mediatypes.is_manifest(media_type)
        or mediatypes.is_index(media_type)
        or mediatypes.is_schema1(media_type)
    ):
        return ("manifests", "blobs")
    return ("blobs", "manifests")


def _accept(kind: str, target: Target) -> str:
    return target.media_type or (MANIFEST_ACCEPT if kind == "manifests" else "*/*")


def _trust(host: Host) -> Trust:
    return Trust(ca=host.ca, client=host.client, skip_verify=host.skip_verify)


def _media_type(response: Response) -> str | None:
    text = (response.header("content-type") or "").partition(";")[0].strip()
    return one_line(text) or None


def _digest(response: Response, source: str) -> Digest | None:
    """Docker-Content-Digest.

    Raises:
        FailedPrecondition: It is no digest: whoever answers does not know what it serves.
    """
    text = (response.header("docker-content-digest") or "").strip()
    try:
        return Digest(text) if text else None
    except InvalidArgument as error:
        raise FailedPrecondition(f"{source}: docker-content-digest: {error}") from error


def _validator(response: Response) -> str | None:
    """A strong ETag: a weak one does not promise the same bytes (RFC 9110, section 13.1.5)."""
    text = (response.header("etag") or "").strip()
    good = len(text) <= 256 and len(text) > 2 and text[0] == text[-1] == '"' and text.isprintable()
    return text if good and text.isascii() else None
