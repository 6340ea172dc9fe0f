"""Registry: registries as a Python program asks them."""

from __future__ import annotations

import os
from copy import copy as _shallow
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from distore.api.credentials import GivenCredentials
from distore.api.document import Document
from distore.api.interrupt import Interrupt
from distore.api.resolvers import Resolvers
from distore.api.settings import DEFAULT_MIN_SPEED, Settings, environment_settings
from distore.api.sources import BytesBlob, manifest_root, opened
from distore.api.transfers import CopyKeywords, copy_options, default_platform, transfer
from distore.errors import InvalidArgument
from distore.oci.descriptor import Descriptor
from distore.oci.manifest import parse_manifest
from distore.oci.mediatypes import OCTET_STREAM
from distore.oci.reference import Reference
from distore.remotes.fetch import fetch_document, stream
from distore.remotes.options import RegistryOptions
from distore.remotes.resolver import Target
from distore.transfer.endname import EndName

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from typing import BinaryIO, Unpack

    from distore.api.settings import Path
    from distore.transfer.progress import Event


class Registry:
    """How registries are reached, and what can be asked of them. Safe to share between threads:
    calls that run at once have connections of their own. Leaving the ``with`` block closes those.

    Nothing is read from the environment; ``from_environment`` does that. Hosts on loopback are
    reached over HTTP, others over HTTPS.

    References are texts such as ``registry.example/team/app:1``, as ``dist`` takes them, or values
    of ``Reference``. Every method raises DistoreError of the class that says what to do next:
    NotFound, Unauthenticated, PermissionDenied, Unavailable (try again later) and others.

    Args:
        hosts_dir: Folder with ``HOST/hosts.toml`` files: mirrors, and how hosts are reached.
        plain_http: HTTP for every host.
        ca: PEM file to trust instead of the system's.
        skip_verify: Do not check TLS certificates.
        min_speed: Bytes a second over 30 s below which a connection is given up; None: never.
        proxies: Proxy URL by scheme (``http``, ``https``, ``all``), and the ``no`` list.
        auth_files: Files with credentials as podman and Docker have them, in the order to look.
        credentials: ``(user, secret)`` by host, before all files; with the user ``<token>`` the
            secret is an identity token.
    Raises:
        InvalidArgument: Credentials for something that is no host.
    """

    def __init__(
        self,
        *,
        hosts_dir: Path | None = None,
        plain_http: bool = False,
        ca: Path | None = None,
        skip_verify: bool = False,
        min_speed: int | None = DEFAULT_MIN_SPEED,
        proxies: Mapping[str, str] | None = None,
        auth_files: Iterable[Path] = (),
        credentials: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        files = tuple(os.fspath(file) for file in auth_files)
        self._options = RegistryOptions(
            hosts_dir=None if hosts_dir is None else os.fspath(hosts_dir),
            plain_http=plain_http,
            skip_verify=skip_verify,
            ca=None if ca is None else os.fspath(ca),
            min_speed=min_speed or None,
            proxies=dict(proxies or {}),
            auth_files=files,
        )
        self._credentials = GivenCredentials(credentials or {}, files)
        self._interrupt = Interrupt()
        self._resolvers = self.resolvers()

    @classmethod
    def from_environment(cls, **given: Unpack[Settings]) -> Self:
        """As ``dist`` does it: hosts.toml files of ``$DIST_HOSTS_DIR``, the credentials that
        ``dist login``, podman and Docker keep, the proxies of ``*_proxy``. What is given wins."""
        found = environment_settings(os.environ, uid=os.getuid(), home=os.path.expanduser("~"))
        found.update(given)
        return cls(**found)

    def resolve(self, reference: str | Reference) -> Descriptor:
        """What a name stands for; ``app`` is ``app:latest``."""
        named = _reference(reference)
        with self._resolvers.one(self._interrupt) as resolver:
            return resolver.retrier().run(lambda: resolver.resolve(named))

    def manifest(self, reference: str | Reference) -> Document:
        """The manifest or index that a name stands for: its bytes, and what they say.

        Raises:
            DigestMismatch: Its bytes are not those of the digest.
            ResourceExhausted: It has more than 4 MiB.
        """
        named = _reference(reference)
        target = Target.parse(named.object or "")
        with self._resolvers.one(self._interrupt) as resolver:
            got = fetch_document(resolver.fetcher(named), target, retrier=resolver.retrier())
        parsed = parse_manifest(got.data, media_type=got.media_type, subject=str(named))
        descriptor = Descriptor(media_type=parsed.media_type, digest=got.digest, size=len(got.data))
        return Document(descriptor=descriptor, data=got.data, parsed=parsed)

    def blob(self, reference: str | Reference) -> Generator[bytes, None, None]:
        """The bytes of ``REPOSITORY@DIGEST`` as they come, resuming where a connection breaks.

        They are right when the iterator ends without an error: the last byte decides.

        Raises:
            DigestMismatch: At the end: they are others.
        """
        named = _reference(reference, default_tag=None)
        if named.digest is None:
            raise InvalidArgument(f"blob {str(reference)[:120]!r}: want REPOSITORY@DIGEST")
        return self._blob(named, Target(digest=named.digest))

    def tags(self, repository: str | Reference) -> Generator[str, None, None]:
        """Every tag of a repository, in the registry's order."""
        return self._tags(_repository(repository))

    def referrers(
        self, reference: str | Reference, *, artifact_type: str | None = None
    ) -> Generator[Descriptor, None, None]:
        """What refers to a manifest: signatures, attestations, SBOMs; of one type or of all."""
        return self._referrers(_reference(reference), artifact_type)

    def catalog(self, host: str) -> Generator[str, None, None]:
        """The repositories of ``host[:port]``, where it lists them."""
        with self._resolvers.one(self._interrupt) as resolver:
            yield from resolver.catalog(host)

    def delete(self, reference: str | Reference) -> None:
        """Remove a tag; or, by digest, a manifest with all its tags, or a blob.

        Raises:
            InvalidArgument: Neither a tag nor a digest is named; none is assumed.
            Unimplemented: The registry deletes nothing.
        """
        named = _reference(reference, default_tag=None)
        if named.object is None:
            raise InvalidArgument(f"delete {str(reference)[:120]!r}: want a tag or a digest")
        target = Target.parse(named.object)
        with self._resolvers.one(self._interrupt) as resolver:
            resolver.repository(named).delete(target)

    def put_manifest(
        self, reference: str | Reference, data: bytes, *, media_type: str | None = None
    ) -> Descriptor:
        """Store a manifest or index as it is, under a tag or, without one, under its digest alone.

        What it names must be there already.

        Args:
            media_type: What it is; None: what it says itself.
        Raises:
            FailedPrecondition: It is not what the digest in ``reference`` says, or the registry
                lacks what it names.
            InvalidArgument: Neither a manifest nor an index.
        """
        named = _reference(reference, default_tag=None)
        root = manifest_root(named, data, media_type=media_type)
        with self._resolvers.one(self._interrupt) as resolver:
            resolver.pusher(named).tag(root, BytesBlob(data))
        return root

    def put_blob(
        self,
        repository: str | Reference,
        source: bytes | Path | BinaryIO,
        *,
        media_type: str = OCTET_STREAM,
    ) -> Descriptor:
        """Store a blob, unless it is there; the descriptor to put into a manifest.

        Args:
            source: Bytes, the path of a file, or a file open for reading, which is read to its end
                and not closed.
            media_type: What the descriptor calls it.
        """
        named = _repository(repository)
        with opened(source) as blob, self._resolvers.one(self._interrupt) as resolver:
            descriptor = Descriptor(media_type=media_type, digest=blob.digest, size=blob.size)
            resolver.pusher(named).push(descriptor, blob)
        return descriptor

    def copy(
        self, source: str, destination: str, **options: Unpack[CopyKeywords]
    ) -> Generator[Event, None, None]:
        """As ``distore.copy``, between ends that are no store."""
        ends = EndName.parse(source), EndName.parse(destination)
        chosen = copy_options(default_platform(ends[1]), **options)
        return transfer(*ends, chosen, resolvers=self._resolvers, interrupt=self._interrupt)

    def resolvers(self, folder: str | None = None) -> Resolvers:
        """The ways to registries for a store at ``folder``."""
        return Resolvers(self._options, credentials=self._credentials, folder=folder)

    def options(self) -> RegistryOptions:
        """How registries are reached, for who makes ways of its own."""
        return replace(self._options, credentials=self._credentials)

    def interruptible(self, interrupt: Interrupt) -> Self:
        """The same Registry; its calls end with Cancelled when another thread sets ``interrupt``."""
        view = _shallow(self)
        view._interrupt = interrupt
        return view

    def close(self) -> None:
        """Close the connections."""
        self._resolvers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _blob(self, named: Reference, target: Target) -> Generator[bytes, None, None]:
        with self._resolvers.one(self._interrupt) as resolver:
            yield from stream(resolver.fetcher(named), target, retrier=resolver.retrier())

    def _tags(self, named: Reference) -> Generator[str, None, None]:
        with self._resolvers.one(self._interrupt) as resolver:
            yield from resolver.repository(named).tags()

    def _referrers(self, named: Reference, artifact_type: str | None) -> Generator[Descriptor, None, None]:
        with self._resolvers.one(self._interrupt) as resolver:
            digest = named.digest or resolver.retrier().run(lambda: resolver.resolve(named)).digest
            yield from resolver.repository(named).referrers(digest, artifact_type=artifact_type)


def _reference(given: str | Reference, *, default_tag: str | None = "latest") -> Reference:
    if not isinstance(given, Reference):
        return Reference.parse(given, default_tag=default_tag)
    return given


def _repository(given: str | Reference) -> Reference:
    return Reference.parse_name(str(given))
