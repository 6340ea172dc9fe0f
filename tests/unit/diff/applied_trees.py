"""Layers applied to folders, and folders as the naive model shows them."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

from tests.unit.diff.overlay_layers import Entry, Tree, tar_of

from distore.diff.apply import Applied, apply
from distore.diff.entry import ApplyOptions, Devices
from distore.diff.paxrecords import formatted


def lay(folder: Path, layer: bytes, *, as_root: bool | None = None, **options: object) -> Applied:
    root = os.geteuid() == 0 if as_root is None else as_root
    devices = Devices(str(options.pop("devices", Devices.MAKE if root else Devices.SKIP)))
    chosen = ApplyOptions(as_root=root, devices=devices, **options)  # type: ignore[arg-type]  # tests' own
    return apply(io.BytesIO(layer), str(folder), chosen, subject="layer")


def applied(folder: Path, *layers: list[Entry]) -> dict[str, tuple[object, ...]]:
    """What is in the folder after them."""
    folder.mkdir(exist_ok=True)
    for layer in layers:
        lay(folder, tar_of(layer))
    return seen(folder)


def wanted(*layers: bytes) -> dict[str, tuple[object, ...]]:
    """What the model has after them, in the same terms."""
    tree = Tree()
    for layer in layers:
        tree.lay(layer)
    return {path: _told(thing) for path, thing in tree.shown().items()}


def _told(thing: tuple[object, ...]) -> tuple[object, ...]:
    what, told, target, first = thing
    assert isinstance(told, tuple) and isinstance(first, tuple)
    mode, uid, mtime, seed, data = told
    if what == "dir" and mtime is None:
        mtime = 0
    names = "/".join(first)
    return (what, None if what == "sym" else mode, *_owned(uid), mtime, seed, data, target, names)


def _owned(uid: object) -> tuple[object, ...]:
    return (uid,) if os.geteuid() == 0 else ()


def seen(folder: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
        name = str(path.relative_to(folder))
        info = path.lstat()
        kind = stat.S_IFMT(info.st_mode)
        what = {stat.S_IFDIR: "dir", stat.S_IFLNK: "sym", stat.S_IFIFO: "fifo"}.get(kind, "file")
        is_file = what == "file"
        found[name] = (
            what,
            None if what == "sym" else stat.S_IMODE(info.st_mode),
            *_owned(info.st_uid),
            info.st_mtime,
            _seed(path) if is_file else None,
            path.read_bytes() if is_file else b"",
            os.readlink(path) if what == "sym" else "",
            name if what == "dir" else first.setdefault(info.st_ino, name),
        )
    return found


def _seed(path: Path) -> str | None:
    try:
        return os.getxattr(path, "user.seed").decode()
    except OSError:
        return None


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"", **more: object
) -> bytes:
    """One member, any spelling of its name kept, without the end of an archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    for key, value in more.items():
        setattr(info, key, value)
    head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return head + data + bytes(-len(data) % 512)


def with_records(data: bytes, records: dict[bytes, bytes]) -> bytes:
    """A member with pax records of any bytes before it."""
    said = formatted(records)
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, len(said)
    return head.tobuf() + said + bytes(-len(said) % 512) + data


def layer(*parts: bytes) -> bytes:
    return b"".join(parts) + bytes(1024)
