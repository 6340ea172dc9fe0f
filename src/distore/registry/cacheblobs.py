"""CachedBlobs: each blob comes from its upstream once, however many want it, and is read meanwhile."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from distore.content.blobs import FollowedIngester
from distore.content.store import IngestManager, Manager, Provider, Writer
from distore.errors import DistoreError, Locked, NotFound, Unavailable
from distore.registry.cachecoming import PREFIX, Coming, Told
from distore.registry.cachememo import Memo
from distore.remotes.fetch import Watch, fetch
from distore.remotes.resolver import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distore.content.store import Reader, Status
    from distore.oci.digest import Digest
    from distore.registry.cachecounts import CacheCounts
    from distore.registry.cacheflights import Flights
    from distore.registry.growing import Growth
    from distore.registry.upstreams import Copy, Upstreams
    from distore.repositories import Repositories

LONGEST: Final = 60.0  # seconds that a client waits for the first word of an upstream
_TRIES: Final = 5  # times that something comes which is removed at once
_SIZES: Final = 50_000  # blobs that a manifest told the size of
_TOLD: Final = 3600.0  # seconds that this is remembered


class CacheStore(Provider, Manager, IngestManager, FollowedIngester[Writer], Protocol):
    """What a cache needs of a content store."""


@runtime_checkable
class Peeking(Protocol):
    """A store that shows what another process is writing."""

    def peek(self, ref: str, /) -> int | None:
        """The bytes of an ingest so far, as an open file that the caller closes; None without one."""
        ...


class CachedBlobs:
    """Safe to use from any thread.

    Args:
        downloads: The threads that bring blobs.
        asks: Those that ask small questions.
        note: Told, in one line, what an operator may want to know.
        check: Raises DiskFull when there is no room for so many bytes.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        content: CacheStore,
        repositories: Repositories,
        upstreams: Upstreams,
        *,
        downloads: Flights,
        asks: Flights,
        counts: CacheCounts,
        note: Callable[[str], None],
        check: Callable[[int], object],
        now: Callable[[], float],
    ) -> None:
        self._content = content
        self._repositories = repositories
        self._upstreams = upstreams
        self._downloads = downloads
        self._asks = asks
        self._counts = counts
        self._note = note
        self._check = check
        self._now = now
        self._guard = threading.Lock()
        self._coming: dict[tuple[str, Digest], Coming] = {}  # by the host that is asked, too
        self._sizes: Memo[int] = Memo(_SIZES, now=now)
        self._is_over = False

    def expect(self, repository: str, children: Iterable[tuple[Digest, int]]) -> None:
        """Remember what a manifest of the repository told of its blobs."""
        until = self._now() + _TOLD
        for digest, size in children:
            self._sizes.put((repository, digest), size, until=until)

    def size(self, copy: Copy, digest: Digest) -> int | None:
        """What the upstream says; nothing is fetched.

        Raises:
            NotFound, Unauthenticated, PermissionDenied, Unavailable: It has none to give.
        """
        work = partial(self._ask_size, copy, digest)
        return self._asks.wait(copy.lane, ("size", copy.repository, digest), work, seconds=LONGEST)

    def _ask_size(self, copy: Copy, digest: Digest) -> int | None:
        resolver = self._upstreams.resolver(copy.upstream)
        fetcher = resolver.fetcher(copy.reference)
        retrier = resolver.retrier(first_contact=True)
        # One byte by GET: of a blob that lies elsewhere, a registry's redirect may be signed for GET alone.
        with retrier.run(lambda: fetcher.open(Target(digest=digest), end=1)) as stream:
            size = self._named(copy, digest) if stream.size is None else stream.size
            if size is not None:
                self.expect(copy.repository, ((digest, size),))
            return size

    def _named(self, copy: Copy, digest: Digest) -> int | None:
        """What a manifest says, by which alone a gzip file can be told from an answer that is encoded."""
        manifests = self._repositories.manifests(copy.repository)
        return next((size for each in manifests for name, size in each.children if name == digest), None)

    def bring(self, copy: Copy, digest: Digest) -> Growth | None:
        """The blob on its way, held for the caller; None: it is here.

        Raises:
            NotFound, Unauthenticated, PermissionDenied, Unavailable: The upstream has none to give.
        """
        host = copy.reference.domain
        is_here = self._has(digest)  # first: what has come since is still on its way, or offered
        with self._guard:
            coming = self._coming.get((host, digest))
            if coming is not None and copy.repository in coming.wanted and coming.growth.hold():
                return coming.growth
        if coming is None and is_here and self._repositories.has(copy.repository, digest):
            return None
        size = self._sizes.get((copy.repository, digest))
        # Whoever knows a digest must not get by it what only another repository has: the upstream
        # is asked whether this one has it, too, before bytes that are here already are given out.
        proven = coming is not None or is_here
        if proven or size is None:
            size, proven = self.size(copy, digest), True
        if coming is None:
            self._check(size or 0)
        with self._guard:
            coming = self._coming.get((host, digest))
            if coming is not None and proven and coming.growth.hold():
                coming.wanted.add(copy.repository)
                return coming.growth
            if self._repositories.has(copy.repository, digest) and self._has(digest):
                return None
            coming = Coming(self, copy, digest, size=size, proven=proven)
            self._coming[host, digest] = coming
            coming.growth.hold()
        try:
            self._downloads.start(copy.lane, (digest, coming), partial(self._land, coming))
        except DistoreError as error:
            self._end(coming, error)
        return coming.growth

    def coming(self) -> int:
        """How many blobs are on their way."""
        return len(self._coming)

    def drop_leftovers(self, older_than: float) -> int:
        """Give up what came of blobs that nobody has asked for again for so many seconds; bytes."""
        dropped = 0
        for status in list(self._content.statuses(f'ref~="^{PREFIX}"')):
            if status.owner is None and self._now() - status.updated.timestamp() >= older_than:
                with suppress(Locked, NotFound):  # somebody took it up or ended it since
                    self._content.abort(status.ref)
                    dropped += status.offset
        return dropped

    def abort(self) -> None:
        """Follow no other process any more."""
        self._is_over = True

    def check_open(self) -> None:
        """Raises:
        Unavailable: ``abort`` was called.
        """
        if self._is_over:
            raise Unavailable("the registry is about to end")

    def close(self) -> None:
        """Whoever waits for what will not come any more hears so."""
        with self._guard:
            left = list(self._coming.values())
        for coming in left:
            self._end(coming, Unavailable(f"{coming.name}: the registry is about to end"))

    def _land(self, coming: Coming) -> None:
        failure: DistoreError = Unavailable(f"{coming.name}: it was broken off")
        try:
            reader = self._fetch(coming)
        except DistoreError as error:
            failure = error
            self._note(f"{coming.name}: {error}")
        else:
            coming.growth.finish(reader)
        finally:
            self._end(coming, failure)

    def _fetch(self, coming: Coming) -> Reader:
        """Have it in the store; what is handed out reads it, even if it is removed at once."""
        resolver = self._upstreams.resolver(coming.copy.upstream)
        digest = coming.growth.digest
        for _ in range(_TRIES):
            fetch(
                coming,
                Told(resolver.fetcher(coming.copy.reference), coming, self._counts),
                Target(digest=digest, size=coming.growth.size),
                ref=coming.ref,
                retrier=resolver.retrier(first_contact=True),
                watch=Watch(note=self._note, follow=coming.look),
            )
            coming.prove()
            with suppress(Unavailable):
                self.offer(coming)
            if coming.reader is not None:
                return coming.reader
        raise Unavailable(f"{coming.name}: it is being removed as soon as it comes")

    def offer(self, coming: Coming, commit: Callable[[], object] = lambda: None) -> None:
        """Let every repository that waits for a blob offer it, once ``commit`` has run.

        Raises:
            Unavailable: It was removed meanwhile.
        """
        digest = coming.growth.digest
        with self._repositories.keeping(digest):
            commit()
            with self._guard:
                wanted = coming.wanted - coming.offered
            if not wanted:
                return
            try:
                reader = self._content.reader(digest)
            except NotFound as error:
                raise Unavailable(f"{coming.name}: it was removed as it came") from error
            if coming.reader is None:
                coming.reader = reader
            else:
                reader.close()
            for repository in sorted(wanted):
                self._repositories.add_blob(repository, digest, reader.size, cached=True)
            coming.offered |= wanted

    def _end(self, coming: Coming, failure: DistoreError) -> None:
        coming.growth.fail(failure)  # nothing, once it is whole
        with self._guard:
            key = (coming.copy.reference.domain, coming.growth.digest)
            if self._coming.get(key) is not coming:
                return  # it has ended already
            del self._coming[key]
        if coming.growth.failure is not None:
            coming.close()
        else:
            with suppress(Unavailable):  # whoever joined since will ask again
                self.offer(coming)
        coming.growth.let_go()

    def _has(self, digest: Digest) -> bool:
        try:
            self._content.info(digest)
        except NotFound:
            return False
        return True

    # What the download of one blob needs.

    def open(self, ref: str, total: int | None, expected: Digest | None) -> Writer:
        """A writer of the store."""
        return self._content.writer(ref, total=total, expected=expected)

    def followed(
        self, ref: str, on_progress: Callable[[Status], None] | None, timeout: float | None
    ) -> Digest | None:
        """As ``Follower.follow``."""
        return self._content.follow(ref, on_progress=on_progress, timeout=timeout)

    def peek(self, ref: str) -> int | None:
        """As ``Peeking.peek``, if the store can."""
        return self._content.peek(ref) if isinstance(self._content, Peeking) else None
