"""Frame: what every page has around what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.registry.grants import EVERYTHING
from distore.registry.message import Response
from distore.registry.pages import links, words
from distore.registry.pages.markup import Child, Html, el, join

if TYPE_CHECKING:
    from distore.registry.grants import Grants
    from distore.registry.pages.assets import Assets

# Nothing from elsewhere, nothing inline: what a label smuggles in does not run.
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a page says; ``here``: its entry of the menu; ``search``: what was searched."""

    title: str
    content: Html
    here: str = ""
    search: str = ""
    status: int = 200


class Frame:
    """Makes whole documents of views."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    def response(self, view: View, grants: Grants) -> Response:
        """The page as an answer."""
        body = join(_head(view, self._assets), _body(view, grants))
        document = "<!doctype html>\n" + el("html", body, lang="en") + "\n"
        return Response(status=view.status, headers=HEADERS, body=document.encode())


def _head(view: View, assets: Assets) -> Html:
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("title", f"{view.title} \N{MIDDLE DOT} dist registry"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("link", rel="icon", href=assets.path("icon.svg"), type="image/svg+xml"),
        el("link", rel="stylesheet", href=assets.path("style.css")),
        el("script", src=assets.path("page.js"), defer=True),
    )


def _body(view: View, grants: Grants) -> Html:
    return el(
        "body",
        el("a", "Skip to the content", class_="skip", href="#main"),
        el(
            "header",
            el("div", _brand(), _menu(view.here, grants), _search(view.search), class_="bar"),
            class_="top",
        ),
        el("main", view.content, id="main", tabindex="-1"),
        el("footer", el("p", "Served by ", el("code", "dist serve"), _served_to(grants.user), ".")),
        el("div", id="said", role="status", class_="unseen"),
    )


def _served_to(user: str | None) -> Html | None:
    return join(" to ", el("strong", words.cut(user, 80))) if user else None


def _brand() -> Html:
    return el("a", el("span", class_="mark", aria_hidden="true"), "dist registry", class_="brand", href="/")


def is_stranger(grants: Grants) -> bool:
    """Whether the visitor has shown no name where names count: what all repositories together take, or
    what comes at this moment, is none of their business."""
    return grants.user is None and grants is not EVERYTHING


def _menu(here: str, grants: Grants) -> Html:
    entries = [("Repositories", links.HOME), ("Running", links.RUNNING)]
    if is_stranger(grants):  # a name may let them see more
        entries.append(("Log in", links.LOGIN))
    return el(
        "nav",
        el(
            "ul",
            [
                el("li", el("a", name, href=path, aria_current="page" if path == here else None))
                for name, path in entries
            ],
        ),
        aria_label="Main",
    )


def _search(value: str) -> Html:
    return el(
        "form",
        el("label", "Search repositories", for_="search", class_="unseen"),
        el(
            "input",
            id="search",
            type="search",
            name="q",
            value=value,
            placeholder="Search repositories",
            autocomplete="off",
            spellcheck="false",
            maxlength=200,
        ),
        el("button", "Search", type="submit"),
        role="search",
        action=links.HOME,
        method="get",
        data_live=True,
    )


def table(
    caption: Child, columns: list[tuple[str, str]], rows: list[list[Child]], *, class_: str = ""
) -> Html:
    """A table whose first cell of each row is its heading.

    Args:
        columns: Heading and class of each.
    """
    # A narrow screen shows cells below each other (style.css); the roles keep it a table all the same.
    heads = [el("th", name, scope="col", class_=kind or None, role="columnheader") for name, kind in columns]
    return el(
        "table",
        el("caption", caption),
        el("thead", el("tr", heads, role="row"), role="rowgroup"),
        el("tbody", [_row(columns, row) for row in rows], role="rowgroup"),
        role="table",
        class_=class_ or None,
    )


def _row(columns: list[tuple[str, str]], cells: list[Child]) -> Html:
    made = []
    for number, ((name, kind), cell) in enumerate(zip(columns, cells, strict=True)):
        content = el("span", cell, class_="cell")
        if number == 0:
            made.append(el("th", content, scope="row", role="rowheader", class_=kind or None))
        else:
            made.append(el("td", content, role="cell", class_=kind or None, data_label=name))
    return el("tr", made, role="row")


def facts(pairs: list[tuple[str, Child]]) -> Html:
    """Names and values; what has none is left out."""
    return el(
        "dl",
        [el("div", el("dt", name), el("dd", value)) for name, value in pairs if value is not None],
        class_="facts",
    )


def digest(value: str, *, href: str | None = None, whole: bool = False) -> Html:
    """A digest that can be copied, and leads somewhere."""
    code = el("code", value if whole else words.short(value), title=None if whole else value)
    shown = el("a", code, href=href) if href else code
    return el("span", shown, class_="digest", data_copy=value, data_name="digest")


def badge(name: str, kind: str = "") -> Html:
    """A word that marks something."""
    return el("span", name, class_=f"badge {kind}".strip())


def bar(share: float) -> Html:
    """How much of a whole; the number stands beside it, so who cannot see it misses nothing."""
    width = f"{max(0.0, min(1.0, share)) * 100:.2f}%"
    return el(
        "svg", el("rect", width=width, height="100%"), class_="share", aria_hidden="true", focusable="false"
    )


def crumbs(trail: list[tuple[str, str]]) -> Html:
    """The way from the start to here."""
    return el(
        "nav",
        el("ol", [el("li", el("a", name, href=href)) for name, href in trail]),
        aria_label="Path",
        class_="crumbs",
    )


def not_found(what: str) -> View:
    """The page for what is not there."""
    content = join(
        el("h1", "Not here"),
        el("p", what),
        el("p", el("a", "All repositories", href=links.HOME)),
    )
    return View(title="Not here", content=content, status=404)
