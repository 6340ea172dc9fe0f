"""The files of an image at a folder: what ``dist mount``, ``unmount`` and ``dist images mount`` do."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.errors import (
    AlreadyExists,
    DistoreError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unavailable,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from distore.app import App
    from distore.cli.output import Output
    from distore.mount import Mounted
    from distore.snapshots.snapshotter import Info, Snapshotter

MOUNTPOINT: Final = "distore/mountpoint"  # label: where a snapshot is mounted, an absolute path
_GC_ROOT: Final = "containerd.io/gc.root"
# A look at files is no reason to let them do anything.
_OPTIONS: Final = ("nosuid", "nodev")


def mount_image(args: argparse.Namespace, app: App, out: Output, *, text: str, target: str) -> None:
    """Unpack an image as far as it is not, and mount it at a folder.

    Args:
        args: What ``unpacked.add_flags`` parsed; ``rw``: writes are kept until it is unmounted.
        text: The image, as people name it.
    """
    from distore.cli.unpacked import unpacked
    from distore.mount import may_mount

    if not may_mount():
        raise PermissionDenied(
            f"mount {target}: needs root; without it dist rootfs writes the files into a folder, and dist ls,"
            " dist cat and dist cp read them where they are"
        )
    made = _check_target(target)
    with app.working("mount") as metadata:
        done = unpacked(app, metadata, text, args, out, quiet=out.as_json)
        _make_target(target, made=made)
        try:
            real = os.path.realpath(target)
            _mount_snapshot(done.snapshotter, done.image.chain_id, real, rw=args.rw)
        except BaseException:
            if made:
                with suppress(OSError):
                    os.rmdir(target)
            raise
    out.record(
        _printable(real),
        mountpoint=real,
        image=text,
        manifest=done.image.manifest.digest,
        chain_id=done.image.chain_id,
    )


def unmount_image(app: App, out: Output, *, target: str) -> None:
    """Unmount an image, and forget the snapshot that was made for that, with what was written to it.

    What is not mounted any more, since the machine was started again, is forgotten as well.

    Raises:
        NotFound, FailedPrecondition: No image of the store is mounted there.
        Unavailable: Somebody uses it.
    """
    from dataclasses import replace

    from distore.mount import mounts, unmount

    real = os.path.realpath(target)
    there = [one for one in mounts() if one.target == real]
    snapshotter, info = _mounted(app, real, there)
    if there:
        unmount(real)
    try:
        snapshotter.remove(info.name)
    except Unavailable:  # other mounts show the same layers, or another mount namespace has this one, too
        left = replace(info, labels={})
        snapshotter.update(left, f"labels.{_GC_ROOT}", f"labels.{MOUNTPOINT}")
        out.note(
            f"dist: {_printable(real)}: its layers are still mounted, here or in another mount namespace;"
            " dist gc removes the snapshot later"
        )
    out.record(_printable(real), mountpoint=real, chain_id=info.parent)


def _mount_snapshot(snapshotter: Snapshotter, chain: str, target: str, *, rw: bool) -> None:
    key = f"mount-{os.urandom(6).hex()}"
    labels = {MOUNTPOINT: target, _GC_ROOT: datetime.now(UTC).isoformat()}
    make = snapshotter.prepare if rw else snapshotter.view
    try:
        _mount_all(make(key, chain, labels=labels), target)
    except BaseException:
        with suppress(DistoreError):
            snapshotter.remove(key)
        raise


def _mount_all(mounts: tuple[object, ...], target: str) -> None:
    from dataclasses import replace

    from distore.mount import Mount, mount

    for one in mounts:
        assert isinstance(one, Mount)
        mount(replace(one, target=target, options=(*one.options, *_OPTIONS)))


def _mounted(app: App, real: str, there: list[Mounted]) -> tuple[Snapshotter, Info]:
    """The snapshot that is mounted at a folder, or was."""
    found = list(_labelled(app, real))
    if not found:
        if not os.path.lexists(real):
            raise NotFound(f"folder {_printable(real)}: not found")
        if not there:
            raise FailedPrecondition(f"folder {_printable(real)}: nothing is mounted there")
    for snapshotter, info in found:
        if not there or _shows(snapshotter, info, there[-1]):
            return snapshotter, info
    raise FailedPrecondition(
        f"folder {_printable(real)}: no image of the store {_printable(app.content.root)} is mounted there"
    )


def _shows(snapshotter: Snapshotter, info: Info, mounted: Mounted) -> bool:
    """Whether it is the snapshot that is seen there, and not what somebody else mounted since."""
    from distore.snapshots.inuse import shows

    return all(shows(mounted, what) for what in snapshotter.mounts(info.name))


def _labelled(app: App, real: str) -> Iterator[tuple[Snapshotter, Info]]:
    """What was mounted there last comes first."""
    from distore.metadata.snapshotters import DRIVERS

    for name in DRIVERS:
        snapshotter = app.metadata.snapshotter(name)
        labelled = [info for info in snapshotter.walk() if info.labels.get(MOUNTPOINT) == real]
        for info in sorted(labelled, key=lambda each: each.created, reverse=True):
            yield snapshotter, info


def _check_target(target: str) -> bool:
    """Whether the folder has to be made."""
    from distore.mount import mounts

    real = os.path.realpath(target)
    if any(one.target == real for one in mounts()):
        raise AlreadyExists(f"folder {_printable(target)}: something is mounted there; unmount it first")
    try:
        with os.scandir(target) as entries:
            if next(entries, None) is not None:
                raise FailedPrecondition(f"folder {_printable(target)}: not empty")
    except FileNotFoundError:
        return True
    except OSError as error:
        raise _mapped(error, target) from error
    return False


def _make_target(target: str, *, made: bool) -> None:
    if not made:
        return
    try:
        os.mkdir(target)
    except OSError as error:
        raise _mapped(error, target) from error


def _mapped(error: OSError, target: str) -> DistoreError:
    from distore._internal.oserrors import translate

    return translate(OSError(error.errno, error.strerror), f"folder {_printable(target)}")


def _printable(text: str) -> str:
    from distore.cli.output import printable

    return printable(text)
