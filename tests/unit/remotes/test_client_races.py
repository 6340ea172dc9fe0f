"""What a client makes of a request that was broken off on purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from distore.errors import Cancelled, DistoreError, NotFound, Unavailable
from distore.oci.reference import Reference
from distore.registry.message import Handler, Request, Response
from distore.remotes import provider
from distore.remotes.http.client import Client
from distore.remotes.http.health import Health
from distore.remotes.http.hosts import Host
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.testing.server import FakeRegistry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


class Two:
    """A client of a mirror and of the registry, over real connections."""

    def __init__(self, mirror: FakeRegistry, origin: FakeRegistry) -> None:
        self.resolver = HttpResolver(RegistryOptions())
        self.health = Health(clock=lambda: 0.0)
        self.hosts = tuple(Host(scheme="http", netloc=each.address) for each in (mirror, origin))
        self.client = Client(
            Reference.parse(f"{origin.address}/demo", default_tag=None),
            hosts=self.hosts,
            transport=self.resolver._transport,
            authorizer=self.resolver._authorizer,
            health=self.health,
        )

    def ask(self) -> int:
        def attempt(host: Host) -> int:
            response = self.client.request(host, "GET", "manifests/latest", headers={}, scope="")
            response.discard()
            return response.status

        return self.client.ask("pull", "demo:latest", attempt)


def test_nobody_else_is_asked_and_no_host_is_ill_after_an_abort(registry: FakeRegistry) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def hang(request: Request, handler: Handler) -> Response:
        arrived.set()
        go_on.wait(5)
        return handler(request)

    with FakeRegistry() as mirror:
        mirror.inject(hang)
        two = Two(mirror, registry)

        def abort() -> None:
            arrived.wait(5)
            two.resolver.abort()

        threading.Thread(target=abort).start()
        with pytest.raises(Unavailable):
            two.ask()

        assert registry.requests == []
        assert two.health.sorted(two.hosts) == (list(two.hosts), [])
        go_on.set()
    two.resolver.close()


def test_a_call_that_was_cancelled_is_not_one_that_found_nothing() -> None:
    nobody: object = None
    client = Client(
        Reference.parse("origin.example/demo", default_tag=None),
        hosts=(Host(scheme="https", netloc="m1"), Host(scheme="https", netloc="origin")),
        transport=nobody,  # type: ignore[arg-type]  # ``ask`` sends nothing by itself
        authorizer=nobody,  # type: ignore[arg-type]
        health=Health(clock=lambda: 0.0),
    )
    answers: dict[str, DistoreError] = {"m1": NotFound("m1: answered 404"), "origin": Cancelled("stopped")}

    def attempt(host: Host) -> str:
        raise answers[host.netloc]

    with pytest.raises(Cancelled):
        client.ask("pull", "demo:latest", attempt)


def test_documents_that_are_too_many_for_the_memory_are_asked_for_again(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index may name ten thousand manifests of 4 MiB."""
    monkeypatch.setattr(provider, "_MAX_KEPT", 1000, raising=False)
    documents = [registry.tag("demo", f"t{n}", b"%d" % n * 600) for n in range(2)]
    resolver = HttpResolver(RegistryOptions())
    fetcher = resolver.fetcher(Reference.parse(f"{registry.address}/demo", default_tag=None))

    with provider.RemoteImage(fetcher, documents[0], name="demo") as image:
        for n, document in enumerate(documents * 2):
            assert image.document(document) == b"%d" % (n % 2) * 600
            with image.reader(document.digest) as reader:
                assert reader.read_at(1000, 0) == b"%d" % (n % 2) * 600
        kept = sum(map(len, image._documents.values()))

    resolver.close()
    assert kept == 600
