"""Documents that are also something else, and documents that are too many for the memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from distore.images.walk import walk
from distore.oci import mediatypes

if TYPE_CHECKING:
    from tests.unit.images.conftest import Library


@pytest.mark.parametrize("workers", [1, 3])
def test_a_manifest_that_was_met_as_a_layer_before_is_read_all_the_same(
    library: Library, workers: int
) -> None:
    layer = library.blob("layer")
    inner = library.manifest("inner", (layer,))
    strange = library.manifest("strange", (replace(inner, media_type=mediatypes.OCI_LAYER),))
    deep = library.index("deep", (inner,))
    root = library.index("root", (strange, deep))

    graph = walk(root, library.read, workers=workers)

    assert inner.digest in {document.digest for document in graph.documents()}
    assert layer.digest in {blob.digest for blob in graph.blobs()}
    assert library.reads.count(inner.digest) == 1


def test_a_referrer_that_was_met_as_a_layer_before_is_read_all_the_same(library: Library) -> None:
    layer = library.blob("layer")
    about = library.manifest("about", (layer,))
    root = library.manifest("root", (replace(about, media_type=mediatypes.OCI_LAYER),))

    graph = walk(root, library.read, referrers=lambda digest: [about] if digest == root.digest else [])

    assert layer.digest in {blob.digest for blob in graph.blobs()}
