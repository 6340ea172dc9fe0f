"""FakeRegistry: a real registry on a free loopback port that can be told to misbehave."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from distore.errors import DataLoss, NotFound, OutOfRange
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry import errors
from distore.registry.app import RegistryServer
from distore.registry.message import Handler, Request, Response, Slice
from distore.registry.routes import Registry
from distore.registry.tokens import TOKEN_PATH, TokenGate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from _typeshed import WriteableBuffer

    from distore.content.store import Reader

# Gets the request and who would answer it rightly.
Fault = Callable[[Request, Handler], Response]
_SECRET: Final = b"not a secret: a test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it arrived, and the status it was answered with."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    status: int


@dataclass(slots=True)
class _Armed:
    fault: Fault
    path: str
    times: int | None  # None: every time


class BytesReader:
    """A Reader over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, length: int, offset: int, /) -> bytes:
        if length < 0 or offset < 0:
            raise OutOfRange(f"cannot read {length} bytes at {offset}")
        return self._data[offset : offset + length]

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read_at(len(view), offset)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> BytesReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Blobs:
    """A Provider over a dict."""

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {}

    def put(self, data: bytes) -> Digest:
        """Keep a blob."""
        digest = Digest.of(data)
        self.data[digest] = data
        return digest

    def reader(self, digest: Digest, /) -> BytesReader:
        if digest not in self.data:
            raise NotFound(f"content {digest}: not found")
        return BytesReader(self.data[digest])


class FakeRegistry:
    """Serves while its ``with`` block runs; remembers every request.

    Args:
        with_tokens: Anonymous tokens are needed.
        rate: Bytes a second for each connection.
        tls: Speak TLS.
        clock: Seconds, for the lifetime of tokens.
    """

    def __init__(
        self,
        *,
        with_tokens: bool = False,
        rate: int | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.blobs = Blobs()
        self.repositories: dict[str, dict[str, Descriptor]] = {}
        self.requests: list[Seen] = []
        self.bytes_sent = 0  # bytes of bodies handed to the network
        self._guard = threading.Lock()
        self._armed: list[_Armed] = []
        self.scheme = "http" if tls is None else "https"
        self._registry = Registry(self.blobs, self.repositories)
        self._front: Handler = self._misbehave
        if with_tokens:
            gate = TokenGate(self._misbehave, secret=_SECRET, clock=clock, scheme=self.scheme)
            self._front = gate.handle
        self._server = RegistryServer(self._handle, rate=rate, tls=tls)

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``."""
        return self._server.address

    @property
    def url(self) -> str:
        """Scheme and address."""
        return f"{self.scheme}://{self.address}"

    def put(self, repository: str, data: bytes) -> Digest:
        """Offer a blob."""
        self.repositories.setdefault(repository, {})
        return self.blobs.put(data)

    def tag(
        self, repository: str, tag: str, manifest: bytes, media_type: str = mediatypes.OCI_MANIFEST
    ) -> Descriptor:
        """Offer a manifest under a tag, and under its digest."""
        descriptor = Descriptor(
            media_type=media_type, digest=self.put(repository, manifest), size=len(manifest)
        )
        self.repositories[repository][tag] = descriptor
        return descriptor

    def image(self, repository: str, tag: str, layers: Sequence[bytes]) -> Descriptor:
        """Offer an image made of ``layers``, whatever bytes they are."""
        config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
        parts = [(mediatypes.OCI_CONFIG, config), *((mediatypes.OCI_LAYER_GZIP, layer) for layer in layers)]
        described = [
            Descriptor(media_type=kind, digest=self.put(repository, data), size=len(data)).to_json()
            for kind, data in parts
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        return self.tag(repository, tag, json.dumps(manifest).encode())

    def inject(self, fault: Fault, *, path: str = "/v2/", times: int | None = 1) -> None:
        """Answer the next ``times`` requests (None: all) whose path has ``path`` in it with ``fault``.

        Requests that only lack a token do not count.
        """
        with self._guard:
            self._armed.append(_Armed(fault, path, times))

    def seen(self, path: str) -> list[Seen]:
        """The requests so far whose path has ``path`` in it."""
        with self._guard:
            return [request for request in self.requests if path in request.path]

    def start(self) -> None:
        """Listen."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.stop()

    def __enter__(self) -> FakeRegistry:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _handle(self, request: Request) -> Response:
        fault = self._take(request.path) if request.path == TOKEN_PATH else None
        response = fault(request, self._front) if fault else self._front(request)
        with self._guard:
            self.requests.append(
                Seen(
                    method=request.method,
                    path=request.path,
                    headers=request.headers,
                    query=request.query,
                    status=response.status,
                )
            )
            if isinstance(response.body, bytes):
                self.bytes_sent += len(response.body)
        if isinstance(response.body, Slice):
            counted = _Altered(response.body.reader, on_read=self._count)
            return replace(response, body=replace(response.body, reader=counted))
        return response

    def _misbehave(self, request: Request) -> Response:
        fault = self._take(request.path)
        return fault(request, self._registry.handle) if fault else self._registry.handle(request)

    def _take(self, path: str) -> Fault | None:
        with self._guard:
            for armed in self._armed:
                if armed.path in path and armed.times != 0:
                    armed.times = None if armed.times is None else armed.times - 1
                    return armed.fault
        return None

    def _count(self, size: int) -> None:
        with self._guard:
            self.bytes_sent += size


@dataclass(slots=True)
class _Altered:
    """A Reader that gives other bytes, fewer at a time, or none after a while."""

    inner: Reader
    most: int | None = None  # bytes a read
    until: int | None = None  # the offset where it breaks
    flipped: bool = False
    on_read: Callable[[int], None] = field(default=lambda _: None)

    @property
    def size(self) -> int:
        return self.inner.size

    def read_at(self, length: int, offset: int, /) -> bytes:
        length = length if self.most is None else min(length, self.most)
        if self.until is not None:
            length = min(length, self.until - offset)
            if length <= 0:
                raise DataLoss("broken off on purpose")
        data = self.inner.read_at(length, offset)
        self.on_read(len(data))
        return bytes(byte ^ 0xFF for byte in data) if self.flipped else data

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read_at(len(view), offset)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> _Altered:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def refuse(status: int, code: str = errors.UNKNOWN, message: str = "no", **headers: str) -> Fault:
    """Answer with an error document."""
    return lambda request, handler: errors.refusal(status, code, message, **headers)


def throttled(retry_after: int | str) -> Fault:
    """429, and when to come again."""
    return refuse(429, errors.TOO_MANY_REQUESTS, "slow down", retry_after=str(retry_after))


def unavailable() -> Fault:
    """503."""
    return refuse(503, errors.UNKNOWN, "back soon")


def drop_at(offset: int) -> Fault:
    """Break off before the byte at ``offset`` of the object."""
    return _reading(until=offset)


def other_bytes() -> Fault:
    """As many bytes as promised, all of them wrong."""
    return _reading(flipped=True)


def trickle(size: int = 1) -> Fault:
    """``size`` bytes at a time."""
    return _reading(most=size)


def ignore_range() -> Fault:
    """The whole object, whatever part is asked for."""

    def act(request: Request, handler: Handler) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != "range"}
        return handler(replace(request, headers=headers))

    return act


def with_headers(**headers: str) -> Fault:
    """The right answer under wrong headers; underscores in names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def act(request: Request, handler: Handler) -> Response:
        response = handler(request)
        return replace(response, headers={**response.headers, **named})

    return act


def lie_about_length(length: int) -> Fault:
    """A Content-Length that is not that of the body."""
    return with_headers(content_length=str(length))


def claim_digest(text: str) -> Fault:
    """A Docker-Content-Digest that is not that of the body."""
    return with_headers(docker_content_digest=text)


def redirect(url: str, status: int = 307) -> Fault:
    """Send the client to ``url``."""
    return lambda request, handler: Response(status=status, headers={"location": url})


def gzipped() -> Fault:
    """The body gzip-encoded, though nobody asked for that."""

    def act(request: Request, handler: Handler) -> Response:
        response = handler(request)
        data = response.body
        if isinstance(data, Slice):
            data = data.reader.read_at(data.length, data.start)
            response.close()
        return replace(
            response, headers={**response.headers, "content-encoding": "gzip"}, body=gzip.compress(data)
        )

    return act


def _reading(*, most: int | None = None, until: int | None = None, flipped: bool = False) -> Fault:
    def act(request: Request, handler: Handler) -> Response:
        response = handler(request)
        if not isinstance(response.body, Slice):
            return response
        reader = _Altered(response.body.reader, most=most, until=until, flipped=flipped)
        return replace(response, body=replace(response.body, reader=reader))

    return act
