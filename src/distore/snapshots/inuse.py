"""In use: which folders of snapshots somebody has mounted, in any mount namespace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore._internal.mountapi import plain, split
from distore.mount import mounts, mounts_everywhere

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distore.mount import Mount, Mounted

_LAYERS: Final = ("upperdir", "workdir", "lowerdir", "lowerdir+", "datadir+")


def mounted(folder: str) -> set[int]:
    """The numbers of the folders below ``folder`` (DRIVER) that a mount shows, or has as a layer."""
    real = os.path.realpath(folder)
    try:
        device, root = _place(real)
    except OSError:
        return set()
    found: set[int] = set()
    for one in mounts_everywhere():
        if one.type == "overlay":
            found.update(_below(real, path) for path in _layers(one.super_options))
        if one.device == device:
            found.add(_below(root, one.root))
    return found - {-1}


def shows(one: Mounted, what: Mount) -> bool:
    """Whether what is mounted at a folder is what a snapshot is mounted by."""
    if what.type == "bind":
        try:
            return os.path.samestat(os.stat(one.target), os.stat(what.source))
        except OSError:
            return False
    shown = set(_layers(one.super_options))
    wanted = set(_layers(what.options))
    return one.type == what.type and bool(wanted) and all(_is_among(shown, path) for path in wanted)


def _is_among(shown: set[str], path: str) -> bool:
    """Whether a layer is shown; the path of one of very many is shown from the folder that has all."""
    plainly = plain(path)
    return plainly in shown or any(
        not each.startswith("/") and plainly.endswith(f"/{each}") for each in shown
    )


def _place(real: str) -> tuple[str, str]:
    """The device that a folder lies on, as mountinfo has it, and its path there."""
    there = os.stat(real)
    device = f"{os.major(there.st_dev)}:{os.minor(there.st_dev)}"
    best = None
    for one in mounts():
        inside = one.target in ("/", real) or real.startswith(one.target + "/")
        if inside and (best is None or len(one.target) >= len(best.target)):
            best = one
    if best is None:
        return device, real
    rest = real[len(best.target.rstrip("/")) :]
    return best.device, (best.root.rstrip("/") + rest) or "/"


def _layers(options: Iterable[str]) -> Iterator[str]:
    """The folders that an overlay is made of; both ways to read an option that may be escaped, or not."""
    for option in options:
        name, _, value = option.partition("=")
        if name in _LAYERS:
            if name == "lowerdir":
                yield from (plain(part) for part in split(value, ":") if part)
            else:
                yield value
                yield plain(value)


def _below(folder: str, path: str) -> int:
    """The number of the folder that ``path`` is in or below; -1: none. A relative path may be one of
    ours, and counts."""
    if path.startswith(folder + "/"):
        first = path[len(folder) + 1 :].partition("/")[0]
    elif not path.startswith("/"):
        first = path.partition("/")[0]
    else:
        return -1
    return int(first) if first.isdecimal() else -1
