"""Where everything lies below the root: the only place that knows file names.

The tree is that of containerd's local content plugin (docs/formats/store.md).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci.digest import HEX_LENGTHS, Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE: Final = "dist.db"
DEFAULT_NAMESPACE: Final = "default"
BLOB_MODE: Final = 0o444
_MAX_NAME: Final = 1024  # bytes of a namespace's name in a note


class Paths:
    """Paths below ``root``, its ingests those of one namespace."""

    def __init__(self, root: str, *, namespace: str = DEFAULT_NAMESPACE) -> None:
        self.root = os.path.abspath(root)
        self.namespace = namespace
        self.blobs = os.path.join(self.root, "blobs")
        self.ingests = os.path.join(self.root, "ingest")
        self.quarantine = os.path.join(self.root, "quarantine")
        self.database = os.path.join(self.root, DATABASE)
        self.namespaces = os.path.join(self.root, "namespaces")  # there may be others than the default one
        self.leases = os.path.join(self.root, "leases")
        self.snapshots = os.path.join(self.root, "snapshots")
        self.collecting = os.path.join(self.root, "gc.lock")

    def blob(self, digest: Digest) -> str:
        """The committed file of a blob."""
        return os.path.join(self.blobs, digest.algorithm, digest.encoded)

    def ingest(self, ref: str) -> IngestPaths:
        """The files of an ingest."""
        name = ref if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}\0{ref}"
        return IngestPaths(os.path.join(self.ingests, Digest.of(name.encode()).encoded))

    def ingest_folders(self) -> Iterator[IngestPaths]:
        """Every folder below ingest/ of the namespace, in no fixed order."""
        if self.namespace == DEFAULT_NAMESPACE and not os.path.exists(self.namespaces):
            yield from self.all_ingest_folders()
            return
        for paths in self.all_ingest_folders():
            if paths.owning_namespace() == self.namespace:
                yield paths

    def all_ingest_folders(self) -> Iterator[IngestPaths]:
        """Every folder below ingest/, in no fixed order."""
        try:
            entries = os.scandir(self.ingests)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield IngestPaths(entry.path)

    def blob_entries(self) -> Iterator[tuple[Digest, os.DirEntry[str]]]:
        """Every blob and its directory entry, in no fixed order; other files are passed over."""
        for algorithm in HEX_LENGTHS:
            try:
                entries = os.scandir(os.path.join(self.blobs, algorithm))
            except FileNotFoundError:
                continue
            with entries:
                for entry in entries:
                    digest = named(algorithm, entry)
                    if digest is not None:
                        yield digest, entry


def named(algorithm: str, entry: os.DirEntry[str]) -> Digest | None:
    """The digest that a regular file below blobs/``algorithm`` is named after, else None."""
    try:
        digest = Digest(f"{algorithm}:{entry.name}")
    except InvalidArgument:
        return None
    return digest if entry.is_file(follow_symlinks=False) else None


class IngestPaths:
    """The files of one ingest. What containerd does not know (``expected``, ``frontier``,
    ``namespace``) it ignores."""

    __slots__ = (
        "data",
        "expected",
        "folder",
        "frontier",
        "lock",
        "namespace",
        "ref",
        "started",
        "total",
        "updated",
    )

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.ref = os.path.join(folder, "ref")
        self.data = os.path.join(folder, "data")
        self.started = os.path.join(folder, "startedat")
        self.updated = os.path.join(folder, "updatedat")
        self.total = os.path.join(folder, "total")
        self.expected = os.path.join(folder, "expected")
        self.frontier = os.path.join(folder, "frontier")
        self.lock = os.path.join(folder, "lock")
        self.namespace = os.path.join(folder, "namespace")  # missing: the default one

    def owning_namespace(self) -> str:
        """The namespace whose ingest it is."""
        try:
            with open(self.namespace, "rb") as file:
                return file.read(_MAX_NAME).decode(errors="replace")
        except FileNotFoundError:
            return DEFAULT_NAMESPACE

    def notes(self) -> tuple[str, ...]:
        """Everything but the data and the lock, in the order they are removed."""
        notes = (self.frontier, self.expected, self.total, self.updated, self.started, self.ref)
        return (*notes, self.namespace)
