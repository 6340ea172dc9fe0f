"""Addresses: which URLs are asked at all, and which are one origin."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from distore.errors import InvalidArgument
from distore.remotes.http.address import bare_host, is_loopback, origin, split_url, with_port


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "file:///etc/passwd",
        "http://",
        "http://:80",
        "http://a:0/",
        "http://a:70000/",
        "http://a:x/",
        "http://[::1/",
        "http://a/\r\nx: y",
        "http://a /",
        "http://ä.example/",
        "http://u@a/",
        "http://u:pw@a/",
        "http://a/" + "x" * 9000,
    ],
)
def test_what_cannot_be_asked_safely_is_refused_without_secrets(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        split_url(url)

    message = str(caught.value)
    assert "pw" not in message
    assert "\n" not in message
    assert len(message) < 300


def test_a_message_repeats_no_query() -> None:
    with pytest.raises(InvalidArgument) as caught:
        split_url("ftp://a.example/b?signature=secret")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a/", "http://A:80/x", True),
        ("https://a/", "https://a:443", True),
        ("http://a/", "https://a/", False),
        ("http://a/", "http://a:8080/", False),
        ("http://a/", "http://b/", False),
        ("http://a/", "http://sub.a/", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert (origin(urlsplit(one)) == origin(urlsplit(other))) == same


@pytest.mark.parametrize("netloc", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:5000", "[::1]:5000"])
def test_loopback_is_this_machine(netloc: str) -> None:
    assert is_loopback(netloc)


@pytest.mark.parametrize(
    "netloc", ["localhost.example", "128.0.0.1", "[::2]", "127.0.0.1.example", "0.0.0.0"]
)
def test_other_names_are_not_loopback(netloc: str) -> None:
    assert not is_loopback(netloc)


def test_a_host_is_bare_without_port_and_brackets() -> None:
    assert [bare_host(text) for text in ("a:1", "a", "[::1]:1", "[::1]")] == ["a", "a", "::1", "::1"]


@pytest.mark.parametrize(
    ("scheme", "netloc", "full"),
    [
        ("http", "a", "a:80"),
        ("https", "a", "a:443"),
        ("https", "a:", "a:443"),
        ("http", "a:5000", "a:5000"),
        ("http", "[::1]", "[::1]:80"),
    ],
)
def test_a_port_that_goes_without_saying_can_be_said(scheme: str, netloc: str, full: str) -> None:
    assert with_port(scheme, netloc) == full
