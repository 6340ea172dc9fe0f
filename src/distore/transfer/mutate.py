"""Mutate: an image of a store, changed without a container: layers, config, annotations."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distore.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from distore.images.children import attested, has_children, is_attestation, read_document
from distore.images.select import Selection
from distore.images.walk import MAX_DEPTH
from distore.oci import mediatypes
from distore.oci.manifest import Index, parse_manifest
from distore.oci.platform import Only
from distore.transfer.flatten import flatten
from distore.transfer.mutate_append import Additions
from distore.transfer.mutate_config import ConfigChanges, annotated, check_flavour, configured
from distore.transfer.mutate_image import (
    Draft,
    Json,
    Layer,
    as_list,
    as_object,
    changed_texts,
    digest_of,
    pointing,
    put_changed,
    put_draft,
    read_draft,
)
from distore.transfer.mutate_rebase import Rebase, rebased
from distore.transfer.newimage import DOCKER, OCI
from distore.transfer.scratch import drop_forgotten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.diff.overlaytar import LayerTar
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.platform import Platform
    from distore.transfer.storesink import SinkStore


@dataclass(frozen=True, slots=True, kw_only=True)
class MutateOptions:
    """What to change, in the order in which it is done.

    Args:
        rebase: Replace the base image.
        append: Layers to put on top.
        flatten: Make one layer of all.
        config: What the image runs and says about itself.
        annotations: Of the manifest; an empty value removes one.
        index_annotations: The same of the index that is the root.
        platforms: Which images of an index; the others stay as they are. None: all of them.
        created: RFC 3339, when new layers came to be, or None to say nothing.
    """

    rebase: Rebase | None = None
    append: tuple[LayerTar, ...] = ()
    flatten: bool = False
    config: ConfigChanges = field(default_factory=ConfigChanges)
    annotations: Mapping[str, str] = field(default_factory=dict)
    index_annotations: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[Platform, ...] | None = None
    created: str | None = None

    @property
    def of_images(self) -> bool:
        """Whether more is asked for than annotations of the index."""
        return bool(self.rebase or self.append or self.flatten or self.config or self.annotations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutated:
    """What came of it.

    ``changed`` counts the images that are other ones now. ``attestations`` were dropped, as what
    they told is true no more; ``absent`` because they are not in the store, where every image of an
    index was to be changed.
    """

    root: Descriptor
    changed: int
    attestations: tuple[Descriptor, ...] = ()
    absent: tuple[Descriptor, ...] = ()


def mutate(store: SinkStore, root: Descriptor, options: MutateOptions) -> Mutated:
    """Store the image that ``root`` is after the changes; the old one stays.

    The result depends on the image and the options alone, and is ``root`` where they change nothing.

    Raises:
        NotFound: Something that is needed is not in the store.
        FailedPrecondition: An artifact, an index where an image is wanted or the other way round, or
            an operation that does not fit the image.
        InvalidArgument: One platform for several images.
        DataLoss, DistoreError: As the store, and as the new layers.
    """
    drop_forgotten(store)
    work = _Mutation(store, options)
    if options.index_annotations and not mediatypes.is_index(root.media_type):
        raise FailedPrecondition(f"manifest {root.digest}: no index, which alone has annotations of an index")
    if mediatypes.is_index(root.media_type):
        result = work.index(root, depth=0)
    else:
        result = work.image(root, alone=True)
    return Mutated(
        root=result,
        changed=work.changed,
        attestations=tuple(work.attestations),
        absent=tuple(work.absent),
    )


class _Mutation:
    """One call: what was done so far."""

    def __init__(self, store: SinkStore, options: MutateOptions) -> None:
        self._store = store
        self._options = options
        self._additions = Additions(store, options.append)
        self._images: dict[Descriptor, Descriptor] = {}
        self.changed = 0
        self.attestations: list[Descriptor] = []
        self.absent: list[Descriptor] = []

    def index(self, root: Descriptor, *, depth: int) -> Descriptor:
        """An index, and what is wanted below it."""
        if depth == MAX_DEPTH:
            raise ResourceExhausted(f"index {root.digest}: more than {MAX_DEPTH} levels above it")
        data = read_document(self._store, root)
        parsed = parse_manifest(data, media_type=root.media_type, subject=root.digest)
        if not isinstance(parsed, Index):
            raise FailedPrecondition(f"index {root.digest}: no index")
        document: Json = json.loads(data)
        new, absent = self._children(parsed, root, depth)
        changed = {child.digest for child in parsed.manifests if new.get(child, child) != child}
        entries = as_list(document.get("manifests"), f"index {root.digest}")
        kept = []
        for child, entry in zip(parsed.manifests, entries, strict=True):
            if changed and self._dropped(child, changed, absent):
                continue
            kept.append(self._entry(as_object(entry, str(child.digest)), child, new.get(child, child)))
        if changed:
            self.absent += absent
        document = {**document, "manifests": kept} if changed else document
        document = self._annotated(document, root) if depth == 0 else document
        return root if document == json.loads(data) else put_changed(self._store, document, root)

    def image(self, descriptor: Descriptor, *, alone: bool = False) -> Descriptor:
        """An image; an artifact only when it is not ``alone``, and then as it is."""
        if descriptor not in self._images:
            draft = read_draft(self._store, descriptor)
            if alone:
                self._check_alone(draft, descriptor)
            self._images[descriptor] = descriptor if draft is None else self._mutated(draft, descriptor)
        return self._images[descriptor]

    def _check_alone(self, draft: Draft | None, descriptor: Descriptor) -> None:
        if draft is None:
            raise FailedPrecondition(f"manifest {descriptor.digest}: an artifact, not an image")
        wanted = self._options.platforms
        if wanted is not None and not any(Only(each).match(draft.platform) for each in wanted):
            names = ", ".join(map(str, wanted))
            raise NotFound(f"{draft.subject}: is for {draft.platform}, not for {names}")

    def _children(
        self, index: Index, root: Descriptor, depth: int
    ) -> tuple[dict[Descriptor, Descriptor], list[Descriptor]]:
        """What becomes of each wanted child that is there, and those that are not."""
        selection = Selection(platforms=self._options.platforms)
        new: dict[Descriptor, Descriptor] = {}
        absent: list[Descriptor] = []
        if not self._options.of_images:
            return new, absent
        for child in selection.of(index, subject=f"index {root.digest}"):
            if is_attestation(child) or not has_children(child):
                continue
            try:
                self._store.info(child.digest)
            except NotFound:
                if self._options.platforms is not None:
                    raise
                absent.append(child)
                continue
            below = mediatypes.is_index(child.media_type)
            new[child] = self.index(child, depth=depth + 1) if below else self.image(child)
        if absent and not new:
            raise NotFound(f"index {root.digest}: none of its images is in the store; dist pull brings them")
        return new, absent

    def _dropped(self, child: Descriptor, changed: set[Digest], absent: list[Descriptor]) -> bool:
        if child in absent:
            return True
        about = attested(child) if is_attestation(child) else None
        if about is None or not (about in changed or any(about == gone.digest for gone in absent)):
            return False
        self.attestations.append(child)
        return True

    def _entry(self, entry: Json, old: Descriptor, new: Descriptor) -> Json:
        """What the index says about a child."""
        if new == old:
            return entry
        entry = pointing(entry, new)
        platform = self._options.config.platform
        return {**entry, "platform": platform.to_json()} if platform is not None else entry

    def _annotated(self, document: Json, root: Descriptor) -> Json:
        changes = self._options.index_annotations.items()
        subject = f"index {root.digest}"
        changed = changed_texts(document, "annotations", changes, subject)
        if changed != document:
            check_flavour(DOCKER if mediatypes.is_docker(root.media_type) else OCI, subject)
        return changed

    def _mutated(self, draft: Draft, descriptor: Descriptor) -> Descriptor:
        """Every operation, in its order."""
        options, old = self._options, draft
        if options.rebase is not None:
            draft = rebased(self._store, draft, options.rebase)
        if options.append:
            draft = self._appended(draft)
        if options.flatten:
            draft = self._flattened(draft)
        if options.config:
            draft = configured(draft, options.config)
        draft = annotated(draft, options.annotations)
        result = put_draft(self._store, draft, old, descriptor)
        if result != descriptor:
            self.changed += 1
            if options.config.platform is not None and self.changed > 1:
                raise InvalidArgument("a new platform for several images of one index: choose one of them")
        return result

    def _appended(self, draft: Draft) -> Draft:
        added = [Layer.made(layer) for layer in self._additions.layers(draft.layer_format())]
        steps = [self._step(f"dist mutate --append {name}") for name in self._additions.names()]
        return draft.with_layers([*draft.layers, *added], [*draft.history, *steps])

    def _flattened(self, draft: Draft) -> Draft:
        layers = draft.layers
        if not layers:
            return draft
        pairs = [(layer.descriptor, digest_of(layer)) for layer in layers]
        made = Layer.made(flatten(self._store, pairs, draft.layer_format(), subject=draft.subject))
        if [made.diff_id] == [layer.diff_id for layer in layers]:
            return draft  # it was flat
        return draft.with_layers([made], [self._step("dist mutate --flatten")])

    def _step(self, made_by: str) -> Json:
        """What the history tells about a new layer."""
        told: Json = {"created": self._options.created} if self._options.created else {}
        return {**told, "created_by": made_by}
