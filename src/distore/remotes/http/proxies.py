"""Proxies: which one a URL goes through, by the rules of the ``*_proxy`` variables."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from urllib3 import exceptions
from urllib3.util import parse_url

from distore.errors import InvalidArgument, Unimplemented
from distore.remotes.http.address import bare_host, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult


def proxy_for(parts: SplitResult, proxies: Mapping[str, str]) -> str | None:
    """The proxy's URL, or None to go straight; loopback never goes through one.

    Args:
        proxies: URL by ``http``, ``https`` and ``all``; the exceptions by ``no``.
    Raises:
        InvalidArgument, Unimplemented: The proxy's URL is not usable; it may hold a password,
            so the message does not repeat it.
    """
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(parts.netloc) or _is_excepted(parts.netloc, proxies.get("no", "")):
        return None
    if "://" not in proxy:
        proxy = "http://" + proxy
    scheme = proxy.partition("://")[0].lower()
    if scheme.startswith("socks"):
        raise Unimplemented(
            f"proxy for {parts.scheme}: {scheme} proxies are not supported; want http://HOST:PORT"
        )
    if scheme not in ("http", "https") or not _is_usable(proxy):
        raise InvalidArgument(
            f"proxy for {parts.scheme}: want http://[USER:PASSWORD@]HOST:PORT, with %XX for what is neither"
            " a letter nor a digit of the password"
        )
    return proxy


def _is_usable(proxy: str) -> bool:
    """A slash that a password has by mistake makes the name a host, and the rest a path."""
    try:
        parts = parse_url(proxy)
    except exceptions.LocationParseError:
        return False
    rest = (parts.path or "", parts.query or "", parts.fragment or "")
    return bool(parts.host) and not any("@" in text for text in rest)


def _is_excepted(netloc: str, rules: str) -> bool:
    host = bare_host(netloc).lower().rstrip(".")
    for rule in rules.lower().split(","):
        name = rule.strip()
        if name == "*" or (name and _matches(host, netloc.lower(), name)):
            return True
    return False


def _matches(host: str, netloc: str, rule: str) -> bool:
    """``example.com`` and below, ``.example.com`` below only, ``host:port``, address, network."""
    if rule == netloc:
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(bare_host(rule) if "[" in rule else rule)
    except ValueError:
        pass
    return host.endswith("." + rule.lstrip("*").lstrip(".")) or host == rule
