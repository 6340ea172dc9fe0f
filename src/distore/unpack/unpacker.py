"""Unpacker: the layers of one image into committed snapshots, side by side, while others still arrive."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from distore._internal import filelock, fsops
from distore._internal.oserrors import translated
from distore.diff.applyupper import apply_upper, settle_upper
from distore.diff.compression import BlobInput, Decompressed
from distore.errors import AlreadyExists, DataLoss, DistoreError, FailedPrecondition, NotFound
from distore.oci.digest import Digest
from distore.snapshots.durability import is_suspect
from distore.snapshots.snapshotter import Snapshotter, Stacked
from distore.unpack.chainid import chain_ids
from distore.unpack.layer import LayerDone, Teller, apply_layer, check_diff_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore._internal.filelock import FileLock
    from distore.diff.applyupper import AppliedUpper
    from distore.diff.entry import ApplyOptions
    from distore.oci.descriptor import Descriptor
    from distore.unpack.layer import Told
    from distore.unpack.layers import Blobs, ImageLayers

SNAPSHOT_REF: Final = "containerd.io/snapshot.ref"  # label of what is being unpacked: its chain id
_LOOK: Final = 0.2  # seconds after which a worker without work looks again


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an image is unpacked to, and how.

    Args:
        locks: A folder for locks, made when missing.
        check: Called often; raises to stop the work (Cancelled).
        sleep: Waits that many seconds; may raise as ``check`` does.
        token: Gives a text that no two unpackings share.
    """

    content: Blobs
    snapshotter: Snapshotter
    options: ApplyOptions
    locks: str
    namespace: str
    check: Callable[[], None]
    sleep: Callable[[float], None]
    token: Callable[[], str] = lambda: os.urandom(6).hex()


class _State(Enum):
    MISSING = auto()  # its blob is not there yet
    READY = auto()
    BUSY = auto()
    HELD = auto()  # another process unpacks it
    APPLIED = auto()
    DONE = auto()


@dataclass(slots=True, kw_only=True)
class _Layer:
    """One layer; guarded by the unpacker's condition."""

    number: int
    descriptor: Descriptor
    diff_id: Digest
    chain_id: Digest
    state: _State = _State.MISSING
    key: str = ""
    lock: FileLock | None = field(default=None, repr=False)
    applied: AppliedUpper | None = None
    is_open: bool = False  # applied while those below were not known
    was_held: bool = False


class Unpacker:
    """The layers of one image on their way into snapshots named by their chain ids; ``work`` in any
    number of threads does it.

    A layer is applied as soon as it has arrived, whatever became of those below, and committed in the
    order of the layers. Each is unpacked once: a process that finds another one at it waits for that.
    Where the snapshotter is not ``Stacked`` all layers go into one tree, committed as the last of them.

    What is not committed in the end is removed by ``close``, or by the collector.
    """

    def __init__(self, place: Place, image: ImageLayers) -> None:
        self._place = place
        self._image = image
        self._stacked = place.snapshotter if isinstance(place.snapshotter, Stacked) else None
        self._changed = threading.Condition()
        self._committing = False
        self._layers = [
            _Layer(number=number, descriptor=descriptor, diff_id=diff_id, chain_id=chain)
            for number, (descriptor, diff_id, chain) in enumerate(
                zip(image.layers, image.diff_ids, chain_ids(image.diff_ids), strict=True)
            )
        ]
        self._told: list[LayerDone] = []
        self._find_committed()

    @property
    def missing(self) -> int:
        """Bytes of the layers, as they are stored, that are still to be unpacked."""
        with self._changed:
            return sum(one.descriptor.size for one in self._layers if one.state is not _State.DONE)

    @property
    def useful(self) -> int:
        """Workers that can have something to do."""
        left = sum(one.state is not _State.DONE for one in self._layers)
        return left if self._stacked is not None else min(left, 1)

    def arrived(self, digest: Digest) -> None:
        """The blob of a layer is in the store."""
        with self._changed:
            for one in self._layers:
                if one.descriptor.digest == digest and one.state is _State.MISSING:
                    one.state = _State.READY
            self._changed.notify_all()

    def all_arrived(self) -> None:
        """All blobs are in the store."""
        for digest in {one.descriptor.digest for one in self._layers}:
            self.arrived(digest)

    def work(self, tell: Told) -> None:
        """One worker, until all layers are committed.

        Raises:
            DataLoss: A layer is damaged, or not what the config promises.
            NotFound: A layer is not there.
            DistoreError: As ``apply`` and the snapshotter; names the layer.
        """
        while True:
            self._place.check()
            with self._changed:
                told, self._told = self._told, []
                step = self._next()
                if step is None and not told:
                    if all(one.state is _State.DONE for one in self._layers):
                        return
                    self._changed.wait(_LOOK)
                    continue
            for news in told:
                tell(news)
            if step is not None:
                step(tell)

    def close(self) -> None:
        """Let go of what is not committed; workers should have ended."""
        for one in self._layers:
            if one.state is not _State.DONE and one.key:
                with suppress(DistoreError):
                    self._place.snapshotter.remove(one.key)
            self._release(one)

    def _find_committed(self) -> None:
        """The uppermost layer that is there has all below it."""
        for one in reversed(self._layers):
            if self._is_there(one.chain_id):
                self._settle(one.number, how="present")
                return

    def _settle(self, number: int, *, how: str) -> None:
        """A layer is committed, and so are those below it."""
        with self._changed:
            for one in self._layers[: number + 1]:
                if one.state is not _State.DONE:
                    one.state = _State.DONE
                    self._told.append(LayerDone(layer=one.descriptor, chain_id=one.chain_id, how=how))
            self._changed.notify_all()

    def _next(self) -> Callable[[Told], None] | None:
        """What a worker does now; with the condition held."""
        left = [one for one in self._layers if one.state is not _State.DONE]
        if not left:
            return None
        if self._stacked is None:
            return self._next_of_one_tree(left)
        lowest = left[0]
        if lowest.state is _State.APPLIED and not self._committing:
            self._committing = True
            return lambda tell: self._commit(lowest, tell)
        for one in left:
            if one.state is _State.READY:
                one.state = _State.BUSY
                return lambda tell, one=one: self._apply(one, tell)  # type: ignore[misc]  # binds it now
        if lowest.state is _State.HELD:
            lowest.state, lowest.was_held = _State.BUSY, True
            return lambda tell: self._follow(lowest, tell)
        return None

    def _next_of_one_tree(self, left: list[_Layer]) -> Callable[[Told], None] | None:
        last = left[-1]
        if all(one.state is _State.READY for one in left):
            for one in left:
                one.state = _State.BUSY
            return lambda tell: self._one_tree(left, tell)
        if last.state is _State.HELD:
            last.state, last.was_held = _State.BUSY, True
            return lambda tell: self._one_tree(left, tell)
        return None

    # Layers of their own

    def _follow(self, one: _Layer, tell: Told) -> None:
        """Look whether the other process has ended."""
        self._place.sleep(_LOOK)
        self._apply(one, tell)

    def _apply(self, one: _Layer, tell: Told) -> None:
        """Apply a layer, unless somebody else does, or has done."""
        if not self._lock(one):
            self._put(one, _State.HELD)
            return
        if self._is_there(one.chain_id):
            self._release(one)
            self._settle(one.number, how="followed" if one.was_held else "present")
            return
        self._lay(one, self._below(one), tell)
        self._put(one, _State.APPLIED)

    def _below(self, one: _Layer) -> tuple[str, ...] | None:
        """The folders of the layers below, uppermost first; None while they are not all there."""
        assert self._stacked is not None
        if not one.number:
            return ()
        parent = self._layers[one.number - 1]
        return self._stacked.layers(parent.chain_id) if parent.state is _State.DONE else None

    def _lay(self, one: _Layer, lower: tuple[str, ...] | None, tell: Told) -> None:
        assert self._stacked is not None
        place = self._place
        one.key = f"extract-{place.token()} {one.chain_id}"
        place.snapshotter.prepare(one.key, None, labels={SNAPSHOT_REF: one.chain_id})
        subject = f"layer {one.descriptor.digest}"
        with place.content.reader(one.descriptor.digest) as reader:
            source = BlobInput(reader, on_progress=Teller(one.descriptor, tell, place.check))
            one.applied = apply_upper(
                Decompressed(source, subject=subject, limit=place.options.max_size),
                self._stacked.upper(one.key),
                place.options,
                attributes=self._stacked.attributes,
                subject=subject,
                algorithm=one.diff_id.algorithm,
                lower=lower,
            )
        one.is_open = lower is None
        check_diff_id(one.descriptor, one.applied.diff_id, one.diff_id)

    def _commit(self, one: _Layer, tell: Told) -> None:
        """Lay a layer upon those below, all of which are committed."""
        stacked, place = self._stacked, self._place
        assert stacked is not None and one.applied is not None
        parent = self._layers[one.number - 1].chain_id if one.number else None
        if one.is_open and parent is not None:
            lower = stacked.layers(parent)
            if not settle_upper(
                stacked.upper(one.key),
                one.applied,
                lower,
                place.options,
                attributes=stacked.attributes,
                subject=f"layer {one.descriptor.digest}",
            ):
                place.snapshotter.remove(one.key)
                self._lay(one, lower, tell)
        try:
            place.snapshotter.commit(one.chain_id, one.key, parent=parent)
        except AlreadyExists:  # by somebody who takes no locks
            place.snapshotter.remove(one.key)
        self._release(one)
        with self._changed:
            one.state, self._committing = _State.DONE, False
            self._changed.notify_all()
        tell(_unpacked(one))

    # All layers in one tree

    def _one_tree(self, left: list[_Layer], tell: Told) -> None:
        last, place = left[-1], self._place
        if last.was_held:
            place.sleep(_LOOK)
        if not self._lock(last):
            self._put(last, _State.HELD)
            return
        if self._is_there(last.chain_id):
            self._release(last)
            self._settle(last.number, how="followed" if last.was_held else "present")
            return
        parent = self._layers[left[0].number - 1].chain_id if left[0].number else None
        last.key = f"extract-{place.token()} {last.chain_id}"
        mounts = place.snapshotter.prepare(last.key, parent, labels={SNAPSHOT_REF: last.chain_id})
        for one in left:
            apply_layer(
                place.content,
                one.descriptor,
                one.diff_id,
                mounts[0].source,
                place.options,
                on_progress=Teller(one.descriptor, tell, place.check),
            )
        try:
            place.snapshotter.commit(last.chain_id, last.key)
        except AlreadyExists:  # by somebody who takes no locks
            place.snapshotter.remove(last.key)
        self._release(last)
        self._settle(last.number, how="unpacked")

    # What both need

    def _is_there(self, chain: Digest) -> bool:
        """Whether a chain is committed; one that a restart may have damaged is removed."""
        snapshotter = self._place.snapshotter
        try:
            info = snapshotter.stat(chain)
        except NotFound:
            return False
        if not is_suspect(info):
            return True
        try:
            self._remove_suspects(chain)
        except FailedPrecondition as error:
            raise DataLoss(
                f"snapshot {chain}: was not synced before the machine stopped, so it may not be whole;"
                f" dist snapshots rm removes what lies on it ({error})"
            ) from error
        return False

    def _remove_suspects(self, chain: str) -> None:
        """Remove a snapshot with those of other images that lie on it and are no better."""
        snapshotter = self._place.snapshotter
        suspects = [info for info in snapshotter.walk() if is_suspect(info)]
        doomed = [chain]
        for name in doomed:  # which grows
            doomed += [info.name for info in suspects if info.parent == name]
        for name in reversed(doomed):
            with suppress(NotFound):  # another process found the same, and perhaps has made it anew
                if is_suspect(snapshotter.stat(name)):
                    snapshotter.remove(name)

    def _put(self, one: _Layer, state: _State) -> None:
        with self._changed:
            one.state = state
            self._changed.notify_all()

    def _lock(self, one: _Layer) -> bool:
        """Whether nobody else unpacks the layer: others wait from now on."""
        place = self._place
        name = f"{place.snapshotter.name}\0{place.namespace}\0{one.chain_id}"
        path = os.path.join(place.locks, Digest.of(name.encode()).encoded)
        with translated(f"layer {one.descriptor.digest}"):
            fsops.ensure_directory(place.locks)
            one.lock = filelock.acquire(path, sleep=place.sleep)
        return one.lock is not None

    def _release(self, one: _Layer) -> None:
        if one.lock is not None:
            with suppress(OSError):  # while it is held: whoever waits looks up the name again
                fsops.unlink(one.lock.path)
            one.lock.release()
            one.lock = None


def _unpacked(one: _Layer) -> LayerDone:
    assert one.applied is not None
    return LayerDone(
        layer=one.descriptor,
        chain_id=one.chain_id,
        how="unpacked",
        size=one.applied.size,
        left_out=one.applied.left_out,
    )
