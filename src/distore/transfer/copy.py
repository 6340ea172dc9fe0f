"""Copy: an image from any end to any other."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from distore.errors import FailedPrecondition, InvalidArgument, NotFound
from distore.images.children import document_of, has_children, read_manifest
from distore.images.gclabels import gc_labels, referrer_labels
from distore.images.select import ALL
from distore.oci.manifest import Index
from distore.remotes.provider import RemoteImage
from distore.remotes.suppliers import repositories
from distore.transfer.endname import EndName, Kind
from distore.transfer.layout import LayoutOrigin, LayoutSink
from distore.transfer.pace import DEFAULT_CONCURRENCY, Stop
from distore.transfer.progress import Finished
from distore.transfer.pull import PullOptions, PullStore, pull
from distore.transfer.push import PushOptions, push
from distore.transfer.storeorigin import StoreOrigin
from distore.transfer.storesink import SinkStore, StoreSink, add_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from distore.content.store import Provider, SegmentWriter
    from distore.images.image import ImageStore
    from distore.images.select import Selection
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.reference import Reference
    from distore.remotes.resolver import Pusher, Resolver
    from distore.transfer.ends import Origin
    from distore.transfer.progress import Event
    from distore.transfer.unpack import ImagesUnpack, UnpackOptions
    from distore.unpack.unpacker import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """How to copy.

    Args:
        selection: What of an index is wanted. A single platform wanted from an index goes as its
            manifest alone, but into a store, which keeps the index beside it.
        concurrency: Connections at once.
        limit_rate: Bytes a second for all of them together, or None.
        referrers: Whether what refers to the image comes along, from a registry or a store.
        overwrite: Whether an archive that is there may be replaced.
        unpack: Of a pull into the store: unpack these images while their layers arrive.
    """

    selection: Selection = ALL
    concurrency: int = DEFAULT_CONCURRENCY
    limit_rate: int | None = None
    referrers: bool = False
    overwrite: bool = False
    unpack: UnpackOptions | None = None


class CopyStore(PullStore, SinkStore, Protocol):
    """A store that can be either end."""

    def writer(
        self, ref: str, /, *, total: int | None = None, expected: Digest | None = None
    ) -> SegmentWriter:
        """As ``Ingester.writer``."""
        ...


class Ends(Protocol):
    """What the copier is made of."""

    @property
    def content(self) -> CopyStore: ...
    @property
    def images(self) -> ImageStore: ...
    @property
    def resolver(self) -> Resolver: ...

    def open_store(self, root: str, /) -> CopyStore:
        """A store at another folder."""
        ...

    def leased(self, purpose: str, /) -> AbstractContextManager[CopyStore]:
        """``content``, of which everything that is used stays until the block ends."""
        ...

    def place(self, content: CopyStore, options: UnpackOptions, /, *, stop: Stop) -> Place:
        """Where images are unpacked to, under the lease of ``content``; ``stop`` ends it."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """Ends whose copy another thread may end."""

    @property
    def stop(self) -> Stop:
        """Ends it, once and for all."""
        ...


class Copier:
    """Copies between the ends that ``ends`` gives.

    Args:
        held: Ends the lease of one copy.
    """

    def __init__(self, ends: Ends, *, held: ExitStack | None = None) -> None:
        self._ends = ends
        self._held = held
        self._leased: CopyStore | None = None
        self._stop = ends.stop if isinstance(ends, Stoppable) else None

    def copy(self, source: EndName, destination: EndName, options: CopyOptions) -> Iterator[Event]:
        """Copy one image; see ``App.copy``.

        Raises:
            InvalidArgument: Both ends are one.
            NotFound, AlreadyExists, DistoreError: As the ends.
        """
        if source == destination:
            raise InvalidArgument(f"copy: {source} is both the source and the destination")
        with ExitStack() as held:
            yield from Copier(self._ends, held=held)._copy(source, destination, options)

    def _copy(self, source: EndName, destination: EndName, options: CopyOptions) -> Iterator[Event]:
        if source.kind is Kind.REGISTRY and destination.kind in (Kind.STORE, Kind.LAYOUT):
            yield from self._pull(source, destination, options)
            return
        if source.kind is Kind.STORE:
            self.root_of(_named(source))  # before anything is made for what is not there
            self._hold("push" if destination.kind is Kind.REGISTRY else "copy")
        with ExitStack() as open_ends:
            origin = open_ends.enter_context(self.origin(source))
            root = origin.resolve()
            if destination.kind is Kind.STORE:
                self._hold("copy")
            else:
                root = narrowed(origin, root, options.selection)
            _check_digest(destination, root)
            sink = self._sink(destination, options, open_ends)
            referrers = _Remembered(self._referrers(source, origin, options))
            events = push(
                origin,
                root,
                sink,
                options=PushOptions(
                    selection=options.selection,
                    concurrency=options.concurrency,
                    limit_rate=options.limit_rate,
                    referrers=referrers.of,
                    how="pushed" if source.kind is Kind.STORE else "copied",
                ),
                sources=self._sources(source, destination),
                abort=self._ends.resolver.abort,
                pause=self._ends.resolver.sleep,
                stop=self._stop,
            )
            for event in events:
                if isinstance(event, Finished) and destination.kind is Kind.STORE:
                    for subject, found in referrers.found.items():
                        add_labels(self._content, subject, referrer_labels(found))
                yield event

    @property
    def _content(self) -> CopyStore:
        return self._ends.content if self._leased is None else self._leased

    def _hold(self, purpose: str) -> None:
        """From here on everything that is used of the store stays, until the copy ends."""
        if self._leased is None and self._held is not None:
            self._leased = self._held.enter_context(self._ends.leased(purpose))

    def root_of(self, reference: Reference) -> Descriptor:
        """The root of an image of the store, by name or by the digest in the reference.

        Raises:
            NotFound: Nothing of that name; says what to do.
        """
        return root_of(self._ends.images, self._content, reference)

    def _pull(self, source: EndName, destination: EndName, options: CopyOptions) -> Iterator[Event]:
        reference = _named(source)
        resolver = self._ends.resolver
        into_store = destination.kind is Kind.STORE
        with self._remote(reference) as image:
            root, fetcher = image.resolve(), image.fetcher
            if into_store:
                self._hold("pull")
            store = self._content if into_store else self._layout(destination)
            if not into_store:
                root = narrowed(image, root, options.selection)
        stop = self._stop or Stop()
        events = pull(
            store,
            fetcher,
            root,
            name=str(reference),
            options=PullOptions(
                selection=options.selection,
                concurrency=options.concurrency,
                limit_rate=options.limit_rate,
                referrers=self._remote_referrers(reference) if options.referrers else None,
                labels=into_store,
                beside=self._unpacks(str(reference), options, stop) if into_store else None,
            ),
            abort=resolver.abort,
            pause=resolver.sleep,
            stop=stop,
        )
        for event in events:
            if isinstance(event, Finished):  # the name comes last
                if into_store:
                    self._ends.images.put(str(_named(destination)), root)
                else:
                    sink = LayoutSink(destination.path or "", destination.name, store=store)
                    sink.tag(root, store)
            yield event

    def _unpacks(self, name: str, options: CopyOptions, stop: Stop) -> ImagesUnpack | None:
        if options.unpack is None:
            return None
        from distore.transfer.unpack import ImagesUnpack

        place = self._ends.place(self._content, options.unpack, stop=stop)
        return ImagesUnpack(place, self._content, options.unpack, subject=f"image {name}")

    def origin(self, name: EndName) -> Origin:
        """An end to read from; the caller closes it."""
        path = name.path or ""
        if name.kind is Kind.REGISTRY:
            return self._remote(_named(name))
        if name.kind is Kind.STORE:
            reference = _named(name)
            return StoreOrigin(self._content, self.root_of(reference), name=str(reference))
        if name.kind is Kind.LAYOUT:
            return LayoutOrigin(path, name.name, store=self._layout(name))
        if name.kind is Kind.OCI_ARCHIVE:
            from distore.transfer.archive import OciArchiveOrigin

            return OciArchiveOrigin(path, name.name)
        from distore.transfer.dockerarchive import DockerArchiveOrigin

        return DockerArchiveOrigin(path, name.reference)

    def _remote(self, reference: Reference) -> RemoteImage:
        """An image in a registry, resolved."""
        resolver = self._ends.resolver
        root = resolver.retrier(first_contact=True).run(lambda: resolver.resolve(reference))
        fetcher = resolver.fetcher(reference)
        return RemoteImage(fetcher, root, name=str(reference), new_retrier=resolver.retrier)

    def _layout(self, name: EndName) -> CopyStore:
        """The blobs of a layout, which need not be there yet."""
        path = name.path or ""
        if os.path.lexists(path) and not os.path.isdir(path):
            raise FailedPrecondition(f"oci:{path}: not a folder; a file is oci-archive: or docker-archive:")
        return self._ends.open_store(path)

    def _sink(self, name: EndName, options: CopyOptions, open_ends: ExitStack) -> Pusher:
        path = name.path or ""
        if name.kind is Kind.REGISTRY:
            return self._ends.resolver.pusher(_named(name))
        if name.kind is Kind.STORE:
            image = str(_named(name))

            def named(root: Descriptor) -> None:
                self._ends.images.put(image, root)

            return StoreSink(self._content, name=image, labels=_labels, on_tag=named)
        if name.kind is Kind.LAYOUT:
            return open_ends.enter_context(LayoutSink(path, name.name, store=self._layout(name)))
        if name.kind is Kind.OCI_ARCHIVE:
            from distore.transfer.archive import OciArchiveSink

            return open_ends.enter_context(OciArchiveSink(path, name.name, overwrite=options.overwrite))
        from distore.transfer.dockerarchive import DockerArchiveSink

        return open_ends.enter_context(DockerArchiveSink(path, name.reference, overwrite=options.overwrite))

    def _referrers(
        self, source: EndName, origin: Origin, options: CopyOptions
    ) -> Callable[[Digest], Iterable[Descriptor]] | None:
        if not options.referrers:
            return None
        if source.kind is Kind.REGISTRY:
            return self._remote_referrers(_named(source))
        return origin.referrers if isinstance(origin, StoreOrigin) else None

    def _remote_referrers(self, reference: Reference) -> Callable[[Digest], Iterable[Descriptor]]:
        repository = self._ends.resolver.repository(reference)
        return repository.referrers

    def _sources(self, source: EndName, destination: EndName) -> Callable[[Digest], Sequence[str]]:
        """Repositories of the destination's registry that may have a blob already."""
        if destination.kind is not Kind.REGISTRY:
            return lambda _digest: ()
        registry = _named(destination).domain
        if source.kind is Kind.REGISTRY and _named(source).domain == registry:
            return lambda _digest: (_named(source).path,)
        if source.kind is Kind.STORE:
            return lambda digest: repositories(self._content.info(digest).labels, registry)
        return lambda _digest: ()


def root_of(images: ImageStore, content: Provider, reference: Reference) -> Descriptor:
    """The root of an image of a store, by name or by the digest in the reference.

    Raises:
        NotFound: Nothing of that name; says what to do.
    """
    try:
        return images.get(str(reference)).target
    except NotFound as error:
        if reference.digest is None:
            raise NotFound(f"{error}; dist pull brings it, dist images lists what is there") from error
    return document_of(content, reference.digest)


class _Remembered:
    """What refers to the documents of one copy, for the labels that keep it."""

    def __init__(self, list_of: Callable[[Digest], Iterable[Descriptor]] | None) -> None:
        self._list_of = list_of
        self.found: dict[Digest, tuple[Descriptor, ...]] = {}

    @property
    def of(self) -> Callable[[Digest], Iterable[Descriptor]] | None:
        """As it was given."""
        return None if self._list_of is None else self._look

    def _look(self, digest: Digest) -> Iterable[Descriptor]:
        assert self._list_of is not None
        self.found[digest] = found = tuple(filter(has_children, self._list_of(digest)))
        return found


def narrowed(origin: Provider, root: Descriptor, selection: Selection) -> Descriptor:
    """The one manifest of an index that a single platform stands for; otherwise ``root``.

    Raises:
        NotFound: The index has nothing for the platform.
    """
    if len(selection.platforms or ()) != 1 or selection.attestations or not has_children(root):
        return root
    document = read_manifest(origin, root)
    if not isinstance(document, Index):
        return root
    chosen = selection.of(document, subject=f"index {root.digest}")
    return chosen[0] if len(chosen) == 1 else root


def _check_digest(destination: EndName, root: Descriptor) -> None:
    """A name with a digest is good for that image alone."""
    wanted = destination.reference.digest if destination.reference else None
    if destination.kind is Kind.REGISTRY and wanted not in (None, root.digest):
        raise InvalidArgument(f"{destination}: the image is {root.digest}; leave out the digest")


def _labels(descriptor: Descriptor, provider: Provider) -> Mapping[str, str]:
    """What a document keeps."""
    return gc_labels(read_manifest(provider, descriptor)) if has_children(descriptor) else {}


def _named(name: EndName) -> Reference:
    if name.reference is None:
        raise InvalidArgument(f"{name}: an image is not named")
    return name.reference
