"""Credentials: who we are to a registry, and what says so."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from distore.remotes.keylocks import KeyLocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.remotes.dockerconfig import AuthFile
    from distore.remotes.helpers import Helper

HUB: Final = "docker.io"
TOKEN_USER: Final = "<token>"  # noqa: S105 - the user name that stands for none beside an identity token
_HUB_NAMES: Final = frozenset((HUB, "index.docker.io", "registry-1.docker.io"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user name with a password, an identity token (OAuth 2 refresh token), or both.

    ``username`` is ``<token>`` where there is an identity token and no name.
    """

    username: str
    secret: str | None = field(default=None, repr=False)
    identity_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A credential and the file or helper that it came from, in words for messages."""

    credential: Credential
    source: str


class Credentials(Protocol):
    """Knows credentials. Safe to share between threads."""

    def credential(self, netloc: str, repository: str, /) -> Found | None:
        """What to show to the server ``netloc`` for ``repository`` (which may be empty), or None.

        Raises:
            InvalidArgument: A file that may hold it is damaged; names file and key.
            FailedPrecondition, DeadlineExceeded: A helper is missing, fails, or takes too long.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCredential:
    """Credentials that are always the same: those that somebody is logging in with."""

    found: Found

    def credential(self, netloc: str, repository: str, /) -> Found | None:
        return self.found


class ServerCredentials:
    """A credential for some servers, and for no other one that a redirect or a mirror leads to.

    Args:
        servers: Their names, with a port where they have one.
    """

    def __init__(self, found: Found, servers: Sequence[str]) -> None:
        self._found = found
        self._servers = frozenset(map(host_name, servers))

    def credential(self, netloc: str, repository: str, /) -> Found | None:
        return self._found if host_name(netloc) in self._servers else None


class FileCredentials:
    """Credentials of Docker's and podman's files, and of the helpers that those name.

    The first file that knows wins. Within one: the helper for the host (``credHelpers``), the
    longest key that has a path, the helper for all hosts (``credsStore``), the key of the host.
    Nothing is read before the first question; each file is read once and each helper asked once
    for a host, unless that fails.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = tuple(files)
        self._guard = threading.Lock()
        self._loaded: tuple[AuthFile, ...] | None = None
        self._asking: KeyLocks[str] = KeyLocks()
        self._known: dict[tuple[str, str], Found | None] = {}
        self._told: dict[tuple[Helper, str], Credential | None] = {}

    def credential(self, netloc: str, repository: str, /) -> Found | None:
        host = host_name(netloc)
        key = (host, repository)
        with self._asking.of(host):
            if key not in self._known:
                self._known[key] = self._search(host, repository)
            return self._known[key]

    def _search(self, host: str, repository: str) -> Found | None:
        for file in self._load():
            found = (
                self._tell(file.helper_for(host), host)
                or file.below(host, repository)
                or self._tell(file.helper_for_all, host)
                or file.whole(host)
            )
            if found is not None:
                return found
        return None

    def _load(self) -> tuple[AuthFile, ...]:
        from distore.remotes.dockerconfig import load

        with self._guard:
            if self._loaded is None:
                self._loaded = tuple(file for path in self._files if (file := load(path)) is not None)
            return self._loaded

    def _tell(self, helper: Helper | None, host: str) -> Found | None:
        if helper is None:
            return None
        if (helper, host) not in self._told:
            self._told[helper, host] = helper.get(server_name(host))
        told = self._told[helper, host]
        return None if told is None else Found(credential=told, source=helper.source)


def host_name(netloc: str) -> str:
    """The name under which a server has credentials: lower case, Docker Hub's names all one."""
    name = netloc.lower()
    return HUB if name in _HUB_NAMES else name


def server_name(host: str) -> str:
    """What Docker calls ``host`` in its files and to its helpers."""
    return "https://index.docker.io/v1/" if host == HUB else host
