"""Environment: what a user's environment says about registries; who reads it hands it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Parts of RegistryOptions, under the same names."""

    hosts_dir: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password
    auth_files: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str], *, uid: int, home: str) -> Environment:
        """From ``DIST_HOSTS_DIR``, the usual proxy variables, and where docker and podman look.

        Args:
            uid: The user's number; names podman's folder where ``XDG_RUNTIME_DIR`` does not.
            home: The user's folder.
        """
        proxies = {
            scheme: value
            for scheme in ("http", "https", "all", "no")
            if (value := environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY"))
        }
        if "REQUEST_METHOD" in environ and "http_proxy" not in environ:
            proxies.pop("http", None)  # in a CGI script HTTP_PROXY is a header that a stranger sent
        return cls(
            hosts_dir=environ.get("DIST_HOSTS_DIR") or None,
            proxies=proxies,
            auth_files=_auth_files(environ, uid=uid, home=home),
        )


def _auth_files(environ: Mapping[str, str], *, uid: int, home: str) -> tuple[str, ...]:
    """Where credentials may be, in the order to look (containers-auth.json(5)); a file that is
    named is the only one."""
    named = environ.get("REGISTRY_AUTH_FILE")
    if named:
        return (named,)
    runtime = environ.get("XDG_RUNTIME_DIR")
    podman = f"{runtime}/containers" if runtime else f"/run/containers/{uid}"
    settings = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    docker = environ.get("DOCKER_CONFIG") or f"{home}/.docker"
    return (f"{podman}/auth.json", f"{settings}/containers/auth.json", f"{docker}/config.json")
