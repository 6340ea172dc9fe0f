"""``dist images mount`` and ``unmount``: the files of an image, read-only."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from distore.errors import (
    AlreadyExists,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.mount import Mounted
    from distore.oci.platform import Platform
    from distore.unpack.tree import Trees

_TREES: Final = "trees"  # below the store's root (docs/formats/store.md#trees)
# A look at files is no reason to let them do anything.
_OPTIONS: Final = ("bind", "ro", "nosuid", "nodev")


def mount_image(args: argparse.Namespace, app: App, out: Output) -> None:
    """Unpack an image, once, and mount it at a folder.

    Args:
        args: ``image``: the image and the folder; ``platform``: which of an index, in a list or None.
    """
    from distore.cli import flags
    from distore.diff.entry import ApplyOptions
    from distore.mount import Mount, may_mount, mount
    from distore.unpack.layers import image_layers

    if len(args.image) != 2:
        raise InvalidArgument("images mount: want an image and a folder")
    text, target = args.image
    reference, platform = flags.image(text), _platform(args.platform)
    if not may_mount():
        raise PermissionDenied(
            f"mount {target}: needs root; without it dist export writes the image to a file or layout,"
            " which umoci unpack --rootless takes"
        )
    trees = _trees(app)
    made = _check_target(target)
    with app.leased("mount") as content:
        image = image_layers(content, app.copier.root_of(reference), platform, subject=f"image {text}")
        with trees.locked(image.chain_id):

            def note(number: int) -> None:
                out.note(f"dist: unpacking layer {number} of {len(image.layers)}")

            source = trees.make(content, image, ApplyOptions(as_root=True), note=note)
            _make_target(target, made=made)
            try:
                mount(Mount(type="", source=source, target=target, options=_OPTIONS))
            except DistoreError:
                if made:
                    os.rmdir(target)
                raise
    real = os.path.realpath(target)
    out.record(
        _printable(real),
        mountpoint=real,
        image=text,
        manifest=image.manifest.digest,
        chain_id=image.chain_id,
    )


def unmount_image(args: argparse.Namespace, app: App, out: Output) -> None:
    """Unmount images; a tree that nobody else has mounted goes.

    Args:
        args: ``image``: the folders.
    """
    if not args.image:
        raise InvalidArgument("images unmount: want the folders to unmount")
    for target in args.image:
        try:
            _unmount(target, _trees(app), out)
        except DistoreError as error:
            if len(args.image) == 1:
                raise
            out.error(error)


def _unmount(target: str, trees: Trees, out: Output) -> None:
    from distore.mount import mounts_everywhere, unmount

    real = os.path.realpath(target)
    mounted, chain = _mounted(real, trees)
    with trees.locked(chain):
        unmount(real)
        below = mounted.root.rstrip("/") + "/"
        is_used = any(
            one.device == mounted.device and (one.root == mounted.root or one.root.startswith(below))
            for one in mounts_everywhere()
        )
        if not is_used:
            trees.remove(chain)
    out.record(_printable(real), mountpoint=real, chain_id=chain, removed=not is_used)


def _mounted(real: str, trees: Trees) -> tuple[Mounted, Digest]:
    """What is mounted at a folder, and the chain id of the tree that it is."""
    from distore.mount import mounts

    found = [one for one in mounts() if one.target == real]
    if not found:
        if not os.path.lexists(real):
            raise NotFound(f"folder {_printable(real)}: not found")
        raise FailedPrecondition(f"folder {_printable(real)}: nothing is mounted there")
    other = FailedPrecondition(
        f"folder {_printable(real)}: no image of the store {os.path.dirname(trees.folder)} is mounted there"
    )
    name = os.path.basename(found[-1].root)
    for algorithm in ("sha256", "sha384", "sha512"):
        try:
            chain = Digest(f"{algorithm}:{name}")
            same = os.path.samestat(os.stat(real), os.stat(trees.path(chain)))
        except (InvalidArgument, OSError):
            continue
        if same:
            return found[-1], chain
    raise other


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


def _platform(given: list[str] | None) -> Platform:
    from distore.api.transfers import chosen_platforms, this_platform

    if given and len(given) > 1:
        raise InvalidArgument("images mount: want one --platform")
    return chosen_platforms(given)[0] if given else this_platform()


def _trees(app: App) -> Trees:
    from distore.unpack.tree import Trees

    return Trees(os.path.join(app.content.root, _TREES), sleep=time.sleep)


def _printable(text: str) -> str:
    from distore.cli.output import printable

    return printable(text)
