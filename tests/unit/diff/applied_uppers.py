"""Layers applied alone, and what is seen through all of their upper folders, with and without a kernel."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from distore.diff.applyupper import AppliedUpper, apply_upper, settle_upper
from distore.diff.entry import ApplyOptions, Devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

IS_ROOT = os.geteuid() == 0
ATTRIBUTES = b"trusted.overlay." if IS_ROOT else b"user.overlay."
_OPTIONS = ApplyOptions(as_root=IS_ROOT, devices=Devices.MAKE if IS_ROOT else Devices.SKIP)
_MNT_DETACH = 2


def lay_upper(
    upper: Path, layer: bytes, lower: Sequence[Path] | None = None, options: ApplyOptions = _OPTIONS
) -> AppliedUpper:
    lowers = None if lower is None else [str(path) for path in lower]
    return apply_upper(
        io.BytesIO(layer), str(upper), options, attributes=ATTRIBUTES, subject="layer", lower=lowers
    )


def settle(upper: Path, done: AppliedUpper, lower: Sequence[Path], options: ApplyOptions = _OPTIONS) -> bool:
    return settle_upper(
        str(upper), done, [str(path) for path in lower], options, attributes=ATTRIBUTES, subject="layer"
    )


def stacked(folder: Path, layers: Sequence[bytes], *, alone: bool) -> list[Path]:
    """The upper folders of the layers, the uppermost first."""
    uppers: list[Path] = []
    for number, layer in enumerate(layers):
        upper = folder / str(number)
        upper.mkdir()
        if not alone:
            lay_upper(upper, layer, uppers)
        elif not settle(upper, lay_upper(upper, layer), uppers):
            shutil.rmtree(upper)
            upper.mkdir()
            lay_upper(upper, layer, uppers)
        uppers.insert(0, upper)
    return uppers


def merge(uppers: Sequence[Path], target: Path) -> None:
    """What overlayfs shows of them, as a plain tree: slow and simple on purpose."""
    target.mkdir()
    for upper in reversed(uppers):
        for path in sorted(upper.rglob("*")):
            _merge_one(path, target / path.relative_to(upper))
    for upper in reversed(uppers):
        for path in sorted(upper.rglob("*"), reverse=True):
            place = target / path.relative_to(upper)
            if stat.S_ISDIR(path.lstat().st_mode) and place.is_dir() and not place.is_symlink():
                shutil.copystat(path, place)
                if IS_ROOT:
                    os.chown(place, path.lstat().st_uid, path.lstat().st_gid)
    for path in [target, *target.rglob("*")]:
        for name in os.listxattr(path, follow_symlinks=False):
            if name.startswith(ATTRIBUTES.decode()):
                os.removexattr(path, name, follow_symlinks=False)


def _merge_one(path: Path, place: Path) -> None:
    info = path.lstat()
    is_folder = stat.S_ISDIR(info.st_mode)
    if os.path.lexists(place) and not (
        is_folder and stat.S_ISDIR(place.lstat().st_mode) and not _opaque(path)
    ):
        shutil.rmtree(place) if stat.S_ISDIR(place.lstat().st_mode) else place.unlink()
    if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
        return
    if is_folder:
        place.mkdir(exist_ok=True)
        return
    os.link(path, place, follow_symlinks=False)


def _opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, ATTRIBUTES + b"opaque") == b"y"
    except OSError:
        return False


def mounted(uppers: Sequence[Path], target: Path) -> AbstractContextManager[Path]:
    """What the kernel shows of them; ``target`` is an empty folder."""
    return _mounted([str(path) for path in uppers], str(target))


@contextmanager
def _mounted(uppers: list[str], target: str) -> Iterator[Path]:
    libc = ctypes.CDLL(None, use_errno=True)
    lowers = ":".join([*uppers, target + ".empty"])  # of one folder alone there is no overlay
    os.mkdir(target + ".empty")
    options = f"lowerdir={lowers},index=off"
    if libc.mount(b"overlay", target.encode(), b"overlay", 1, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield Path(target)
    finally:
        libc.umount2(target.encode(), _MNT_DETACH)
