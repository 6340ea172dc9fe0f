"""The first page: all repositories, and what they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.registry.grants import EVERYTHING
from distore.registry.pages import links, words
from distore.registry.pages.frame import View, badge, table
from distore.registry.pages.markup import Child, Html, el, join
from distore.registry.pages.pulling import host_of
from distore.registry.pages.shown import PAGE

if TYPE_CHECKING:
    from distore.oci.digest import Digest
    from distore.registry.message import Request
    from distore.registry.pages.shown import Shown
    from distore.repositories import RepositoryUsage


def repository_list(
    shown: Shown, request: Request, *, wanted: str, after: str, totals: Html | None, now: float
) -> View:
    """Those with ``wanted`` in their name, behind ``after``."""
    names, more = shown.names(after=after, wanted=wanted)
    if names:
        columns = [("Repository", "name"), ("Tags", "number"), ("Size", "number"), ("Last push", "time")]
        rows = [_row(shown, name, now) for name in names]
        results = table(_caption(len(names), wanted, whole=not after and more is None), columns, rows)
    else:
        results = _nothing(request, wanted, after, more is not None)
    return View(
        title=f"Search: {words.cut(wanted, 80)}" if wanted else "Repositories",
        here=links.HOME,
        search=wanted,
        content=join(
            el("h1", "Repositories"),
            totals,
            el("section", results, _pager(wanted, after, more), id="results", aria_label="Repositories"),
        ),
    )


def _caption(count: int, wanted: str, *, whole: bool) -> Html:
    return join(
        words.count(count, "repository", "repositories"),
        None if whole else " on this page",
        [" with ", el("q", words.cut(wanted, 80))] if wanted else None,
    )


def marks_of(shown: Shown, name: str, usage: RepositoryUsage | None) -> Html | None:
    """Where what is in a repository came from, if nobody pushed it."""
    marks: list[Child] = []
    if usage is not None and usage.cached:
        marks.append(badge("cached", "cached"))
    if shown.is_shelved(name):
        marks.append(badge("from the store", "shelved"))
    return el("span", marks, class_="badges") if marks else None


def _row(shown: Shown, name: str, now: float) -> list[Child]:
    usage = shown.usage(name)
    folder, slash, last = name.rpartition("/")
    title = el(
        "a",
        el("span", folder + slash, class_="folder") if folder else None,
        last,
        href=links.repository(name),
    )
    pushed = shown.last_push(name, usage)
    return [
        join(title, marks_of(shown, name, usage)),
        f"{shown.tag_count(name, usage):,}",
        words.size(usage.size if usage is not None else _shelf_size(shown, name)),
        words.moment(pushed, now),
    ]


def _shelf_size(shown: Shown, name: str) -> int | None:
    """Bytes of the images of the store, each blob once; None when there are too many to look."""
    tags = shown.tags(name, after="", wanted="", by_name=True)
    if tags.next is not None or len(tags.tags) > PAGE:
        return None
    held: dict[Digest, int] = {}
    for tag in tags.tags:
        held.update(shown.held(name, tag.descriptor))
    return sum(held.values())


def _nothing(request: Request, wanted: str, after: str, more: bool) -> Html:
    if more:
        return el("p", "None among those that were looked through so far.", class_="empty")
    if wanted:
        return el("p", "No repository has ", el("q", words.cut(wanted, 80)), " in its name.", class_="empty")
    if after:
        return el("p", "No more repositories.", class_="empty")
    if request.grants is not EVERYTHING:
        return el("p", "Nothing is here yet, or nothing that you may see.", class_="empty")
    line = f"docker push {host_of(request)}/app:1"
    return el(
        "div",
        el("p", "Nothing is here yet. Push something:"),
        el("p", el("code", line, data_copy=line, data_name="command")),
        class_="empty",
    )


def _pager(wanted: str, after: str, more: str | None) -> Html | None:
    if not after and more is None:
        return None
    first = el("a", "First page", href=links.query(links.HOME, {"q": wanted})) if after else None
    following = (
        el("a", "Next page", href=links.query(links.HOME, {"q": wanted, "after": more}), rel="next")
        if more
        else None
    )
    return el("nav", first, following, class_="pager", aria_label="Pages")
