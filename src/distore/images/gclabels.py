"""Labels that tell a collector what a document keeps (containerd, "Garbage Collection")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.oci.manifest import Index

if TYPE_CHECKING:
    from collections.abc import Container

    from distore.oci.digest import Digest
    from distore.oci.manifest import Manifest

GC_REF_CONTENT: Final = "containerd.io/gc.ref.content"


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
