"""Which images an archive holds, and what they are to be called."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError, FailedPrecondition, InvalidArgument
from distore.images.children import has_children
from distore.oci.descriptor import Descriptor
from distore.oci.manifest import Manifest, parse_manifest
from distore.oci.reference import Reference
from distore.transfer import ociindex
from distore.transfer.dockerentries import Composer, configs_of, read_entries
from distore.transfer.ociindex import CONTAINERD_NAME, INDEX_FILE, REF_NAME, ImageIndex, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.oci.digest import Digest
    from distore.oci.manifest import Index
    from distore.transfer.dockerentries import DockerEntry
    from distore.transfer.imported import Contents, Supply

_NAMELESS: Final = "localhost/imported"  # repository of images that are named by digest alone


@dataclass(slots=True, kw_only=True)
class Root:
    """One image of an archive: the whole references and the bare tags that it has there, in order."""

    descriptor: Descriptor
    names: dict[str, None] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)


class Roots:
    """The images of an archive, each once, in their order.

    Args:
        subject: What messages call the archive.
        note: Told of what is passed over.
        fail: Told of what is wrong with one image.
    """

    def __init__(
        self,
        contents: Contents,
        supply: Supply,
        *,
        subject: str,
        note: Callable[[str], None],
        fail: Callable[[DistoreError], None],
    ) -> None:
        self._contents = contents
        self._supply = supply
        self._subject = subject
        self._note = note
        self._fail = fail
        self.found: dict[Digest, Root] = {}

    def read(self) -> None:
        """Read index.json and manifest.json.

        Raises:
            FailedPrecondition: There is neither, or one cannot be read.
            ResourceExhausted: One is too large.
        """
        index = self._index()
        entries = read_entries(self._contents, subject=self._subject) or []
        if index is None and not entries:
            raise FailedPrecondition(
                f"{self._subject}: no images in it: neither {INDEX_FILE} of an image layout nor the"
                " manifest.json of docker save"
            )
        for document in index.entries if index else ():
            self._add_entry(document)
        self._add_docker(entries)
        self._drop_ambiguous()

    def _index(self) -> ImageIndex | None:
        data = self._contents.read(INDEX_FILE, limit=ociindex.MAX_INDEX_SIZE)
        if data is None:
            return None
        layout = self._contents.read(ociindex.LAYOUT_FILE, limit=ociindex.MAX_LAYOUT_SIZE)
        if layout is not None:  # many go without it
            ociindex.check_layout(layout, subject=self._subject)
        return ImageIndex.parse(data, subject=self._subject)

    def _add_entry(self, document: object) -> None:
        try:
            descriptor = Descriptor.from_json(document)
        except InvalidArgument as error:
            self._fail(FailedPrecondition(f"{self._subject}: {INDEX_FILE}: {error}"))
            return
        if not has_children(descriptor):
            kind = shown(descriptor.media_type)
            self._note(f"{self._subject}: {descriptor.digest} is a {kind}, not an image; passed over")
            return
        root = self._root(descriptor)
        long, short = (descriptor.annotations.get(key) for key in (CONTAINERD_NAME, REF_NAME))
        name = long or short
        if name and (long or "/" in name or ":" in name):  # a bare tag would parse, too
            self._name(root, name)
        elif name:
            root.tags[name] = None

    def _add_docker(self, entries: list[DockerEntry]) -> None:
        """What index.json says counts first: there, a name may stand for more than one platform."""
        named = {name for root in self.found.values() for name in root.names}
        there = self._by_config() if entries else {}
        has_index = bool(self.found)
        composer = Composer(self._contents, self._supply, subject=self._subject)
        for entry in entries:
            tags = [tag for tag in entry.tags if _normal(tag) not in named]
            if has_index and not tags:
                continue
            about = [there[config] for config in configs_of(entry) if config in there]
            try:
                root = about[0] if about else self._root(composer.compose(entry))
            except DistoreError as error:
                self._fail(error)
                continue
            for tag in tags:
                self._name(root, tag)

    def _by_config(self) -> dict[str, Root]:
        """The images of the layout, which docker knows by the digests of their configs."""
        found: dict[str, Root] = {}
        for root in self.found.values():
            try:
                document = document_of(self._supply, root.descriptor)
            except DistoreError:  # told where it is imported
                continue
            if isinstance(document, Manifest):
                found.setdefault(document.config.digest.encoded, root)
        return found

    def _root(self, descriptor: Descriptor) -> Root:
        annotations = {
            key: value
            for key, value in descriptor.annotations.items()
            if key not in (CONTAINERD_NAME, REF_NAME)
        }
        plain = replace(descriptor, annotations=annotations)
        return self.found.setdefault(descriptor.digest, Root(descriptor=plain))

    def _name(self, root: Root, name: str) -> None:
        normal = _normal(name)
        if normal is None:
            self._note(f"{self._subject}: {root.descriptor.digest} is called {shown(name)}, which is no name")
        else:
            root.names[normal] = None

    def _drop_ambiguous(self) -> None:
        """A name of two images is the name of neither."""
        owners: dict[str, list[Root]] = {}
        for root in self.found.values():
            for name in root.names:
                owners.setdefault(name, []).append(root)
        for name, roots in owners.items():
            if len(roots) > 1:
                first, second = (root.descriptor.digest for root in roots[:2])
                self._fail(
                    FailedPrecondition(f"{self._subject}: {name} stands for both {first} and {second}")
                )
                for root in roots:
                    del root.names[name]
                    if not root.names:
                        del self.found[root.descriptor.digest]


def document_of(supply: Supply, descriptor: Descriptor) -> Manifest | Index:
    """A manifest or index, verified; one that its descriptor has in it is added to the supply."""
    if descriptor.data is not None and supply.size(descriptor.digest) is None:
        supply.add_bytes(descriptor.data, descriptor.digest)
    data = supply.document(descriptor)
    return parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)


def full_names(root: Root, *, base: Reference | None, by_digest: bool) -> list[str]:
    """What an image is called in the store; bare tags need a ``base``.

    Args:
        by_digest: One that has no name is called by its digest.
    Raises:
        InvalidArgument: A tag that no reference has.
    """
    names = list(root.names)
    if base is not None:
        names += [str(Reference(domain=base.domain, path=base.path, tag=tag)) for tag in root.tags]
    if not names and by_digest:
        place = base or Reference.parse_name(_NAMELESS)
        names = [str(Reference(domain=place.domain, path=place.path, digest=root.descriptor.digest))]
    return list(dict.fromkeys(names))


def _normal(name: str) -> str | None:
    try:
        return str(Reference.parse(name))
    except InvalidArgument:
        return None
