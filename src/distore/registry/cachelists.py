"""CachedLists: which tags an upstream has, and what refers to its manifests, together with ours."""

from __future__ import annotations

import json
from bisect import bisect_right
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument, NotFound, ResourceExhausted
from distore.oci import mediatypes
from distore.registry import errors
from distore.registry.cacheblobs import LONGEST
from distore.registry.cachememo import Memo
from distore.registry.message import Response
from distore.registry.paging import page_of
from distore.remotes.resolver import is_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.registry.cacheflights import Flights
    from distore.registry.message import Request
    from distore.registry.upstreams import Copy, Upstreams
    from distore.repositories import Repositories

_MAX_TAGS: Final = 200_000  # of one repository
_MAX_REFERRERS: Final = 10_000  # of one manifest
_MAX_PAGE: Final = 10_000  # tags in one answer
_MAX_REFERRERS_PAGE: Final = 1000
_LISTS: Final = 16  # remembered
_MAX_REMEMBERED: Final = 4 * 1024 * 1024  # bytes of one list, or it is asked for every time
_ARTIFACT_TYPE: Final = "artifactType"


class CachedLists:
    """Safe to use from any thread. What an upstream told is remembered for as long as its tags are fresh.

    Args:
        asks: The threads that ask.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        repositories: Repositories,
        upstreams: Upstreams,
        *,
        asks: Flights,
        now: Callable[[], float],
    ) -> None:
        self._repositories = repositories
        self._upstreams = upstreams
        self._asks = asks
        self._now = now
        self._tags: Memo[Sequence[str]] = Memo(_LISTS, now=now)
        self._referrers: Memo[Sequence[Descriptor]] = Memo(_LISTS, now=now)

    def tags(self, copy: Copy, request: Request) -> Response:
        """Those of the upstream, and those that only this registry has.

        Raises:
            NotFound, Unauthenticated, PermissionDenied, Unavailable: The upstream does not say.
        """
        told = self._tags.get(copy.repository)
        if told is None:
            work = partial(self._ask_tags, copy)
            told = self._asks.wait(copy.lane, ("tags", copy.repository), work, seconds=LONGEST)
        names = told

        def listed(after: str, limit: int) -> list[str]:
            begin = bisect_right(names, after)
            ours = self._repositories.tags(copy.repository, after=after, limit=limit)
            return sorted({*names[begin : begin + limit], *(tag.name for tag in ours)})[:limit]

        try:
            page = page_of(request, listed, name=str, path=f"/v2/{copy.repository}/tags/list", most=_MAX_PAGE)
        except InvalidArgument as error:
            return errors.refusal(400, errors.UNSUPPORTED, str(error))
        document = {"name": copy.repository, "tags": page.items}
        return _json(document, "application/json", page.headers)

    def referrers(self, copy: Copy, request: Request, subject: Digest) -> Response:
        """As ``tags``, of what refers to ``subject``."""
        told = self._referrers.get((copy.repository, subject))
        if told is None:
            work = partial(self._ask_referrers, copy, subject)
            told = self._asks.wait(copy.lane, ("referrers", copy.repository, subject), work, seconds=LONGEST)
        theirs, wanted = told, request.query.get(_ARTIFACT_TYPE)

        def listed(after: str, limit: int) -> list[Descriptor]:
            ours = self._repositories.referrers(copy.repository, subject, after=after)
            found = {each.digest: each for each in (*ours, *theirs) if each.digest > after}
            fitting = (found[name] for name in sorted(found) if wanted in (None, found[name].artifact_type))
            return list(islice(fitting, limit))

        path = f"/v2/{copy.repository}/referrers/{subject}"
        try:
            page = page_of(
                request, listed, name=_digest, path=path, most=_MAX_REFERRERS_PAGE, keep=_ARTIFACT_TYPE
            )
        except InvalidArgument as error:
            return errors.refusal(400, errors.UNSUPPORTED, str(error))
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [each.to_json() for each in page.items],
        }
        filtered = {} if wanted is None else {"oci-filters-applied": _ARTIFACT_TYPE}
        return _json(document, mediatypes.OCI_INDEX, {**page.headers, **filtered})

    def _ask_tags(self, copy: Copy) -> Sequence[str]:
        repository = self._upstreams.resolver(copy.upstream).repository(copy.reference)
        found: set[str] = set()
        for name in repository.tags():
            if is_tag(name):
                found.add(name)
            if len(found) > _MAX_TAGS:
                raise ResourceExhausted(f"{copy.reference.name}: more than {_MAX_TAGS} tags")
        told = sorted(found)
        if sum(map(len, told)) <= _MAX_REMEMBERED:
            self._tags.put(copy.repository, told, until=self._now() + copy.upstream.tags_fresh)
        return told

    def _ask_referrers(self, copy: Copy, subject: Digest) -> Sequence[Descriptor]:
        repository = self._upstreams.resolver(copy.upstream).repository(copy.reference)
        try:
            told = list(islice(repository.referrers(subject), _MAX_REFERRERS))
        except NotFound:
            told = []  # an upstream that knows nothing of referrers
        until = self._now() + copy.upstream.tags_fresh
        if sum(len(json.dumps(each.to_json())) for each in told) <= _MAX_REMEMBERED:
            self._referrers.put((copy.repository, subject), told, until=until)
        return told


def _digest(descriptor: Descriptor) -> str:
    return str(descriptor.digest)


def _json(document: object, media_type: str, headers: object) -> Response:
    assert isinstance(headers, dict)
    return Response(
        status=200, headers={"content-type": media_type, **headers}, body=json.dumps(document).encode()
    )
