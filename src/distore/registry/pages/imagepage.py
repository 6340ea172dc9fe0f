"""The page of one manifest: an image, an index of images, or an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.images.children import attested, is_attestation
from distore.oci import mediatypes
from distore.oci.manifest import Index
from distore.registry.pages import links, words
from distore.registry.pages.aboutit import about_it
from distore.registry.pages.configview import config_view, created_of, pairs
from distore.registry.pages.frame import View, badge, crumbs, digest, facts, table
from distore.registry.pages.kinds import is_image
from distore.registry.pages.layersview import layers_view
from distore.registry.pages.links import Place
from distore.registry.pages.markup import Child, Html, el, join
from distore.registry.pages.pulling import pull_lines

if TYPE_CHECKING:
    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import ImageConfig, Manifest
    from distore.registry.message import Request
    from distore.registry.pages.shown import Found, Shown

MAX_CHILDREN: Final = 200  # of an index that a page shows


def image_page(shown: Shown, request: Request, found: Found, *, now: float) -> View:
    """Of a manifest that is there, or should be."""
    name = found.place.repository
    document = shown.document(name, found.descriptor)
    trail = [("Repositories", links.HOME), (name, links.repository(name))]
    if document is None:
        content = el(
            "p", "The registry cannot show it: the document is missing, damaged or none.", class_="empty"
        )
        return _view(found, join(crumbs(trail), _title(found, "document"), content))
    runs = is_image(document)
    config = None if isinstance(document, Index) else shown.config(name, document)
    kind = _kind(document, runs=runs)
    parts: list[Child] = [
        crumbs(trail),
        _title(found, kind),
        facts(_facts(shown, found, document, config, now)),
        pull_lines(request, found.place, image=runs),
    ]
    if isinstance(document, Index):
        parts.append(_children(shown, name, document))
    else:
        parts += [layers_view(shown, found, document, config), config_view(config)]
    parts += [about_it(shown, name, found.descriptor, now), pairs("Annotations", document.annotations)]
    return _view(found, join(*parts))


def _view(found: Found, content: Html) -> View:
    shown = words.short(found.place.name) if found.place.is_digest else found.place.name
    return View(title=f"{found.place.repository} {shown}", content=content, here=links.HOME)


def _title(found: Found, kind: str) -> Html:
    place = found.place
    return el(
        "h1",
        el("span", place.repository, class_="folder"),
        el("span", "@" if place.is_digest else ":", class_="folder"),
        words.short(place.name) if place.is_digest else place.name,
        el("span", badge(kind, "kind"), class_="badges"),
    )


def _kind(document: Manifest | Index, *, runs: bool) -> str:
    if isinstance(document, Index):
        return "index"
    return "image" if runs else "artifact"


def _facts(
    shown: Shown, found: Found, document: Manifest | Index, config: ImageConfig | None, now: float
) -> list[tuple[str, Child]]:
    name, descriptor = found.place.repository, found.descriptor
    held = shown.held(name, descriptor)
    subject = document.subject
    pushed = found.record.pushed if found.record else found.tag.updated if found.tag else None
    pulled = found.record.pulled if found.record else None
    created = created_of(config)
    whole = "Size of what is here" if isinstance(document, Index) else "Size"
    return [
        ("Digest", digest(descriptor.digest, whole=True)),
        (whole, words.size(sum(held.values()))),
        ("Platform", str(config.platform) if config and config.platform.os else None),
        ("Created", words.moment(created, now) if created else None),
        ("Pushed", words.moment(pushed, now) if pushed else None),
        ("Last pull", words.moment(pulled, now) if pulled else None),
        ("Media type", el("code", words.cut(document.media_type), class_="long")),
        (
            "Artifact type",
            el("code", words.cut(document.artifact_type), class_="long") if document.artifact_type else None,
        ),
        ("About", _link(name, subject.digest) if subject else None),
        (
            "JSON",
            join(
                el("a", "manifest", href=links.raw(name, descriptor.digest)),
                [" and ", el("a", "config", href=links.raw(name, document.config.digest))]
                if not isinstance(document, Index) and mediatypes.is_config(document.config.media_type)
                else None,
            ),
        ),
    ]


def _link(name: str, value: str) -> Html:
    return digest(value, href=links.image(Place(name, value, is_digest=True)))


def _children(shown: Shown, name: str, document: Index) -> Html:
    children = document.manifests[:MAX_CHILDREN]
    columns = [("Platform", "name"), ("Size", "number"), ("State", "wide"), ("Digest", "code")]
    rows = [_child(shown, name, child, document) for child in children]
    here = sum(shown.is_here(name, child.digest) for child in children)
    left_out = len(document.manifests) - len(children)
    caption = f"{here} of {words.count(len(children), 'manifest')} here"
    if left_out:
        caption += f"; {left_out:,} more are not shown"
    return el(
        "section",
        el("h2", "Platforms", id="platforms"),
        table(caption, columns, rows, class_="list")
        if rows
        else el("p", "It names nothing.", class_="empty"),
        aria_labelledby="platforms",
    )


def _child(shown: Shown, name: str, child: Descriptor, document: Index) -> list[Child]:
    here = shown.is_here(name, child.digest)
    held = shown.held(name, child) if here else {}
    link = links.image(Place(name, child.digest, is_digest=True))
    label = _child_name(child, document)
    return [
        el("a", label, href=link) if here else label,
        words.size(sum(held.values()) if held else None),
        badge("here", "yes") if here else badge("not here", "no"),
        digest(child.digest, href=link if here else None),
    ]


def _child_name(child: Descriptor, document: Index) -> str:
    if is_attestation(child):
        about = attested(child)
        sibling = next((each for each in document.manifests if each.digest == about), None)
        return f"attestation for {_platform(sibling)}" if sibling is not None else "attestation"
    return _platform(child)


def _platform(child: Descriptor) -> str:
    if child.platform is None:
        return words.cut(child.artifact_type or "no platform", 100)
    return words.cut(str(child.platform), 100)
