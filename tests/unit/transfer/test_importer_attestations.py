"""Attestations that lie beside an image in an archive, which only index.json says what they are about."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from tests.unit.transfer.export_images import HOST, NAME, arch, attestation, entries, image, index
from tests.unit.transfer.import_archives import Target

from distore.content.memory import MemoryStore
from distore.images.gclabels import referrers_of
from distore.oci.descriptor import Descriptor
from distore.transfer.exporter import ExportOptions, export
from distore.transfer.tarout import TarStream


def exported(store: Any, root: Descriptor, **options: Any) -> bytes:
    out = io.BytesIO()
    for _ in export(store, [(NAME, root)], TarStream(out), options=ExportOptions(host=HOST, **options)):
        pass
    return out.getvalue()


@pytest.fixture
def about() -> tuple[MemoryStore, Descriptor, Descriptor, Descriptor]:
    """A store with an index, one of its images, and what it says about that."""
    store = MemoryStore()
    here, other = image(store, 1, platform=HOST), image(store, 2, platform=arch("arm64"))
    said = attestation(store, here)
    return store, index(store, [here, other, said, attestation(store, other)]), here, said


def test_an_attestation_is_attached_to_the_image_it_is_about(
    about: tuple[MemoryStore, Descriptor, Descriptor, Descriptor],
) -> None:
    store, root, here, said = about

    target = Target().take(io.BytesIO(exported(store, root, platforms=(HOST,))))

    assert target.errors == []
    assert target.names.digests == {NAME: here.digest}
    assert referrers_of(target.store.info(here.digest).labels) == [said.digest]
    assert said.digest in target.digests


def test_what_was_exported_imported_and_exported_again_is_the_same(
    about: tuple[MemoryStore, Descriptor, Descriptor, Descriptor],
) -> None:
    store, root, _, said = about
    first = exported(store, root, platforms=(HOST,))
    target = Target().take(io.BytesIO(first))

    second = exported(target.store, target.names.images[NAME].target)

    assert second == first
    (_, entry) = entries(second)
    assert entry["digest"] == said.digest
    assert entry["annotations"] == said.annotations
    assert json.dumps(entry["platform"]) == '{"architecture": "unknown", "os": "unknown"}'


def test_without_referrers_attestations_stay_behind(
    about: tuple[MemoryStore, Descriptor, Descriptor, Descriptor],
) -> None:
    store, root, here, said = about
    data = exported(store, root, platforms=(HOST,))

    target = Target().take(io.BytesIO(data), referrers=False)

    assert said.digest not in target.digests
    assert target.names.digests == {NAME: here.digest}


@pytest.mark.parametrize("told", ["no digest", ""])
def test_an_attestation_about_nothing_is_an_image_without_a_name(told: str) -> None:
    store = MemoryStore()
    here = image(store, 1)
    said = attestation(store, here).to_json()
    said["annotations"] = {**said["annotations"], "vnd.docker.reference.digest": told}  # type: ignore[dict-item]
    named = {**here.to_json(), "annotations": {"org.opencontainers.image.ref.name": NAME}}
    files = exported(store, here)

    target = Target().take(with_index(files, [named, said]))

    assert target.names.digests == {NAME: here.digest}
    assert referrers_of(target.store.info(here.digest).labels) == []


def with_index(data: bytes, manifests: list[object]) -> io.BytesIO:
    """The same archive with another index.json."""
    import tarfile

    out = io.BytesIO(data)
    with tarfile.open(fileobj=out, mode="a") as tar:
        text = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
        info = tarfile.TarInfo("index.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return io.BytesIO(out.getvalue())
