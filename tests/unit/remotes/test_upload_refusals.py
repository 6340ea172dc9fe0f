"""Upload: registries that want a token, patience, or fewer bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.remotes.pushing import (
    BLOB,
    DIGEST,
    UPLOADS,
    Clients,
    stored,
    wire,
)

from distore.errors import (
    ResourceExhausted,
    Unauthenticated,
)
from distore.registry.message import Handler, Request, Response
from distore.testing import server
from distore.testing.server import FakeRegistry


def test_a_token_that_ends_in_the_middle_is_replaced() -> None:
    now = 0.0  # on the registry's clock; the client's stands still

    def take_long(request: Request, handler: Handler) -> Response:
        nonlocal now
        response = handler(request)
        now += 1000
        return response

    with (
        Clients(clock=lambda: 0.0) as clients,
        FakeRegistry(with_tokens=True, token_lifetime=1500, clock=lambda: now) as registry,
    ):
        registry.inject(take_long, path=UPLOADS, method="PATCH", times=None)

        assert clients.upload(clients.client(f"{registry.address}/demo"), BLOB) == "pushed"

        assert stored(registry)
        statuses = [seen.status for seen in registry.seen(UPLOADS)]
        assert statuses == [401, 202, 202, 202, 401, 202, 201]
        assert len(registry.seen("/token")) == 2
        assert clients.naps == []


def test_a_token_that_is_never_good_enough_is_an_error(clients: Clients) -> None:
    with FakeRegistry(with_tokens=True, token_lifetime=-1) as registry:
        with pytest.raises(Unauthenticated):
            clients.upload(clients.client(f"{registry.address}/demo"), BLOB)

        assert not stored(registry)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_registry_that_asks_for_patience_gets_it(
    method: str, registry: FakeRegistry, upload: Callable[..., str], clients: Clients
) -> None:
    registry.inject(server.throttled(7), path=UPLOADS, method=method)

    assert upload() == "pushed"

    assert stored(registry)
    assert clients.naps == [7.0]


@pytest.mark.parametrize("status", [413, 507])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_registry_without_room_says_so_and_is_asked_once(
    method: str, status: int, registry: FakeRegistry, upload: Callable[..., str], clients: Clients
) -> None:
    registry.inject(server.refuse(status, "SIZE_INVALID", "too much"), path=UPLOADS, method=method)

    with pytest.raises(
        ResourceExhausted, match=rf"demo@{DIGEST}: .* answered {status}: size_invalid too much"
    ):
        upload()

    assert wire(registry).count(method) == 1
    assert clients.naps == []
    assert not stored(registry)
