"""A push that dies before any of its steps: nothing half is offered, and the next push and pass end well."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from tests.fault.test_repository_stress import check_whole

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.repositories import ManifestRecord
from distore.testing import faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distore.metadata.repositories import StoredRepositories

LAYER, MANIFEST = b"layer", b"manifest"


def push(store: LocalStore, repositories: StoredRepositories, told: list[str]) -> None:
    """A layer, then the manifest under a tag; ``told`` are the steps that the client knows of."""
    layer, manifest = Digest.of(LAYER), Digest.of(MANIFEST)
    for data, digest in ((LAYER, layer), (MANIFEST, manifest)):
        with repositories.keeping(digest):
            with store.writer(f"upload-{digest}") as writer:
                writer.truncate()
                writer.write(data)
                writer.commit(expected=digest)
            if data is LAYER:
                repositories.add_blob("app", digest, len(data))
                told.append("layer")
    record = ManifestRecord(
        descriptor=Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=manifest, size=len(MANIFEST)),
        children=((layer, len(LAYER)),),
    )
    assert repositories.put_manifest("app", record, tags=["v1"], needed=[layer]) == []
    told.append("manifest")
    repositories.close()


@pytest.mark.slow
@pytest.mark.parametrize("made", [False, True])
def test_a_push_that_dies_before_any_step_leaves_nothing_half(
    tmp_path: Path, count: Callable[[str, int], None], *, made: bool
) -> None:
    cases = 0
    for number in itertools.count(1):
        store = LocalStore(str(tmp_path / str(number)))
        if made:
            Metadata(store, command="t").leases.create("there is a database")
        told: list[str] = []
        dying = Metadata(store, command="t")
        with faults.crash_before(number):
            try:
                push(store, dying.repositories, told)
            except faults.Crash:
                pass
            else:
                break  # no step was left to crash before
        cases += 1
        store.close()
        repositories = Metadata(store, command="t").repositories
        check_whole(store)
        assert repositories.has("app", Digest.of(LAYER)) or "layer" not in told
        assert (repositories.tag("app", "v1") is not None) == (
            repositories.manifest("app", Digest.of(MANIFEST)) is not None
        )
        for _ in Metadata(store, command="t").collector.collect():
            pass
        assert repositories.has("app", Digest.of(LAYER)) or "layer" not in told
        for status in list(store.statuses()):
            store.abort(status.ref)
        finished = LocalStore(store.root)
        if finished.exists() and set(finished.digests()) <= {Digest.of(LAYER)}:
            for digest in list(finished.digests()):
                assert repositories.has("app", digest)
        finished.close()
        dying.close()  # here, for a process that dies ends nothing
        store.close()
    assert cases > 5
    count(f"a push killed before each of its steps, database {'there' if made else 'not there'}", cases)
