"""About it: signatures, SBOMs and attestations of a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.registry.pages import links, words
from distore.registry.pages.configview import moment_of
from distore.registry.pages.frame import badge, digest, table
from distore.registry.pages.kinds import LEGACY, kind_of
from distore.registry.pages.links import Place
from distore.registry.pages.markup import Child, Html, el

if TYPE_CHECKING:
    from distore.oci.descriptor import Descriptor
    from distore.registry.pages.shown import Shown

MAX_REFERRERS: Final = 100  # that a page shows
_CREATED: Final = "org.opencontainers.image.created"


def about_it(shown: Shown, name: str, descriptor: Descriptor, now: float) -> Html | None:
    """What refers to it, and what cosign put under tags made of its digest."""
    found = shown.referrers(name, descriptor.digest, most=MAX_REFERRERS + 1)
    rows = [_row(name, each, now) for each in found[:MAX_REFERRERS]]
    known = {each.digest for each in found}
    for kind, ending in LEGACY:
        tag = shown.tag(name, descriptor.digest.replace(":", "-") + ending)
        if tag is not None and tag.descriptor.digest not in known:
            link = links.image(Place(name, tag.name))
            rows.append(
                [
                    el("a", badge(kind, "about"), href=link),
                    el("span", "tag ", el("code", f"\N{HORIZONTAL ELLIPSIS}{ending}")),
                    words.size(tag.descriptor.size),
                    words.moment(tag.updated, now),
                    digest(tag.descriptor.digest),
                ]
            )
    if not rows:
        return None
    caption = words.count(len(rows), "referrer")
    if len(found) > MAX_REFERRERS:
        caption += " are shown, there are more"
    columns = [
        ("Kind", "name"),
        ("Type", "wide"),
        ("Size", "number"),
        ("Created", "time"),
        ("Digest", "code"),
    ]
    return el(
        "section",
        el("h2", "Signatures, SBOMs, attestations", id="about"),
        table(caption, columns, rows, class_="list"),
        aria_labelledby="about",
    )


def _row(name: str, each: Descriptor, now: float) -> list[Child]:
    link = links.image(Place(name, each.digest, is_digest=True))
    return [
        el("a", badge(kind_of(each.artifact_type), "about"), href=link),
        el("code", words.cut(each.artifact_type or each.media_type, 200)),
        words.size(each.size),
        words.moment(moment_of(each.annotations.get(_CREATED)), now),
        digest(each.digest, href=link),
    ]
