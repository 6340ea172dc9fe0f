"""The pytest plugin ``distore``: a registry for any project's tests.

It is there as soon as ``distore[server,testing]`` is installed::

    def test_a_push(registry):
        registry.image("demo/app", "latest", [b"layer"])
        ...  # let what you test talk to registry.url
        assert registry.seen("/blobs/uploads/")

A fixture ``registry`` of your own takes its place, and ``pytest -p no:distore`` leaves it out. Every
registry listens on a free loopback port of its own and keeps its blobs in memory, so tests may run
side by side. Nothing is imported before the first test that uses a fixture.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.testing.server import FakeRegistry


@pytest.fixture
def registry_factory() -> Iterator[Callable[..., FakeRegistry]]:
    """Start registries that end with the test; takes what FakeRegistry takes.

    ``registry_factory(with_tokens=True, users={"ann": "secret"})`` is a private one,
    ``registry_factory(referrers=False, mount=False)`` an old one.
    """
    from distore.testing.server import FakeRegistry

    with ExitStack() as running:

        def start(**options: object) -> FakeRegistry:
            return running.enter_context(FakeRegistry(**options))  # type: ignore[arg-type] # as given

        yield start


@pytest.fixture
def registry(registry_factory: Callable[..., FakeRegistry]) -> FakeRegistry:
    """A registry that is read and written: ``url``, ``put``, ``tag``, ``image``, ``seen``, ``inject``."""
    return registry_factory()
