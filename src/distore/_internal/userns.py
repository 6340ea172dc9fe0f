"""User namespaces: becoming the root of one without being root (user_namespaces(7))."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition, PermissionDenied, Unimplemented

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
_MAX_FILE: Final = 4 * 1024 * 1024  # bytes of /etc/subuid
_WHOLE: Final = (0, 0, 0xFFFFFFFF)  # the map of the first namespace
_NOT_BUILT: Final = (errno.EINVAL, errno.ENOSYS)
_MAX_RANGES: Final = 340  # lines of one map (user_namespaces(7))


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """``size`` ids from ``container`` on inside are those from ``host`` on outside."""

    container: int
    host: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """The ids that a namespace knows. ``groups``: whether its processes may drop groups; not where one's
    own id is all there is, for a group can be what keeps somebody out (CVE-2014-8989)."""

    uids: tuple[IdMap, ...]
    gids: tuple[IdMap, ...]
    groups: bool


def own_maps(*, uid: int, gid: int, name: str | None, may_range: bool = True) -> Maps:
    """The maps for an ordinary user: inside it is root; behind that come the ranges that /etc/subuid and
    /etc/subgid give it.

    Args:
        name: What the user is called there; its number counts, too. None: it has no name, and then
            newuidmap does nothing for it.
        may_range: False: its own id alone. So it is where newuidmap or newgidmap is missing.
    """
    uids, gids = (
        tuple(_ranges(path, {str(uid), name})) if name and may_range and _tools() else ()
        for path in ("/etc/subuid", "/etc/subgid")
    )
    whole = bool(uids and gids)
    return Maps(
        uids=_stacked(uid, uids if whole else ()), gids=_stacked(gid, gids if whole else ()), groups=whole
    )


def maps_here() -> Maps:
    """What the namespace of this process maps."""
    uids, gids = (_read_map(f"/proc/self/{kind}_map") for kind in ("uid", "gid"))
    try:
        with open("/proc/self/setgroups", "rb") as file:
            groups = file.read().strip() != b"deny"
    except OSError:
        groups = True
    return Maps(uids=uids, gids=gids, groups=groups)


def in_first() -> bool:
    """Whether this process is in the user namespace that the machine began with."""
    maps = maps_here().uids
    return not maps or [(one.container, one.host, one.size) for one in maps] == [_WHOLE]


def holds(maps: Iterable[IdMap], number: int) -> bool:
    """Whether there is such an id inside."""
    return any(one.container <= number < one.container + one.size for one in maps)


def overlap(maps: Sequence[IdMap]) -> bool:
    """Whether an id is there twice, inside or outside."""
    for key in ("container", "host"):
        spans = sorted((getattr(one, key), getattr(one, key) + one.size) for one in maps)
        if any(after[0] < before[1] for before, after in pairwise(spans)):
            return True
    return False


def enter(maps: Maps) -> None:
    """Make this process, which must have one thread only, root of a new namespace with ``maps``, and of a
    mount namespace in it: what it mounts is seen by nobody else.

    Raises:
        PermissionDenied: The system does not let users do that.
        FailedPrecondition: newuidmap refuses, or the process has threads.
        Unimplemented: A system without such namespaces.
    """
    pid = os.getpid()
    go, told = os.pipe(), os.pipe()
    helper = os.fork()
    if not helper:
        os.close(go[1])
        os.close(told[0])
        _help(pid, maps, go[0], told[1])
    os.close(go[0])
    os.close(told[1])
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        os.write(go[1], b"1")
        with os.fdopen(told[0], "rb", closefd=False) as answer:
            text = answer.read()
    finally:
        os.close(go[1])
        os.close(told[0])
        os.waitpid(helper, 0)
    if text:
        raise FailedPrecondition(f"user namespace: {text.decode(errors='replace')}")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def unshare(flags: int) -> None:
    """unshare(2).

    Raises:
        PermissionDenied, FailedPrecondition, Unimplemented: Named after what is to blame.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        code = ctypes.get_errno()
        error = OSError(code, os.strerror(code))
        what = "user namespace" if flags & CLONE_NEWUSER else "namespace"
        if isinstance(error, PermissionError):
            raise PermissionDenied(f"{what}: this system lets only root make one") from error
        if code in _NOT_BUILT:
            raise Unimplemented(f"{what}: this system has none") from error
        raise FailedPrecondition(
            f"{what}: {os.strerror(code).lower()} (user.max_user_namespaces?)"
        ) from error


def _help(pid: int, maps: Maps, go: int, told: int) -> None:
    """In the helper, which stays outside: write the maps of its parent."""
    status = 1
    try:
        if os.read(go, 1):
            _write(pid, maps)
            status = 0
    except BaseException as error:  # noqa: BLE001 - the only way to say it
        os.write(told, str(error).encode(errors="replace")[:500])
    finally:
        os._exit(status)


def _write(pid: int, maps: Maps) -> None:
    if not maps.groups:
        for name, one in (("setgroups", ()), ("uid_map", maps.uids), ("gid_map", maps.gids)):
            text = "".join(f"{each.container} {each.host} {each.size}\n" for each in one) or "deny"
            fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY)
            os.write(fd, text.encode())
        return
    import subprocess

    for tool, ranges in (("newuidmap", maps.uids), ("newgidmap", maps.gids)):
        words = [str(word) for one in ranges for word in (one.container, one.host, one.size)]
        done = subprocess.run([tool, str(pid), *words], capture_output=True, check=False, timeout=30)
        if done.returncode:
            line = " ".join(done.stderr.decode(errors="replace").split())
            raise FailedPrecondition(f"{tool} refuses: {line[:300]}")


def _stacked(own: int, ranges: Iterable[tuple[int, int]]) -> tuple[IdMap, ...]:
    found, at = [IdMap(container=0, host=own, size=1)], 1
    for start, size in ranges:
        found.append(IdMap(container=at, host=start, size=size))
        at += size
    return tuple(found)


def _tools() -> bool:
    import shutil

    return all(shutil.which(tool) for tool in ("newuidmap", "newgidmap"))


def _ranges(path: str, names: set[str]) -> list[tuple[int, int]]:
    """Lines ``name:start:size``; what is none is passed over."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_FILE).decode(errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        name, _, rest = line.strip().partition(":")
        start, _, size = rest.partition(":")
        if name and name in names and start.isdecimal() and size.isdecimal() and int(size):
            found.append((int(start), int(size)))
    return found[: _MAX_RANGES - 1]


def _read_map(path: str) -> tuple[IdMap, ...]:
    try:
        with open(path, "rb") as file:
            lines = [line.split() for line in file.read().splitlines()]
    except OSError:
        return ()
    return tuple(
        IdMap(container=int(line[0]), host=int(line[1]), size=int(line[2]))
        for line in lines
        if len(line) == 3
    )
