"""One process of the stress test: ``python snapshot_stress.py ROOT DRIVER ROLE SEED``, until it is killed.

Every operation adds a byte to ``ROOT.ops/ROLE-PID``. A process that finds something missing, or other
than it must be, writes it to ``ROOT.wrong/PID`` and ends.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists, NotFound, Unavailable
from distore.metadata.db import Metadata
from distore.snapshots.driver import Driver
from distore.snapshots.snapshotter import Kind

if TYPE_CHECKING:
    from distore.snapshots.snapshotter import Info

ROOT = "containerd.io/gc.root"
STACKS = 6  # of layers, which share their lower ones
HEIGHT = 4


def chain_of(stack: int) -> list[str]:
    """The names of the layers of a stack, the lowest first: a name tells all that is below."""
    numbers = [stack // 2 ** (HEIGHT - 1 - level) if level < HEIGHT - 1 else stack for level in range(HEIGHT)]
    return ["/".join(map(str, numbers[: level + 1])) for level in range(HEIGHT)]


def files_of(driver: Driver, name: str) -> set[str]:
    """The files that a committed snapshot must show: one of each layer."""
    parts = name.split("/")
    names = ["/".join(parts[: number + 1]) for number in range(len(parts))]
    return {each.replace("/", "-") for each in (names if driver.name == "native" else names[-1:])}


def check(driver: Driver, info: Info) -> None:
    """Its files are all there, unless it has gone meanwhile."""
    try:
        record = driver._records.get(info.name)
        found = set(os.listdir(driver._folders.files(record.id)))
        again = driver._records.get(info.name)
    except (NotFound, FileNotFoundError):
        with suppress(NotFound):
            again = driver._records.get(info.name)
            if again.id == record.id:
                raise AssertionError(f"{info.name}: its files are gone") from None
        return
    if again == record and info.kind == Kind.COMMITTED and found != files_of(driver, info.name):
        raise AssertionError(f"{info.name}: {found}")


class Worker:
    def __init__(self, root: str, driver: str, role: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.metadata = Metadata(LocalStore(root, command="stress"), command="stress")
        self.driver = self.over(self.metadata, driver)
        path = os.path.join(f"{root}.ops", f"{role}-{os.getpid()}")
        self._ops = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def over(self, metadata: Metadata, driver: str) -> Driver:
        found = metadata.snapshotter(driver)
        assert isinstance(found, Driver)
        return found

    def count(self) -> None:
        os.write(self._ops, b".")

    def unpack(self) -> None:
        """All layers of a stack under a lease: what is there is used, what is not is made. At last a
        label keeps the uppermost one."""
        with self.metadata.leased("unpack") as content:
            driver = self.over(self.metadata.over(content), self.driver.name)
            parent = None
            names = chain_of(self.chance.randrange(STACKS))
            for name in names:
                self.layer(driver, name, parent)
                parent = name
                self.count()
            for name in names:
                check(driver, driver.stat(name))  # NotFound: something that the lease holds is gone
            assert parent is not None
            if self.chance.random() < 0.3:
                driver.update(replace(driver.stat(parent), labels={ROOT: "1"}), f"labels.{ROOT}")
            self.count()

    def layer(self, driver: Driver, name: str, parent: str | None) -> None:
        try:
            driver.stat(name)
            return
        except NotFound:
            key = f"{name} {os.getpid()} {self.chance.random()}"
        driver.prepare(key, parent)
        folder = driver._folders.files(driver._records.get(key).id)
        Path(folder, name.replace("/", "-")).write_text(name)
        try:
            driver.commit(name, key)
        except AlreadyExists:  # another process was quicker
            driver.remove(key)

    def forget(self) -> None:
        """Take labels away, so that the collector has something to do."""
        for info in list(self.driver.walk(f'labels."{ROOT}"')):
            if self.chance.random() < 0.5:
                with suppress(NotFound):
                    self.driver.update(replace(info, labels={}))
                self.count()
        time.sleep(0.01)

    def look(self) -> None:
        """Every record has its files."""
        for info in self.driver.walk():
            check(self.driver, info)
            self.count()
        time.sleep(0.005)

    def collect(self) -> None:
        try:
            for _ in self.metadata.collector.collect():
                self.count()
            self.count()
        except Unavailable:
            time.sleep(0.01)


def main(root: str, driver: str, role: str, seed: str) -> None:
    worker = Worker(root, driver, role, int(seed))
    while True:
        try:
            getattr(worker, role)()
        except Exception as error:
            Path(f"{root}.wrong", str(os.getpid())).write_text(f"{role}: {error!r}")
            raise


if __name__ == "__main__":
    main(*sys.argv[1:])
