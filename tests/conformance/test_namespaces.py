"""What namespaces share and keep apart, on every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.metadata.namespaces import Namespaces
from distore.testing.namespace_suite import NamespaceSuite


class TestNamespaces(NamespaceSuite):
    @pytest.fixture
    def on(self, tmp_path: Path) -> Iterator[Callable[[str], Metadata]]:
        opened: list[LocalStore] = []

        def view(namespace: str) -> Metadata:
            opened.append(LocalStore(str(tmp_path / "store"), namespace=namespace))
            return Metadata(opened[-1], command="dist test")

        yield view
        for store in opened:
            store.close()

    @pytest.fixture
    def namespaces(self, on: Callable[[str], Metadata]) -> Namespaces:
        return on("default").namespaces

    @pytest.fixture
    def stored(self, tmp_path: Path) -> Callable[[], list[str]]:
        return lambda: [
            f"{file.parent.name}:{file.name}" for file in (tmp_path / "store" / "blobs").glob("*/*")
        ]
