"""Archives of ``docker save`` and for ``docker load`` as ends of a copy (image-spec of Docker, v1.2)."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from distore.content.slices import BytesReader
from distore.diff.frames import HEAD, compression_of
from distore.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import DEFAULT_ALGORITHM, Digest, new_hasher
from distore.oci.manifest import MAX_CONFIG_SIZE, MAX_MANIFEST_SIZE, Index, parse_config, parse_manifest
from distore.oci.reference import Reference
from distore.remotes.mismatch import wrong_digest
from distore.transfer.archive import DOCKER_FILE, blob_name, read_index
from distore.transfer.dockerentries import LAYER_TYPES, made_manifest, read_entries
from distore.transfer.ociindex import listed, shown
from distore.transfer.pouring import pour, pour_verified
from distore.transfer.tarindex import TarArchive
from distore.transfer.tarwriter import TarWriter
from distore.transfer.unpacking import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _typeshed import ReadableBuffer

    from distore.content.store import Provider, Reader
    from distore.oci.manifest import Manifest
    from distore.transfer.dockerentries import DockerEntry
    from distore.transfer.tarindex import Member


class DockerArchiveOrigin:
    """An Origin: one image of an archive, which may be compressed with gzip.

    The image layout that newer versions of Docker put into it is taken where it has the image.
    Otherwise the manifest is made here, of config and layers as they are. ``reader`` knows the
    blobs once ``resolve`` has been called.

    Args:
        reference: Name of the image; None: the only one.
    Raises:
        NotFound, FailedPrecondition, ResourceExhausted, DataLoss, Unimplemented, DiskFull: As
            TarArchive.
    """

    def __init__(self, path: str, reference: Reference | None) -> None:
        self._subject = f"docker-archive:{path}"
        self._reference = reference
        self.name = self._subject + (f":{reference.familiar}" if reference else "")
        self._guard = threading.Lock()
        self._root: Descriptor | None = None
        self._manifest = b""  # when it was made here
        self._members: dict[Digest, Member] = {}
        self._tar = TarArchive(path, subject=self._subject)

    def resolve(self) -> Descriptor:
        """The root; reads every layer once unless the archive has a manifest of its own.

        Raises:
            DataLoss: A layer is not the one that the config names.
        """
        with self._guard:
            if self._root is None:
                self._root = self._from_layout() or self._from_docker()
            return self._root

    def reader(self, digest: Digest, /) -> Reader:
        if self._manifest and self._root is not None and digest == self._root.digest:
            return BytesReader(self._manifest, subject=f"{self._subject}: {digest}")
        member = self._members.get(digest) or self._tar.find(blob_name(digest))
        if member is None:
            raise NotFound(f"{self._subject}: {digest} is not in it")
        return self._tar.reader(member)

    def close(self) -> None:
        self._tar.close()

    def __enter__(self) -> DockerArchiveOrigin:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _from_layout(self) -> Descriptor | None:
        index = read_index(self._tar, subject=self._subject)
        if index is None:
            return None
        try:
            root = index.select(str(self._reference) if self._reference else None, subject=self._subject)
        except NotFound:
            if self._tar.find(DOCKER_FILE) is None:
                raise
            return None  # its index may have less of the name than manifest.json
        return root if self._tar.find(blob_name(root.digest)) else None

    def _from_docker(self) -> Descriptor:
        entry = self._select(self._entries())
        self._find(entry.config)
        data = self._tar.read(entry.config, limit=MAX_CONFIG_SIZE) or b""
        try:
            diff_ids = parse_config(data, subject=entry.config[:80]).diff_ids
        except InvalidArgument as error:
            raise FailedPrecondition(f"{self._subject}: {error}") from error
        if len(diff_ids) != len(entry.layers):
            raise FailedPrecondition(
                f"{self._subject}: {len(entry.layers)} layers, but the config names {len(diff_ids)}"
            )
        config = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=Digest.of(data), size=len(data))
        self._members[config.digest] = self._find(entry.config)
        known: dict[int, Descriptor] = {}  # by offset: links and repeated layers are read once
        layers = [
            self._layer(name, diff_id, known) for name, diff_id in zip(entry.layers, diff_ids, strict=True)
        ]
        self._manifest = made_manifest(config, layers)
        if len(self._manifest) > MAX_MANIFEST_SIZE:
            raise ResourceExhausted(
                f"{self._subject}: {len(layers)} layers make a manifest of {len(self._manifest)} bytes,"
                f" the limit is {MAX_MANIFEST_SIZE}"
            )
        return Descriptor(
            media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(self._manifest), size=len(self._manifest)
        )

    def _entries(self) -> list[DockerEntry]:
        entries = read_entries(self._tar, subject=self._subject)
        if entries is None:
            raise FailedPrecondition(
                f"{self._subject}: no {DOCKER_FILE} in it: not of docker save, or of one before 1.10"
            )
        return entries

    def _select(self, entries: list[DockerEntry]) -> DockerEntry:
        found = [entry for entry in entries if self._reference is None or self._is_called(entry)]
        if len(found) == 1:
            return found[0]
        names = [tag for entry in entries for tag in entry.tags]
        there = f"; there are {listed(names)}" if names else ""
        if not found:
            wanted = f" {shown(self._reference.familiar)}" if self._reference else ""
            raise NotFound(f"{self._subject}: no image{wanted}{there}")
        raise FailedPrecondition(f"{self._subject}: holds {len(found)} images{there}")

    def _is_called(self, entry: DockerEntry) -> bool:
        for tag in entry.tags:
            try:
                if Reference.parse(tag) == self._reference:
                    return True
            except InvalidArgument:  # of somebody else's making
                continue
        return False

    def _find(self, name: str) -> Member:
        member = self._tar.find(name)
        if member is None:
            raise FailedPrecondition(f"{self._subject}: {shown(name)}, which it names, is not in it")
        return member

    def _layer(self, name: str, diff_id: Digest, known: dict[int, Descriptor]) -> Descriptor:
        member = self._find(name)
        descriptor = known.get(member.offset)
        if descriptor is None:
            with self._tar.reader(member) as reader:
                kind = compression_of(reader.read_at(HEAD, 0))
                hasher = new_hasher(DEFAULT_ALGORITHM)
                pour(reader, hasher.update, offset=0, subject=self._subject)
            digest = Digest.from_hasher(DEFAULT_ALGORITHM, hasher)
            descriptor = Descriptor(media_type=LAYER_TYPES[kind], digest=digest, size=member.size)
            known[member.offset] = descriptor
            self._members.setdefault(digest, member)
        # What is compressed can only be told by unpacking it, which whoever runs the image does.
        plain = descriptor.media_type == mediatypes.OCI_LAYER
        if plain and diff_id.algorithm == DEFAULT_ALGORITHM and descriptor.digest != diff_id:
            raise DataLoss(f"{self._subject}: the layer {shown(name)} is damaged: it is not {diff_id}")
        return descriptor


class DockerArchiveSink:
    """A Pusher into a new archive of one image that ``docker load`` reads. ``tag`` completes it and
    gives the file its name; leaving the ``with`` block before leaves nothing.

    Layers are unpacked on the way and verified by the config.

    Args:
        path: The file.
        reference: What the image is called in it; None: it gets no name.
        overwrite: Replace a file that is there.
    Raises:
        AlreadyExists, FailedPrecondition, NotFound: As TarWriter.
    """

    parallel: int | None = 1

    def __init__(self, path: str, reference: Reference | None, *, overwrite: bool = False) -> None:
        self._subject = f"docker-archive:{path}"
        self._reference = reference
        self.name = self._subject + (f":{reference.familiar}" if reference else "")
        self._guard = threading.RLock()
        self._diff_ids: dict[Digest, Digest] = {}  # layer as pushed -> unpacked
        self._configs: dict[Digest, bytes] = {}
        self._manifests: dict[Digest, Manifest] = {}
        self._tar = TarWriter(path, overwrite=overwrite, subject=self._subject)

    def exists(self, descriptor: Descriptor, /) -> bool:
        """As Pusher.

        Raises:
            FailedPrecondition: It is nothing for such an archive.
        """
        self._check_kind(descriptor)
        return any(descriptor.digest in there for there in (self._diff_ids, self._configs, self._manifests))

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _offset: None,
    ) -> str:
        with self._guard:
            if self.exists(descriptor):
                return "present"
            if mediatypes.is_layer(descriptor.media_type):
                self._diff_ids[descriptor.digest] = self._unpack(descriptor, provider, on_progress)
            elif mediatypes.is_config(descriptor.media_type):
                data = self._small(descriptor, provider, MAX_CONFIG_SIZE, on_progress)
                self._configs[descriptor.digest] = data
            else:
                data = self._small(descriptor, provider, MAX_MANIFEST_SIZE, on_progress)
                self._manifests[descriptor.digest] = self._checked(descriptor, data)
        return "pushed"

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        """Complete the archive; nothing can be pushed afterwards."""
        with self._guard:
            self.push(descriptor, provider)
            manifest = self._manifests[descriptor.digest]
            config = f"{manifest.config.digest.encoded}.json"
            self._tar.add(config, self._configs[manifest.config.digest])
            entry = {
                "Config": config,
                "RepoTags": [str(self._reference)] if self._reference else None,
                "Layers": [f"{self._diff_ids[layer.digest].encoded}.tar" for layer in manifest.layers],
            }
            self._tar.add(DOCKER_FILE, json.dumps([entry], separators=(",", ":")).encode())
            self._tar.finish()

    def close(self) -> None:
        """Give up what ``tag`` did not complete; a second call does nothing."""
        with self._guard:
            self._tar.close()

    def __enter__(self) -> DockerArchiveSink:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_kind(self, descriptor: Descriptor) -> None:
        kind = descriptor.media_type
        if mediatypes.is_index(kind):
            raise FailedPrecondition(
                f"{self._subject}: holds one platform only, {descriptor.digest} is an index; choose one"
                " with --platform"
            )
        if not (mediatypes.is_layer(kind) or mediatypes.is_config(kind) or mediatypes.is_manifest(kind)):
            raise FailedPrecondition(f"{self._subject}: holds images only, {descriptor.digest} is a {kind!a}")

    def _small(
        self, descriptor: Descriptor, provider: Provider, limit: int, on_progress: Callable[[int], None]
    ) -> bytes:
        if descriptor.size > limit:
            raise ResourceExhausted(
                f"content {descriptor.digest}: {descriptor.size} bytes, the limit here is {limit}"
            )
        data = bytearray()
        pour_verified(provider, descriptor, data.extend, on_progress=on_progress)
        return bytes(data)

    def _unpack(
        self, descriptor: Descriptor, provider: Provider, on_progress: Callable[[int], None]
    ) -> Digest:
        hasher = new_hasher(DEFAULT_ALGORITHM)
        with self._tar.member() as member:

            def take(data: ReadableBuffer) -> None:
                hasher.update(data)
                member.write(data)

            unpacker = Unpacker(take, subject=f"layer {descriptor.digest}")
            pour_verified(provider, descriptor, unpacker.feed, on_progress=on_progress)
            unpacker.finish()
            diff_id = Digest.from_hasher(DEFAULT_ALGORITHM, hasher)
            if diff_id not in self._diff_ids.values():  # the same, packed in another way
                member.name = f"{diff_id.encoded}.tar"
        return diff_id

    def _checked(self, descriptor: Descriptor, data: bytes) -> Manifest:
        """The manifest, when its children are here and its layers are those that its config names."""
        manifest = parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)
        if isinstance(manifest, Index) or manifest.artifact_type is not None:
            raise FailedPrecondition(f"{self._subject}: holds images only, {descriptor.digest} is none")
        config = self._configs.get(manifest.config.digest)
        if config is None or any(layer.digest not in self._diff_ids for layer in manifest.layers):
            raise FailedPrecondition(
                f"{self._subject}: the config and the layers of {descriptor.digest} come before it"
            )
        named = parse_config(config, subject=manifest.config.digest).diff_ids
        if len(named) != len(manifest.layers):
            raise FailedPrecondition(
                f"manifest {descriptor.digest}: {len(manifest.layers)} layers, its config names {len(named)}"
            )
        for layer, expected in zip(manifest.layers, named, strict=True):
            actual = self._diff_ids[layer.digest]
            if actual != expected:
                raise wrong_digest(f"layer {layer.digest}, unpacked", expected=expected, actual=actual)
        return manifest
