"""Hosts: which servers stand for a registry, and how each is reached (containerd's hosts.toml)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.remotes.http import hoststoml
from distore.remotes.http.address import is_loopback, split_url

if TYPE_CHECKING:
    from distore.remotes.http.hoststoml import Entry
    from distore.remotes.options import RegistryOptions

DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_SERVER: Final = "registry-1.docker.io"
CAPABILITIES: Final = frozenset(("pull", "resolve", "push"))
_API: Final = "/v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One server to ask.

    ``netloc`` may have a port; ``path`` is the API's prefix without a trailing slash. ``headers``
    may hold secrets: they go to this server only and into no message. ``namespace`` is the
    registry that a mirror is asked on behalf of. ``decided_by`` names the file, or is None.
    """

    scheme: str
    netloc: str
    path: str = _API
    capabilities: frozenset[str] = CAPABILITIES
    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str | None], ...] = ()
    skip_verify: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    connect_timeout: float | None = None
    namespace: str | None = None
    decided_by: str | None = None

    @property
    def url(self) -> str:
        """Scheme, host and API prefix."""
        return f"{self.scheme}://{self.netloc}{self.path}"


def hosts_of(registry: str, options: RegistryOptions) -> tuple[Host, ...]:
    """The servers for ``registry``, in the order to ask them; never empty.

    Raises:
        InvalidArgument: A hosts.toml is wrong; names file and key.
    """
    if options.server is not None:
        return (_host(hoststoml.server(options.server), registry, options, None),)
    folder = _folder(options.hosts_dir, registry) if options.hosts_dir else None
    if folder is None:
        return (_default(registry, options),)
    file = os.path.join(folder, "hosts.toml")
    found = hoststoml.load(file)
    if found is None:  # as docker has it: certificates beside no configuration
        ca, client = _loose_certificates(folder)
        return (replace(_default(registry, options), ca=ca, client=client, decided_by=folder),)
    server, mirrors = found
    hosts = [_host(entry, registry, options, file) for entry in mirrors]
    hosts.append(_host(server, registry, options, file))
    return tuple(hosts)


def host_at(url: str, options: RegistryOptions) -> tuple[Host, str]:
    """The server and the repository path of ``http(s)://HOST/REPOSITORY``.

    Raises:
        InvalidArgument: Another kind of URL.
    """
    parts = split_url(url)
    path = parts.path.strip("/")
    if not path or parts.query or parts.fragment:
        raise InvalidArgument(f"registry {url[:80]!r}: want http(s)://HOST/REPOSITORY")
    netloc = DOCKER_HUB_SERVER if parts.netloc == DOCKER_HUB else parts.netloc
    return Host(scheme=parts.scheme, netloc=netloc, skip_verify=options.skip_verify), path


def folder_names(registry: str) -> tuple[str, ...]:
    """What the folder of a registry may be called: ``host_5000_``, ``host:5000``, ``_default``."""
    host, colon, port = registry.rpartition(":")
    with_underscores = (f"{host}_{port}_",) if colon and port.isdecimal() else ()
    return (*with_underscores, registry, "_default")


def _folder(hosts_dir: str, registry: str) -> str | None:
    if not os.path.isdir(hosts_dir):
        raise InvalidArgument(f"hosts folder {hosts_dir}: not a folder; name another with --hosts-dir")
    for name in folder_names(registry):
        folder = os.path.join(hosts_dir, name)
        if os.path.isdir(folder):
            return folder
    return None


def _default(registry: str, options: RegistryOptions) -> Host:
    netloc = DOCKER_HUB_SERVER if registry == DOCKER_HUB else registry
    plain = options.plain_http or (is_loopback(netloc) and not netloc.endswith(":443"))
    return Host(scheme="http" if plain else "https", netloc=netloc, skip_verify=options.skip_verify)


def _host(entry: Entry, registry: str, options: RegistryOptions, file: str | None) -> Host:
    default = _default(registry, options)
    host = Host(
        scheme=entry.scheme or default.scheme,
        netloc=entry.netloc or default.netloc,
        path=_api_path(entry),
        capabilities=entry.capabilities if entry.capabilities is not None else CAPABILITIES,
        ca=entry.ca,
        client=entry.client,
        skip_verify=entry.skip_verify or options.skip_verify,
        headers=entry.headers,
        connect_timeout=entry.connect_timeout,
        decided_by=file,
    )
    stands_for_another = host.netloc not in (registry, default.netloc)
    return replace(host, namespace=registry) if stands_for_another else host


def _api_path(entry: Entry) -> str:
    path = entry.path.rstrip("/")
    if entry.override_path or path.endswith(_API):
        return path
    return path + _API


def _loose_certificates(folder: str) -> tuple[tuple[str, ...], tuple[tuple[str, str | None], ...]]:
    names = sorted(os.listdir(folder))
    ca = tuple(os.path.join(folder, name) for name in names if name.endswith(".crt"))
    client: list[tuple[str, str | None]] = []
    for name in names:
        if name.endswith(".cert"):
            key = name.removesuffix(".cert") + ".key"
            if key not in names:
                raise InvalidArgument(f"hosts folder {folder}: {name} has no {key} beside it")
            client.append((os.path.join(folder, name), os.path.join(folder, key)))
    return ca, tuple(client)
