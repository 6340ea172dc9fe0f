"""The layers of one image of a store, with the DiffIDs that its config promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.blobs import read_blob
from distore.errors import FailedPrecondition, NotFound
from distore.images.children import read_manifest
from distore.images.select import Selection
from distore.images.walk import MAX_DEPTH
from distore.oci import mediatypes
from distore.oci.manifest import MAX_CONFIG_SIZE, Index, parse_config
from distore.oci.platform import Only
from distore.unpack.chainid import chain_id

if TYPE_CHECKING:
    from distore.content.store import Info, Reader
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import ImageConfig, Manifest
    from distore.oci.platform import Platform

_SHOWN: Final = 3  # digests that a message names


class Blobs(Protocol):
    """Gives out blobs, and says what it has."""

    def reader(self, digest: Digest, /) -> Reader: ...
    def info(self, digest: Digest, /) -> Info: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayers:
    """An image for one platform. ``layers`` and ``diff_ids`` go together, the lowest first."""

    manifest: Descriptor
    config_digest: Digest
    config: ImageConfig
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[Digest, ...]
    chain_id: Digest


def image_layers(
    content: Blobs, root: Descriptor, platform: Platform, *, subject: str, chosen: bool = False
) -> ImageLayers:
    """The image for a platform below ``root``, all layers of which are in the store.

    Args:
        chosen: Somebody named the platform: an image that is no index has to be for it, too.
    Raises:
        NotFound: Nothing for the platform, or objects are missing; names them.
        FailedPrecondition: No image with layers, or config and manifest do not agree.
        DistoreError: As ``parse_manifest`` and ``parse_config``.
    """
    manifest, document = find_manifest(content, root, platform, subject=subject)
    _complete(content, (document.config, *document.layers), platform, subject)
    image = with_config(content, manifest, document, subject=subject)
    if chosen and manifest.digest == root.digest:  # else the index has said what it is for
        check_platform(image, platform, subject=subject)
    return image


def check_platform(image: ImageLayers, platform: Platform, *, subject: str) -> None:
    """Make sure that an image says that it is for a platform.

    Raises:
        NotFound: It is for another one.
    """
    if Only(platform).rank(image.config.platform) is None:
        raise NotFound(f"{subject}: is for {image.config.platform}, not for {platform}")


def with_config(content: Blobs, manifest: Descriptor, document: Manifest, *, subject: str) -> ImageLayers:
    """An image whose config is in the store, whatever of its layers is.

    Raises:
        NotFound: The config is not there.
        FailedPrecondition: Config and manifest do not agree.
        DistoreError: As ``parse_config``.
    """
    digest = document.config.digest
    config = parse_config(read_blob(content, digest, max_size=MAX_CONFIG_SIZE), subject=digest)
    if len(config.diff_ids) != len(document.layers):
        raise FailedPrecondition(
            f"{subject}: {len(document.layers)} layers, but its config tells of {len(config.diff_ids)}"
        )
    if not document.layers:
        raise FailedPrecondition(f"{subject}: an image without layers: there is nothing to unpack")
    return ImageLayers(
        manifest=manifest,
        config_digest=digest,
        config=config,
        layers=document.layers,
        diff_ids=config.diff_ids,
        chain_id=chain_id(config.diff_ids),
    )


def find_manifest(
    content: Blobs, root: Descriptor, platform: Platform, *, subject: str
) -> tuple[Descriptor, Manifest]:
    """The manifest of the image for a platform below ``root``.

    Raises:
        NotFound: Nothing for the platform, or a document is missing.
        FailedPrecondition: An artifact, or indexes in indexes without end.
    """
    selection = Selection(platforms=(platform,))
    at = root
    for _ in range(MAX_DEPTH):
        _complete(content, (at,), platform, subject)
        parsed = read_manifest(content, at)
        if isinstance(parsed, Index):
            at = selection.of(parsed, subject=subject)[0]
            continue
        if not mediatypes.is_config(parsed.config.media_type):
            raise FailedPrecondition(
                f"{subject}: an artifact ({parsed.config.media_type[:80]!a}), not an image"
            )
        return at, parsed
    raise FailedPrecondition(f"{subject}: indexes in indexes, more than {MAX_DEPTH} deep")


def _complete(content: Blobs, wanted: tuple[Descriptor, ...], platform: Platform, subject: str) -> None:
    missing = []
    for each in wanted:
        try:
            content.info(each.digest)
        except NotFound:
            missing.append(each.digest)
    if missing:
        more = "" if len(missing) <= _SHOWN else f" and {len(missing) - _SHOWN} more"
        raise NotFound(
            f"{subject}: the store lacks {', '.join(missing[:_SHOWN])}{more};"
            f" dist pull --platform {platform} brings what is missing"
        )
