"""Proxies: whose word about clients counts."""

from __future__ import annotations

import ipaddress

import pytest

from distore.registry.server.origin import Origin, Proxies

OURS = Proxies([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # no proxy of ours
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        (
            "10.0.0.1",
            "203.0.113.9, 198.51.100.7, 10.0.0.2",
            "198.51.100.7",
        ),  # the first one is the client's word
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("", "198.51.100.7", "198.51.100.7"),  # through a unix socket
        ("", "", ""),
    ],
)
def test_the_client_is_whom_the_last_trusted_proxy_saw(peer: str, told: str, client: str) -> None:
    headers = {"x-forwarded-for": told, "x-forwarded-proto": "https"}

    origin = OURS.origin(peer, "http", headers)

    assert origin.client == client
    assert headers == {}


def test_a_stranger_changes_neither_scheme_nor_host() -> None:
    headers = {"host": "a", "x-forwarded-host": "evil", "x-forwarded-proto": "https"}

    assert OURS.origin("192.0.2.1", "http", headers) == Origin("192.0.2.1", "http")
    assert headers == {"host": "a"}


def test_a_proxy_changes_scheme_and_host() -> None:
    headers = {"host": "a", "x-forwarded-host": "registry.example", "x-forwarded-proto": "https"}

    assert OURS.origin("10.0.0.1", "http", headers) == Origin("10.0.0.1", "https")
    assert headers == {"host": "registry.example"}


def test_a_scheme_that_is_none_is_not_believed() -> None:
    assert OURS.origin("10.0.0.1", "http", {"x-forwarded-proto": "javascript"}).scheme == "http"


def test_without_proxies_nobody_is_trusted() -> None:
    assert not Proxies([]).trusts("127.0.0.1")
