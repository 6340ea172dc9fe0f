"""New images of folders and snapshots, and what they have of the image below."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.unit.transfer.committing import NAME, Committing, put

from distore.content.blobs import read_blob
from distore.errors import DistoreError, FailedPrecondition, InvalidArgument, NotFound
from distore.oci.digest import Digest
from distore.snapshots.probe import supported
from distore.testing import faults
from distore.transfer.mutate_config import ConfigChanges
from distore.transfer.scratch import LAYER

pytestmark = pytest.mark.slow


@pytest.fixture(params=["native", "overlayfs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Committing]:
    if request.param == "overlayfs" and supported(str(tmp_path)):
        pytest.skip("this file system cannot be stacked")
    committing = Committing(tmp_path / "store", request.param)
    yield committing
    committing.app.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with the files of an image."""
    folder = tmp_path / "tree"
    put(folder / "etc" / "a", "a")
    put(folder / "etc" / "b", "b")
    os.utime(folder, (0, 0))
    return folder


def document(store: Committing, digest: Digest) -> Any:
    return json.loads(read_blob(store.app.content, digest, max_size=1 << 20))


def names(store: Committing, done: Any) -> list[str]:
    """What the new layer has."""
    data = read_blob(store.app.content, done.layer.descriptor.digest, max_size=1 << 20)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_a_folder_without_a_base_is_an_image_of_one_layer(store: Committing, tree: Path) -> None:
    changes = ConfigChanges(cmd=("sh",), env=(("A", "1"),), author="ann")

    done = store.commit(str(tree), config=changes, message="why")

    manifest = document(store, done.root.digest)
    config = document(store, Digest(manifest["config"]["digest"]))
    assert names(store, done) == [".", "etc", "etc/a", "etc/b"]
    assert [layer["digest"] for layer in manifest["layers"]] == [done.layer and done.layer.descriptor.digest]
    assert config == {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["A=1"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [done.layer and done.layer.diff_id]},
        "author": "ann",
        "created": "2001-09-09T01:46:40Z",
        "history": [
            {
                "created": "2001-09-09T01:46:40Z",
                "created_by": "dist commit-rootfs",
                "author": "ann",
                "comment": "why",
            }
        ],
    }


def test_what_differs_from_the_base_is_one_more_layer(store: Committing, tree: Path) -> None:
    base = store.base(tree)
    (tree / "etc" / "a").unlink()
    put(tree / "new", "x")

    done = store.commit(str(tree), base, message="why")

    manifest = document(store, done.root.digest)
    assert names(store, done)[-3:] == ["etc", "etc/.wh.a", "new"]
    assert manifest["layers"][0]["digest"] == base.layers[0].digest
    assert store.unpacked(done).chain_id != base.chain_id
    assert store.commit(str(tree), base, message="why") == done


def test_the_image_below_a_snapshot_is_found(store: Committing, tree: Path) -> None:
    base = store.base(tree)
    put(store.prepare("work", base.chain_id) / "new", "x")

    done = store.commit("snapshot:work")

    assert [*names(store, done)][-1] == "new"
    assert store.unpacked(done).diff_ids == (*base.diff_ids, done.layer and done.layer.diff_id)
    store.snapshotter.commit("mine", "work")
    assert store.commit("snapshot:mine", base).layer == done.layer
    assert {info.name for info in store.snapshotter.walk()} >= {"mine", base.chain_id}
    assert not [info for info in store.snapshotter.walk() if info.name.startswith("commit-rootfs")]


def test_a_snapshot_of_its_own_is_a_whole_image(store: Committing) -> None:
    put(store.prepare("work", None) / "new", "x")

    done = store.commit("snapshot:work")

    assert names(store, done) == [".", "new"]


def test_where_nothing_differs_the_image_is_the_one_below(store: Committing, tree: Path) -> None:
    base = store.base(tree)
    store.prepare("work", base.chain_id)

    for source, below in ((str(tree), base), ("snapshot:work", None)):
        done = store.commit(source, below)

        assert (done.root.digest, done.layer, done.changes) == (base.manifest.digest, None, 0)
    changed = store.commit("snapshot:work", config=ConfigChanges(user="me"))
    config = document(store, Digest(document(store, changed.root.digest)["config"]["digest"]))
    assert config["history"][-1]["empty_layer"] is True
    assert config["config"] == {"User": "me"}


def test_a_bundle_is_its_snapshot_or_its_folder(store: Committing, tree: Path, tmp_path: Path) -> None:
    base = store.base(tree)
    put(store.prepare("bundle-0", base.chain_id) / "new", "x")
    bundle = tmp_path / "bundle"
    put(bundle / "rootfs" / "other", "x")
    put(bundle / "config.json", "{}")

    assert names(store, store.commit(str(bundle))) == [".", "other"]
    put(bundle / ".dist-bundle", f"made-by dist\nsnapshotter {store.driver}\nkey bundle-0\n")
    assert names(store, store.commit(str(bundle)))[-1] == "new"


def test_what_a_snapshot_does_not_lie_on_is_refused(store: Committing, tree: Path) -> None:
    base = store.base(tree)
    put(tree / "more", "x")
    other = store.unpacked(store.commit(str(tree), base))
    store.prepare("work", other.chain_id)
    store.snapshotter.view("shown", base.chain_id)

    with pytest.raises(FailedPrecondition, match="snapshot:work: lies on sha256:"):
        store.commit("snapshot:work", base)
    with pytest.raises(NotFound, match=r"no image for linux/amd64 has the layers .* --from"):
        store.commit("snapshot:work")
    with pytest.raises(FailedPrecondition, match="snapshot:shown: a view"):
        store.commit("snapshot:shown")
    with pytest.raises(NotFound, match="snapshot none"):
        store.commit("snapshot:none")


def test_a_source_that_is_none_is_one_line(store: Committing, tmp_path: Path) -> None:
    file = put(tmp_path / "file", "x")

    with pytest.raises(NotFound, match="no such folder"):
        store.commit(str(tmp_path / "none"))
    with pytest.raises(FailedPrecondition, match="want a folder, or snapshot:KEY"):
        store.commit(str(file))
    with pytest.raises(InvalidArgument, match="want the key"):
        store.commit("snapshot:")
    with pytest.raises(FailedPrecondition, match="lies in it; name another store"):
        store.commit(str(tmp_path))


def test_a_name_that_no_layer_can_have_leaves_nothing(store: Committing, tree: Path) -> None:
    put(tree / "x", "x" * 1000)
    put(tree / ".wh.x", "")

    with pytest.raises(FailedPrecondition, match=r"\.wh\.x"):
        store.commit(str(tree))

    assert list(store.app.content.statuses()) == []
    assert list(store.app.content.walk()) == []


def test_a_full_disk_at_any_step_leaves_no_half_layer_and_no_image(store: Committing, tree: Path) -> None:
    base = store.base(tree)
    put(tree / "new", "x" * 300_000)
    with faults.fail_at(0, 0) as tried:
        store.commit(str(tree), base, config=ConfigChanges(user="me"))
    steps = len(tried)

    for number in range(1, steps + 1, 1 + steps // 12):
        put(tree / "new", f"{number}" * 300_000)
        with faults.fail_at(number, errno.ENOSPC), suppress(DistoreError):
            store.commit(str(tree), base, config=ConfigChanges(user=str(number)))
        # What is left of a document has its digest as a name, and is resumed.
        refs = [status.ref for status in store.app.content.statuses()]
        assert [ref for ref in refs if ref.startswith(LAYER)] == []

    assert [image.name for image in store.metadata.images.list()] == [NAME]
