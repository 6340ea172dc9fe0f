"""Rebase: an image's first layers, which are those of a base image, replaced by another base's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition, NotFound
from distore.images.children import read_manifest
from distore.images.select import Selection
from distore.oci import mediatypes
from distore.oci.manifest import Index
from distore.transfer.mutate_image import (
    Draft,
    Json,
    Layer,
    as_list,
    as_object,
    makes_layer,
    read_draft,
    with_value,
)
from distore.transfer.newimage import DOCKER, layer_media_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.oci.descriptor import Descriptor
    from distore.transfer.storesink import SinkStore

_BASE_DIGEST: Final = "org.opencontainers.image.base.digest"
_BASE_NAME: Final = "org.opencontainers.image.base.name"
_OWN: Final = ("rootfs", "history", "created")  # of a config, made anew or the image's alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebase:
    """Which base an image has, and which it gets; images, or indexes with one for its platform."""

    old: Descriptor
    new: Descriptor
    new_name: str | None = None


def rebased(store: SinkStore, draft: Draft, rebase: Rebase) -> Draft:
    """The image on the new base: its layers and config, with what the image itself changed of the
    old base's.

    Raises:
        FailedPrecondition: The image is not built on the old base, or the new one is for another
            platform.
        NotFound: A base has nothing for the image's platform, or a layer of it is not there.
    """
    _, old = _base(store, rebase.old, draft)
    found, new = _base(store, rebase.new, draft)
    layers, below = draft.layers, old.layers
    for number, layer in enumerate(below, 1):
        own = layers[number - 1].diff_id if number <= len(layers) else "none"
        if own != layer.diff_id:
            raise FailedPrecondition(
                f"{draft.subject}: not built on {rebase.old.digest}: its layer {number} is {own},"
                f" the base's {layer.diff_id}"
            )
    base = [_adapted(layer, draft.flavour) for layer in new.layers]
    for layer in base:
        _check_there(store, layer, new.subject)
    history = [*new.history, *_own_history(draft, old)]
    config = _merged_config(old.config, new.config, draft)
    result = replace(draft, config=config).with_layers([*base, *layers[len(below) :]], history)
    return replace(result, manifest=_base_annotations(result, rebase, found))


def _base(store: SinkStore, root: Descriptor, draft: Draft) -> tuple[Descriptor, Draft]:
    """The image of a base for the platform of another one."""
    document = read_manifest(store, root)
    if isinstance(document, Index):
        selection = Selection(platforms=(draft.platform,))
        root = selection.of(document, subject=f"index {root.digest}")[0]
    base = read_draft(store, root)
    if base is None:
        raise FailedPrecondition(f"image {root.digest}: an artifact, which is no base")
    there, own = base.platform.normalized(), draft.platform.normalized()
    if (there.os, there.architecture) != (own.os, own.architecture):
        raise FailedPrecondition(f"{draft.subject}: is for {own}, the base {root.digest} for {there}")
    return root, base


def _check_there(store: SinkStore, layer: Layer, subject: str) -> None:
    descriptor = layer.descriptor
    if mediatypes.is_nondistributable(descriptor.media_type):
        return
    try:
        store.info(descriptor.digest)
    except NotFound as error:
        raise NotFound(
            f"{subject}: its layer {descriptor.digest} is not in the store; dist pull brings it"
        ) from error


def _adapted(layer: Layer, flavour: str) -> Layer:
    """A layer with the media type that fits the manifest; its bytes are the same."""
    kind = layer.descriptor.media_type
    ordinary = mediatypes.is_layer(kind) and not mediatypes.is_nondistributable(kind)
    if not ordinary or mediatypes.is_docker(kind) == (flavour == DOCKER):
        return layer
    adapted = layer_media_type(flavour, mediatypes.layer_compression(kind))
    return replace(layer, entry={**layer.entry, "mediaType": adapted})


def _own_history(draft: Draft, old: Draft) -> list[Json]:
    """What the history tells about the image's own layers."""
    history, base = draft.history, old.history
    if history[: len(base)] == base:
        return history[len(base) :]
    left = len(old.layers)
    for number, step in enumerate(history):
        if not left:
            return history[number:]
        left -= makes_layer(step)
    return []


def _base_annotations(draft: Draft, rebase: Rebase, found: Descriptor) -> Mapping[str, object]:
    """What is said about the base, where something is said."""
    there = as_object(draft.manifest.get("annotations"), draft.subject)
    told = {_BASE_DIGEST: str(found.digest), _BASE_NAME: rebase.new_name or ""}
    known = {key: text for key, text in told.items() if key in there and text}
    return with_value(draft.manifest, "annotations", {**there, **known})


def _merged_config(old: Mapping[str, object], new: Mapping[str, object], draft: Draft) -> Json:
    def parts(config: Mapping[str, object]) -> Json:
        return {key: value for key, value in config.items() if key not in _OWN}

    mixed = _merged(parts(old), parts(new), parts(draft.config), draft.subject)
    return {**mixed, **{key: draft.config[key] for key in _OWN if key in draft.config}}


def _merged(
    old: Mapping[str, object], new: Mapping[str, object], own: Mapping[str, object], subject: str
) -> Json:
    """What ``own`` has otherwise than ``old``, and for the rest ``new``, value by value."""
    result: Json = {}
    for key in [*new, *(key for key in own if key not in new)]:
        before, base, wanted = old.get(key), new.get(key), own.get(key)
        if wanted == before or not (wanted or before):
            value = base
        elif key == "Env" and _all((before, base, wanted), list):
            value = _merged_env(before, base, wanted, subject)
        elif _all((before, base, wanted), dict):
            value = _merged(
                as_object(before, subject), as_object(base, subject), as_object(wanted, subject), subject
            )
        else:
            value = wanted
        if value is not None or (key in own and wanted is None):
            result[key] = value
    return result


def _all(values: tuple[object, ...], kind: type) -> bool:
    return all(each is None or isinstance(each, kind) for each in values)


def _merged_env(old: object, new: object, own: object, subject: str) -> list[object]:
    """The same for each variable."""

    def variables(value: object) -> Json:
        return {str(text).partition("=")[0]: text for text in as_list(value, subject)}

    return list(_merged(variables(old), variables(new), variables(own), subject).values())
