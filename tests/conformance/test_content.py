"""The content contract on every implementation; a new store is one line in STORES."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.testing.content_suite import ContentSuite

# How to make a store in a folder, and how another process would open the same one.
STORES: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Any]]] = {
    "local": (lambda folder: LocalStore(str(folder / "store")), lambda store: LocalStore(store.root)),
    "memory": (lambda folder: MemoryStore(), lambda store: store),
}


class TestContentStores(ContentSuite):
    @pytest.fixture(params=list(STORES))
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def store(self, kind: str, tmp_path: Path) -> Iterator[Any]:
        store = STORES[kind][0](tmp_path)
        yield store
        if isinstance(store, LocalStore):
            store.close()

    @pytest.fixture
    def reopen(self, kind: str, store: Any) -> Iterator[Callable[[], Any]]:
        opened: list[Any] = []

        def again() -> Any:
            opened.append(STORES[kind][1](store))
            return opened[-1]

        yield again
        for other in opened:
            if isinstance(other, LocalStore):
                other.close()
