"""copy: an image from one end to another."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from distore.api.interrupt import Interrupt
from distore.api.registry import Registry
from distore.api.store import Store
from distore.api.transfers import copy_options, default_platform
from distore.transfer.endname import EndName

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Unpack

    from distore.api.settings import Path
    from distore.api.transfers import CopyKeywords
    from distore.transfer.progress import Event


def copy(
    source: str,
    destination: str,
    *,
    store: Store | Path | None = None,
    registry: Registry | None = None,
    **options: Unpack[CopyKeywords],
) -> Generator[Event, None, None]:
    """Copy an image; the keywords are those of ``Store``'s transfers.

    Ends are ``docker://REF`` or ``REF``, ``store:REF``, ``oci:DIR[:TAG]``, ``oci-archive:FILE[:TAG]``
    and ``docker-archive:FILE[:REF]``. Without a choice of platforms everything goes along, but into a
    docker-archive, which holds the image for this machine. ``overwrite`` replaces an archive that
    is there.

    Args:
        store: What ``store:`` means, and where uploads that break off are kept; a Store or a folder.
        registry: How registries are reached; None: as ``store`` does, or without credentials.
    Raises:
        InvalidArgument: An end that is none, twice the same one, or ``store:`` without a store.
        NotFound: The image is not there.
        AlreadyExists: The archive is there, and ``overwrite`` is not set.
        DistoreError: As the ends; nothing half has the name.
    """
    ends = EndName.parse(source), EndName.parse(destination)
    copy_options(default_platform(ends[1]), **options)  # what is wrong with the call is said at once
    return copy_until(Interrupt(), source, destination, store=store, registry=registry, **options)


def copy_until(
    interrupt: Interrupt,
    source: str,
    destination: str,
    *,
    store: Store | Path | None = None,
    registry: Registry | None = None,
    **options: Unpack[CopyKeywords],
) -> Generator[Event, None, None]:
    """As ``copy``; ends with Cancelled when another thread sets ``interrupt``."""
    with ExitStack() as mine:
        way: Store | Registry
        if isinstance(store, Store) and registry is None:
            way = store
        elif store is not None:
            root = store.content.root if isinstance(store, Store) else store
            way = mine.enter_context(Store(root, registry=registry))
        else:
            way = registry or mine.enter_context(Registry())
        yield from way.interruptible(interrupt).copy(source, destination, **options)
