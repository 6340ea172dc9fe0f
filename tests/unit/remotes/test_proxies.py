"""Proxies: which requests go through one."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from distore.errors import InvalidArgument, Unimplemented
from distore.remotes.http.proxies import proxy_for

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "proxies", "proxy"),
    [
        ("https://a.example/", {"https": PROXY}, PROXY),
        ("https://a.example/", {"http": PROXY}, None),
        ("http://a.example/", {"all": PROXY}, PROXY),
        ("https://a.example/", {"https": "proxy.example:3128"}, PROXY),
        ("https://a.example/", {"https": ""}, None),
        ("https://a.example/", {}, None),
    ],
)
def test_the_proxy_is_that_of_the_scheme(url: str, proxies: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(urlsplit(url), proxies) == proxy


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:5000", "[::1]:5000", "127.200.0.1"])
def test_loopback_never_goes_through_a_proxy(host: str) -> None:
    assert proxy_for(urlsplit(f"http://{host}/"), {"all": PROXY}) is None


@pytest.mark.parametrize(
    ("host", "rules", "excepted"),
    [
        ("a.example", "a.example", True),
        ("b.a.example", "a.example", True),
        ("b.a.example", ".a.example", True),
        ("b.a.example", "*.a.example", True),
        ("ba.example", "a.example", False),
        ("A.EXAMPLE", "a.example", True),
        ("a.example", "x, a.example ,y", True),
        ("a.example:5000", "a.example:5000", True),
        ("a.example:5001", "a.example:5000", False),
        ("a.example:5000", "a.example", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3:5000", "10.1.2.3", True),
        ("[2001:db8::1]:5000", "2001:db8::/32", True),
        ("a.example", "*", True),
        ("a.example", "", False),
        ("a.example", ",,", False),
        ("a.example", "10.0.0.0/8,999.0.0.0/8", False),
    ],
)
def test_exceptions_are_names_domains_addresses_and_networks(host: str, rules: str, excepted: bool) -> None:
    found = proxy_for(urlsplit(f"http://{host}/"), {"all": PROXY, "no": rules})

    assert found == (None if excepted else PROXY)


@pytest.mark.parametrize(
    ("proxy", "kind"), [("socks5://u:pw@p.example", Unimplemented), ("ftp://u:pw@p.example", InvalidArgument)]
)
def test_another_kind_of_proxy_is_refused_without_its_password(proxy: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        proxy_for(urlsplit("http://a.example/"), {"all": proxy})

    assert "pw" not in str(caught.value)
