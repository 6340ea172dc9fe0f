"""Mount: what mount(2) is told, and what is mounted below a folder (Linux)."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal import mountapi
from distore._internal.oserrors import translate
from distore.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# linux/mount.h; option -> (flag, whether it sets it)
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _SYNC, _REMOUNT, _DIRSYNC = 1, 2, 4, 8, 16, 32, 128
_NOATIME, _NODIRATIME, _BIND, _REC = 1 << 10, 1 << 11, 1 << 12, 1 << 14
_UNBINDABLE, _PRIVATE, _SLAVE, _SHARED, _RELATIME, _STRICTATIME = (
    1 << bit for bit in (17, 18, 19, 20, 21, 24)
)
_FLAGS: Final = {
    "ro": (_RDONLY, True),
    "rw": (_RDONLY, False),
    "nosuid": (_NOSUID, True),
    "suid": (_NOSUID, False),
    "nodev": (_NODEV, True),
    "dev": (_NODEV, False),
    "noexec": (_NOEXEC, True),
    "exec": (_NOEXEC, False),
    "sync": (_SYNC, True),
    "async": (_SYNC, False),
    "dirsync": (_DIRSYNC, True),
    "remount": (_REMOUNT, True),
    "noatime": (_NOATIME, True),
    "atime": (_NOATIME, False),
    "nodiratime": (_NODIRATIME, True),
    "diratime": (_NODIRATIME, False),
    "relatime": (_RELATIME, True),
    "norelatime": (_RELATIME, False),
    "strictatime": (_STRICTATIME, True),
    "nostrictatime": (_STRICTATIME, False),
    "bind": (_BIND, True),
    "rbind": (_BIND | _REC, True),
    "defaults": (0, True),
}
# These are changed by a call of their own (mount(2)).
_PROPAGATION: Final = {
    "unbindable": _UNBINDABLE,
    "private": _PRIVATE,
    "slave": _SLAVE,
    "shared": _SHARED,
    "runbindable": _UNBINDABLE | _REC,
    "rprivate": _PRIVATE | _REC,
    "rslave": _SLAVE | _REC,
    "rshared": _SHARED | _REC,
}
# MS_* -> MOUNT_ATTR_* (linux/mount.h)
_ATTRIBUTES: Final = {
    _RDONLY: 1,
    _NOSUID: 2,
    _NODEV: 4,
    _NOEXEC: 8,
    _NOATIME: 0x10,
    _STRICTATIME: 0x20,
    _NODIRATIME: 0x80,
}
MAX_LAYERS: Final = 500  # lower folders of one overlay (OVL_MAX_STACK)
_DETACH: Final = 2  # MNT_DETACH
_NOFOLLOW: Final = 8  # UMOUNT_NOFOLLOW
_MAX_DATA: Final = 4095  # bytes of options that a file system reads itself: a page (mount(2))
_SYS_ADMIN: Final = 21  # linux/capability.h
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_INFO: Final = "/proc/self/mountinfo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One call of mount(2), in the terms of mount(8): ``options`` such as ``ro``, ``rbind``,
    ``rprivate`` or ``lowerdir=...``."""

    type: str
    source: str
    target: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """A line of mountinfo (proc(5)). ``root`` is the folder of the file system that is seen at
    ``target``, ``device`` its major:minor; ``super_options`` are those of the file system itself."""

    id: int
    device: str
    root: str
    target: str
    type: str
    source: str
    options: tuple[str, ...]
    super_options: tuple[str, ...] = ()


def may_mount() -> bool:
    """Whether this process has the right to (CAP_SYS_ADMIN)."""
    try:
        with open("/proc/self/status", "rb") as file:
            found = re.search(rb"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        return os.geteuid() == 0
    return bool(found and int(found[1], 16) >> _SYS_ADMIN & 1)


def escaped(path: str, *, colon: bool = False) -> str:
    """A path as a value among the options of overlayfs.

    Args:
        colon: Of ``lowerdir``, whose paths have colons between them.
    """
    for special in ("\\", ",", *((":",) if colon else ())):
        path = path.replace(special, f"\\{special}")
    return path


def mount(what: Mount) -> None:
    """Mount it; nothing is when this raises.

    A bind mount takes its other flags in a second call, as the kernel has it: only then is it read-only.
    An overlay may have more layers than a page of options can name.

    Raises:
        PermissionDenied: Without root.
        NotFound, FailedPrecondition: Source or target is missing, or not what the type needs.
        ResourceExhausted: More options than the system takes, or more layers.
        InvalidArgument: A NUL in one of the words.
        Unimplemented: No such file system here.
    """
    flags, propagation, data = _parsed(what.options)
    first = flags & (_BIND | _REC) if flags & _BIND and not flags & _REMOUNT else flags
    _mount(what, first, data)
    try:
        if first != flags:
            # Not recursive: what is mounted below keeps its own flags.
            _mount(what, (flags & ~_REC) | _REMOUNT, "")
        for change in propagation:
            _mount(what, change, "")
    except BaseException:
        if not flags & _REMOUNT:
            unmount(what.target, lazy=True)
        raise


@contextmanager
def mounting(mounts: Sequence[Mount]) -> Iterator[None]:
    """Mount them in order, and unmount them in the other one when the block ends."""
    with ExitStack() as stack:
        for what in mounts:
            mount(what)
            stack.callback(unmount, what.target)
        yield


def unmount(target: str, *, lazy: bool = False) -> None:
    """Unmount what was mounted last at ``target``.

    Args:
        lazy: Take it away at once; it ends when nobody uses it any more.
    Raises:
        Unavailable: Somebody uses it.
        PermissionDenied: Without root.
        FailedPrecondition: Nothing is mounted there.
    """
    call = _libc().umount2
    call.argtypes = (ctypes.c_char_p, ctypes.c_int)
    flags = _NOFOLLOW | (_DETACH if lazy else 0)
    _called(lambda: call(_word(target), flags), target, doing="unmount")


def mounts(path: str = _INFO) -> Iterator[Mounted]:
    """All that this process sees, or what another mountinfo tells, in the order of mounting."""
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise translate(error, path) from error
    for line in lines:
        before, _, after = line.partition(b" - ")
        fields, rest = before.split(b" "), after.split(b" ")
        if len(fields) >= 6 and len(rest) >= 2:
            yield Mounted(
                id=int(fields[0]),
                device=fields[2].decode(),
                root=_plain(fields[3]),
                target=_plain(fields[4]),
                type=_plain(rest[0]),
                source=_plain(rest[1]),
                options=tuple(fields[5].decode(errors="surrogateescape").split(",")),
                super_options=tuple(map(_plain, rest[2].split(b","))) if len(rest) > 2 else (),
            )


def mounts_below(path: str) -> tuple[Mounted, ...]:
    """What is mounted at the folder or below it, in the order of mounting."""
    real = os.path.realpath(path)
    prefix = real.rstrip("/") + "/"
    return tuple(one for one in mounts() if one.target == real or one.target.startswith(prefix))


def mounts_everywhere() -> Iterator[Mounted]:
    """Those of every mount namespace that /proc shows; a process that ends meanwhile is passed over."""
    seen: set[str] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            namespace = os.readlink(f"/proc/{name}/ns/mnt")
            found = () if namespace in seen else tuple(mounts(f"/proc/{name}/mountinfo"))
        except Exception as error:
            if isinstance(error.__cause__ or error, OSError):
                continue
            raise
        seen.add(namespace)
        yield from found


def _parsed(options: Iterable[str]) -> tuple[int, list[int], str]:
    """Flags, changes of propagation, and what the file system reads itself."""
    flags, propagation, data = 0, [], []
    for option in options:
        if option in _PROPAGATION:
            propagation.append(_PROPAGATION[option])
        elif option in _FLAGS:
            flag, is_set = _FLAGS[option]
            flags = flags | flag if is_set else flags & ~flag
        else:
            data.append(option)
    return flags, propagation, ",".join(data)


def _mount(what: Mount, flags: int, data: str) -> None:
    if what.type == "overlay" and not flags & _REMOUNT and data:
        lowers = _lowers(what, data)
        if len(os.fsencode(data)) > _MAX_DATA:
            _mount_long(what, flags, data, lowers)
            return
    call = _libc().mount
    call.argtypes = (*(ctypes.c_char_p,) * 3, ctypes.c_ulong, ctypes.c_char_p)
    encoded = _word(data)
    if len(encoded) > _MAX_DATA:
        raise ResourceExhausted(f"mount {what.target}: options of {len(encoded)} bytes, not over {_MAX_DATA}")
    words = [_word(word) for word in (what.source, what.target, what.type)]
    _called(lambda: call(*words, flags, encoded or None), what.target, doing="mount")


def _lowers(what: Mount, data: str) -> list[str]:
    """The lower folders of an overlay, escaped as they are."""
    for option in mountapi.split(data, ","):
        if option.startswith("lowerdir="):
            lowers = mountapi.split(option.removeprefix("lowerdir="), ":")
            if len(lowers) > MAX_LAYERS:
                raise ResourceExhausted(
                    f"mount {what.target}: {len(lowers)} layers; overlayfs takes {MAX_LAYERS},"
                    " the snapshotter native any number"
                )
            return lowers
    return []


def _mount_long(what: Mount, flags: int, data: str, lowers: list[str]) -> None:
    """An overlay whose options are longer than a page."""
    others = [option for option in mountapi.split(data, ",") if not option.startswith("lowerdir=")]
    pairs = [option.partition("=") for option in others]
    overlay = mountapi.Overlay(
        source=what.source,
        target=what.target,
        lowers=[mountapi.plain(lower) for lower in lowers],
        options=[(key, value if equals else None) for key, equals, value in pairs],
        attributes=sum(attribute for flag, attribute in _ATTRIBUTES.items() if flags & flag),
        is_read_only=bool(flags & _RDONLY),
    )
    for word in (what.source, what.target, data):
        _word(word)
    try:
        if "" not in lowers and mountapi.mount_layers(overlay):
            return
    except OSError as error:
        raise translate(error, f"mount {what.target}") from error
    folder = os.path.commonpath([os.path.dirname(lower) for lower in overlay.lowers])
    short = ":".join(escaped(os.path.relpath(lower, folder), colon=True) for lower in overlay.lowers)
    data = ",".join((*others, f"lowerdir={short}"))
    if (size := len(os.fsencode(data))) > _MAX_DATA:
        raise ResourceExhausted(
            f"mount {what.target}: options of {size} bytes for {len(lowers)} layers, not over {_MAX_DATA};"
            " Linux 6.5 takes more"
        )
    absolute = Mount(type=what.type, source=what.source, target=os.path.abspath(what.target))
    mountapi.in_folder(folder, lambda: _mount(absolute, flags, data))


def _called(call: Callable[[], int], target: str, *, doing: str) -> None:
    while call():
        code = ctypes.get_errno()
        if code == errno.EINTR:
            continue
        error = OSError(code, os.strerror(code))
        if code in (errno.EPERM, errno.EACCES):
            raise PermissionDenied(f"{doing} {target}: needs root (CAP_SYS_ADMIN)") from error
        if code == errno.EBUSY:
            raise Unavailable(
                f"{doing} {target}: in use: a process works there, or has a file open"
            ) from error
        if code == errno.ENODEV:
            raise Unimplemented(f"{doing} {target}: this system has no such file system") from error
        if code == errno.EINVAL and doing == "unmount":
            raise FailedPrecondition(f"{doing} {target}: nothing is mounted there") from error
        raise translate(error, f"{doing} {target}") from error


def _libc() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError as error:
        raise Unimplemented("mount: this system has no C library to call") from error


def _word(text: str) -> bytes:
    data = os.fsencode(text)
    if b"\0" in data:
        raise InvalidArgument(f"mount: a NUL in {text[:80]!a}")
    return data


def _plain(field: bytes) -> str:
    """Blanks and the like are written as octal numbers."""
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field))
