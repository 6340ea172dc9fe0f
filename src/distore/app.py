"""The wiring: the only place, with ``distore.testing``, that names implementations."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from distore.errors import NotFound, ReadOnly, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from distore.config import Config
    from distore.content.local.check import Check, Suppliers
    from distore.content.local.store import LocalStore
    from distore.content.store import Provider
    from distore.metadata.collector import Collector
    from distore.metadata.db import Metadata
    from distore.metadata.images import Images
    from distore.metadata.leases import Leases
    from distore.metadata.namespaces import Namespaces
    from distore.metadata.repositories import StoredRepositories
    from distore.metadata.upkeep import Upkeep
    from distore.oci.digest import Digest
    from distore.oci.reference import Reference
    from distore.registry.compose import Composed
    from distore.registry.metrics import Metrics
    from distore.registry.settings import ServeSettings
    from distore.remotes.credentials import Credential
    from distore.remotes.explanation import Explanation
    from distore.remotes.http.resolver import HttpResolver
    from distore.remotes.logins import Verified
    from distore.remotes.options import RegistryOptions
    from distore.transfer.copy import Copier, CopyStore
    from distore.transfer.pace import Stop
    from distore.transfer.unpack import UnpackOptions
    from distore.unpack.unpacker import Place


_SERVER: Final = (
    "distore.registry.server.worker",
    "distore.serving",
    "distore.content.local.writer",
    "distore.content.local.fromfile",
    "distore.content.local.store",
    "distore.metadata.db",
    "distore.metadata.images",
    "distore.metadata.leases",
    "distore.metadata.repositories",
    "distore.metadata.schedule",
    "distore.metadata.sweep",
    "distore.metadata.upkeep",
)


class App:
    """The parts of one command, each made when it is first asked for.

    Args:
        note: Told, in one line, what people who wait may want to know: that something is tried again.
    """

    def __init__(self, config: Config, *, note: Callable[[str], None] = lambda _text: None) -> None:
        self.config = config
        self._note = note
        self._content: LocalStore | None = None
        self._resolver: HttpResolver | None = None
        self._metadata: Metadata | None = None

    @property
    def content(self) -> LocalStore:
        """The content store at ``config.root``.

        Raises:
            FailedPrecondition, UnsupportedStore, InvalidArgument: As LocalStore.
        """
        if self._content is None:
            from distore.content.local.store import LocalStore

            self._content = LocalStore(
                self.config.root, namespace=self.config.namespace, command=self.config.command
            )
        return self._content

    def open_store(self, root: str) -> LocalStore:
        """A content store at another place."""
        from distore.content.local.store import LocalStore

        return LocalStore(root, command=self.config.command)

    @property
    def resolver(self) -> HttpResolver:
        """The way to registries, as ``config.registry`` says."""
        if self._resolver is None:
            from distore.remotes.budget import SharedBudget
            from distore.remotes.http.resolver import HttpResolver
            from distore.remotes.options import RegistryOptions
            from distore.remotes.sessions import FileSessions

            self._resolver = HttpResolver(
                self.config.registry or RegistryOptions(),
                on_retry=self._retrying,
                sessions=FileSessions(os.path.join(self.content.root, "uploads")),
                budget=SharedBudget(os.path.join(self.content.root, "hosts"), on_wait=self._waiting),
            )
        return self._resolver

    def explain(self, reference: Reference, *, live: bool) -> tuple[Explanation, ...]:
        """How each host that stands for the registry of ``reference`` is reached.

        Args:
            live: Ask them, too.
        Raises:
            InvalidArgument: The hosts configuration is wrong; names file and key.
        """
        from distore.remotes.http.explain import explain
        from distore.remotes.options import RegistryOptions

        return explain(reference, self.config.registry or RegistryOptions(), live=live)

    def verify(self, server: str, credential: Credential) -> Verified:
        """Ask ``server``, as ``parse_server`` gives it, whether it takes ``credential``.

        Raises:
            Unauthenticated, PermissionDenied: It refuses.
            FailedPrecondition: No registry answers there, or another one stands for it.
            DistoreError: It cannot be reached.
        """
        from distore.remotes.http.login import verify
        from distore.remotes.options import RegistryOptions

        return verify(server, credential, self.config.registry or RegistryOptions())

    @property
    def metadata(self) -> Metadata:
        """What the store knows beyond its blobs, in the namespace of ``config``."""
        if self._metadata is None:
            from distore.metadata.db import Metadata

            self._metadata = Metadata(self.content, command=self.config.command)
        return self._metadata

    @property
    def images(self) -> Images:
        """The names in the namespace."""
        return self.metadata.images

    @property
    def leases(self) -> Leases:
        """The leases of the namespace."""
        return self.metadata.leases

    @property
    def namespaces(self) -> Namespaces:
        """All namespaces of the store."""
        return self.metadata.namespaces

    @property
    def repositories(self) -> StoredRepositories:
        """What the repositories of the registry in the namespace offer."""
        return self.metadata.repositories

    @property
    def collector(self) -> Collector:
        """The garbage collector of the store."""
        return self.metadata.collector

    @property
    def upkeep(self) -> Upkeep:
        """What a registry over the store removes from it."""
        from distore.metadata.upkeep import Upkeep

        return Upkeep(self.metadata)

    def leased(self, purpose: str) -> AbstractContextManager[LocalStore]:
        """The content store, of which everything that is used stays until the block ends.

        Args:
            purpose: What the lease is for, in a word, for ``dist leases``.
        """
        return self.metadata.leased(purpose)

    @contextmanager
    def working(self, purpose: str) -> Iterator[Metadata]:
        """``metadata`` under a lease: all that is used of the store, snapshots too, stays until the block
        ends.

        Args:
            purpose: As for ``leased``.
        """
        with self.leased(purpose) as content:
            yield self.metadata.over(content)

    def place(self, content: CopyStore, options: UnpackOptions, /, *, stop: Stop) -> Place:
        """Where images are unpacked to, under the lease of ``content``, a view of the store; ``stop``
        ends it."""
        from distore.content.local.store import LocalStore
        from distore.unpack.place import place_of

        assert isinstance(content, LocalStore)
        metadata = self.metadata.over(content)
        return place_of(
            metadata, snapshotter=options.snapshotter, sync=options.sync, check=stop.check, sleep=stop.sleep
        )

    def collect(self) -> None:
        """Remove what nothing reaches; returns when it is gone."""
        self.metadata.collect()

    def note_deletions(self, count: int) -> None:
        """Count deletions of what may have kept content; a collection that is due by them runs now."""
        self.metadata.note_deletions(count)

    def discard(self, digests: Iterable[Digest]) -> None:
        """Remove those of ``digests`` that nothing reaches."""
        self.metadata.discard(digests)

    @property
    def copier(self) -> Copier:
        """Copies images between registries, the store, layouts and archives."""
        from distore.transfer.copy import Copier

        return Copier(self)

    def suppliers(self, sources: Sequence[str]) -> Suppliers:
        """Where fsck may get a blob again: ``sources``, then the registries that its labels name.

        Args:
            sources: Folders of stores or OCI layouts, or ``http(s)://HOST/REPOSITORY``.
        Raises:
            NotFound: A folder that is not there.
            InvalidArgument: A URL that is none.
        """
        from distore.remotes.suppliers import labelled

        given = [self._provider(source) for source in sources]

        def suppliers(digest: Digest, labels: Mapping[str, str]) -> Iterator[Provider]:
            yield from given
            yield from labelled(self.resolver, labels)

        return suppliers

    def _retrying(self, error: Unavailable, pause: float, left: int) -> None:
        self._note(f"{error}; trying again in {pause:.1f} s ({left} left)")

    def _waiting(self, netloc: str, seconds: float) -> None:
        self._note(f"{netloc}: wants to be asked less often; waiting for {seconds:.1f} s")

    def _provider(self, source: str) -> Provider:
        if "://" in source:
            from distore.remotes.provider import RemoteProvider

            return RemoteProvider(self.resolver.fetcher_at(source))
        store = self.open_store(source)
        if not store.exists():
            raise NotFound(f"store {store.root}: not found")
        return store

    def check(
        self,
        *,
        dry_run: bool,
        quick: bool,
        older_than: float | None,
        rate: int | None,
        workers: int | None,
        suppliers: Suppliers | None,
    ) -> Check:
        """An fsck of the content store; see ``CheckOptions``."""
        import time

        from distore.content.local.check import Check, CheckOptions

        options = CheckOptions(
            dry_run=dry_run,
            quick=quick,
            older_than=older_than,
            rate=rate,
            workers=workers,
            suppliers=suppliers,
        )
        return Check(self.content, options, now=time.time, monotonic=time.monotonic, sleep=time.sleep)

    @staticmethod
    def load_server() -> None:
        """Bring into memory what ``serving`` needs: processes that are forked later share it, and none of
        them meets another version of the program that is installed meanwhile."""
        from importlib import import_module

        for name in _SERVER:
            import_module(name)

    def serving(self, settings: ServeSettings, metrics: Metrics) -> AbstractContextManager[Composed]:
        """The registry over the store, while the block runs; see ``serving``."""
        from distore.remotes.options import RegistryOptions
        from distore.serving import serving

        return serving(
            self.metadata,
            settings,
            metrics,
            options=self.config.registry or RegistryOptions(),
            connect=self._connect,
            note=self._note,
            upkeep=self.upkeep,
        )

    def check_ready(self) -> None:
        """Whether ``serving`` can do its work now.

        Raises:
            DistoreError: The store cannot be reached or written, or its database not read.
        """
        root = self.content.root
        try:
            read_only = os.statvfs(root).f_flag & os.ST_RDONLY
        except OSError as error:
            raise Unavailable(f"store {root}: {os.strerror(error.errno or 0).lower()}") from error
        if read_only or not os.access(root, os.W_OK | os.X_OK):
            raise ReadOnly(f"store {root}: takes no writes")
        self.repositories.version()

    def _connect(self, options: RegistryOptions) -> HttpResolver:
        """A resolver that remembers no uploads."""
        from distore.remotes.budget import SharedBudget
        from distore.remotes.http.resolver import HttpResolver

        budget = SharedBudget(os.path.join(self.content.root, "hosts"), on_wait=self._waiting)
        return HttpResolver(options, on_retry=self._retrying, budget=budget)

    def close(self) -> None:
        """Close what was opened."""
        if self._metadata is not None:
            self._metadata.close()
        if self._content is not None:
            self._content.close()
        if self._resolver is not None:
            self._resolver.close()
