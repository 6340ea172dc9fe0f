"""What a store needs on the disk: of images, over all namespaces, and of everything else."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.errors import DistoreError
from distore.images.usage import Survey
from distore.metadata.db import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.content.local.store import LocalStore
    from distore.images.image import Image
    from distore.images.usage import Needed, Usage
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest


_REPOSITORIES: Final = "SELECT count(*) FROM repositories"
_OFFERED: Final = (
    "SELECT coalesce(sum(size), 0) FROM (SELECT max(size) AS size FROM repository_blobs GROUP BY digest)"
)
_SNAPSHOTS: Final = "SELECT snapshotter, id, size FROM snapshots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How many, and their bytes."""

    count: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of the whole store, each file counted once, in bytes as the files have them; snapshots in bytes on
    the disk. ``repositories`` are those of a registry, and the blobs that any of them offers."""

    blobs: Amount
    ingests: Amount
    quarantine: Amount
    repositories: Amount
    snapshots: Amount
    database: Amount


class ImageUsages:
    """The bytes of images in one namespace; what images of other namespaces need is shared, too.

    Args:
        report: Told the name of an image that cannot be measured, and why; nothing of it counts.
    """

    def __init__(self, metadata: Metadata, *, report: Callable[[str, DistoreError], None]) -> None:
        self._metadata = metadata
        self._report = report
        self._survey = Survey()
        self._needed: dict[Digest, Needed] = {}
        own = metadata.content.namespace
        for name in metadata.namespaces.list():
            if name != own:
                self._add(Metadata(metadata.content.view(namespace=name), command=""))
        self._needed = self._add(metadata)

    def of(self, image: Image) -> Usage | None:
        """Of an image as it was when this was made; None when it is newer, or could not be measured."""
        needed = self._needed.get(image.target.digest)
        return None if needed is None else self._survey.usage(needed)

    def of_target(self, target: Descriptor) -> Usage:
        """Of anything in the namespace that may have no name.

        Raises:
            DistoreError: As ``Survey.add``.
        """
        needed = self._needed.get(target.digest)
        if needed is None:
            needed = self._survey.add(self._metadata.content, target, names=0)
        return self._survey.usage(needed)

    def _add(self, metadata: Metadata) -> dict[Digest, Needed]:
        names: dict[Digest, int] = {}
        for image in metadata.images.list():
            names[image.target.digest] = names.get(image.target.digest, 0) + 1
        needed: dict[Digest, Needed] = {}
        for image in metadata.images.list():
            count = names.pop(image.target.digest, 0)  # 0: seen, or named since
            if count:
                try:
                    added = self._survey.add(metadata.content, image.target, names=count)
                except DistoreError as error:
                    self._report(image.name, error)
                else:
                    needed[image.target.digest] = added
        return needed


def totals(store: LocalStore) -> Totals:
    """What lies in the store's folder; memory does not grow with it.

    Raises:
        PermissionDenied, DataLoss: It cannot be read.
    """
    paths = store.paths
    with translated(f"store {store.root}"):
        return Totals(
            blobs=_sum(entry.path for _, entry in paths.blob_entries()),
            ingests=_sum(ingest.data for ingest in paths.all_ingest_folders()),
            quarantine=_sum(_files(paths.quarantine)),
            repositories=_repositories(store),
            snapshots=_snapshots(store),
            database=replace(
                _sum(f"{paths.database}{ending}" for ending in ("", "-wal", "-shm")),
                count=int(store.database.exists()),
            ),
        )


def _repositories(store: LocalStore) -> Amount:
    count, size = (
        sum(int(str(row[0])) for row in store.database.query(each)) for each in (_REPOSITORIES, _OFFERED)
    )
    return Amount(count=count, size=size)


def _snapshots(store: LocalStore) -> Amount:
    """All snapshots, of every driver; of committed ones what was counted then."""
    from distore.snapshots import filetree

    count = size = 0
    for snapshotter, id, counted in store.database.stream(_SNAPSHOTS):
        count += 1
        if isinstance(counted, int):
            size += counted
            continue
        with suppress(FileNotFoundError):  # committed or removed since
            folder = os.path.join(store.paths.snapshots, str(snapshotter), str(id), "fs")
            size += filetree.usage(folder).size
    return Amount(count=count, size=size)


def _sum(files: Iterator[str]) -> Amount:
    count = size = 0
    for path in files:
        try:
            size += os.stat(path, follow_symlinks=False).st_size
        except FileNotFoundError:  # there is none, or it has just gone
            continue
        count += 1
    return Amount(count=count, size=size)


def _files(folder: str) -> Iterator[str]:
    for path, _, names in os.walk(folder):
        yield from (os.path.join(path, name) for name in names)
