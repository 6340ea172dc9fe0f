"""HttpFetcher: reads objects of one repository from the servers that stand for its registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from distore.errors import FailedPrecondition, InvalidArgument, NotFound
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.remotes.http.client import PULL
from distore.remotes.http.decoding import Decoded, is_encoded
from distore.remotes.http.errors import error_from, one_line
from distore.remotes.http.ranges import parse_content_range
from distore.remotes.http.resolving import MANIFEST_ACCEPT, resolve

if TYPE_CHECKING:
    from distore.oci.descriptor import Descriptor
    from distore.oci.reference import Reference
    from distore.remotes.http.body import Response
    from distore.remotes.http.client import Client
    from distore.remotes.http.hosts import Host
    from distore.remotes.resolver import Target


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


class _Span(NamedTuple):
    """Which bytes are wanted: from ``offset`` up to ``end`` (None: the last one)."""

    offset: int = 0
    end: int | None = None
    validator: str | None = None

    @property
    def is_part(self) -> bool:
        return bool(self.offset) or self.end is not None


class HttpFetcher:
    """A Fetcher. Made by HttpResolver."""

    def __init__(self, client: Client) -> None:
        self.repository = client.repository
        self._client = client

    def resolve(self, reference: Reference) -> Descriptor:
        """What a tag or digest of the repository stands for; see ``Resolver.resolve``."""
        return resolve(self._client, reference)

    def open(
        self, target: Target, /, *, offset: int = 0, end: int | None = None, validator: str | None = None
    ) -> HttpStream:
        needed = "pull" if target.digest is not None else "resolve"

        def attempt(host: Host) -> HttpStream:
            kinds = _kinds(target)
            for kind in kinds[:-1]:
                try:
                    return self._open(host, kind, target, span)
                except NotFound:
                    continue
            return self._open(host, kinds[-1], target, span)

        span = _Span(offset=offset, end=end, validator=validator)
        return self._client.ask(needed, self._subject(target), attempt)

    def _open(self, host: Host, kind: str, target: Target, span: _Span) -> HttpStream:
        """From one place; without a range when the answer to a range makes no sense."""
        subject, offset = self._subject(target), span.offset
        headers = {"Accept": _accept(kind, target)}
        if span.is_part:
            headers["Range"] = f"bytes={offset}-{'' if span.end is None else span.end - 1}"
            if span.validator:
                headers["If-Range"] = span.validator
        response = self._client.request(
            host,
            "GET",
            f"{kind}/{quote(target.name, safe=':')}",
            headers=headers,
            scope=self._client.scope(PULL),
        )
        try:
            stream = _stream(response, target, offset, f"{subject} from {host.netloc}")
        except BaseException:
            response.close()
            raise
        if stream is not None:
            return stream
        if span.is_part and response.status in (206, 416):
            response.discard()
            return self._open(host, kind, target, _Span())
        raise error_from(response, subject)

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
