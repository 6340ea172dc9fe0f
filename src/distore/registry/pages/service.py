"""Pages: the page for people, in front of a registry."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.store import IngestManager, Provider
from distore.errors import DistoreError
from distore.registry.message import Response
from distore.registry.pages import links, words
from distore.registry.pages.assets import Assets
from distore.registry.pages.frame import Frame, View, facts, is_stranger, not_found
from distore.registry.pages.imagepage import image_page
from distore.registry.pages.links import place_of
from distore.registry.pages.markup import Html, el, join
from distore.registry.pages.rawpage import raw_page
from distore.registry.pages.repositorylist import repository_list
from distore.registry.pages.repositorypage import repository_page
from distore.registry.pages.runningpage import running_json, running_page
from distore.registry.pages.shown import Shown, Sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.documents import Documents
    from distore.registry.message import Request, Service
    from distore.registry.shelfimages import ShelfImages
    from distore.repositories import Repositories

_READS: Final = ("GET", "HEAD")
_MAX_QUERY: Final = 300  # characters of one parameter; a repository has 255 at most
_PATIENCE: Final = 5.0  # seconds that a visitor waits for a turn
_TOTALS: Final = 10.0  # seconds that the sum of all blobs holds
_BUSY: Final = View(
    title="Busy",
    content=join(el("h1", "Too many visitors"), el("p", "Come again in a moment.")),
    status=503,
)


class PageContent(Provider, IngestManager, Protocol):
    """What the page shows of a store."""


class Pages:
    """Answers for ``/`` and ``/ui/``; everything else is for ``inner``.

    Args:
        shelf: The images of the store; None when they are not served.
        now: Seconds since the epoch.
        free: Bytes that are free where the store is.
        at_once: Pages that are made at the same time.
        waiting: Visitors that wait for their turn; each keeps a thread that pulls could have.
    """

    def __init__(
        self,
        inner: Service,
        *,
        repositories: Repositories,
        content: PageContent,
        documents: Documents,
        shelf: ShelfImages | None,
        now: Callable[[], float],
        free: Callable[[], int | None] = lambda: None,
        at_once: int = 4,
        waiting: int = 12,
    ) -> None:
        self._inner = inner
        self._sources = Sources(repositories, shelf, content, documents)
        self._content = content
        self._now = now
        self._free = free
        self._assets = Assets()
        self._frame = Frame(self._assets)
        self._turns = threading.BoundedSemaphore(at_once)
        self._room = threading.BoundedSemaphore(at_once + waiting)
        self._total = (0.0, 0)  # when it was added up, and bytes

    def quick(self, request: Request, /) -> Response | None:
        if not _is_page(request.path):
            return self._inner.quick(request)
        return self._assets.answer(request) if request.method in _READS else None

    def handle(self, request: Request, /) -> Response:
        if not _is_page(request.path):
            return self._inner.handle(request)
        if request.method not in _READS:
            return Response(status=405, headers={"allow": "GET, HEAD"})
        asset = self._assets.answer(request)
        if asset is not None:
            return asset
        if not self._room.acquire(blocking=False):
            return self._frame.response(_BUSY, request.grants)
        try:
            return self._in_turn(request)
        finally:
            self._room.release()

    def _in_turn(self, request: Request) -> Response:
        # Pages take processor time, of which pulls shall have most.
        if not self._turns.acquire(timeout=_PATIENCE):
            return self._frame.response(_BUSY, request.grants)
        try:
            return self._answer(_readable(request))
        except DistoreError as error:
            return self._error(request, error)
        finally:
            self._turns.release()

    def _answer(self, request: Request) -> Response:
        now = self._now()
        if request.path == links.RUNNING_JSON:
            return running_json(self._content, now=now, grants=request.grants)
        if request.path == links.RUNNING:
            view = running_page(self._content, now=now, grants=request.grants)
        else:
            view = self._view(request, Shown(self._sources, request.grants), now) or not_found(
                "There is no such page, or it is not for you to see."
            )
        return self._frame.response(view, request.grants)

    def _view(self, request: Request, shown: Shown, now: float) -> View | None:
        path = request.path
        if path == links.HOME:
            wanted, after = request.query.get("q", "").strip().lower(), request.query.get("after", "")
            totals = None if is_stranger(request.grants) else self._totals(now)
            return repository_list(shown, request, wanted=wanted, after=after, totals=totals, now=now)
        if path.startswith(links.RAW):
            return raw_page(shown, self._content, place_of(path.removeprefix(links.RAW)))
        if not path.startswith(links.REPOSITORY):
            return None
        place = place_of(path.removeprefix(links.REPOSITORY))
        if not place.name:
            found = shown.exists(place.repository)
            return repository_page(shown, request, name=place.repository, now=now) if found else None
        manifest = shown.find(place)
        return None if manifest is None else image_page(shown, request, manifest, now=now)

    def _totals(self, now: float) -> Html:
        when, size = self._total
        if not 0 <= now - when < _TOTALS:
            size = self._sources.repositories.size()
            self._total = (now, size)
        free = self._free()
        return facts(
            [
                ("Stored", words.size(size)),
                ("Free on the disk", words.size(free) if free is not None else None),
            ]
        )

    def _error(self, request: Request, error: DistoreError) -> Response:
        content = join(
            el("h1", "That did not work"),
            el("p", words.cut(str(error), 500)),
            el("p", el("a", "All repositories", href=links.HOME)),
        )
        view = View(title="That did not work", content=content, status=500)
        return replace(self._frame.response(view, request.grants), status=500)


def _readable(request: Request) -> Request:
    """With a query that has neither half characters, which no database takes, nor more than anybody types."""
    query = {
        name: value[:_MAX_QUERY].encode("utf-8", "replace").decode() for name, value in request.query.items()
    }
    return replace(request, query=query)


def _is_page(path: str) -> bool:
    return path == links.HOME or path.startswith("/ui/") or path == "/ui"
