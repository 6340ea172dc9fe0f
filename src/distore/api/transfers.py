"""Transfers: how one is asked for from Python, and the running of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

from distore.content.local.store import LocalStore
from distore.errors import InvalidArgument
from distore.images.select import ALL, Selection
from distore.oci.digest import HEX_LENGTHS, Digest
from distore.oci.platform import Platform
from distore.oci.reference import Reference
from distore.transfer.copy import Copier, CopyOptions
from distore.transfer.endname import EndName, Kind
from distore.transfer.pace import DEFAULT_CONCURRENCY, MAX_CONCURRENCY, Stop

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from distore.api.interrupt import Interrupt
    from distore.api.resolvers import Resolvers
    from distore.images.image import ImageStore
    from distore.metadata.db import Metadata
    from distore.remotes.http.resolver import HttpResolver
    from distore.transfer.copy import CopyStore
    from distore.transfer.progress import Event
    from distore.transfer.unpack import UnpackOptions
    from distore.unpack.unpacker import Place

    Platforms = str | Platform | Iterable[str | Platform] | None


class TransferKeywords(TypedDict, total=False):
    """Keywords of every transfer; ``Store`` says what they mean."""

    platforms: Platforms
    all_platforms: bool
    referrers: bool
    concurrency: int
    limit_rate: int | None


class CopyKeywords(TransferKeywords, total=False):
    """Keywords of a copy."""

    overwrite: bool


class Ends:
    """The ends of one transfer.

    Args:
        metadata: The store with its names, or None where none was named.
    """

    def __init__(
        self,
        resolver: HttpResolver,
        *,
        command: str = "python",
        metadata: Metadata | None = None,
    ) -> None:
        self.resolver = resolver
        self._command = command
        self._metadata = metadata
        self.stop = Stop()

    @property
    def metadata(self) -> Metadata:
        """The store with its names.

        Raises:
            InvalidArgument: There is none.
        """
        if self._metadata is None:
            raise InvalidArgument("copy: one end is store:, and no store is named; name one with store=")
        return self._metadata

    @property
    def content(self) -> LocalStore:
        """The store; see ``metadata``."""
        return self.metadata.content

    @property
    def images(self) -> ImageStore:
        """The names in it; see ``metadata``."""
        return self.metadata.images

    def leased(self, purpose: str, /) -> AbstractContextManager[LocalStore]:
        """``content`` under a lease; see ``Metadata.leased``."""
        return self.metadata.leased(purpose)

    def place(self, content: CopyStore, options: UnpackOptions, /, *, stop: Stop) -> Place:
        """Where images are unpacked to, under the lease of ``content``, a view of the store; ``stop``
        ends it."""
        from distore.api.unpacking import place

        assert isinstance(content, LocalStore)
        return place(self.metadata, content, options, stop=stop)

    def open_store(self, root: str, /) -> LocalStore:
        """A store at another folder: a layout."""
        return LocalStore(root, command=self._command)


def transfer(
    source: EndName,
    destination: EndName,
    options: CopyOptions,
    *,
    resolvers: Resolvers,
    interrupt: Interrupt,
    command: str = "python",
    metadata: Metadata | None = None,
) -> Generator[Event, None, None]:
    """Run one; closing the generator stops it at once, from another thread ``interrupt`` does.

    Raises:
        Cancelled: ``interrupt`` is set.
        DistoreError: As ``Copier.copy``.
    """
    with resolvers.one(interrupt) as resolver:
        ends = Ends(resolver, command=command, metadata=metadata)
        with interrupt.breaking(ends.stop.set):
            yield from Copier(ends).copy(source, destination, options)


def copy_options(
    default: Platform | None,
    *,
    platforms: Platforms = None,
    all_platforms: bool = False,
    referrers: bool = False,
    concurrency: int = DEFAULT_CONCURRENCY,
    limit_rate: int | None = None,
    overwrite: bool = False,
) -> CopyOptions:
    """What the keywords of a transfer mean; ``Store`` says it.

    Args:
        default: The platform without a choice; None: every image of an index.
    Raises:
        InvalidArgument: A bad platform, or a number out of range.
    """
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise InvalidArgument(f"concurrency {concurrency}: want 1 to {MAX_CONCURRENCY}")
    if limit_rate is not None and limit_rate < 1:
        raise InvalidArgument(f"limit_rate {limit_rate}: want bytes a second, or None for no limit")
    chosen = chosen_platforms(platforms)
    if all_platforms and chosen:
        raise InvalidArgument("all_platforms and platforms: want one of them")
    if not (chosen or all_platforms or default is None):
        chosen = (default,)
    return CopyOptions(
        selection=Selection(platforms=chosen, attestations=referrers) if chosen else ALL,
        concurrency=concurrency,
        limit_rate=limit_rate,
        referrers=referrers,
        overwrite=overwrite,
    )


def chosen_platforms(platforms: Platforms) -> tuple[Platform, ...]:
    """Those that were named, one or several.

    Raises:
        InvalidArgument: A bad name.
    """
    given = (platforms,) if isinstance(platforms, str | Platform) else tuple(platforms or ())
    return tuple(_platform(each) for each in given)


def default_platform(destination: EndName) -> Platform | None:
    """Without a choice everything goes along, but into a docker-archive, which holds one image."""
    return this_platform() if destination.kind is Kind.DOCKER_ARCHIVE else None


def this_platform() -> Platform:
    """The platform of this machine."""
    machine = os.uname()
    return Platform.host(system=machine.sysname, machine=machine.machine)


def _platform(given: str | Platform) -> Platform:
    return given if isinstance(given, Platform) else Platform.parse(given, host=this_platform())


def held(given: str | Reference) -> Reference:
    """An image of the store; a digest alone needs no name, and gets one that only completes it."""
    if isinstance(given, str) and given.partition(":")[0] in HEX_LENGTHS:
        return Reference(domain="localhost", path="content", digest=Digest(given))
    return given if isinstance(given, Reference) else Reference.parse(given)
