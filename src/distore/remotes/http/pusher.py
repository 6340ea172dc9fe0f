"""HttpPusher: objects into one repository (OCI distribution-spec, "Push")."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from distore.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from distore.images.children import has_children, read_document
from distore.oci.digest import Digest
from distore.oci.manifest import parse_manifest
from distore.remotes.http.bodies import Whole
from distore.remotes.http.client import PUSH
from distore.remotes.http.errors import error_from
from distore.remotes.http.fallback import add_referrer
from distore.remotes.http.upload import CHUNK, Upload
from distore.remotes.mismatch import wrong_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore._internal.retry import Retrier
    from distore.content.store import Provider
    from distore.oci.descriptor import Descriptor
    from distore.oci.reference import Reference
    from distore.remotes.http.client import Client
    from distore.remotes.http.hosts import Host
    from distore.remotes.sessions import Sessions

_PIECE: Final = 1024 * 1024  # bytes read at a time to find damage


class HttpPusher:
    """A Pusher. Made by HttpResolver.

    Args:
        reference: The repository, and the tag that ``tag`` gives.
        sessions: Where uploads that break off are kept.
        new_retrier: Makes the Retrier of one object.
        chunk_size: Bytes of a blob in one request.
    """

    parallel: int | None = None

    def __init__(
        self,
        client: Client,
        reference: Reference,
        *,
        sessions: Sessions,
        new_retrier: Callable[[], Retrier],
        chunk_size: int = CHUNK,
    ) -> None:
        self._client = client
        self._reference = reference
        self._sessions = sessions
        self._new_retrier = new_retrier
        self._chunk_size = chunk_size
        self._referring = threading.Lock()
        self._missing: set[Digest] = set()  # what ``exists`` did not find, until it is pushed

    @property
    def name(self) -> str:
        return str(self._reference)

    def exists(self, descriptor: Descriptor, /) -> bool:
        there = self._exists(descriptor)
        if not there:
            self._missing.add(descriptor.digest)
        return there

    def _exists(self, descriptor: Descriptor) -> bool:
        kind = "manifests" if has_children(descriptor) else "blobs"

        def ask() -> bool:
            response = self._client.request(
                self._host(),
                "HEAD",
                f"{kind}/{descriptor.digest}",
                headers={"Accept": descriptor.media_type} if kind == "manifests" else {},
                scope=self._client.scope(PUSH),
            )
            if response.status == 200:
                response.discard()
                return response.length in (None, descriptor.size)
            if response.status == 404:
                response.discard()
                return False
            raise error_from(response, self._subject(descriptor))

        return self._new_retrier().run(ask)

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _offset: None,
    ) -> str:
        there = not self._known_missing(descriptor) and self._exists(descriptor)
        if there and not self._refers(descriptor, provider):
            return "present"
        if has_children(descriptor):
            self._put(descriptor, provider, descriptor.digest)
            return "pushed"
        upload = Upload(
            self._client,
            self._host(),
            descriptor,
            sources=[source for source in sources if source != self._client.repository.path],
            sessions=self._sessions,
            retrier=self._new_retrier(),
            on_progress=on_progress,
            chunk_size=self._chunk_size,
        )
        with provider.reader(descriptor.digest) as reader:
            if reader.size != descriptor.size:
                raise DataLoss(
                    f"content {descriptor.digest}: {reader.size} bytes are here, its manifest says"
                    f" {descriptor.size}"
                )
            try:
                return upload.run(reader)
            except InvalidArgument as error:
                # The registry verifies; only when it complains is it worth looking who is wrong.
                _check(descriptor, provider)
                raise FailedPrecondition(str(error)) from error

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        self._put(descriptor, provider, self._reference.tag or descriptor.digest)

    def _known_missing(self, descriptor: Descriptor) -> bool:
        """Whether ``exists`` has said so; it is asked once for each push."""
        try:
            self._missing.remove(descriptor.digest)
        except KeyError:
            return False
        return True

    def _refers(self, descriptor: Descriptor, provider: Provider) -> bool:
        """Whether it is about another manifest: it goes again, for an earlier push may have broken off
        before its entry in the referrers tag."""
        if not has_children(descriptor):
            return False
        data = _document(descriptor, provider)
        about = parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)
        return about.subject is not None

    def _put(self, descriptor: Descriptor, provider: Provider, name: str) -> None:
        data = _document(descriptor, provider)
        subject = (
            f"{self._reference.name}:{name}" if name == self._reference.tag else self._subject(descriptor)
        )

        def put() -> bool:
            response = self._client.request(
                self._host(),
                "PUT",
                f"manifests/{quote(name, safe=':')}",
                headers={"Content-Type": descriptor.media_type},
                scope=self._client.scope(PUSH),
                body=Whole(data),
            )
            if response.status not in (200, 201, 202, 204):
                error = error_from(response, subject)
                if isinstance(error, InvalidArgument | NotFound):
                    raise FailedPrecondition(f"{error}; the registry refuses the manifest") from error
                raise error
            response.discard()
            _check_told(response.header("docker-content-digest"), descriptor, subject)
            return response.header("oci-subject") is not None

        knows_subjects = self._new_retrier().run(put)
        about = parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)
        if about.subject is not None and not knows_subjects:
            with self._referring:  # two at once would lose an entry
                self._new_retrier().run(lambda: add_referrer(self._client, self._host(), descriptor, about))

    def _host(self) -> Host:
        return self._client.ask("push", self._reference.name, lambda host: host)

    def _subject(self, descriptor: Descriptor) -> str:
        return f"{self._client.repository.name}@{descriptor.digest}"


def _document(descriptor: Descriptor, provider: Provider) -> bytes:
    return descriptor.data or read_document(provider, descriptor)


def _check(descriptor: Descriptor, provider: Provider) -> None:
    """Raises:
    DataLoss: What ``provider`` has is not what the digest says.
    """
    verifier = descriptor.digest.verifier()
    with provider.reader(descriptor.digest) as reader:
        at = 0
        while piece := reader.read_at(_PIECE, at):
            verifier.update(piece)
            at += len(piece)
    if not verifier.verified():
        raise DataLoss(f"content {descriptor.digest}: damaged; nothing of it was pushed. Run dist fsck")


def _check_told(text: str | None, descriptor: Descriptor, subject: str) -> None:
    """What the registry says it stored must be what was sent."""
    if not text:
        return
    try:
        told = Digest(text.strip())
    except InvalidArgument as error:
        raise FailedPrecondition(f"{subject}: docker-content-digest: {error}") from error
    if told.algorithm == descriptor.digest.algorithm and told != descriptor.digest:
        raise wrong_digest(subject, expected=descriptor.digest, actual=told)
