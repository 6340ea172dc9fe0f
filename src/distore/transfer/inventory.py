"""Inventory: the digests that one side has, for the other side to leave out of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from distore.images.children import document_of, has_children, read_manifest
from distore.images.gclabels import referrers_of
from distore.images.walk import walk
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distore.oci.descriptor import Descriptor
    from distore.transfer.exportplan import ExportStore

MAX_INVENTORY_SIZE: Final = 64 * 1024 * 1024  # bytes; about 900,000 digests
_KIND: Final = "# distore inventory "
_VERSION: Final = "1"
HEADER: Final = _KIND + _VERSION


def inventory_of(store: ExportStore, roots: Iterable[Descriptor]) -> list[tuple[Digest, int]]:
    """What is there of some images, with what refers to them: digests and sizes, sorted.

    Raises:
        NotFound: A root is not there.
        InvalidArgument, FailedPrecondition, ResourceExhausted, DataLoss: As ``walk``.
    """

    def referrers(subject: Digest) -> list[Descriptor]:
        found = []
        for referrer in referrers_of(store.info(subject).labels):
            try:
                found.append(document_of(store, referrer))
            except NotFound:
                continue
        return found

    sizes: dict[Digest, int] = {}
    for root in roots:
        if not has_children(root):
            sizes[root.digest] = store.info(root.digest).size
            continue
        graph = walk(root, lambda at: read_manifest(store, at), referrers=referrers)
        for each in (*graph.documents(), *graph.blobs()):
            try:
                sizes[each.digest] = store.info(each.digest).size
            except NotFound:
                continue
    return sorted(sizes.items())


def parse_inventory(data: bytes, *, subject: str) -> frozenset[Digest]:
    """The digests of an inventory, which anybody may have written: a digest or ``# comment`` a line.

    Raises:
        InvalidArgument: Something else; names the line.
        FailedPrecondition: Of a newer version.
        ResourceExhausted: Over MAX_INVENTORY_SIZE.
    """
    if len(data) > MAX_INVENTORY_SIZE:
        raise ResourceExhausted(f"{subject}: {len(data)} bytes, the limit is {MAX_INVENTORY_SIZE}")
    found = set()
    for number, line in enumerate(data.split(b"\n"), start=1):
        text = line.decode("ascii", "backslashreplace").strip()
        if text.startswith(_KIND) and text != HEADER:
            version = text.removeprefix(_KIND)[:20]
            raise FailedPrecondition(
                f"{subject}: line {number}: inventory version {version!a}, want {_VERSION}"
            )
        if text and not text.startswith("#"):
            try:
                found.add(Digest(text))
            except InvalidArgument as error:
                raise InvalidArgument(f"{subject}: line {number}: {error}") from error
    return frozenset(found)
