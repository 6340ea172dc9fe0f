"""The contract of images on every implementation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.metadata.images import Images
from distore.testing.image_suite import ONE, ImageClock, ImageSuite

WORKER = """
import sys
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.testing.image_suite import EACH, NAME, TWO
images = Metadata(LocalStore(sys.argv[1]), command="dist test").images
for number in range(EACH):
    images.put(f"r.example/worker-{sys.argv[2]}:{number}", TWO)
    images.put(NAME, TWO)
"""


class TestImages(ImageSuite):
    @pytest.fixture
    def on(self, tmp_path: Path, clock: ImageClock) -> Iterator[Callable[[str], Images]]:
        opened: list[LocalStore] = []

        def view(namespace: str) -> Images:
            opened.append(LocalStore(str(tmp_path / "store"), namespace=namespace))
            return Metadata(opened[-1], command="dist test", now=clock).images

        yield view
        for store in opened:
            store.close()

    @pytest.fixture
    def images(self, on: Callable[[str], Images]) -> Images:
        return on("default")

    @pytest.fixture
    def fill(self, tmp_path: Path) -> Callable[[int], None]:
        def put(count: int) -> None:
            store = LocalStore(str(tmp_path / "store"))
            images = Metadata(store, command="dist test").images
            with store.database.transaction():
                for number in range(count):
                    labels = {"a": "1", "b": "x" * 100, "n": f"{number:05}"}
                    images.create(f"r.example/app:{number:05}", ONE, labels=labels)
            store.close()

        return put

    @pytest.fixture
    def worker(self, tmp_path: Path) -> Iterator[Callable[[int], Popen[bytes]]]:
        started: list[Popen[bytes]] = []

        def start(number: int) -> Popen[bytes]:
            words = [sys.executable, "-I", "-c", WORKER, str(tmp_path / "store"), str(number)]
            started.append(Popen(words))
            return started[-1]

        yield start
        for process in started:
            process.kill()
            process.wait()
