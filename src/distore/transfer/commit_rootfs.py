"""Commit a root filesystem: what differs from a base image becomes a layer, and the two a new image."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.diff.compare import CompareOptions, Told
from distore.errors import FailedPrecondition
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer.mutate_config import ConfigChanges, configured
from distore.transfer.mutate_image import Draft, Layer, put_draft, read_draft
from distore.transfer.newimage import LayerFormat, LayerWriter, all_threads
from distore.transfer.scratch import drop_forgotten

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.oci.platform import Platform
    from distore.transfer.newimage import NewLayer
    from distore.transfer.rootsource import Trees
    from distore.transfer.storesink import SinkStore

MADE_BY: Final = "dist commit-rootfs"
LIKE_BASE: Final = "like-base"  # compression: as the highest layer of the base is, or gzip


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOptions:
    """What a new image is made of, beside its files.

    Args:
        compare: How files are told of.
        config: What the image runs and says about itself.
        message: Of the new layer, in the history.
        created: RFC 3339, when all that came to be.
        compression: ``gzip``, ``zstd``, None, or LIKE_BASE.
        level: Of the compression; None: its usual one.
        check: Called often; raises to stop the work.
    """

    compare: CompareOptions
    created: str
    config: ConfigChanges = field(default_factory=ConfigChanges)
    message: str | None = None
    compression: str | None = LIKE_BASE
    level: int | None = None
    check: Callable[[], None] = lambda: None

    def layer_format(self, base: Draft) -> LayerFormat:
        """How the layer is written.

        Raises:
            InvalidArgument: There is no such compression or level.
        """
        compression = self.compression
        if compression == LIKE_BASE:
            compression = base.layer_format().compression
        return LayerFormat(
            compression=compression, flavour=base.flavour, level=self.level, threads=all_threads()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The new image. ``layer`` is None where no file differs; with no other change ``root`` is the base.

    ``changes`` counts names, those that are gone, too.
    """

    root: Descriptor
    layer: NewLayer | None
    changes: int


def commit_rootfs(
    store: SinkStore, trees: Trees, base: Descriptor | None, platform: Platform, options: CommitOptions
) -> Committed:
    """Store the image whose files are those of ``trees``. The base stays as it is.

    The same trees, base and options give the same image.

    Args:
        base: The manifest of the image that lies below; None: there is none.
        platform: What the image is for when there is no base.
    Raises:
        FailedPrecondition: A name that no layer can have, something changed while it was read, or the
            base is an artifact.
        NotFound, PermissionDenied: Something cannot be read.
        DiskFull, QuotaExceeded, DistoreError: As the store. Nothing is kept.
    """
    drop_forgotten(store)
    draft = old = _begun(platform) if base is None else _of_base(store, base)
    changes, layer = _layer(store, trees, options.layer_format(draft), options)
    if layer is not None:
        draft = draft.with_layers([*draft.layers, Layer.made(layer)], [*draft.history, _step(options)])
    if options.config:
        draft = configured(draft, options.config)
        if layer is None and draft != old:
            draft = draft.with_layers(draft.layers, [*draft.history, {**_step(options), "empty_layer": True}])
    if base is None or draft != old:
        draft = configured(draft, ConfigChanges(created=options.created))
    root = base or Descriptor(media_type=draft.media_type, digest=Digest.of(b""), size=0)
    return Committed(root=put_draft(store, draft, old, root), layer=layer, changes=changes)


def check_outside(store: str, folder: str) -> None:
    """Whether a store lies outside of a folder that is to be read.

    Raises:
        FailedPrecondition: It does not: the layer would be a part of itself.
    """
    real, inner = os.path.realpath(folder), os.path.realpath(store)
    if os.path.commonpath([real, inner]) == real:
        raise FailedPrecondition(
            f"source {folder!a}: the store {store} lies in it; name another store with --root"
        )


def _of_base(store: SinkStore, base: Descriptor) -> Draft:
    draft = read_draft(store, base)
    if draft is None:
        raise FailedPrecondition(f"manifest {base.digest}: an artifact, not an image")
    return draft


def _begun(platform: Platform) -> Draft:
    """An image without layers, nothing of which is stored."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": mediatypes.OCI_CONFIG, "digest": "", "size": 0},
        "layers": [],
    }
    config = {**platform.to_json(), "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    return Draft(
        subject="the new image",
        media_type=mediatypes.OCI_MANIFEST,
        manifest=manifest,
        config=config,
        platform=platform,
    )


def _layer(
    store: SinkStore, trees: Trees, layer_format: LayerFormat, options: CommitOptions
) -> tuple[int, NewLayer | None]:
    told = Told()
    with LayerWriter(store, layer_format, subject=trees.subject) as writer:
        for piece in trees.layer(options.compare, told):
            options.check()
            writer.write(piece)
        return told.changes, writer.commit() if told.changes else None


def _step(options: CommitOptions) -> dict[str, object]:
    told: dict[str, object] = {"created": options.created, "created_by": MADE_BY}
    if options.config.author:
        told["author"] = options.config.author
    if options.message:
        told["comment"] = options.message
    return told
