"""Origin: whom a request comes from, and how, when proxies of ours stand between."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.registry.server.settings import Network

_FORWARDED: Final = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded")
_MAX_HOPS: Final = 20


class Origin(NamedTuple):
    """``client``: the address, or nothing for a unix socket."""

    client: str
    scheme: str


class Proxies:
    """Those whose word about clients counts; whoever reaches a unix socket is one."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    def trusts(self, address: str) -> bool:
        """Whether it is one of ours."""
        if not self._trusted:
            return False
        found = _address(address)
        return found is not None and any(found in network for network in self._trusted)

    def origin(self, peer: str, scheme: str, headers: dict[str, str]) -> Origin:
        """Of a request that came from ``peer``; takes what proxies say out of ``headers``."""
        told = {name: headers.pop(name, "") for name in _FORWARDED}
        if peer and not self.trusts(peer):
            return Origin(peer, scheme)
        if told["x-forwarded-host"]:
            headers["host"] = told["x-forwarded-host"].split(",")[-1].strip()
        given = told["x-forwarded-proto"].split(",")[-1].strip().lower()
        client = peer
        # The nearest proxy wrote the last address; the first one that is none of ours is the client.
        for hop in reversed(told["x-forwarded-for"].split(",")[-_MAX_HOPS:]):
            found = _address(hop.strip())
            if found is None:
                break
            client = str(found)
            if not self.trusts(client):
                break
        return Origin(client, given if given in ("http", "https") else scheme)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
