"""Random layers, and a naive extraction of them, for the tests of merging."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable

Path = tuple[str, ...]
NAMES = ("a", "b", "c")
UNTOLD = (0o755, 0, 0, None, b"")  # of a folder that no member is about


@dataclass(frozen=True)
class Entry:
    """A member to be: ``what`` is dir, file, link, sym, fifo, wh or opq."""

    what: str
    path: str
    target: str = ""
    seed: int = 0

    def member(self) -> tuple[tarfile.TarInfo, bytes]:
        folder, _, base = self.path.rpartition("/")
        prefix = f"{folder}/" if folder else ""
        name = {"wh": f"{prefix}.wh.{base}", "opq": f"{self.path}/.wh..wh..opq"}.get(self.what, self.path)
        info = tarfile.TarInfo(name)
        info.mtime, info.mode, info.uid = 1000 + self.seed, 0o600 | self.seed % 64, self.seed
        data = b""
        if self.what == "dir":
            info.type, info.mode = tarfile.DIRTYPE, 0o700 | self.seed % 64
        elif self.what == "sym":
            info.type, info.linkname = tarfile.SYMTYPE, self.target
        elif self.what == "link":
            info.type, info.linkname = tarfile.LNKTYPE, self.target
        elif self.what == "fifo":
            info.type = tarfile.FIFOTYPE
        elif self.what == "file":
            data = f"{self.path} {self.seed}".encode() * (1 + self.seed % 50)
            info.pax_headers = {"SCHILY.xattr.user.seed": str(self.seed)}
        info.size = len(data)
        return info, data


def tar_of(entries: Iterable[Entry]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            info, data = entry.member()
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Impossible(Exception):
    """No extraction could do it."""


@dataclass
class Thing:
    """What a name stands for; the same object for hard links."""

    what: str
    told: tuple[object, ...] = ()
    target: str = ""


@dataclass
class Tree:
    """A file system as a flat dictionary; slow and plain on purpose."""

    things: dict[Path, Thing] = field(default_factory=dict)

    def lay(self, layer: bytes) -> None:
        """Extract one layer over what is there."""
        upper: set[Path] = set()
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            for info in tar:
                found = tar.extractfile(info) if info.isreg() else None
                self._lay(info, found.read() if found else b"", upper)

    def real(self, parts: Iterable[str], *, make: bool, seen: int = 0) -> Path | None:
        """A folder's own path, links followed."""
        if seen > 40:
            raise Impossible("links")
        at: Path = ()
        parts = list(parts)
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                at = at[:-1]
                continue
            thing = self.things.get((*at, part))
            if thing is not None and thing.what == "sym":
                start = () if thing.target.startswith("/") else at
                return self.real([*start, *thing.target.split("/"), *parts], make=make, seen=seen + 1)
            at = (*at, part)
            if thing is None or thing.what != "dir":
                if not make:
                    return None
                self._remove(at)
                self.things[at] = Thing("dir", UNTOLD)
        return at

    def shown(self) -> dict[str, tuple[object, ...]]:
        """The tree, comparable; hard links by the first of their names."""
        first: dict[int, Path] = {}
        return {
            "/".join(path): (thing.what, thing.told, thing.target, first.setdefault(id(thing), path))
            for path, thing in sorted(self.things.items())
        }

    def _lay(self, info: tarfile.TarInfo, data: bytes, upper: set[Path]) -> None:
        *folders, base = info.name.rstrip("/").split("/")
        if base.startswith(".wh."):
            parent = self.real(folders, make=False)
            if parent is None:
                return
            if base == ".wh..wh..opq":
                self._hide(parent, upper, itself=False)
            else:
                self._hide((*parent, base[4:]), upper, itself=True)
            return
        parent = self.real(folders, make=True)
        assert parent is not None
        at = (*parent, base)
        upper |= {at[:length] for length in range(len(at) + 1)}
        told = (info.mode, info.uid, info.mtime, info.pax_headers.get("SCHILY.xattr.user.seed"), data)
        if info.isdir():
            old = self.things.get(at)
            if old is None or old.what != "dir":
                self._remove(at)
            self.things[at] = Thing("dir", told)
            return
        thing = Thing("sym" if info.issym() else "fifo" if info.isfifo() else "file", told, info.linkname)
        if info.islnk():
            *above, last = info.linkname.split("/")
            real = self.real(above, make=False)
            target = None if real is None else self.things.get((*real, last))
            if target is None or target.what == "dir":
                raise Impossible("no target")
            thing = target
        self._remove(at)
        self.things[at] = thing

    def _remove(self, at: Path) -> None:
        for path in [path for path in self.things if path[: len(at)] == at]:
            del self.things[path]

    def _hide(self, at: Path, upper: set[Path], *, itself: bool) -> None:
        for path in [path for path in self.things if path[: len(at)] == at]:
            if path not in upper and (itself or path != at):
                del self.things[path]


paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
targets = st.one_of(
    paths, paths.map("/{}".format), paths.map("../{}".format), st.sampled_from(["..", ".", "/", "b/../c"])
)


def entries(whats: tuple[str, ...]) -> st.SearchStrategy[Entry]:
    def of(what: str) -> st.SearchStrategy[Entry]:
        target = {"sym": targets, "link": paths}.get(what, st.just(""))
        return st.builds(Entry, st.just(what), paths, target, st.integers(0, 63))

    return st.sampled_from(whats).flatmap(of)


ALL = ("dir", "dir", "file", "file", "file", "link", "sym", "fifo", "wh", "wh", "opq")
stacks = st.lists(st.lists(entries(ALL), max_size=8), min_size=1, max_size=4)
