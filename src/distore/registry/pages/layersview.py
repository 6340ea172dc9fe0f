"""Layers: what an image is made of, where each came from, and who else has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from distore.registry.pages import links, words
from distore.registry.pages.frame import bar, digest, table
from distore.registry.pages.kinds import is_image
from distore.registry.pages.markup import Child, Html, el, join

if TYPE_CHECKING:
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import ImageConfig, Manifest
    from distore.registry.pages.shown import Found, Shown

MAX_LAYERS: Final = 200  # that a page shows
MANIFESTS: Final = 500  # of the same repository that are looked at for shared layers
IMAGES: Final = 200  # of the store that are looked at
OWNERS: Final = 20_000  # repositories that are read for all layers together
_OWNERS: Final = 3  # that a row names
_TITLE: Final = "org.opencontainers.image.title"
_SHELL: Final = "/bin/sh -c "
_NO_SHELL: Final = _SHELL + "#(nop)"  # how builders before buildkit mark what ran no command
_HISTORY: Final = 500  # steps


class _Step(NamedTuple):
    text: str
    layer: Descriptor | None


class _Sharing(NamedTuple):
    """``others``: repositories by layer; ``within``: layers that another image of the same has, too."""

    others: dict[Digest, list[str]]
    within: set[Digest]

    def is_shared(self, digest: Digest) -> bool:
        return bool(self.others.get(digest)) or digest in self.within


def layers_view(shown: Shown, found: Found, document: Manifest, config: ImageConfig | None) -> Html:
    """The layers in their order, the first at the top, with the steps that made them."""
    layers = document.layers[:MAX_LAYERS]
    sharing = _sharing(shown, found, layers)
    word = "layer" if is_image(document) else "file"
    steps = _steps(layers, config)
    largest = max((layer.size for layer in layers), default=0)
    columns = [
        ("#", "ordinal"),
        ("Made by" if word == "layer" else "Name", "made"),
        ("Size", "number size"),
        ("Shared with", "wide"),
        ("Digest", "code"),
    ]
    rows: list[list[Child]] = []
    number = 0
    for step in steps:
        number += step.layer is not None
        rows.append(_row(step, str(number), largest, sharing, found.place.repository))
    caption = words.count(len(document.layers), word)
    if len(document.layers) > len(layers):
        caption += f"; the first {MAX_LAYERS} are shown"
    return el(
        "section",
        el("h2", "Layers" if word == "layer" else "Files", id="layers"),
        _summary(layers, sharing) if layers else None,
        table(caption, columns, rows, class_="list layers")
        if rows
        else el("p", f"It has no {word}s.", class_="empty"),
        aria_labelledby="layers",
    )


def _row(step: _Step, number: str, largest: int, sharing: _Sharing, repository: str) -> list[Child]:
    made = (
        el("code", words.cut(step.text, 600), class_="step")
        if step.text
        else el("span", "\N{EN DASH}", class_="none")
    )
    layer = step.layer
    if layer is None:
        return [
            el("span", "\N{MIDDLE DOT}", class_="none", title="a step without a layer"),
            made,
            "no layer",
            None,
            None,
        ]
    return [
        number,
        join(made, el("span", _brief(layer.media_type), class_="type", title=layer.media_type)),
        el("span", bar(layer.size / largest if largest else 0), words.size(layer.size), class_="sized"),
        _shared(sharing, layer.digest, repository),
        digest(layer.digest),
    ]


def _shared(sharing: _Sharing, digest: Digest, repository: str) -> Child:
    others = sharing.others.get(digest, [])
    links_: list[Child] = [el("a", name, href=links.repository(name)) for name in others[:_OWNERS]]
    if digest in sharing.within:
        links_.insert(0, "others in this repository")
    more = len(others) - _OWNERS
    if more > 0:
        links_.append(words.count(more, "more repository", "more repositories"))
    if not links_:
        return el("span", "nobody", class_="none")
    return el("ul", [el("li", each) for each in links_], class_="owners")


def _summary(layers: tuple[Descriptor, ...], sharing: _Sharing) -> Html:
    sizes = {layer.digest: layer.size for layer in layers}
    whole = sum(sizes.values())
    shared = sum(size for digest, size in sizes.items() if sharing.is_shared(digest))
    return el(
        "p",
        bar((whole - shared) / whole if whole else 0),
        el("strong", words.size(whole - shared)),
        " that nothing else here has, ",
        el("strong", words.size(shared)),
        " that is shared.",
        class_="sharing",
    )


def _sharing(shown: Shown, found: Found, layers: tuple[Descriptor, ...]) -> _Sharing:
    repository, own = found.place.repository, found.descriptor.digest
    digests = {layer.digest for layer in layers}
    others: dict[Digest, list[str]] = {}
    read = 0
    for layer in digests:
        if read > OWNERS:
            break  # the base of everything: the other layers would take as long again
        names = shown.owners(layer, most=IMAGES)
        read += len(names)
        others[layer] = [name for name in names if name != repository]
    within: set[Digest] = set()
    for record in shown.records(repository, most=MANIFESTS):
        if record.descriptor.digest != own:
            within.update(digest for digest, _ in record.children if digest in digests)
    return _Sharing(others, within)


def _steps(layers: tuple[Descriptor, ...], config: ImageConfig | None) -> list[_Step]:
    """The history with the layers that its steps made; layers alone when it does not fit them."""
    given = config.document.get("history") if config is not None else None
    history = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    filled = [each for each in history if each.get("empty_layer") is not True]
    if len(filled) != len(layers) or len(history) > _HISTORY:
        return [_Step(layer.annotations.get(_TITLE, ""), layer) for layer in layers]
    waiting = iter(layers)
    return [
        _Step(_made_by(each), None if each.get("empty_layer") is True else next(waiting)) for each in history
    ]


def _made_by(step: dict[str, object]) -> str:
    """As somebody wrote it: without what a builder puts around it."""
    text = step.get("created_by") or step.get("comment")
    if not isinstance(text, str):
        return ""
    text = text.removesuffix("# buildkit").strip()
    if text.startswith(_NO_SHELL):
        return text.removeprefix(_NO_SHELL).strip()
    bare = text.removeprefix("RUN ")
    return f"RUN {bare.removeprefix(_SHELL)}" if bare.startswith(_SHELL) else text


def _brief(media_type: str) -> str:
    """A media type without what all of them begin with."""
    for start in (
        "application/vnd.oci.image.layer.v1.",
        "application/vnd.docker.image.rootfs.diff.",
        "application/",
    ):
        if media_type.startswith(start):
            return media_type.removeprefix(start)
    return media_type
