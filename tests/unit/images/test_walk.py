"""Images as graphs: what is read, in which order, and where it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distore.errors import InvalidArgument, NotFound, ResourceExhausted
from distore.images import walk as module
from distore.images.select import Selection
from distore.images.walk import MAX_DEPTH, walk
from distore.oci import mediatypes
from distore.oci.platform import Platform

if TYPE_CHECKING:
    from tests.unit.images.conftest import Library

    from distore.images.walk import Graph
    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Index, Manifest

ARM = Selection(platforms=(Platform.parse("linux/arm64"),))


def positions(graph: Graph) -> dict[str, int]:
    return {document.digest: at for at, document in enumerate(graph.documents())}


def test_a_manifest_has_a_config_and_layers(library: Library) -> None:
    layer = library.blob("layer")
    root = library.manifest("root", (layer, layer))

    graph = walk(root, library.read)

    assert graph.documents() == [root]
    assert graph.blobs() == [library.blob("root-config", mediatypes.OCI_CONFIG), layer]
    assert (graph.missing, graph.elsewhere) == ((), ())


def test_a_root_that_is_no_document_is_a_blob(library: Library) -> None:
    root = library.blob("artifact")

    graph = walk(root, library.read)

    assert (graph.documents(), graph.blobs(), library.reads) == ([], [root], [])


@pytest.mark.parametrize("workers", [1, 4])
def test_what_two_images_share_is_read_once_and_listed_once(library: Library, workers: int) -> None:
    shared, own = library.blob("shared"), library.blob("own")
    one = library.manifest("one", (shared, own))
    two = library.manifest("two", (shared,))
    inner = library.index("inner", (one,))
    root = library.index("root", (one, two, inner))

    graph = walk(root, library.read, workers=workers)

    assert sorted(library.reads) == sorted({root.digest, one.digest, two.digest, inner.digest})
    assert graph.documents()[-1] == root
    assert positions(graph)[one.digest] < positions(graph)[inner.digest]
    assert len(graph.blobs()) == len({blob.digest for blob in graph.blobs()}) == 4


def test_documents_of_one_level_are_read_at_once(library: Library) -> None:
    children = tuple(library.manifest(f"m{n}") for n in range(3))
    root = library.index("root", children)
    together = threading.Barrier(3, timeout=10)

    def read(at: Descriptor) -> Manifest | Index:
        if at is not root:
            together.wait()
        return library.read(at)

    assert len(walk(root, read, workers=3).below) == 4


def test_only_the_chosen_platform_is_read(library: Library) -> None:
    arm = library.manifest("arm", platform="linux/arm64")
    intel = library.manifest("intel", platform="linux/amd64")
    root = library.index("root", (intel, arm))

    graph = walk(root, library.read, selection=ARM)

    assert graph.documents() == [arm, root]
    assert library.reads == [root.digest, arm.digest]


@pytest.mark.parametrize("workers", [1, 4])
def test_all_platforms_of_a_sparse_index_are_those_that_are_there(library: Library, workers: int) -> None:
    there, gone, lost = (
        library.manifest(name, platform=f"linux/{name}") for name in ("arm64", "amd64", "386")
    )
    del library.documents[gone.digest], library.documents[lost.digest]
    root = library.index("root", (gone, there, lost))

    graph = walk(root, library.read, workers=workers)

    assert {child.digest for child in graph.missing} == {gone.digest, lost.digest}
    assert graph.documents() == [there, root]
    assert [blob.media_type for blob in graph.blobs()] == [mediatypes.OCI_CONFIG]


def test_a_chosen_platform_that_is_not_there_is_an_error(library: Library) -> None:
    gone = library.manifest("arm", platform="linux/arm64")
    del library.documents[gone.digest]
    root = library.index("root", (gone, library.manifest("intel", platform="linux/amd64")))

    with pytest.raises(NotFound, match=f"manifest {gone.digest}: not found, though its index names it"):
        walk(root, library.read, selection=ARM)


@pytest.mark.parametrize("selection", [Selection(), ARM])
def test_a_root_that_is_not_there_is_an_error(library: Library, selection: Selection) -> None:
    root = library.manifest("root")
    library.documents.clear()

    with pytest.raises(NotFound):
        walk(root, library.read, selection=selection)


def test_layers_that_only_their_own_urls_have_are_told_apart(library: Library) -> None:
    kind = mediatypes.DOCKER_LAYER_FOREIGN + ".gzip"
    foreign = library.blob("foreign", kind, urls=("https://a.example/x",))
    pushed = library.blob("pushed", kind)  # no URL: the registry has it
    root = library.manifest("root", (foreign, pushed))

    graph = walk(root, library.read)

    assert graph.elsewhere == (foreign,)
    assert pushed in graph.blobs()
    assert foreign not in graph.blobs()


def test_a_layer_that_another_manifest_calls_an_ordinary_one_is_wanted(library: Library) -> None:
    foreign = library.blob("same", mediatypes.DOCKER_LAYER_FOREIGN, urls=("https://a.example/x",))
    ordinary = library.blob("same", mediatypes.DOCKER_LAYER)
    root = library.index("root", (library.manifest("one", (foreign,)), library.manifest("two", (ordinary,))))

    assert ordinary in walk(root, library.read).blobs()


def test_an_error_of_a_child_is_the_error_of_the_walk(library: Library) -> None:
    bad = library.manifest("bad")
    root = library.index("root", (library.manifest("good"), bad))

    def read(at: Descriptor) -> Manifest | Index:
        if at == bad:
            raise InvalidArgument("manifest bad: not JSON")
        return library.read(at)

    for workers in (1, 3):
        with pytest.raises(InvalidArgument, match="manifest bad"):
            walk(root, read, workers=workers)


def nested(library: Library, levels: int) -> Descriptor:
    at = library.manifest("leaf")
    for level in range(levels - 1):
        at = library.index(f"index-{level}", (at,))
    return at


def test_indexes_may_be_nested_up_to_the_limit(library: Library) -> None:
    assert len(walk(nested(library, MAX_DEPTH), library.read).documents()) == MAX_DEPTH


def test_deeper_nesting_is_refused(library: Library) -> None:
    with pytest.raises(ResourceExhausted, match=f"more than {MAX_DEPTH} levels below it"):
        walk(nested(library, MAX_DEPTH + 1), library.read)

    assert len(library.reads) == MAX_DEPTH


def test_too_many_objects_are_refused(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OBJECTS", 10)
    root = library.manifest("root", tuple(library.blob(f"l{n}") for n in range(10)))

    with pytest.raises(ResourceExhausted, match="more than 10 objects in one image"):
        walk(root, library.read)


def test_a_chain_hidden_in_a_flat_index_is_ordered_like_any_other(library: Library) -> None:
    # Every link is a child of the root as well, so that no level is deep.
    chain = [library.manifest("leaf")]
    for number in range(1500):
        chain.append(library.index(f"link-{number}", (chain[-1],)))
    root = library.index("root", tuple(reversed(chain)))

    assert walk(root, library.read).documents() == [*chain, root]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_children_come_before_their_parents_in_any_graph(
    data: st.DataObject, new_library: Callable[[], Library]
) -> None:
    library = new_library()
    documents: list[Descriptor] = [library.manifest("m0"), library.manifest("m1", (library.blob("l"),))]
    for number in range(data.draw(st.integers(0, 8))):
        picked = data.draw(st.lists(st.sampled_from(documents), max_size=5))
        documents.append(library.index(f"i{number}", tuple(picked)))
    root = library.index("root", tuple(data.draw(st.permutations(documents))))

    graph = walk(root, library.read, workers=data.draw(st.sampled_from([1, 3])))

    at = positions(graph)
    assert len(at) == len(graph.documents()) == len(documents) + 1
    assert graph.documents()[-1] == root
    for parent, children in graph.below.items():
        assert all(at[child.digest] < at[parent] for child in children if child.digest in at)
    assert sorted(library.reads) == sorted(at)
