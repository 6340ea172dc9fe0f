"""The page of one repository: its tags."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.registry.pages import links, words
from distore.registry.pages.frame import View, badge, crumbs, digest, facts, table
from distore.registry.pages.kinds import is_legacy, kind_of
from distore.registry.pages.links import Place
from distore.registry.pages.markup import Child, Html, el, join
from distore.registry.pages.pulling import pull_lines
from distore.registry.pages.repositorylist import marks_of
from distore.registry.pages.shown import PAGE

if TYPE_CHECKING:
    from distore.registry.message import Request
    from distore.registry.pages.shown import Shown, Tagged, Tags

_PLATFORMS: Final = 6  # that a row shows
_REFERRERS: Final = 20  # that a row counts


class _Asked(NamedTuple):
    """Which tags: with ``wanted``, behind ``after`` by name, or ``page`` of the newest."""

    name: str
    wanted: str
    after: str
    by_name: bool
    page: int


def repository_page(shown: Shown, request: Request, *, name: str, now: float) -> View:
    """Of a repository that is there; ``q``, ``after``, ``page`` and ``sort`` of the query say which tags."""
    query = request.query
    asked = _Asked(
        name,
        query.get("q", "")[:200],
        query.get("after", "")[:200],
        query.get("sort") == "name",
        _page(request),
    )
    tags = shown.tags(name, after=asked.after, wanted=asked.wanted, by_name=asked.by_name)
    here, aside = tags.tags, 0
    if tags.newest:
        if not asked.wanted:  # beside every image its signature: who looks for the newest wants neither
            here = [tag for tag in here if not is_legacy(tag.name)]
            aside = len(tags.tags) - len(here)
        tags = tags._replace(tags=here)
        here = here[asked.page * PAGE : (asked.page + 1) * PAGE]
    usage = shown.usage(name)
    total = shown.tag_count(name, usage)
    known: list[tuple[str, Child]] = [("Tags", f"{total:,}")]
    if usage is not None:
        known += [
            ("Size", words.size(usage.size)),
            ("Manifests", f"{usage.manifests:,}"),
            ("Blobs", f"{usage.blobs:,}"),
        ]
    results = el(
        "section",
        el("h2", "Tags", id="tags"),
        _filter(asked) if total > 1 else None,
        el("div", _results(shown, name, here, now=now, aside=aside), _pager(asked, tags), id="results"),
        aria_labelledby="tags",
    )
    marks = marks_of(shown, name, usage)
    content = join(
        crumbs([("Repositories", links.HOME)]),
        el("h1", words.cut(name), marks),
        facts(known),
        results,
        pull_lines(request, Place(name, here[0].name)) if here else None,
    )
    return View(title=name, content=content, here=links.HOME)


def _page(request: Request) -> int:
    text = request.query.get("page", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0


def _filter(asked: _Asked) -> Html:
    path = links.repository(asked.name)
    other = links.query(path, {"sort": None if asked.by_name else "name", "q": asked.wanted})
    return el(
        "form",
        el("label", "Tags with", for_="filter"),
        el(
            "input",
            id="filter",
            type="search",
            name="q",
            value=asked.wanted,
            autocomplete="off",
            spellcheck="false",
            maxlength=200,
        ),
        el("input", type="hidden", name="sort", value="name") if asked.by_name else None,
        el("button", "Filter", type="submit"),
        el("a", "Newest first" if asked.by_name else "By name", href=other, class_="other"),
        action=path,
        method="get",
        class_="filter",
        data_live=True,
    )


def _results(shown: Shown, name: str, tags: list[Tagged], *, now: float, aside: int) -> Html:
    if not tags:
        return el("p", "No tags here.", class_="empty")
    columns = [
        ("Tag", "name"),
        ("Platforms", "wide"),
        ("Size", "number"),
        ("Pushed", "time"),
        ("Digest", "code"),
    ]
    rows = [_row(shown, name, tag, now) for tag in tags]
    caption: Child = words.count(len(tags), "tag")
    if aside:
        link = links.query(links.repository(name), {"sort": "name"})
        caption = join(
            caption, "; ", el("a", f"{aside:,} of signatures and the like", href=link), " left out"
        )
    return table(caption, columns, rows, class_="list")


def _row(shown: Shown, name: str, tag: Tagged, now: float) -> list[Child]:
    place = Place(name, tag.name)
    referring = Counter(
        kind_of(each.artifact_type) for each in shown.referrers(name, tag.descriptor.digest, most=_REFERRERS)
    )
    about = [
        badge(kind if number == 1 else f"{number} {kind}s", "about")
        for kind, number in sorted(referring.items())
    ]
    platforms = list(dict.fromkeys(str(each) for each in shown.platforms(name, tag.descriptor)))
    more = len(platforms) - _PLATFORMS
    held = shown.held(name, tag.descriptor)
    return [
        join(
            el("a", tag.name, href=links.image(place)), el("span", about, class_="badges") if about else None
        ),
        el(
            "span",
            [badge(words.cut(each, 60), "platform") for each in platforms[:_PLATFORMS]],
            f" and {more} more" if more > 0 else None,
            None if platforms else el("span", "\N{EN DASH}", class_="none"),
            class_="badges",
        ),
        words.size(sum(held.values()) if held else None),
        words.moment(tag.updated, now),
        digest(tag.descriptor.digest, href=links.image(Place(name, tag.descriptor.digest, is_digest=True))),
    ]


def _pager(asked: _Asked, tags: Tags) -> Html | None:
    path, back, on = links.repository(asked.name), None, None
    if tags.newest:
        base: dict[str, str | None] = {"q": asked.wanted}
        if asked.page:
            back = ("Newer tags", {**base, "page": str(asked.page - 1)})
        if len(tags.tags) > (asked.page + 1) * PAGE:
            on = ("Older tags", {**base, "page": str(asked.page + 1)})
    else:
        base = {"q": asked.wanted, "sort": "name" if asked.by_name else None}
        if asked.after:
            back = ("First page", base)
        if tags.next is not None:
            on = ("Next page", {**base, "after": tags.next})
    if back is None and on is None:
        return None
    return el(
        "nav",
        el("a", back[0], href=links.query(path, back[1]), rel="prev") if back else None,
        el("a", on[0], href=links.query(path, on[1]), rel="next") if on else None,
        class_="pager",
        aria_label="Pages",
    )
