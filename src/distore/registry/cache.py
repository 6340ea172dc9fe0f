"""Cache: a registry that keeps copies of others, in front of the one that has them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from distore._internal.retry import is_hopeless
from distore.errors import (
    DeadlineExceeded,
    DiskFull,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    QuotaExceeded,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from distore.oci.digest import Digest
from distore.oci.mediatypes import OCTET_STREAM
from distore.registry import errors
from distore.registry.blobs import served
from distore.registry.cacheanswers import DOWN, REFUSED, refused, warned
from distore.registry.cacheblobs import LONGEST, CachedBlobs
from distore.registry.cachecounts import ABSENT, FAILED, HIT, MISS, STALE, CacheCounts
from distore.registry.cacheevict import evict
from distore.registry.cacheflights import Flights
from distore.registry.cachelists import CachedLists
from distore.registry.cachemanifests import CachedManifests
from distore.registry.cachememo import Memo
from distore.registry.growing import GrowingReader, UnreadReader
from distore.registry.message import LATER, Response
from distore.registry.names import is_tag
from distore.registry.routes import target_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.cacheblobs import CacheStore
    from distore.registry.cachesettings import CacheSettings
    from distore.registry.message import Request, Service
    from distore.registry.metrics import Metrics
    from distore.registry.routes import Target
    from distore.registry.upstreams import Copy, Upstreams
    from distore.repositories import Repositories, Tag

_READS: Final = ("GET", "HEAD")
_ASKS: Final = 32  # small questions to upstreams at once
_TRIES: Final = 20  # times that something is brought which is removed at once
_ABSENT: Final = 10_000  # names and digests
_SAID: Final = 1000  # lines for the operator
_LEFT: Final = 86400.0  # seconds that what came of a download is kept for another try
_LEFT_IN_NEED: Final = 3600.0  # the same, when the disk is full
_SOON: Final = 2.0  # seconds within which a failure can still be told by a status
# What an upstream's failure may be; damage of our own store is none.
_FAILURES: Final = (
    *REFUSED,
    Unavailable,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unimplemented,
)


class _Later(Exception):
    """An upstream is to be waited for, and not in this thread."""


class CacheParts(NamedTuple):
    """What a cache is made of. ``note`` gets one line for the operator; ``now``: seconds since the
    epoch; ``check`` raises DiskFull when there is no room for so many bytes."""

    content: CacheStore
    repositories: Repositories
    upstreams: Upstreams
    metrics: Metrics
    now: Callable[[], float] = time.time
    note: Callable[[str], None] = lambda _text: None
    check: Callable[[int], object] = lambda _size: None


class Cache:
    """A Service: what is asked for of an upstream's repository is had, kept and answered from ``inner``.

    Everything else is for ``inner`` alone.
    """

    def __init__(self, inner: Service, settings: CacheSettings, parts: CacheParts) -> None:
        self._inner = inner
        self._settings = settings
        self._parts = parts
        self._repositories = parts.repositories
        self._upstreams = parts.upstreams
        self._counts = CacheCounts(parts.metrics)
        self._downloads = Flights(settings.downloads, name="distore-cache-blobs")
        self._asks = Flights(_ASKS, name="distore-cache-asks")
        self._absent: Memo[DistoreError] = Memo(_ABSENT, now=parts.now)
        self._said: Memo[bool] = Memo(_SAID, now=parts.now)
        self._blobs = CachedBlobs(
            parts.content,
            parts.repositories,
            parts.upstreams,
            downloads=self._downloads,
            asks=self._asks,
            counts=self._counts,
            note=parts.note,
            check=parts.check,
            now=parts.now,
        )
        self._manifests = CachedManifests(
            parts.content, parts.repositories, parts.upstreams, self._blobs, asks=self._asks, now=parts.now
        )
        parts.metrics.gauge(
            "distore_cache_downloads", "Blobs on their way from upstreams", self._blobs.coming
        )
        self._lists = CachedLists(parts.repositories, parts.upstreams, asks=self._asks, now=parts.now)

    def close(self) -> None:
        """Break off what is on its way; what came is kept for the next time."""
        self._blobs.abort()
        self._downloads.close(self._upstreams.abort)
        self._blobs.close()
        self._asks.close(self._upstreams.abort)

    def evict(self, *, short: int = 0) -> int:
        """Give up copies that are over the budget, ``short`` bytes of others, and what came of downloads
        that nobody goes on with; bytes that went."""
        went = evict(self._repositories, now=self._parts.now(), budget=self._settings.budget, short=short)
        went += self._blobs.drop_leftovers(_LEFT if not short else _LEFT_IN_NEED)
        self._counts.evicted(went)
        return went

    def settle(self) -> None:
        """Wait for what is on its way."""
        self._downloads.settle()
        self._asks.settle()

    def quick(self, request: Request, /) -> Response | None:
        target = target_of(request.path)
        copy = self._copy(target)
        if copy is None:
            return self._inner.quick(request)
        if request.method not in _READS or target.kind not in ("manifests", "blobs"):
            return None
        is_tagged = target.kind == "manifests" and ":" not in target.last
        if is_tagged and not self._settings.offline and not self._manifests.is_fresh(copy, target.last):
            return None
        answer = self._inner.quick(request)
        if answer is not None and answer.status >= 400:
            answer.close()
            return None
        if answer is not None:
            self._answered(request, HIT)
        return answer

    def handle(self, request: Request, /) -> Response:
        target = target_of(request.path)
        copy = self._copy(target)
        if copy is None:
            return self._inner.handle(request)
        if request.method not in _READS or target.kind == "upload":
            return self._write(request, copy)
        if self._settings.offline:
            return self._inner.handle(request)
        try:
            return self._read(request, target, copy)
        except _Later:
            return Response(status=LATER)
        except DistoreError as error:
            return errors.response_for(error)

    def _copy(self, target: Target) -> Copy | None:
        copy = self._upstreams.copy(target.repository)
        # Another spelling is none of ours: the gate judged by the name that was asked for.
        return copy if copy is not None and copy.repository == target.repository else None

    def _write(self, request: Request, copy: Copy) -> Response:
        if self._settings.push or request.method == "DELETE":
            return self._inner.handle(request)
        return errors.refusal(
            403,
            errors.DENIED,
            f"{copy.repository} is a copy of {copy.reference.name}; push it there, or under another name",
        )

    def _read(self, request: Request, target: Target, copy: Copy) -> Response:
        if target.kind == "manifests" and is_tag(target.last):
            return self._tagged(request, copy, target.last)
        if target.kind == "tags" and target.last == "list":
            return self._list(request, copy, ("tags",), lambda: self._lists.tags(copy, request))
        try:
            digest = Digest(target.last)
        except InvalidArgument:
            return self._inner.handle(request)  # which says what is wrong with it
        if target.kind == "manifests":
            return self._manifest(request, copy, digest)
        if target.kind == "blobs":
            return self._blob(request, copy, digest)
        if target.kind == "referrers":
            work = lambda: self._lists.referrers(copy, request, digest)  # noqa: E731 - one of two alike
            return self._list(request, copy, ("referrers", digest), work)
        return self._inner.handle(request)

    def _tagged(self, request: Request, copy: Copy, name: str) -> Response:
        key = ("tag", copy.repository, name)
        for _ in range(_TRIES):
            known = self._repositories.tag(copy.repository, name)
            if known is not None and self._manifests.check(copy, known):
                answer = self._here(request, HIT)
                if answer is not None:
                    return answer
                return self._manifest(request, copy, known.descriptor.digest)
            failure = self._known_failure(copy, key)
            waits = known is not None and self._settings.stale
            try:
                if failure is None:
                    _check_patience(request)
                    self._manifests.renew(copy, name, seconds=self._settings.patience if waits else LONGEST)
            except _FAILURES as error:
                failure = self._failed(copy, key, error, waits=waits)
            if failure is not None:
                return self._for_tag(request, copy, failure, known)
            answer = self._here(request, MISS if known is None else HIT)
            if answer is not None:
                return answer
        return self._lost(request, copy)

    def _for_tag(self, request: Request, copy: Copy, failure: DistoreError, known: Tag | None) -> Response:
        if known is not None and not self._settings.stale:
            self._answered(request, FAILED)
            return refused(target_of(request.path), copy, failure)
        return self._instead(request, copy, failure, known)

    def _manifest(self, request: Request, copy: Copy, digest: Digest) -> Response:
        def bring() -> None:
            self._manifests.bring(copy, digest)

        return self._had(request, copy, ("manifest", copy.repository, digest), bring)

    def _blob(self, request: Request, copy: Copy, digest: Digest) -> Response:
        def bring() -> Response | None:
            if request.method == "HEAD":
                return self._seen(request, copy, digest)
            return self._grown(request, copy, digest)

        return self._had(request, copy, ("blob", copy.repository, digest), bring)

    def _had(
        self, request: Request, copy: Copy, key: tuple[object, ...], bring: Callable[[], Response | None]
    ) -> Response:
        """What is here, once it was brought if it was not.

        Args:
            bring: Gives the answer, or None: it is here now.
        """
        result = HIT
        for _ in range(_TRIES):
            answer = self._here(request, result)
            if answer is not None:
                return answer
            failure = self._known_failure(copy, key)
            brought = None
            try:
                if failure is None:
                    _check_patience(request)
                    brought = bring()
            except _FAILURES as error:
                failure = self._failed(copy, key, error)
            if failure is not None:
                return self._instead(request, copy, failure)
            result = MISS
            if brought is not None:
                self._answered(request, MISS)
                return brought
        return self._lost(request, copy)

    def _here(self, request: Request, result: str) -> Response | None:
        """The answer without any upstream, unless that is 404."""
        answer = self._inner.handle(request)
        if answer.status != 404:
            self._answered(request, result)
            return answer
        answer.close()
        return None

    def _lost(self, request: Request, copy: Copy) -> Response:
        """It was brought, and was removed before it could be served, again and again."""
        failure = Unavailable(f"{copy.repository}: it is being removed as soon as it comes")
        return self._instead(request, copy, failure)

    def _seen(self, request: Request, copy: Copy, digest: Digest) -> Response | None:
        """HEAD of a blob that is not here: nobody has asked for its bytes yet."""
        size = self._blobs.size(copy, digest)
        if size is None:
            return self._grown(request, copy, digest)
        return served(UnreadReader(digest, size), request, digest, media_type=OCTET_STREAM)

    def _grown(self, request: Request, copy: Copy, digest: Digest) -> Response | None:
        """The blob while it comes; None: it is here."""
        growth = self._blobs.bring(copy, digest)
        if growth is None:
            return None
        try:
            # With a size the rest of the wait is the event loop's: this thread is for others, too.
            if not growth.begun(_SOON) and growth.size is None and not growth.begun(LONGEST):
                raise Unavailable(f"{copy.reference.name}@{digest}: nothing came for {LONGEST:g} s")
            if growth.failure is not None and growth.source != copy.repository:
                growth.let_go()
                return None  # that was about another repository: this one is asked now
            if growth.failure is not None:
                raise growth.failure
        except DistoreError:
            growth.let_go()
            raise
        return served(GrowingReader(growth), request, digest, media_type=OCTET_STREAM)

    def _list(
        self, request: Request, copy: Copy, about: tuple[object, ...], work: Callable[[], Response]
    ) -> Response:
        key = (*about, copy.repository)
        failure = self._known_failure(copy, key)
        if failure is None:
            try:
                _check_patience(request)
                return work()
            except _FAILURES as error:
                failure = self._failed(copy, key, error)
        return self._instead(request, copy, failure)

    def _answered(self, request: Request, result: str) -> None:
        request.notes["cache"] = result
        self._counts.answered(result)

    def _known_failure(self, copy: Copy, key: tuple[object, ...]) -> DistoreError | None:
        return self._absent.get(key) or self._absent.get(copy.reference.domain)

    def _failed(
        self, copy: Copy, key: tuple[object, ...], error: DistoreError, *, waits: bool = False
    ) -> DistoreError:
        """Remember that the upstream was asked in vain.

        Args:
            waits: There is something else to serve, for which every new question makes clients wait.
        """
        if isinstance(error, (DiskFull, QuotaExceeded)):
            raise error  # it is our own failure
        seconds = self._settings.negative
        if not waits and not isinstance(error, REFUSED):
            seconds = min(DOWN, seconds)
        # It is remembered for long, and its traceback would keep all that was at hand.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        self._absent.put(key, error, until=self._parts.now() + seconds)
        if is_hopeless(error):  # nobody answers there, whatever the question
            self._absent.put(copy.reference.domain, error, until=self._parts.now() + seconds)
        text = f"cache: {error}"
        if not isinstance(error, NotFound) and self._said.get(text) is None:
            self._said.put(text, True, until=self._parts.now() + seconds)
            self._parts.note(text)  # once, however many wait for it
        return error

    def _instead(
        self, request: Request, copy: Copy, failure: DistoreError, known: Tag | None = None
    ) -> Response:
        """What is here, whatever the upstream did not say; or why there is nothing."""
        answer = self._inner.handle(request)
        if answer.status < 400:
            self._answered(request, STALE)
            return warned(answer, copy, known)
        answer.close()
        self._answered(request, ABSENT if isinstance(failure, REFUSED) else FAILED)
        return refused(target_of(request.path), copy, failure)


def _check_patience(request: Request) -> None:
    """Raises:
    _Later: The thread is for those who need not wait.
    """
    if not request.patient:
        raise _Later
