"""A store with an image of its own, and snapshots over it that tests change."""

from __future__ import annotations

import os
from pathlib import Path

from distore.app import App
from distore.config import Config
from distore.diff.compare import CompareOptions
from distore.oci.platform import Platform
from distore.snapshots.snapshotter import Snapshotter, Stacked
from distore.transfer.commit_rootfs import CommitOptions, Committed
from distore.transfer.pace import Stop
from distore.transfer.rootbase import Ground, commit_source
from distore.transfer.rootsource import RootSource
from distore.transfer.unpack import UnpackOptions, unpack
from distore.unpack.layers import ImageLayers, image_layers

PLATFORM = Platform(os="linux", architecture="amd64")
NAME = "docker.io/library/base:1"


class Committing:
    """A store in a folder."""

    def __init__(self, root: Path, driver: str = "native") -> None:
        self.app = App(Config(root=str(root)))
        self.metadata = self.app.metadata
        self.driver = driver

    @property
    def snapshotter(self) -> Snapshotter:
        return self.metadata.snapshotter(self.driver)

    def ground(self, base: ImageLayers | None = None) -> Ground:
        images = self.metadata.images
        return Ground(images=images, snapshotter=self.snapshotter, platform=PLATFORM, base=base)

    def commit(self, source: str, base: ImageLayers | None = None, **options: object) -> Committed:
        compare = CompareOptions(source_date_epoch=10**9, note=lambda _text: None)
        chosen = CommitOptions(compare=compare, created="2001-09-09T01:46:40Z", **options)  # type: ignore[arg-type]  # tests' own
        root = self.app.content.root
        return commit_source(self.app.content, RootSource.parse(source), self.ground(base), chosen, root=root)

    def base(self, folder: Path) -> ImageLayers:
        """An image of a folder, unpacked and named NAME."""
        done = self.commit(str(folder))
        self.metadata.images.put(NAME, done.root)
        return self.unpacked(done)

    def unpacked(self, done: Committed) -> ImageLayers:
        options = UnpackOptions(platforms=(PLATFORM,), snapshotter=self.driver, workers=1)
        stop = Stop()
        place = self.app.place(self.app.content, options, stop=stop)
        for _ in unpack(place, self.app.content, done.root, options, name=NAME, stop=stop):
            pass
        return image_layers(self.app.content, done.root, PLATFORM, subject="image")

    def prepare(self, key: str, parent: str | None) -> Path:
        """The folder of a new active snapshot, where whatever is written counts."""
        mounts = self.snapshotter.prepare(key, parent)
        if isinstance(self.snapshotter, Stacked):
            return Path(self.snapshotter.upper(key))
        return Path(mounts[0].source)


def put(path: Path, text: str, *, time: int = 10**8) -> Path:
    """A file of a given time; so are the folders that are new for it."""
    new = [each for each in path.parents if not each.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for each in (path, *new):
        os.utime(each, (time, time))
    return path
