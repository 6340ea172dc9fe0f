"""ServerSettings: how a registry is served: addresses, processes, TLS, limits, log."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.registry.server.addresses import DEFAULT_PORT, Address

if TYPE_CHECKING:
    from distore.registry.table import Table

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_WORKERS: Final = 64
FORMATS: Final = ("json", "common")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """PEM files. ``client_ca``: clients must have a certificate of that authority."""

    certificate: str
    key: str
    client_ca: str | None = None

    @classmethod
    def read(cls, table: Table) -> TlsSettings | None:
        """Of ``[tls]``; None: there is none.

        Raises:
            InvalidArgument: As Table.
        """
        certificate, key, client_ca = (table.path(name) for name in ("certificate", "key", "client_ca"))
        table.done()
        if certificate is None:
            if key is not None or client_ca is not None:
                raise InvalidArgument(f"{table.where}: 'certificate': want one beside what is given")
            return None
        return cls(certificate=certificate, key=key or certificate, client_ca=client_ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, or all of them, may take.

    Args:
        connections: Open at once, of one worker; further ones wait outside.
        client_connections: Open at once from one address, of one worker; further ones are closed.
        client_requests: At work at once for one address, of one worker; further ones get 429.
        client_uploads: The same, of requests with a body that is more than a few bytes.
        header_timeout: Seconds for the whole head of a request, from its first byte on or from when the
            connection is made.
        idle_timeout: Seconds that a connection may be open between two requests.
        min_rate: Bytes a second that a body must come with, and an answer must be taken with; 0: any.
        rate_window: Seconds over which that is measured.
    """

    connections: int = 2000
    client_connections: int = 500
    client_requests: int = 300
    client_uploads: int = 200
    header_timeout: float = 20.0
    idle_timeout: float = 75.0
    min_rate: int = 500
    rate_window: float = 60.0

    @classmethod
    def read(cls, table: Table) -> Limits:
        """Of ``[limits]``.

        Raises:
            InvalidArgument: As Table.
        """

        def count(key: str, default: int) -> int:
            return table.number(key, default, least=1, most=1_000_000) or default

        def seconds(key: str, default: float) -> float:
            return max(0.1, table.seconds(key, default) or default)

        base = cls()
        rate = table.size("min_rate", base.min_rate)
        limits = cls(
            connections=count("connections", base.connections),
            client_connections=count("client_connections", base.client_connections),
            client_requests=count("client_requests", base.client_requests),
            client_uploads=count("client_uploads", base.client_uploads),
            header_timeout=seconds("header_timeout", base.header_timeout),
            idle_timeout=seconds("idle_timeout", base.idle_timeout),
            min_rate=base.min_rate if rate is None else rate,
            rate_window=seconds("rate_window", base.rate_window),
        )
        table.done()
        return limits


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """``access``: a file, ``-`` for standard output, or None for no log; ``format``: one of FORMATS."""

    access: str | None = None
    format: str = "json"

    @classmethod
    def read(cls, table: Table) -> LogSettings:
        """Of ``[log]``.

        Raises:
            InvalidArgument: As Table.
        """
        access, form = table.text("access", "off"), table.text("format", "json") or "json"
        if form not in FORMATS:
            raise table.wrong("format", f"want one of {', '.join(FORMATS)}")
        table.done()
        if access not in (None, "-", "off"):
            access = os.path.join(table.folder, os.path.expanduser(access))
        return cls(access=None if access == "off" else access, format=form)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How it is served.

    Args:
        grace: Seconds that what is under way gets when the server stops.
        trusted_proxies: Whose X-Forwarded-For and X-Forwarded-Proto are believed.
        metrics_from: Who may see /metrics, besides those that come through a unix socket.
    """

    listen: tuple[Address, ...] = (Address(host="127.0.0.1", port=DEFAULT_PORT),)
    workers: int = 1
    grace: float = 30.0
    trusted_proxies: tuple[Network, ...] = ()
    metrics_from: tuple[Network, ...] = (
        ipaddress.IPv4Network("127.0.0.0/8"),
        ipaddress.IPv6Network("::1/128"),
    )
    tls: TlsSettings | None = None
    limits: Limits = field(default_factory=Limits)
    log: LogSettings = field(default_factory=LogSettings)

    @classmethod
    def read(cls, table: Table) -> ServerSettings:
        """Of the top of a configuration file, of which others have read their part; the rest is an error.

        Raises:
            InvalidArgument: As Table.
        """
        base = cls()
        listen = table.texts("listen")
        grace = table.seconds("grace", base.grace)
        settings = cls(
            listen=tuple(_address(table, text) for text in listen) or base.listen,
            workers=table.number("workers", 1, least=1, most=_MAX_WORKERS) or 1,
            grace=base.grace if grace is None else grace,
            trusted_proxies=_networks(table, "trusted_proxies", ()),
            metrics_from=_networks(table, "metrics_from", base.metrics_from),
            tls=TlsSettings.read(table.table("tls")),
            limits=Limits.read(table.table("limits")),
            log=LogSettings.read(table.table("log")),
        )
        table.done()
        return settings


def _address(table: Table, text: str) -> Address:
    try:
        return Address.parse(text)
    except InvalidArgument as error:
        raise table.wrong("listen", str(error)) from error


def _networks(table: Table, key: str, default: tuple[Network, ...]) -> tuple[Network, ...]:
    texts = table.texts(key, tuple(map(str, default)))
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise table.wrong(key, f"want addresses and networks: {error}") from error
