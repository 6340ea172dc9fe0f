"""Which images an archive holds, and what they are to be called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError, FailedPrecondition, InvalidArgument
from distore.images.children import has_children
from distore.oci.descriptor import Descriptor
from distore.oci.manifest import Manifest, parse_manifest
from distore.oci.reference import Reference
from distore.transfer import ociindex
from distore.transfer.dockerentries import compose, is_about, read_entries
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
    """One image of an archive: the whole references and the bare tags that it has there."""

    descriptor: Descriptor
    names: list[str]
    tags: list[str]


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
        entries = read_entries(self._contents, subject=self._subject)
        if index is None and not entries:
            raise FailedPrecondition(
                f"{self._subject}: no images in it: neither {INDEX_FILE} of an image layout nor the"
                " manifest.json of docker save"
            )
        for document in index.entries if index else ():
            self._add_entry(document)
        for entry in entries:
            self._add_docker(entry, has_index=bool(self.found))
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
            root.tags.append(name)

    def _add_docker(self, entry: DockerEntry, *, has_index: bool) -> None:
        """What index.json says counts first: there, a name may stand for more than one platform."""
        named = {name for root in self.found.values() for name in root.names}
        tags = [tag for tag in entry.tags if _normal(tag) not in named]
        if has_index and not tags:
            return
        try:
            root = self._of_layout(entry) or self._root(
                compose(entry, self._contents, self._supply, subject=self._subject)
            )
        except DistoreError as error:
            self._fail(error)
            return
        for tag in tags:
            self._name(root, tag)

    def _of_layout(self, entry: DockerEntry) -> Root | None:
        """The image of the layout that an entry of docker is about."""
        for root in self.found.values():
            try:
                document = document_of(self._supply, root.descriptor)
            except DistoreError:  # told where it is imported
                continue
            if isinstance(document, Manifest) and is_about(entry, document.config.digest):
                return root
        return None

    def _root(self, descriptor: Descriptor) -> Root:
        annotations = {
            key: value
            for key, value in descriptor.annotations.items()
            if key not in (CONTAINERD_NAME, REF_NAME)
        }
        plain = replace(descriptor, annotations=annotations)
        return self.found.setdefault(descriptor.digest, Root(descriptor=plain, names=[], tags=[]))

    def _name(self, root: Root, name: str) -> None:
        normal = _normal(name)
        if normal is None:
            self._note(f"{self._subject}: {root.descriptor.digest} is called {shown(name)}, which is no name")
        elif normal not in root.names:
            root.names.append(normal)

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
                    root.names.remove(name)
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
