"""What is in a tree, file by file, and how two trees differ."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

PIECE = 1024 * 1024  # bytes
SHOWN = 40  # differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One file, folder or node; ``twins`` are all names of its inode within the tree, when it has several."""

    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int  # nanoseconds since the epoch
    links: int
    device: int
    size: int
    target: str
    content: str
    xattrs: tuple[tuple[str, bytes], ...]
    twins: tuple[str, ...]


# Tells whether a difference in a field of a file is known: (name, field, mine, theirs).
Known = Callable[[str, str, object, object], bool]


def nothing_known(_name: str, _field: str, _mine: object, _theirs: object) -> bool:
    return False


def described(root: Path) -> dict[str, Record]:
    """Every name below a folder, and the folder as ``.``; holes are not looked at."""
    paths = {".": root, **{str(path.relative_to(root)): path for path in _walk(root)}}
    names: dict[tuple[int, int], list[str]] = {}
    for name, path in paths.items():
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):
            names.setdefault((info.st_dev, info.st_ino), []).append(name)
    return {name: _record(path, names) for name, path in paths.items()}


def _walk(root: Path) -> list[Path]:
    return [Path(folder) / name for folder, *kinds in os.walk(root) for found in kinds for name in found]


def _record(path: Path, names: dict[tuple[int, int], list[str]]) -> Record:
    info = path.lstat()
    is_file, is_link = stat.S_ISREG(info.st_mode), stat.S_ISLNK(info.st_mode)
    is_folder, is_node = stat.S_ISDIR(info.st_mode), stat.S_ISBLK(info.st_mode) or stat.S_ISCHR(info.st_mode)
    twins = sorted(names.get((info.st_dev, info.st_ino), ()))
    listed = sorted(os.listxattr(path, follow_symlinks=False))
    return Record(
        kind=stat.S_IFMT(info.st_mode),
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        mtime=info.st_mtime_ns,
        links=0 if is_folder else info.st_nlink,  # of a folder it says how the file system counts
        device=info.st_rdev if is_node else 0,
        size=info.st_size if is_file else 0,
        target=os.readlink(path) if is_link else "",
        content=_hash(path) if is_file else "",
        xattrs=tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in listed),
        twins=tuple(twins) if len(twins) > 1 else (),
    )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(
    mine: dict[str, Record], theirs: dict[str, Record], known: Known = nothing_known
) -> list[str]:
    """One line for each field of each name that is not the same in both, and not known to differ."""
    found = []
    for name in sorted(mine.keys() | theirs.keys()):
        one, other = mine.get(name), theirs.get(name)
        if one is None or other is None:
            if not known(name, "there", one is not None, other is not None):
                found.append(f"{name}: only in {'mine' if one else 'theirs'}")
            continue
        for field in fields(Record):
            here, there = getattr(one, field.name), getattr(other, field.name)
            if here != there and not known(name, field.name, here, there):
                found.append(f"{name}: {field.name} is {here!r}, theirs {there!r}")
    return found


def assert_same(mine: dict[str, Record], theirs: dict[str, Record], known: Known = nothing_known) -> None:
    """Fail with the first differences, in words."""
    found = differences(mine, theirs, known)
    assert not found, "\n".join([f"{len(found)} differences", *found[:SHOWN]])
