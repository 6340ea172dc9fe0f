"""What the files at the head of an exported layout say: index.json, and docker's manifest.json.

manifest.json holds one platform of an image. Of an index it names the one for linux/amd64, and where
there is none the first that it can: an export depends on what is exported, not on who does it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from distore.images.children import is_attestation, is_elsewhere, read_manifest
from distore.oci import mediatypes
from distore.oci.manifest import Manifest
from distore.oci.platform import Only, Platform
from distore.oci.reference import Reference
from distore.transfer.archive import blob_name
from distore.transfer.ociindex import CONTAINERD_NAME, REF_NAME, ImageIndex

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from distore.content.store import Provider
    from distore.oci.digest import Digest
    from distore.transfer.exportplan import Plan

_USUAL: Final = Only(Platform(os="linux", architecture="amd64"))


def entries_of(plan: Plan, *, taken: Collection[str] = ()) -> list[Mapping[str, object]]:
    """Entries of index.json, one for each name, then what no image names.

    An image is called by its tag as image-spec has it, and by its whole name where another one has
    that tag, or ``taken`` has it.
    """
    tags = {image: tag_of(image.name) for image in plan.images}
    roots = {(tag, image.root.digest) for image, tag in tags.items() if tag}
    times = Counter(tag for tag, _ in roots)
    found: list[Mapping[str, object]] = []
    for image, tag in tags.items():
        annotations = {}
        if image.name is not None:
            annotations[CONTAINERD_NAME] = image.name
            short = tag is not None and times[tag] == 1 and tag not in taken
            annotations[REF_NAME] = tag if tag is not None and short else image.name
        found.append(replace(image.root, annotations=annotations).to_json())
    roots_there = {image.root.digest for image in plan.images}
    return [*found, *(extra.to_json() for extra in plan.extras if extra.digest not in roots_there)]


def index_of(plan: Plan) -> ImageIndex:
    """The index of a layout that holds the plan and nothing else."""
    return replace(ImageIndex.empty(), entries=tuple(entries_of(plan)))


def docker_manifest(plan: Plan, provider: Provider) -> bytes | None:
    """What ``docker load`` and ``podman load`` read: the images of the plan that they can, each for one
    platform. None when there are none."""
    there = {descriptor.digest for descriptor in (*plan.documents, *plan.blobs)}
    entries: dict[Digest, tuple[Manifest, list[str]]] = {}
    for image in plan.images:
        found = _loadable(image.root.digest, plan, provider)
        if found is None:
            continue
        digest, manifest = found
        if not {manifest.config.digest, *(layer.digest for layer in manifest.layers)} <= there:
            continue
        tags = entries.setdefault(digest, (manifest, []))[1]
        if image.name is not None and tag_of(image.name) is not None:
            tags.append(image.name)
    if not entries:
        return None
    document = [
        {
            "Config": blob_name(manifest.config.digest),
            "RepoTags": tags or None,
            "Layers": [blob_name(layer.digest) for layer in manifest.layers],
        }
        for manifest, tags in entries.values()
    ]
    return json.dumps(document, separators=(",", ":")).encode()


def tag_of(name: str | None) -> str | None:
    """The tag of a whole reference that has no digest: with one, the tag alone would tell less."""
    if name is None:
        return None
    reference = Reference.parse(name, default_tag=None)
    return None if reference.digest is not None else reference.tag


def is_image(manifest: Manifest) -> bool:
    """Whether it is no artifact, and all of it can be had from a store."""
    return (
        manifest.artifact_type is None
        and mediatypes.is_config(manifest.config.media_type)
        and all(mediatypes.is_layer(layer.media_type) for layer in manifest.layers)
        and not any(is_elsewhere(layer) for layer in manifest.layers)
    )


def _loadable(root: Digest, plan: Plan, provider: Provider) -> tuple[Digest, Manifest] | None:
    """The manifest of a root that docker would load."""
    documents = {descriptor.digest: descriptor for descriptor in plan.documents}
    document = read_manifest(provider, documents[root])
    if isinstance(document, Manifest):
        return (root, document) if is_image(document) else None
    here = [child for child in document.manifests if child.digest in documents]
    usual = [child for child in here if child.platform is not None and _USUAL.match(child.platform)]
    for child in (*usual, *here):
        found = None if is_attestation(child) else read_manifest(provider, documents[child.digest])
        if isinstance(found, Manifest) and is_image(found):
            return child.digest, found
    return None
