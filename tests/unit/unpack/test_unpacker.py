"""Images into snapshots: each layer once, in order, whoever else is at it, and nothing left of what fails."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.diff.overlay_layers import Entry
from tests.unit.diff.overlay_layers import tar_of as layer_of
from tests.unit.transfer.ends_images import family, make_image, manifest_of, put, read

from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists, Cancelled, DataLoss, NotFound
from distore.metadata.db import Metadata
from distore.mount import may_mount, mount, unmount
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.snapshots.snapshotter import Kind, Snapshotter
from distore.unpack.layer import LayerDone, LayerRead
from distore.unpack.layers import ImageLayers, image_layers
from distore.unpack.place import place_of
from distore.unpack.unpacker import Place, Unpacker

AMD64 = Platform(os="linux", architecture="amd64")
BOTH = ("overlayfs", "native")


class World:
    """A store with a snapshotter."""

    def __init__(self, root: Path, driver: str) -> None:
        self.content = LocalStore(str(root))
        self.metadata = Metadata(self.content, command="test")
        self.driver = driver

    @property
    def snapshots(self) -> Snapshotter:
        return self.metadata.snapshotter(self.driver)

    def place(self, stop: threading.Event | None = None, *, sync: bool = True) -> Place:
        ended = stop or threading.Event()

        def check() -> None:
            if ended.is_set():
                raise Cancelled("stopped")

        return place_of(
            self.metadata, snapshotter=self.driver, sync=sync, check=check, sleep=lambda _: check()
        )

    def image(self, layers: list[bytes], *, wrong: int | None = None) -> ImageLayers:
        """An image of plain tar files; the DiffID of one may be wrong."""
        diff_ids = [Digest.of(b"else" if number == wrong else data) for number, data in enumerate(layers)]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        }
        found = [self.put(gzip.compress(data, 1), mediatypes.OCI_LAYER_GZIP) for data in layers]
        config = self.put(json.dumps(document).encode(), mediatypes.OCI_CONFIG)
        return self.find(self.put(manifest_of(config, found), mediatypes.OCI_MANIFEST))

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """As ``put``, also for what is there."""
        digest = Digest.of(data)
        with suppress(AlreadyExists):
            put(self.content, data, media_type)
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def find(self, root: Descriptor) -> ImageLayers:
        return image_layers(self.content, root, AMD64, subject="image x")

    def take(self, seed: int = 1) -> ImageLayers:
        store, root = make_image(seed)
        for one in [*family(store, root), root]:
            put(self.content, read(store, one.digest), one.media_type)
        return self.find(root)

    def names(self) -> list[str]:
        return sorted(info.name for info in self.snapshots.walk())


@pytest.fixture(params=BOTH)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path / "store", request.param)
    yield found
    found.content.close()


@pytest.fixture
def stacked(tmp_path: Path) -> Iterator[World]:
    """One whose layers are applied side by side."""
    found = World(tmp_path / "store", "overlayfs")
    yield found
    found.content.close()


def run(unpacker: Unpacker, *, workers: int = 1) -> list[LayerRead | LayerDone]:
    """All of it, in that many threads; the first error is raised."""
    news: list[LayerRead | LayerDone] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            unpacker.work(news.append)
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    unpacker.close()
    if errors:
        raise errors[0]
    return news


def unpack(world: World, image: ImageLayers, *, workers: int = 1) -> list[LayerDone]:
    unpacker = Unpacker(world.place(), image)
    unpacker.all_arrived()
    return [one for one in run(unpacker, workers=workers) if isinstance(one, LayerDone)]


def files(world: World, chain: Digest, target: Path) -> dict[str, bytes]:
    """What is seen through the snapshot."""
    (one,) = world.snapshots.view("look", chain)
    target.mkdir()
    if one.type == "overlay":
        if not may_mount():
            pytest.skip("only root may mount")
        from dataclasses import replace

        mount(replace(one, target=str(target)))
        try:
            return _read(target)
        finally:
            unmount(str(target))
    return _read(Path(one.source))


def _read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_image_is_a_committed_snapshot_named_by_its_chain_id(world: World, tmp_path: Path) -> None:
    image = world.take()

    done = unpack(world, image)

    assert [one.layer.digest for one in done] == [layer.digest for layer in image.layers]
    assert {one.how for one in done} == {"unpacked"}
    assert done[-1].chain_id == image.chain_id
    assert world.snapshots.stat(image.chain_id).kind is Kind.COMMITTED
    assert {info.kind for info in world.snapshots.walk()} == {Kind.COMMITTED}
    assert sorted(files(world, image.chain_id, tmp_path / "m")) == ["file-0", "file-1", "file-2"]
    assert os.listdir(tmp_path / "store" / "unpacking") == []


def test_what_is_there_is_not_unpacked_again(world: World) -> None:
    image = world.take()
    unpack(world, image)
    names = world.names()

    done = unpack(world, image)

    assert [one.how for one in done] == ["present"] * 3
    assert world.names() == names


def test_layers_that_images_share_are_unpacked_once(stacked: World) -> None:
    base = layer_of([Entry("file", "base")])
    one, other = (stacked.image([base, layer_of([Entry("file", name)])]) for name in ("one", "other"))
    unpack(stacked, one)

    done = unpack(stacked, other)

    assert [each.how for each in done] == ["present", "unpacked"]
    assert stacked.snapshots.stat(other.chain_id).parent == other.diff_ids[0]


def test_layers_are_committed_in_order_however_they_arrive(stacked: World, tmp_path: Path) -> None:
    image = stacked.take()
    unpacker = Unpacker(stacked.place(), image)
    news: list[LayerRead | LayerDone] = []
    thread = threading.Thread(target=lambda: unpacker.work(news.append))
    thread.start()

    for layer in reversed(image.layers):
        unpacker.arrived(layer.digest)
    thread.join(20)
    unpacker.close()

    done = [one for one in news if isinstance(one, LayerDone)]
    assert [one.layer.digest for one in done] == [layer.digest for layer in image.layers]
    assert sorted(files(stacked, image.chain_id, tmp_path / "m")) == ["file-0", "file-1", "file-2"]


def test_a_layer_that_leans_on_one_below_is_applied_again(stacked: World, tmp_path: Path) -> None:
    below = layer_of([Entry("dir", "d"), Entry("file", "d/a", seed=7)])
    above = layer_of([Entry("link", "d/b", "d/a"), Entry("wh", "d/a")])
    image = stacked.image([below, above])
    unpacker = Unpacker(stacked.place(), image)
    unpacker.arrived(image.layers[1].digest)
    started = threading.Event()

    def tell(news: LayerRead | LayerDone) -> None:
        started.set()

    thread = threading.Thread(target=lambda: unpacker.work(tell))
    thread.start()
    assert started.wait(20)  # the upper one is read before the lower one is there
    unpacker.arrived(image.layers[0].digest)
    thread.join(20)
    unpacker.close()

    assert list(files(stacked, image.chain_id, tmp_path / "m")) == ["d/b"]


def test_several_workers_unpack_one_image(world: World, tmp_path: Path) -> None:
    layers = [layer_of([Entry("file", f"f{number}", seed=number)]) for number in range(12)]
    image = world.image(layers)

    done = unpack(world, image, workers=4)

    assert [one.layer.digest for one in done] == [layer.digest for layer in image.layers]
    assert len(files(world, image.chain_id, tmp_path / "m")) == 12


def test_two_unpackers_share_the_work(world: World) -> None:
    image = world.image([layer_of([Entry("file", f"f{number}", seed=number)]) for number in range(8)])
    found: list[list[LayerDone]] = []
    threads = [threading.Thread(target=lambda: found.append(unpack(world, image))) for _ in range(3)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    unpacked = [one.layer.digest for done in found for one in done if one.how == "unpacked"]
    assert sorted(unpacked) == sorted(layer.digest for layer in image.layers)
    assert {info.kind for info in world.snapshots.walk()} == {Kind.COMMITTED}


def test_a_layer_that_is_not_what_the_config_promises_leaves_nothing(world: World) -> None:
    good = layer_of([Entry("file", "a")])
    image = world.image([good, layer_of([Entry("file", "b")])], wrong=1)

    with pytest.raises(DataLoss, match=f"layer {image.layers[1].digest}: unpacks to .* promises"):
        unpack(world, image)

    assert [name for name in world.names() if name.startswith("extract-")] == []
    assert image.chain_id not in world.names()


def test_a_damaged_layer_is_named(world: World) -> None:
    data = gzip.compress(layer_of([Entry("file", "a")]))[:-9]
    layer = put(world.content, data, mediatypes.OCI_LAYER_GZIP)
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [Digest.of(b"x")]}}
    config = put(world.content, json.dumps(document).encode(), mediatypes.OCI_CONFIG)
    root = put(world.content, manifest_of(config, [layer]), mediatypes.OCI_MANIFEST)

    with pytest.raises(DataLoss, match=f"layer {layer.digest}: the end is missing of its gzip data"):
        unpack(world, world.find(root))

    assert world.names() == []


def test_who_stops_leaves_nothing(world: World) -> None:
    image, stop = world.take(), threading.Event()
    unpacker = Unpacker(world.place(stop), image)
    unpacker.all_arrived()

    def tell(news: LayerRead | LayerDone) -> None:
        stop.set()

    with pytest.raises(Cancelled):
        unpacker.work(tell)
    unpacker.close()

    assert [name for name in world.names() if name.startswith("extract-")] == []
    assert os.listdir(Path(world.content.root) / "unpacking") == []


def test_a_layer_that_went_meanwhile_is_named(world: World) -> None:
    image = world.take()
    unpacker = Unpacker(world.place(), image)
    world.content.delete(image.layers[0].digest)
    unpacker.all_arrived()

    with pytest.raises(NotFound, match=str(image.layers[0].digest)):
        run(unpacker)


def test_the_same_layer_twice_is_two_snapshots(stacked: World) -> None:
    layer = layer_of([Entry("file", "a")])
    image = stacked.image([layer, layer])

    done = unpack(stacked, image)

    assert [one.how for one in done] == ["unpacked", "unpacked"]
    assert len(stacked.names()) == 2


def test_what_was_not_synced_before_a_restart_is_unpacked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = world.take()
    unpacker = Unpacker(world.place(sync=False), image)
    unpacker.all_arrived()
    run(unpacker)
    assert {one.how for one in unpack(world, image)} == {"present"}

    monkeypatch.setattr("distore.snapshots.durability.boot_id", lambda: "another")

    assert {one.how for one in unpack(world, image)} == {"unpacked"}
    assert {one.how for one in unpack(world, image)} == {"present"}


def test_what_was_not_synced_goes_with_other_images_that_lie_on_it(
    stacked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = layer_of([Entry("file", "base")])
    images = [stacked.image([base, layer_of([Entry("file", name)])]) for name in ("one", "other")]
    for image in images:
        unpacker = Unpacker(stacked.place(sync=False), image)
        unpacker.all_arrived()
        run(unpacker)
    monkeypatch.setattr("distore.snapshots.durability.boot_id", lambda: "another")

    first, second = (unpack(stacked, image) for image in images)

    assert [each.how for each in first] == ["unpacked", "unpacked"]
    assert [each.how for each in second] == ["present", "unpacked"]


def test_what_was_not_synced_and_carries_others_is_told_of(
    stacked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = stacked.take()
    unpacker = Unpacker(stacked.place(sync=False), image)
    unpacker.all_arrived()
    run(unpacker)
    stacked.snapshots.prepare("mine", image.chain_id)
    monkeypatch.setattr("distore.snapshots.durability.boot_id", lambda: "another")

    with pytest.raises(DataLoss, match=r"was not synced before the machine stopped.*mine lies on it"):
        unpack(stacked, image)
