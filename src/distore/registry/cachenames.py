"""Naming: gives a request of a mirror's client the name that its repository has here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError
from distore.registry import errors
from distore.registry.cachememo import Memo
from distore.registry.names import is_repository
from distore.registry.routes import target_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.message import Request, Response, Service
    from distore.registry.upstreams import Upstreams
    from distore.repositories import Repositories

NAMESPACE: Final = "ns"  # the registry that a mirror is asked on behalf of (containerd's hosts)
_READS: Final = ("GET", "HEAD")
_ROOT: Final = "/v2/"
_KINDS: Final = ("manifests", "blobs", "tags", "referrers")
_MEMO: Final = 10_000  # names
_LONG: Final = 1.0  # seconds that a repository is not looked for again


class Naming:
    """A Service before everything that goes by the name of a repository: a gate, a cache.

    ``?ns=docker.io`` of containerd, and the ``default`` upstream for clients that say nothing, dockerd's
    registry-mirrors for one. That one is only for what is read: a push begins with HEAD of a blob,
    which must not find what another registry has.

    Args:
        names: What clients call this registry itself.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        inner: Service,
        upstreams: Upstreams,
        repositories: Repositories,
        *,
        names: tuple[str, ...],
        now: Callable[[], float],
    ) -> None:
        self._inner = inner
        self._upstreams = upstreams
        self._repositories = repositories
        self._own = frozenset(names)
        self._now = now
        self._there: Memo[bool] = Memo(_MEMO, now=now)

    def handle(self, request: Request, /) -> Response:
        renamed = self._renamed(request)
        if renamed is None:
            host = request.query.get(NAMESPACE, "")[:80]
            return errors.refusal(404, errors.NAME_UNKNOWN, f"no copies of {host!a} are kept here")
        try:
            return self._inner.handle(self._defaulted(renamed))
        except DistoreError as error:
            return errors.response_for(error)

    def quick(self, request: Request, /) -> Response | None:
        renamed = self._renamed(request)
        if renamed is None:
            return None
        name = self._without_prefix(renamed)
        if name is not None and self._there.get(name) is not True:
            return None
        return self._inner.quick(renamed)

    def _renamed(self, request: Request) -> Request | None:
        """By ``ns``; None when nothing is known of that host."""
        host = request.query.get(NAMESPACE)
        if not request.path.startswith(_ROOT):
            return request
        if host is None:
            return self._in_full(request)
        query = {name: value for name, value in request.query.items() if name != NAMESPACE}
        plain = replace(request, query=query)
        if host in self._own or request.path == _ROOT:
            return self._in_full(plain)
        name = self._upstreams.repository(host, request.path.removeprefix(_ROOT))
        return None if name is None else self._in_full(replace(plain, path=_ROOT + name))

    def _in_full(self, request: Request) -> Request:
        """With ``library/`` in the name of an official image: rules and records know one name of it."""
        repository = target_of(request.path).repository
        copy = self._upstreams.copy(repository)
        if copy is None or copy.repository == repository:
            return request
        rest = request.path.removeprefix(_ROOT + repository)
        return replace(request, path=_ROOT + copy.repository + rest)

    def _defaulted(self, request: Request) -> Request:
        name = self._without_prefix(request)
        if name is None or self._is_here(name):
            return request
        default = self._upstreams.default(request.path.removeprefix(_ROOT))
        return request if default is None else self._in_full(replace(request, path=_ROOT + default))

    def _without_prefix(self, request: Request) -> str | None:
        """The repository, if the default upstream may be asked for it."""
        if self._upstreams.default("") is None or request.method not in _READS:
            return None
        repository, kind, _ = target_of(request.path)
        if kind not in _KINDS or not is_repository(repository):
            return None
        if self._upstreams.copy(repository) is not None:
            return None
        return None if request.method == "HEAD" and kind == "blobs" else repository

    def _is_here(self, repository: str) -> bool:
        if self._there.get(repository):
            return True
        here = self._repositories.exists(repository)
        if here:
            self._there.put(repository, here, until=self._now() + _LONG)
        return here
