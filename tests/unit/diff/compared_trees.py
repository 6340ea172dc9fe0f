"""Folders made at random, and all that a layer tells of a folder."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import strategies as st

from distore.diff.apply import apply
from distore.diff.compare import CompareOptions, compare
from distore.diff.entry import ApplyOptions, Devices

IS_ROOT = os.geteuid() == 0
NAMES = (b"a", b"b", b"c", b"d\xff\n", b"e f", b"\xc3\xbc", b"-x", b"n" * 120)
_TIMES = (0, 10**18, 10**18 + 1, 1_500_000_000_123_456_789, -1_500_000_000, 5 * 10**9)


@dataclass(frozen=True)
class Thing:
    """What a name stands for; ``below`` is a folder's. Those of one ``file`` are one file."""

    kind: str
    mode: int = 0o644
    time: int = 0
    owner: int = 0
    data: bytes = b""
    attribute: bytes = b""
    below: dict[bytes, Thing] = field(default_factory=dict)


_ENTRIES = st.builds(
    Thing,
    kind=st.sampled_from(["dir", "file", "one", "two", "link", "fifo"]),
    mode=st.sampled_from([0o644, 0o755, 0o4711, 0o700]),
    time=st.sampled_from(_TIMES),
    owner=st.sampled_from([0, 0, 1000, 3_000_000]) if IS_ROOT else st.just(0),
    attribute=st.sampled_from([b"", b"", b"1", b"2\0\n="]),
    data=st.sampled_from([b"x", b"y", b"/c" * 70]),
)
_PLACED = st.lists(st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), _ENTRIES), max_size=14)


def _tree(placed: list[tuple[list[bytes], Thing]]) -> Thing:
    """What later entries cannot have, as a file is in their way, is left out."""
    root = Thing(kind="dir", mode=0o755)
    for path, thing in placed:
        at = root
        for part in path[:-1]:
            at = at.below.setdefault(part, Thing(kind="dir"))
        if at.kind == "dir":
            at.below.setdefault(path[-1], replace(thing, below={}))
    return root


def trees() -> st.SearchStrategy[Thing]:
    """The root of a tree."""
    return st.builds(_tree, _PLACED)


def pairs() -> st.SearchStrategy[tuple[Thing, Thing]]:
    """Two trees that have much in common."""
    return st.builds(
        lambda first, common, second: (_tree([*first, *common]), _tree([*second, *common])),
        _PLACED,
        _PLACED,
        _PLACED,
    )


def make(folder: Path, tree: Thing, *, backwards: bool = False) -> Path:
    """The folder of a tree, its names made in one order or the other."""
    folder.mkdir()
    _fill(os.fsencode(folder), tree, {}, backwards=backwards)
    return folder


def _fill(path: bytes, tree: Thing, first: dict[str, bytes], *, backwards: bool) -> None:
    for name in sorted(tree.below, reverse=backwards):
        thing, at = tree.below[name], path + b"/" + name
        if thing.kind in ("one", "two") and thing.kind in first:
            os.link(first[thing.kind], at)
            continue
        if thing.kind == "link":
            os.symlink(thing.data, at)
        elif thing.kind == "fifo":
            os.mkfifo(at)
        elif thing.kind == "dir":
            os.mkdir(at)
            _fill(at, thing, first, backwards=backwards)
        else:
            data = thing.data if thing.kind == "file" else thing.kind.encode()
            Path(os.fsdecode(at)).write_bytes(data)
        if thing.kind in ("one", "two"):
            first[thing.kind] = at
            # Whichever name is made first: the file is the same.
            thing = Thing(kind="file", time=_TIMES[1])
        _finish(at, thing)
    _finish(path, tree)


def _finish(path: bytes, thing: Thing) -> None:
    if IS_ROOT:
        os.chown(path, thing.owner, thing.owner, follow_symlinks=False)
    if thing.kind != "link":
        os.chmod(path, thing.mode | 0o700)
        if thing.attribute and thing.kind != "fifo":
            os.setxattr(path, b"user.it", thing.attribute)
    os.utime(path, ns=(0, thing.time), follow_symlinks=False)


def tar_of(lower: Path | None, upper: Path, **options: object) -> bytes:
    """The layer that makes ``upper`` out of ``lower``."""
    chosen = CompareOptions(**options)  # type: ignore[arg-type]  # tests' own
    pieces = compare(None if lower is None else str(lower), str(upper), chosen, subject="tree")
    return b"".join(bytes(piece) for piece in pieces)


def lay(folder: Path, layer: bytes) -> Path:
    """The folder, with a layer applied."""
    devices = Devices.MAKE if IS_ROOT else Devices.SKIP
    apply(io.BytesIO(layer), str(folder), ApplyOptions(as_root=IS_ROOT, devices=devices), subject="layer")
    return folder


def names_in(layer: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return tar.getnames()


def seen(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything that a layer tells of a folder, and the first name of every file."""
    top = os.fsencode(folder)
    found: dict[bytes, tuple[object, ...]] = {}
    first: dict[int, bytes] = {}
    waiting = [b""]
    while waiting:
        name = waiting.pop()
        path = top + b"/" + name if name else top
        info = os.lstat(path)
        is_link = stat.S_ISLNK(info.st_mode)
        if stat.S_ISDIR(info.st_mode):
            waiting += [name + b"/" + each if name else each for each in os.listdir(path)]
        found[name] = (
            stat.S_IFMT(info.st_mode) if is_link else info.st_mode,
            (info.st_uid, info.st_gid),
            info.st_mtime_ns,
            info.st_rdev,
            os.readlink(path) if is_link else b"",
            Path(os.fsdecode(path)).read_bytes() if stat.S_ISREG(info.st_mode) else b"",
            sorted((key, os.getxattr(path, key, follow_symlinks=False)) for key in _attributes(path)),
            None if stat.S_ISDIR(info.st_mode) else first.setdefault(info.st_ino, name),
        )
    groups: dict[object, list[bytes]] = {}
    for name, told in found.items():
        groups.setdefault(told[-1] if told[-1] is not None else name, []).append(name)
    return {name: (*told[:-1], sorted(groups[told[-1] or name])) for name, told in found.items()}


def _attributes(path: bytes) -> list[str]:
    return [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("security.se")]


def turn(folder: Path, old: Thing, new: Thing) -> None:
    """Change a folder that is ``old`` as far as it differs from ``new``."""
    _turn(os.fsencode(folder), old, new)


def _turn(path: bytes, old: Thing, new: Thing) -> None:
    added: dict[bytes, Thing] = {}
    for name in sorted(old.below.keys() | new.below.keys()):
        at = path + b"/" + name
        before, after = old.below.get(name), new.below.get(name)
        if before is None or after is None:
            if before is not None:
                _remove(at)
            else:
                assert after is not None
                added[name] = after
        elif before.kind == after.kind == "dir":
            _turn(at, before, after)
        elif before.kind == after.kind == "file" and before.data == after.data:
            if before != after:
                _finish(at, after)
        elif before != after:
            _remove(at)
            added[name] = after
    _fill(path, replace(new, below=added), {}, backwards=False)


def _remove(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
