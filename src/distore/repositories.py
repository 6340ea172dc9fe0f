"""Repositories: which repository of a registry offers which blobs, manifests and tags."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRecord:
    """A manifest that a repository offers.

    ``descriptor`` is what a list of referrers shows: media type, digest, size, artifact type and the
    manifest's own annotations. ``children`` are the blobs and manifests that it names, each once, in any
    order, with the size it gives them, whether they are there or not; its ``subject`` is none of them.
    ``pushed``, ``pulled`` and ``used`` (when somebody was last told that it is there, to some seconds) are
    aware UTC; None: not known yet, or never. ``cached``: nobody has pushed it, a pull-through cache got it.
    """

    descriptor: Descriptor
    subject: Digest | None = None
    children: tuple[tuple[Digest, int], ...] = ()
    pushed: datetime | None = None
    pulled: datetime | None = None
    used: datetime | None = field(default=None, compare=False)
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A name for a manifest. ``updated``: when it came to name this one; ``pulled``: when somebody last
    got what it named then; ``checked``: when the upstream of a cached repository was last asked about it.
    Aware UTC; None: not known, or never."""

    name: str
    descriptor: Descriptor
    updated: datetime | None = None
    pulled: datetime | None = None
    checked: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryUsage:
    """``size``: bytes of the blobs and manifests of a repository, each counted once; ``cached``: it was
    made by a pull-through cache; ``updated``: when a tag of it last came or moved, aware UTC."""

    name: str
    size: int
    blobs: int
    manifests: int
    tags: int
    cached: bool = False
    updated: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Somebody got a manifest, by ``tag`` or (None) by its digest; ``when``: seconds since the epoch."""

    repository: str
    digest: Digest
    when: float
    tag: str | None = field(default=None)


class Repositories(Protocol):
    """What the repositories of one namespace offer. Thread-safe; shared by processes where the
    implementation is on a disk.

    A repository is there from its first blob, manifest or tag on, until it is emptied by ``forget``. What
    it offers stays in the content store as long as it is offered. Blobs that no manifest of the repository
    names are offered until a sweep, some time after they were last added or ``use``d.
    """

    def version(self) -> int:
        """A number that is another one after any change by anybody; costs microseconds, waits for nothing."""
        ...

    def names(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Repositories in lexical order of their bytes, those behind ``after``."""
        ...

    def exists(self, repository: str, /) -> bool:
        """Whether there is such a repository."""
        ...

    def is_cached(self, repository: str, /) -> bool:
        """Whether it was made by a pull-through cache, so that what it lost can be had again."""
        ...

    def has(self, repository: str, digest: Digest, /) -> bool:
        """Whether it offers a blob or a manifest."""
        ...

    def use(self, repository: str, digest: Digest, /) -> bool:
        """``has``; and what is offered stays so for the grace time of a sweep from now on, as whoever was
        told so (HEAD, a mount) will rely on it."""
        ...

    def manifest(self, repository: str, digest: Digest, /) -> ManifestRecord | None:
        """About a manifest that it offers."""
        ...

    def manifests(
        self, repository: str, /, *, after: str = "", limit: int | None = None
    ) -> list[ManifestRecord]:
        """Its manifests in the order of their digests, those behind ``after``."""
        ...

    def tag(self, repository: str, name: str, /) -> Tag | None:
        """What a tag names."""
        ...

    def tags(self, repository: str, /, *, after: str = "", limit: int | None = None) -> list[Tag]:
        """Its tags in lexical order of their bytes, those behind ``after``."""
        ...

    def referrers(
        self,
        repository: str,
        subject: Digest,
        /,
        *,
        artifact_type: str | None = None,
        after: str = "",
        limit: int | None = None,
    ) -> list[Descriptor]:
        """Manifests about ``subject``, which need not be there, in the order of their digests, those
        behind ``after``."""
        ...

    def usage(self, repository: str, /) -> RepositoryUsage | None:
        """What it holds."""
        ...

    def size(self, repositories: Collection[str] | None = None, /) -> int:
        """Bytes of everything that some repositories (None: all) offer, each blob counted once however many
        offer it."""
        ...

    def owners(self, digest: Digest, /) -> list[str]:
        """The repositories that offer a blob or a manifest, in lexical order."""
        ...

    def keeping(self, digest: Digest, /) -> AbstractContextManager[None]:
        """Within the block no collector removes the blob, whether it is there yet or not.

        A blob is committed and then added within one such block.
        """
        ...

    def add_blob(self, repository: str, digest: Digest, size: int, /, *, cached: bool = False) -> None:
        """Offer a blob that is in the content store (``keeping`` held); twice is once.

        Args:
            cached: If this makes the repository, it is one of a pull-through cache.
        Raises:
            Unavailable: It is not there any more; nothing was changed.
        """
        ...

    def mount(self, source: str | None, repository: str, digest: Digest, /) -> bool:
        """Offer what another repository (None: any) offers, too; whether one does."""
        ...

    def put_manifest(
        self,
        repository: str,
        record: ManifestRecord,
        /,
        *,
        tags: Collection[str] = (),
        needed: Collection[Digest] = (),
        cached: bool = False,
    ) -> list[Digest]:
        """Offer a manifest, whose bytes are in the content store (``keeping`` held), and let ``tags`` name
        it, all at once or not at all.

        Args:
            needed: What the repository must offer already.
            cached: As for ``add_blob``; then the tags count as checked now, and one that was pushed
                here stays where it is.
        Returns:
            Those of ``needed`` that it does not offer; unless there are none, nothing was changed.
        Raises:
            Unavailable: The bytes are not there any more; nothing was changed.
        """
        ...

    def untag(self, repository: str, tag: str, /) -> bool:
        """Remove a tag and nothing else; whether it was there."""
        ...

    def delete_manifest(self, repository: str, digest: Digest, /) -> bool:
        """Offer a manifest no more, under no tag, and forget that it refers; whether it was offered."""
        ...

    def delete_blob(self, repository: str, digest: Digest, /) -> bool:
        """Offer a blob no more; whether it was offered, and is no manifest."""
        ...

    def retire(
        self,
        repository: str,
        /,
        *,
        tags: Collection[Tag] = (),
        manifests: Collection[ManifestRecord] = (),
        blobs: Collection[Digest] = (),
        before: float,
    ) -> tuple[list[str], list[Digest]]:
        """Remove what somebody found to be of no more use, unless it came to be of use since.

        A tag goes if it still names the same manifest, since the same moment, and nobody has pushed it or
        asked its upstream again; a manifest if no tag names
        it, no manifest that stays has it as a child, and its subject does not stay; a blob if no manifest
        names it. None goes if it was pushed or ``use``d from ``before`` (seconds since the epoch) on. All
        of it goes at once.

        Args:
            manifests: Those that name others come before these, and subjects before what is about them.
        Returns:
            The tags and the manifests that went.
        """
        ...

    def forget(self, repository: str, /) -> bool:
        """Remove a repository with all that it offers; whether it was there."""
        ...

    def note_pulled(self, pulls: Iterable[Pull], /) -> None:
        """Remember when manifests and tags were last got. May be lost in a power cut."""
        ...

    def note_checked(self, repository: str, tag: str, when: float, /) -> None:
        """Remember that the upstream said at ``when`` (seconds since the epoch) that a tag is as it was."""
        ...
