"""RegistryOptions: how registries are reached, whichever implementation reaches them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.remotes.credentials import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """What a user may say about reaching registries; nothing but a proxy's password is secret.

    Args:
        hosts_dir: Folder with containerd's ``HOST/hosts.toml`` files, or None.
        plain_http: HTTP for every host; loopback hosts get it anyway.
        skip_verify: Do not check TLS certificates.
        ca: PEM file to trust instead of the system's, or None.
        min_speed: Bytes a second below which a connection is given up; None: never.
        proxies: Proxy URL by scheme (``http``, ``https``, ``all``) and the ``no`` list.
        auth_files: Files with credentials, in the order to look; those that are not there do not
            count.
        credentials: What is known in place of those files, or None.
        server: URL that stands for every registry, whatever ``hosts_dir`` says; None: none does.
    """

    hosts_dir: str | None = None
    plain_http: bool = False
    skip_verify: bool = False
    ca: str | None = None
    min_speed: int | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password
    auth_files: tuple[str, ...] = ()
    credentials: Credentials | None = field(default=None, repr=False)
    server: str | None = None
