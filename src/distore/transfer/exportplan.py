"""What an export takes along: every document and blob of some images that is there, found beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.store import Provider
from distore.errors import FailedPrecondition, NotFound
from distore.images.children import (
    attested,
    document_of,
    has_children,
    is_attestation,
    is_elsewhere,
    read_manifest,
)
from distore.images.gclabels import referrers_of
from distore.images.select import Selection
from distore.images.walk import MAX_DEPTH, walk
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.manifest import Index, Manifest
from distore.oci.platform import Platform
from distore.transfer.ociindex import REFERENCE_DIGEST, REFERENCE_TYPE, listed
from distore.transfer.tarout import damaged

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from distore.content.store import Info
    from distore.images.walk import Graph
    from distore.oci.digest import Digest

_NOWHERE: Final = Platform(os="unknown", architecture="unknown")  # as buildkit has it


class ExportStore(Provider, Protocol):
    """What an export needs of a store."""

    def info(self, digest: Digest, /) -> Info:
        """As ``Manager.info``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to export, and how.

    Args:
        host: This machine's platform, which a docker archive takes of an index.
        platforms: Of an index, those that are wanted; None: all that are there. With one of them
            its manifest goes without the index.
        require_all: Whether a platform that is not there is an error.
        referrers: Whether what refers to an image goes along, and with chosen ``platforms`` what
            the index says about them.
        exclude: Blobs that the far side has; documents go all the same.
        docker: Write what ``docker save`` writes and nothing else.
    """

    host: Platform
    platforms: tuple[Platform, ...] | None = None
    require_all: bool = False
    referrers: bool = True
    exclude: Container[Digest] = frozenset()
    docker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """One image: its name, if it has one, and the root that stands for it in the export."""

    name: str | None
    root: Descriptor

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"image {self.name or self.root.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is exported. ``extras`` are documents that no image names: referrers, and what an
    index said of its one manifest that goes. ``left_out`` are blobs that the far side has. Every list
    is sorted, so that the same images are the same export in whatever order they were named."""

    images: tuple[PlannedImage, ...]
    extras: tuple[Descriptor, ...]
    documents: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    left_out: tuple[Descriptor, ...]
    notes: tuple[str, ...]


def make_plan(
    store: ExportStore, images: Iterable[tuple[str | None, Descriptor]], options: ExportOptions
) -> Plan:
    """Look at every object of ``images``, pairs of a name and a root.

    Raises:
        NotFound: A root, a chosen platform, or a blob without which an image is none, is not there.
        DataLoss: A document is damaged, or a blob has another size than it should.
        InvalidArgument, FailedPrecondition, ResourceExhausted: As ``walk``.
    """
    found = _Collector(store, options)
    by_name = {(name or "", target.digest): (name, target) for name, target in images}
    planned = {found.image(*by_name[key]): None for key in sorted(by_name)}
    if options.referrers and not options.docker:
        found.refer()
    return Plan(
        images=tuple(planned),
        extras=_sorted(found.extras),
        documents=_sorted(found.documents),
        blobs=_sorted(found.blobs),
        left_out=_sorted(found.left_out),
        notes=tuple(dict.fromkeys(found.notes)),
    )


@dataclass(slots=True)
class _Collector:
    """What was found so far."""

    store: ExportStore
    options: ExportOptions
    documents: dict[Digest, Descriptor] = field(default_factory=dict)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)
    left_out: dict[Digest, Descriptor] = field(default_factory=dict)
    extras: dict[Digest, Descriptor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def image(self, name: str | None, target: Descriptor) -> PlannedImage:
        """Take one image."""
        bare = _bare(target)
        image = PlannedImage(name=name, root=bare)
        if not has_children(bare):
            raise FailedPrecondition(f"{image.label}: {bare.digest} is neither a manifest nor an index")
        try:
            document = read_manifest(self.store, bare)
        except NotFound as error:
            raise self._lacking(image, str(bare.digest)) from error
        platforms = self.options.platforms
        if self.options.docker and isinstance(document, Index):
            platforms = platforms or (self.options.host,)
        if platforms is None or not isinstance(document, Index):
            absent = self._take(image, bare)
            self._tell(image, absent, document)
            return image
        return self._chosen(image, document, platforms)

    def refer(self) -> None:
        """Take what refers to the documents, and what refers to that."""
        asked: set[Digest] = set()
        for _ in range(MAX_DEPTH):
            subjects = sorted(digest for digest in self.documents if digest not in asked)
            if not subjects:
                return
            asked.update(subjects)
            for subject in subjects:
                for referrer in sorted(referrers_of(self.store.info(subject).labels)):
                    if referrer not in self.documents:
                        self._refer(subject, referrer)

    def _refer(self, subject: Digest, referrer: Digest) -> None:
        try:
            found = document_of(self.store, referrer)
            self._take(PlannedImage(name=None, root=found), found)
        except NotFound:
            self.notes.append(f"referrer {referrer} of {subject} is not all in the store and stays out")
            return
        document = read_manifest(self.store, found)
        if document.subject is None:
            found = _attesting(found, subject)
        elif document.artifact_type is not None:
            found = replace(found, artifact_type=document.artifact_type)
        self.extras[referrer] = found

    def _chosen(self, image: PlannedImage, index: Index, platforms: tuple[Platform, ...]) -> PlannedImage:
        """Of an index what is wanted; the manifest alone when that is one."""
        selection = Selection(platforms=platforms, attestations=self.options.referrers)
        chosen = selection.of(index, subject=image.label)
        wanted = [child for child in chosen if not is_attestation(child)]
        if self.options.docker and len(wanted) != 1:
            raise FailedPrecondition(f"{image.label}: a docker archive holds one platform of an image only")
        if len(wanted) == 1:
            narrowed = PlannedImage(name=image.name, root=_bare(wanted[0]))
            self._need(image, wanted[0], _bare(wanted[0]))
        else:
            narrowed = image
            self._take_document(image.root)
            for child in wanted:
                self._need(image, child, child)
        if self.options.docker:
            return narrowed
        for child in chosen:
            if is_attestation(child):
                self._attest(child, extra=narrowed is not image)
        return narrowed

    def _need(self, image: PlannedImage, child: Descriptor, root: Descriptor) -> None:
        """Take a chosen child of an index; it must be all there."""
        try:
            self._take(PlannedImage(name=None, root=root), root)
        except NotFound as error:
            raise self._lacking(image, str(child.platform or child.digest), child.platform) from error

    def _attest(self, child: Descriptor, *, extra: bool) -> None:
        try:
            self._take(PlannedImage(name=None, root=child), child)
        except NotFound:
            return  # nobody chose it
        if extra:
            self.extras[child.digest] = _attesting(child, attested(child) or "")

    def _take(self, image: PlannedImage, root: Descriptor) -> list[Descriptor]:
        """Take a document and all of it that is there; what an index lacks, with those children
        of it that are not whole.

        Raises:
            NotFound: It is a manifest that is not whole, or not there.
        """
        graph = walk(root, lambda at: read_manifest(self.store, at))
        lacking = {child.digest: child.digest for child in graph.missing}
        for document in graph.documents():  # children come before parents
            if not mediatypes.is_index(document.media_type):
                missing = self._first_missing(graph, document, lacking)
                if missing is not None:
                    lacking[document.digest] = missing
        if root.digest in lacking:
            raise self._lacking(image, str(lacking[root.digest]))
        absent: list[Descriptor] = []
        waiting, seen = [root], {root.digest}
        while waiting:
            at = waiting.pop()
            self._take_document(at)
            for child in graph.below[at.digest]:
                if child.digest in seen:
                    continue
                seen.add(child.digest)
                if child.digest in graph.below and child.digest not in lacking:
                    waiting.append(child)
                elif child.digest in lacking or not self._take_blob(child):
                    absent.append(child)
        return absent

    def _first_missing(
        self, graph: Graph, document: Descriptor, lacking: dict[Digest, Digest]
    ) -> Digest | None:
        for child in graph.below[document.digest]:
            if child.digest in lacking:
                return lacking[child.digest]
            if child.digest not in graph.below and not is_elsewhere(child) and not self._is_there(child):
                return child.digest
        return None

    def _take_document(self, document: Descriptor) -> None:
        self._size_of(document)
        self.documents.setdefault(document.digest, _bare(document))
        self.blobs.pop(document.digest, None)  # a layer to one, a document to another
        self.left_out.pop(document.digest, None)

    def _take_blob(self, blob: Descriptor) -> bool:
        """Whether it is dealt with: false when it is not there."""
        if blob.digest in self.documents:
            return True
        if is_elsewhere(blob):
            self.notes.append(f"layer {blob.digest}: only to be had from its own addresses; passed over")
            return True
        if blob.digest in self.options.exclude:
            self.left_out.setdefault(blob.digest, _bare(blob))
            return True
        if not self._size_of(blob):
            return False
        self.blobs.setdefault(blob.digest, _bare(blob))
        return True

    def _is_there(self, blob: Descriptor) -> bool:
        return blob.digest in self.options.exclude or self._size_of(blob)

    def _size_of(self, descriptor: Descriptor) -> bool:
        """Whether it is there, with the size it should have."""
        try:
            size = self.store.info(descriptor.digest).size
        except NotFound:
            return False
        if size != descriptor.size:
            raise damaged(descriptor, size)
        return True

    def _tell(self, image: PlannedImage, absent: Sequence[Descriptor], document: Manifest | Index) -> None:
        """Say which platforms of an image are not there, or that this is too few."""
        if not absent:
            return
        images = [child for child in absent if not is_attestation(child)]
        if isinstance(document, Index) and not any(
            (child.digest in self.documents or child.digest in self.blobs) and not is_attestation(child)
            for child in document.manifests
        ):
            raise NotFound(f"{image.label}: none of its platforms is in the store{_hint(image.name)}")
        names = list(dict.fromkeys(str(child.platform or child.digest) for child in images))
        if self.options.require_all:
            if not images:
                what = f"attestation {absent[0].digest}"
                raise self._lacking(image, what, everything=True)
            raise self._lacking(image, names[0], images[0].platform)
        if names:
            are = "is" if len(names) == 1 else "are"
            self.notes.append(f"{image.label}: {listed(names)} {are} not in the store and left out")

    def _lacking(
        self,
        image: PlannedImage,
        what: str,
        platform: Platform | None = None,
        *,
        everything: bool = False,
    ) -> NotFound:
        hint = _hint(image.name, platform=platform, everything=everything)
        return NotFound(f"{image.label}: {what} is not in the store{hint}")


def _hint(name: str | None, *, platform: Platform | None = None, everything: bool = False) -> str:
    """How to get what is missing."""
    if name is None:
        return ""
    flag = f"--platform '{platform}' " if platform and "(" in str(platform) else ""
    flag = flag or (f"--platform {platform} " if platform else "--all-platforms " if everything else "")
    return f"; dist pull {flag}{name} brings it"


def _bare(descriptor: Descriptor) -> Descriptor:
    """What is the same wherever the object came from."""
    return Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)


def _attesting(descriptor: Descriptor, subject: str) -> Descriptor:
    """An attestation, which does not say itself what it is about, as an entry of an index that does."""
    return replace(
        _bare(descriptor),
        platform=_NOWHERE,
        annotations={REFERENCE_DIGEST: subject, REFERENCE_TYPE: "attestation-manifest"},
    )


def _sorted(found: dict[Digest, Descriptor]) -> tuple[Descriptor, ...]:
    return tuple(found[digest] for digest in sorted(found))
