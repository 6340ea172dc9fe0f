"""What was exported is imported again, whatever an index lacks and whatever refers to what."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.ends_images import make_image, read
from tests.unit.transfer.import_archives import Target, index_of, merged, referrer

from distore.content.memory import MemoryStore
from distore.images.gclabels import referrer_labels, referrers_of
from distore.images.walk import walk
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import parse_manifest
from distore.oci.platform import Platform
from distore.transfer.exporter import ExportOptions, export
from distore.transfer.tarout import TarStream

HOST = Platform.parse("linux/amd64")
ARCHES = ("amd64", "arm64", "s390x", "riscv64")
IMAGES = [make_image(seed, layers=1 + seed % 3) for seed in range(4)]


def exported(store: MemoryStore, images: list[tuple[str | None, Descriptor]]) -> io.BytesIO:
    out = io.BytesIO()
    for _ in export(store, images, TarStream(out), options=ExportOptions(host=HOST)):
        pass
    return io.BytesIO(out.getvalue())


def reached(store: MemoryStore, root: Descriptor) -> set[Digest]:
    """All that is there below a root, with what refers to it."""

    def about(digest: Digest) -> list[Descriptor]:
        return [described(store, each) for each in referrers_of(store.info(digest).labels)]

    graph = walk(
        root,
        lambda one: parse_manifest(read(store, one.digest), media_type=None, subject="x"),
        referrers=about,
    )
    return {each.digest for each in (*graph.documents(), *graph.blobs())}


def described(store: MemoryStore, digest: Digest) -> Descriptor:
    data = read(store, digest)
    kind = parse_manifest(data, media_type=None, subject="x").media_type
    return Descriptor(media_type=kind, digest=digest, size=len(data))


@st.composite
def stores(draw: st.DrawFn) -> tuple[MemoryStore, list[tuple[str | None, Descriptor]]]:
    """Images, sparse indexes of them, indexes of those, and artifacts about any of them."""
    whole = merged(*(store for store, _ in IMAGES))
    roots = [root for _, root in IMAGES]
    there = draw(st.sets(st.sampled_from(range(4)), min_size=1))
    found = [roots[number] for number in there]
    for _ in range(draw(st.integers(0, 3))):
        present = draw(st.lists(st.sampled_from(found), min_size=1, max_size=3, unique=True))
        absent = draw(st.lists(st.sampled_from([*roots]), max_size=2, unique=True))
        children = list(dict.fromkeys([*present, *absent]))
        index = index_of(whole, *((child, ARCHES[n % 4]) for n, child in enumerate(children)))
        if index not in found:
            found.append(index)
    for number in range(draw(st.integers(0, 3))):
        subject = draw(st.sampled_from(found))
        about = referrer(whole, subject, b"about-%d" % number)
        info = whole.info(subject.digest)
        whole.update(info._replace(labels={**info.labels, **referrer_labels([about])}))
        found.append(about) if draw(st.booleans()) else None
    for number in set(range(4)) - there:
        whole.delete(roots[number].digest)
    chosen = draw(st.lists(st.sampled_from(found), min_size=1, max_size=4, unique=True))
    return whole, [(f"r.example/app:{number}", root) for number, root in enumerate(chosen)]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(made=stores())
def test_sparse_graphs_survive_export_and_import(
    made: tuple[MemoryStore, list[tuple[str | None, Descriptor]]],
) -> None:
    store, images = made

    target = Target().take(exported(store, images))

    assert target.errors == []
    assert target.names.digests == {name: root.digest for name, root in images}
    assert target.digests == set().union(*(reached(store, root) for _, root in images))
    for digest in target.digests:
        assert read(target.store, digest) == read(store, digest)
        labels = target.store.info(digest).labels
        assert set(referrers_of(store.info(digest).labels)) <= set(referrers_of(labels))


def test_exporting_again_what_was_imported_gives_the_same_bytes() -> None:
    store, root = IMAGES[0]
    first = exported(store, [("r.example/app:1", root)])
    target = Target().take(first)

    second = exported(target.store, [("r.example/app:1", root)])

    assert second.getvalue() == first.getvalue()
