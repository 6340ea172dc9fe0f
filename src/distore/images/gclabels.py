"""Labels that tell a collector what a document keeps (containerd, "Garbage Collection")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci.digest import Digest
from distore.oci.manifest import Index

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Manifest

GC_REF_CONTENT: Final = "containerd.io/gc.ref.content"
_REFERRER: Final = GC_REF_CONTENT + ".r."


def gc_labels(document: Manifest | Index, *, leaving_out: Container[Digest] = frozenset()) -> dict[str, str]:
    """References from a document to its children: ``m.N`` manifests, ``config``, ``l.N`` layers.

    Args:
        leaving_out: Children that are not wanted; nothing keeps them then.
    """
    if isinstance(document, Index):
        pairs = [(f"m.{n}", child) for n, child in enumerate(document.manifests)]
    else:
        pairs = [("config", document.config), *((f"l.{n}", layer) for n, layer in enumerate(document.layers))]
    return {
        f"{GC_REF_CONTENT}.{name}": child.digest for name, child in pairs if child.digest not in leaving_out
    }


def referrer_labels(referrers: Iterable[Descriptor]) -> dict[str, str]:
    """References from a document to what refers to it, so that a collector keeps both."""
    return {f"{_REFERRER}{each.digest.encoded[:16]}": each.digest for each in referrers}


def referrers_of(labels: Mapping[str, str]) -> list[Digest]:
    """The digests that ``referrer_labels`` noted; what is no digest is passed over."""
    found = []
    for key, value in labels.items():
        if key.startswith(_REFERRER):
            try:
                found.append(Digest(value))
            except InvalidArgument:
                continue
    return found
