"""Import, export, conversion and mutation of images, as a Python program asks for them."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO, TypedDict

from distore.api.transfers import chosen_platforms, this_platform
from distore.errors import InvalidArgument
from distore.images.select import ALL, Selection
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.transfer.copy import root_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from distore.api.settings import Path
    from distore.api.transfers import Platforms
    from distore.images.image import Image
    from distore.metadata.db import Metadata
    from distore.transfer.mutate import MutateOptions
    from distore.transfer.progress import Event
    from distore.transfer.tarout import Out


class ExportKeywords(TypedDict, total=False):
    """Keywords of an export; ``Store.export`` says what they mean."""

    platforms: Platforms
    require_all: bool
    referrers: bool
    docker: bool
    exclude: Iterable[Digest]
    overwrite: bool


class ImportKeywords(TypedDict, total=False):
    """Keywords of an import; ``Store.import_archive`` says what they mean."""

    name: str | Reference | None
    base_name: str | None
    digests: bool
    platforms: Platforms
    referrers: bool


class ConvertKeywords(TypedDict, total=False):
    """Keywords of a conversion; ``Store.convert`` says what they mean."""

    compression: str | None
    media_types: str | None
    platforms: Platforms
    level: int | None
    force: bool


class MutateKeywords(TypedDict, total=False):
    """Keywords of a mutation; ``Store.mutate`` says what they mean."""

    rebase: tuple[str | Reference, str | Reference] | None
    append: Sequence[Path]
    flatten: bool
    env: Mapping[str, str | None]
    labels: Mapping[str, str]
    entrypoint: Sequence[str] | None
    cmd: Sequence[str] | None
    user: str | None
    workdir: str | None
    annotations: Mapping[str, str]
    index_annotations: Mapping[str, str]
    platforms: Platforms


def export_images(
    metadata: Metadata,
    out: Path | BinaryIO,
    images: Sequence[Reference],
    *,
    platforms: Platforms = None,
    require_all: bool = False,
    referrers: bool = True,
    docker: bool = False,
    exclude: Iterable[Digest] = (),
    overwrite: bool = False,
) -> Generator[Event, None, None]:
    """See ``Store.export``."""
    from distore.transfer.exporter import export
    from distore.transfer.exportplan import ExportOptions
    from distore.transfer.tarout import TarFile, TarStream

    if not images:
        raise InvalidArgument("export: want an image")
    target: Out = (
        TarFile(os.fspath(out), overwrite=overwrite)
        if isinstance(out, str | os.PathLike)
        else TarStream(out, name="stream")
    )
    options = ExportOptions(
        host=this_platform(),
        platforms=chosen_platforms(platforms) or None,
        require_all=require_all,
        referrers=referrers,
        exclude=frozenset(exclude),
        docker=docker,
    )
    # Before anything is made for what is not there.
    roots = [(_name(image), root_of(metadata.images, metadata.content, image)) for image in images]
    with (
        metadata.leased("export") as content,
        closing(export(content, roots, target, options=options)) as events,
    ):
        yield from events


def import_images(
    metadata: Metadata,
    source: Path | BinaryIO,
    *,
    name: str | Reference | None = None,
    base_name: str | None = None,
    digests: bool = False,
    platforms: Platforms = None,
    referrers: bool = True,
) -> Generator[Event, None, None]:
    """See ``Store.import_archive``."""
    from distore.transfer.importer import ImportOptions, import_archive

    chosen = chosen_platforms(platforms)
    options = ImportOptions(
        names=() if name is None else (name if isinstance(name, Reference) else Reference.parse(name),),
        base_name=Reference.parse_name(base_name) if base_name else None,
        digests=digests,
        selection=Selection(platforms=chosen, attestations=referrers) if chosen else ALL,
        referrers=referrers,
    )
    given = os.fspath(source) if isinstance(source, str | os.PathLike) else source
    left: list[Digest] = []
    try:
        with (
            metadata.leased("import") as content,
            closing(
                import_archive(
                    given, store=content, images=metadata.images, options=options, discard=left.extend
                )
            ) as events,
        ):
            yield from events
    finally:
        if left:  # after the lease, which would keep it
            metadata.discard(left)


def convert_image(
    metadata: Metadata,
    image: Reference,
    name: Reference,
    *,
    compression: str | None = None,
    media_types: str | None = None,
    platforms: Platforms = None,
    level: int | None = None,
    force: bool = False,
) -> Generator[Event, None, None]:
    """See ``Store.convert``."""
    from distore.transfer.convert import convert
    from distore.transfer.convertplan import ConvertOptions

    chosen = chosen_platforms(platforms)
    options = ConvertOptions(
        compression=compression,
        media_types=media_types,
        selection=Selection(platforms=chosen, attestations=True) if chosen else ALL,
        partial=True,
        level=level,
        force=force,
    )
    root = root_of(metadata.images, metadata.content, image)  # before anything is made
    with metadata.leased("convert") as content:
        events = convert(content, root, name=str(name), images=metadata.images, options=options)
        yield from events


def mutate_image(metadata: Metadata, image: Reference, name: Reference, options: Mutation) -> Image:
    """See ``Store.mutate``."""
    from distore.transfer.mutate import mutate

    root = root_of(metadata.images, metadata.content, image)  # before anything is made
    with metadata.leased("mutate") as content:
        result = mutate(content, root, options.of(metadata))
        return metadata.images.put(str(name), result.root)


class Mutation:
    """What the keywords of a mutation mean; ``Store.mutate`` says it."""

    def __init__(
        self,
        *,
        rebase: tuple[str | Reference, str | Reference] | None = None,
        append: Sequence[Path] = (),
        flatten: bool = False,
        env: Mapping[str, str | None] | None = None,
        labels: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        cmd: Sequence[str] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        annotations: Mapping[str, str] | None = None,
        index_annotations: Mapping[str, str] | None = None,
        platforms: Platforms = None,
    ) -> None:
        from distore.transfer.mutate_config import ConfigChanges

        self._rebase = rebase
        self._append = tuple(os.fspath(path) for path in append)
        self._flatten = flatten
        self._config = ConfigChanges(
            env=tuple((env or {}).items()),
            labels=dict(labels or {}),
            entrypoint=None if entrypoint is None else tuple(entrypoint),
            cmd=None if cmd is None else tuple(cmd),
            user=user,
            workdir=workdir,
        )
        self._annotations = dict(annotations or {})
        self._index_annotations = dict(index_annotations or {})
        self._platforms = chosen_platforms(platforms) or None

    def of(self, metadata: Metadata) -> MutateOptions:
        """For the images of a store."""
        from distore.transfer.mutate import MutateOptions
        from distore.transfer.mutate_append import FolderOptions, addition
        from distore.transfer.mutate_rebase import Rebase

        rebase = None
        if self._rebase is not None:
            old, new = (
                each if isinstance(each, Reference) else Reference.parse(each) for each in self._rebase
            )
            rebase = Rebase(
                old=root_of(metadata.images, metadata.content, old),
                new=root_of(metadata.images, metadata.content, new),
                new_name=str(new),
            )
        return MutateOptions(
            rebase=rebase,
            append=tuple(addition(path, FolderOptions()) for path in self._append),
            flatten=self._flatten,
            config=self._config,
            annotations=self._annotations,
            index_annotations=self._index_annotations,
            platforms=self._platforms,
        )


def _name(image: Reference) -> str | None:
    """A digest alone is no name; the reference was only completed around it."""
    completed = image.digest is not None and (image.domain, image.path) == ("localhost", "content")
    return None if completed else str(image)
