"""Addresses: what a host name in a URL is and means."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from urllib.parse import SplitResult

MAX_URL_LENGTH: Final = 8192  # characters
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def split_url(url: str) -> SplitResult:
    """An http(s) URL in parts.

    Raises:
        InvalidArgument: Too long, unprintable, another scheme, no host, a bad port, or a user name
            in it. The message never repeats a query, which may hold a signature.
    """
    scheme, slashes, rest = url.partition("?")[0].partition("://")
    # A name and a password have no place there, and none in a message.
    shown = ascii(f"{scheme}{slashes}{rest.rpartition('@')[2]}"[:120])
    if len(url) > MAX_URL_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidArgument(f"address {shown}: longer than {MAX_URL_LENGTH} characters, or not plain ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument(f"address {shown}: not a URL") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or port == 0:
        raise InvalidArgument(f"address {shown}: want http://HOST or https://HOST")
    if "@" in parts.netloc:
        raise InvalidArgument(f"address of {parts.hostname}: a user name has no place in it")
    return parts


def follow(url: str, location: str) -> str:
    """Where ``location``, in an answer from ``url``, leads.

    Raises:
        InvalidArgument: To nothing that can be asked.
    """
    try:
        there = urljoin(url, location)
    except ValueError as error:
        raise InvalidArgument(f"address {location.partition('?')[0][:120]!a}: not a URL") from error
    split_url(there)
    return there


def origin(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port: credentials for one origin are for no other."""
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS[parts.scheme]


def with_port(scheme: str, netloc: str) -> str:
    """``netloc`` with the port that it has or that goes without saying."""
    parts = urlsplit(f"{scheme}://{netloc}")
    return netloc if parts.port else f"{netloc.rstrip(':')}:{_DEFAULT_PORTS[scheme]}"


def bare_host(netloc: str) -> str:
    """Without the port, and without the brackets of an IPv6 address."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0]
    return netloc.partition(":")[0]


def is_loopback(netloc: str) -> bool:
    """Whether ``netloc`` names this machine: localhost, 127.0.0.0/8 or ::1, port allowed."""
    name = bare_host(netloc)
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
