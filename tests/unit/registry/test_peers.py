"""Who a client is, whatever its connection looks like."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import closing

import pytest

from distore.registry.app import RegistryServer, Surroundings
from distore.registry.message import Request, Response

SPOOFED = b"GET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"


def told_to(clients: list[str]) -> Callable[[Request], Response]:
    def handle(request: Request) -> Response:
        clients.append(request.client)
        return Response(status=200)

    return handle


def test_a_client_that_resets_its_connection_is_not_taken_for_a_proxy() -> None:
    clients: list[str] = []

    with RegistryServer(told_to(clients), around=Surroundings()) as server:
        host, _, port = server.address.partition(":")
        for _ in range(50):
            client = socket.create_connection((host, int(port)))
            client.sendall(SPOOFED)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        with closing(socket.create_connection((host, int(port)))) as client:
            client.sendall(SPOOFED)
            assert client.recv(100)

    assert set(clients) == {"127.0.0.1"}


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_client_of_a_socket_for_both_families_has_the_address_it_knows_itself_by() -> None:
    clients: list[str] = []
    listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    port = listener.getsockname()[1]

    with RegistryServer(told_to(clients), around=Surroundings(listeners=[listener])):
        for host in ("127.0.0.1", "::1"):
            with closing(socket.create_connection((host, port))) as client:
                client.sendall(SPOOFED)
                assert client.recv(100)

    assert clients == ["127.0.0.1", "::1"]
