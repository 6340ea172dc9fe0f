"""The page that shows a manifest or a config as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from distore.content.blobs import read_blob
from distore.errors import DistoreError, InvalidArgument
from distore.oci.digest import Digest
from distore.registry.pages import links, words
from distore.registry.pages.frame import View, crumbs, digest
from distore.registry.pages.links import Place
from distore.registry.pages.markup import el, join

if TYPE_CHECKING:
    from distore.content.store import Provider
    from distore.registry.pages.shown import Shown

MAX_SHOWN: Final = 512 * 1024  # bytes of a document that a page shows
_MAX_SHAPED: Final = 4 * MAX_SHOWN  # characters; brackets in brackets could make hundreds of times as many


def raw_page(shown: Shown, content: Provider, place: Place) -> View | None:
    """Any JSON that the repository offers and is not too large; None: it is not that."""
    if not place.is_digest or not shown.exists(place.repository):
        return None
    try:
        name = Digest(place.name)
    except InvalidArgument:
        return None
    if not shown.offers(place.repository, name):
        return None
    try:
        data = read_blob(content, name, max_size=MAX_SHOWN)
    except DistoreError:
        return None
    try:
        shape = _shaped(data.decode())
    except (ValueError, RecursionError):
        return None
    trail = [("Repositories", links.HOME), (place.repository, links.repository(place.repository))]
    return View(
        title=f"{place.repository} {words.short(name)} JSON",
        here=links.HOME,
        content=join(
            crumbs(trail),
            el("h1", el("span", place.repository, "@", class_="folder"), words.short(name)),
            el("p", digest(name, whole=True)),
            el("pre", el("code", shape), class_="raw", tabindex=0, role="region", aria_label="JSON document"),
        ),
    )


def _shaped(text: str) -> str:
    """With indents; as it is, if they would take too much.

    Raises:
        ValueError, RecursionError: It is no JSON.
    """
    pieces: list[str] = []
    length = 0
    for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(json.loads(text)):
        pieces.append(piece)
        length += len(piece)
        if length > _MAX_SHAPED:
            return text
    return "".join(pieces)
