"""A store with snapshots, for tests of what becomes of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from distore.content.local.store import LocalStore
from distore.metadata.collected import Removed
from distore.metadata.db import Metadata
from distore.oci.digest import Digest
from distore.snapshots.snapshotter import Snapshotter

ROOT = "containerd.io/gc.root"
HOUR = 3600


class Clock:
    """Seconds since the epoch; an hour passes at each collection."""

    now = 1_767_323_045.0

    def __call__(self) -> float:
        return self.now


class World:
    """A store with snapshots ``a`` <- ``b`` <- ``c``, and ``d`` on ``a``; all are an hour old."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.store = LocalStore(str(root), now=self.clock, sleep=lambda _seconds: None)
        self.metadata = Metadata(self.store, command="t", now=self.clock, sleep=lambda _seconds: None)
        self.snapshots = self.metadata.snapshotter("overlayfs")
        for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "a")):
            make(self.snapshots, name, parent)

    def mark(self, name: str, labels: dict[str, str]) -> None:
        self.snapshots.update(replace(self.snapshots.stat(name), labels=labels))

    def collect(self, *, dry_run: bool = False, older_than: float = 0.0) -> list[Removed]:
        self.clock.now += HOUR
        return list(self.metadata.collector.collect(dry_run=dry_run, older_than=older_than))

    def names(self) -> str:
        return "".join(one.name for one in self.snapshots.walk())

    def folders(self) -> int:
        return sum(name.isdecimal() for name in os.listdir(Path(self.store.root, "snapshots", "overlayfs")))

    def blob(self, data: bytes, labels: dict[str, str]) -> Digest:
        with self.store.writer(data.decode()) as writer:
            writer.write(data)
            return writer.commit(labels=labels)


def make(snapshots: Snapshotter, name: str, parent: str | None = None) -> None:
    snapshots.prepare("key", parent)
    snapshots.commit(name, "key")
