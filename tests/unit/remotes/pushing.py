"""The write side of the client, with small chunks and without real pauses."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from distore._internal.retry import Policy, Retrier
from distore.content.blobs import write_blob
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.registry.message import Response
from distore.remotes.credentials import FileCredentials
from distore.remotes.http.auth import Authorizer
from distore.remotes.http.client import Client
from distore.remotes.http.health import Health
from distore.remotes.http.hosts import hosts_of
from distore.remotes.http.pusher import HttpPusher
from distore.remotes.http.repository import HttpRepository
from distore.remotes.http.transport import Transport
from distore.remotes.http.upload import Upload
from distore.remotes.options import RegistryOptions
from distore.remotes.sessions import NoSessions
from distore.testing.server import BytesReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore.content.memory import MemoryStore
    from distore.content.store import Reader
    from distore.registry.message import Handler, Request
    from distore.remotes.sessions import Sessions
    from distore.testing.server import FakeRegistry, Fault

CHUNK = 1000  # bytes
BLOB = random.Random(7).randbytes(3 * CHUNK + 400)
DIGEST = Digest.of(BLOB)
SMALL = BLOB[:CHUNK]
UPLOADS = "/blobs/uploads/"


class Clients:
    """Makes clients; their connections end with the ``with`` block.

    Args:
        attempts: How often a request is tried.
    """

    def __init__(self, *, attempts: int = 4, clock: Callable[[], float] = time.monotonic) -> None:
        self.naps: list[float] = []  # every pause that was asked for
        self._attempts = attempts
        self._clock = clock
        self._transports: list[Transport] = []

    def retrier(self) -> Retrier:
        return Retrier(Policy(attempts=self._attempts), sleep=self.naps.append, random=lambda: 0.0)

    def client(self, name: str, options: RegistryOptions | None = None) -> Client:
        """For ``host:port/repository``."""
        reference, options = Reference.parse(name, default_tag=None), options or RegistryOptions()
        transport = Transport(ca=options.ca)
        self._transports.append(transport)
        credentials = FileCredentials(options.auth_files)
        return Client(
            reference,
            hosts=hosts_of(reference.domain, options),
            transport=transport,
            authorizer=Authorizer(transport, clock=self._clock, credentials=credentials),
            health=Health(clock=self._clock),
        )

    def pusher(
        self, name: str, options: RegistryOptions | None = None, *, sessions: Sessions | None = None
    ) -> HttpPusher:
        """For ``host:port/repository[:tag]``."""
        return HttpPusher(
            self.client(name, options),
            Reference.parse(name, default_tag=None),
            sessions=sessions or NoSessions(),
            new_retrier=self.retrier,
            chunk_size=CHUNK,
        )

    def repository(self, name: str, options: RegistryOptions | None = None) -> HttpRepository:
        """For ``host:port/repository``."""
        return HttpRepository(self.client(name, options), new_retrier=self.retrier)

    def upload(
        self,
        client: Client,
        data: bytes | Reader,
        *,
        digest: Digest | None = None,
        sources: Sequence[str] = (),
        sessions: Sessions | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> str:
        """One blob into the client's repository."""
        reader = BytesReader(data) if isinstance(data, bytes) else data
        upload = Upload(
            client,
            client.hosts[0],
            layer(reader.read_at(reader.size, 0)) if digest is None else described(digest, reader.size),
            sources=sources,
            sessions=sessions or NoSessions(),
            retrier=self.retrier(),
            on_progress=on_progress,
            chunk_size=CHUNK,
        )
        return upload.run(reader)

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *exc: object) -> None:
        for transport in self._transports:
            transport.close()


def keep(store: MemoryStore, data: bytes, media_type: str) -> Descriptor:
    """Have a blob in ``store``, whether or not it was there."""
    digest = write_blob(store, f"keep-{Digest.of(data)}", data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def described(digest: Digest, size: int) -> Descriptor:
    return Descriptor(media_type=mediatypes.OCI_LAYER, digest=digest, size=size)


def layer(data: bytes) -> Descriptor:
    return described(Digest.of(data), len(data))


def stored(registry: FakeRegistry, data: bytes = BLOB, repository: str = "demo") -> bool:
    digest = Digest.of(data)
    return registry.has(repository, digest) and registry.blobs.data[digest] == data


def wire(registry: FakeRegistry) -> list[str]:
    """Methods in the order in which they came, of uploads alone."""
    return [seen.method for seen in registry.seen(UPLOADS)]


def ranges(registry: FakeRegistry) -> list[str | None]:
    return [seen.headers.get("content-range") for seen in registry.seen(UPLOADS)]


def answer(status: int, **headers: str) -> Fault:
    """An answer that nobody stands behind; the body of the request is read."""

    def act(request: Request, handler: Handler) -> Response:
        while request.body.read(1 << 20):
            pass
        return Response(
            status=status, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )

    return act
