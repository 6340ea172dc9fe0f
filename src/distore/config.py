"""Config: everything the wiring in app.py needs to know."""

from __future__ import annotations

from typing import NamedTuple


# A NamedTuple for the sake of start-up: docs/decisions/0002-start-up.md.
class Config(NamedTuple):
    """Where things are. Paths are as given; nothing is read here.

    ``command`` is what locks of the store name as their owner; ``hosts_dir`` the folder with
    containerd's hosts.toml files; ``proxies`` maps a URL scheme (or ``no``) to a proxy.
    """

    root: str
    command: str = "dist"
    hosts_dir: str | None = None
    plain_http: bool = False
    skip_verify: bool = False
    ca: str | None = None
    min_speed: int | None = None  # bytes per second
    proxies: tuple[tuple[str, str], ...] = ()
