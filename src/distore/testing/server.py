"""FakeRegistry: a real registry on a free loopback port that can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from distore.content.memory import MemoryStore
from distore.content.slices import BytesReader
from distore.errors import InvalidArgument
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.app import RegistryServer
from distore.registry.features import Features
from distore.registry.message import Handler, Request, Response, Slice
from distore.registry.pushed import parse
from distore.registry.routes import PushRegistry
from distore.registry.tokenforms import TOKEN_PATH
from distore.repositories import ManifestRecord
from distore.testing.altered import Altered, CountedBody
from distore.testing.gates import BasicGate, TokenGate
from distore.testing.memory_repositories import MemoryRepositories
from distore.testing.overlay import Blobs
from distore.testing.registry_faults import (
    Fault,
    claim_digest,
    drop_answer,
    drop_at,
    drop_upload_at,
    gzipped,
    ignore_range,
    lie_about_length,
    lose_session,
    other_bytes,
    redirect,
    refuse,
    throttled,
    trickle,
    unavailable,
    with_headers,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from distore.content.store import Store

__all__ = [
    "BytesReader",
    "FakeRegistry",
    "Fault",
    "Seen",
    "claim_digest",
    "drop_answer",
    "drop_at",
    "drop_upload_at",
    "gzipped",
    "ignore_range",
    "lie_about_length",
    "lose_session",
    "other_bytes",
    "redirect",
    "refuse",
    "throttled",
    "trickle",
    "unavailable",
    "with_headers",
]
_SECRET: Final = b"not a secret: a test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it arrived, and the status it was answered with (NO_ANSWER: with none)."""

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
    method: str | None  # None: any

    def fits(self, request: Request) -> bool:
        return self.times != 0 and self.path in request.path and self.method in (None, request.method)


class FakeRegistry:
    """Serves while its ``with`` block runs; remembers every request. Takes pushes.

    Args:
        with_tokens: Tokens are needed: anonymous ones, unless there are users.
        users: Passwords by name; without tokens they are asked for with every request (Basic).
        refresh_tokens: Names by refresh token, for the token server.
        token_lifetime: Seconds that a token holds.
        rate: Bytes a second for each connection and direction.
        tls: Speak TLS.
        clock: Seconds, for the lifetime of tokens.
        store: Keeps the bytes: any Store. In memory unless given.
        referrers, mount, chunked, min_chunk: What an older registry lacks; see Features.
        page: Referrers in one answer.
    """

    def __init__(
        self,
        *,
        with_tokens: bool = False,
        users: Mapping[str, str] | None = None,
        refresh_tokens: Mapping[str, str] | None = None,
        token_lifetime: int = 300,
        rate: int | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        store: Store | None = None,
        referrers: bool = True,
        mount: bool = True,
        chunked: bool = True,
        min_chunk: int | None = None,
        page: int = 1000,
    ) -> None:
        self.store = MemoryStore() if store is None else store
        self.blobs = Blobs(self.store)
        self.repositories: dict[str, dict[str, Descriptor]] = {}
        self.requests: list[Seen] = []
        self.bytes_sent = 0  # bytes of bodies handed to the network
        self.bytes_received = 0  # bytes of bodies that somebody wanted to have
        self._guard = threading.Lock()
        self._armed: list[_Armed] = []
        self.scheme = "http" if tls is None else "https"
        features = Features(
            referrers=referrers, mount=mount, chunked=chunked, min_chunk=min_chunk, page=page, guess=True
        )
        self._offers = MemoryRepositories(self.repositories, everywhere=self.blobs.laid)
        self.registry = PushRegistry(self.blobs, self._offers, features=features)
        self._front: Handler = self._misbehave
        if with_tokens:
            gate = partial(
                TokenGate, secret=_SECRET, clock=clock, scheme=self.scheme, lifetime=token_lifetime
            )
            self._front = gate(self._misbehave, users=users, refresh_tokens=refresh_tokens).handle
        elif users is not None:
            self._front = BasicGate(self._misbehave, users=users).handle
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
        return self.offer(repository, self.blobs.put(data))

    def offer(self, repository: str, digest: Digest) -> Digest:
        """Offer a blob that the store has."""
        with self.blobs.reader(digest) as reader:
            self._offers.add_blob(repository, digest, reader.size)
        return digest

    def tag(
        self, repository: str, tag: str, manifest: bytes, media_type: str = mediatypes.OCI_MANIFEST
    ) -> Descriptor:
        """Offer a manifest under a tag, and under its digest; any bytes will do."""
        digest = self.put(repository, manifest)
        descriptor = Descriptor(media_type=media_type, digest=digest, size=len(manifest))
        try:
            record = parse(manifest, media_type).record(digest, len(manifest))
        except InvalidArgument:
            record = ManifestRecord(descriptor=descriptor)
        self._offers.put_manifest(repository, record, tags=(tag,))
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

    def has(self, repository: str, digest: Digest) -> bool:
        """Whether ``repository`` offers a blob or manifest."""
        return self._offers.has(repository, digest)

    def inject(
        self, fault: Fault, *, path: str = "/v2/", times: int | None = 1, method: str | None = None
    ) -> None:
        """Answer the next ``times`` requests (None: all) whose path has ``path`` in it with ``fault``.

        ``method`` makes it those with that method alone. Requests that only lack a token do not count.
        """
        with self._guard:
            self._armed.append(_Armed(fault, path, times, method))

    def seen(self, path: str) -> list[Seen]:
        """The requests so far whose path has ``path`` in it."""
        with self._guard:
            return [request for request in self.requests if path in request.path]

    def start(self) -> None:
        """Listen."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening, and drop the uploads that are not finished."""
        self._server.stop()
        self.registry.drop_uploads()

    def __enter__(self) -> FakeRegistry:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _handle(self, request: Request) -> Response:
        counted = replace(request, body=CountedBody(request.body, self._received))
        fault = self._take(request) if request.path == TOKEN_PATH else None
        response = fault(counted, self._front) if fault else self._front(counted)
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
            if isinstance(response.body, bytes) and request.method != "HEAD":
                self.bytes_sent += len(response.body)
        if isinstance(response.body, Slice):
            reader = Altered(response.body.reader, on_read=self._sent)
            return replace(response, body=replace(response.body, reader=reader))
        return response

    def _misbehave(self, request: Request) -> Response:
        fault = self._take(request)
        return fault(request, self.registry.handle) if fault else self.registry.handle(request)

    def _take(self, request: Request) -> Fault | None:
        with self._guard:
            for armed in self._armed:
                if armed.fits(request):
                    armed.times = None if armed.times is None else armed.times - 1
                    return armed.fault
        return None

    def _sent(self, size: int) -> None:
        with self._guard:
            self.bytes_sent += size

    def _received(self, size: int) -> None:
        with self._guard:
            self.bytes_received += size
