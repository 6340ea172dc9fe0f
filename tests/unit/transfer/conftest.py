"""Registries on loopback ports, and pulls from them without long pauses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.transfer.pull_images import LAYERS
from tests.unit.transfer.pushing import Push

from distore._internal.retry import Retrier
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.oci.descriptor import Descriptor
from distore.oci.reference import Reference
from distore.remotes.http.body import Limits
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.testing.server import FakeRegistry
from distore.transfer.progress import Event
from distore.transfer.pull import PullOptions, pull
from distore.transfer.push import PushOptions, push

REPOSITORY = "demo"


class Puller:
    """Pulls ``demo`` of a registry; connections end with the test."""

    def __init__(self, **options: Any) -> None:
        limits = options.pop("limits", Limits())
        self.resolver = HttpResolver(RegistryOptions(**options), limits=limits)

    def fetcher(self, registry: FakeRegistry) -> HttpFetcher:
        return self.resolver.fetcher(Reference.parse(f"{registry.address}/{REPOSITORY}", default_tag=None))

    def events(self, registry: FakeRegistry, store: Any, root: Any, **options: Any) -> Iterator[Event]:
        """What happens, as it happens."""
        return pull(
            store,
            self.fetcher(registry),
            root,
            name="demo:latest",
            options=PullOptions(**options),
            abort=self.resolver.abort,
        )

    def __call__(self, registry: FakeRegistry, store: Any, root: Any, **options: Any) -> list[Event]:
        """All that happened."""
        return list(self.events(registry, store, root, **options))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


@pytest.fixture
def puller() -> Iterator[Callable[..., Puller]]:
    """Make one with other options."""
    made: list[Puller] = []

    def make(**options: Any) -> Puller:
        made.append(Puller(**options))
        return made[-1]

    yield make
    for each in made:
        each.resolver.close()


@pytest.fixture
def bring(puller: Callable[..., Puller]) -> Puller:
    return puller()


@pytest.fixture(params=["memory", "local"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryStore | LocalStore:
    """Either store."""
    return MemoryStore() if request.param == "memory" else LocalStore(str(tmp_path / "kept"))


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before the next attempt, but for as long as a registry asks."""
    for module in ("download", "pull"):
        monkeypatch.setattr(
            f"distore.transfer.{module}.Retrier", partial(Retrier, random=lambda: 0.0), raising=True
        )


@pytest.fixture
def noise() -> Callable[[int, int], bytes]:
    """Bytes that are the same every time: ``noise(seed, size)``."""
    return lambda seed, size: random.Random(seed).randbytes(size)


@pytest.fixture
def root(registry: FakeRegistry) -> Descriptor:
    """``demo:latest``: three layers and a config."""
    return registry.image("demo", "latest", LAYERS)


@pytest.fixture
def send(registry: FakeRegistry) -> Iterator[Push]:
    """Push to ``demo:v1`` of the registry."""
    with HttpResolver(RegistryOptions()) as resolver:

        def run(store: MemoryStore | LocalStore, root: Descriptor, **options: object) -> list[Event]:
            pusher = resolver.pusher(Reference.parse(f"{registry.address}/demo:v1"))
            given = PushOptions(**options)  # type: ignore[arg-type]  # as given
            return list(push(store, root, pusher, options=given, abort=resolver.abort))

        yield run
