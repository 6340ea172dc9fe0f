"""Files of every kind, made by a name in an open folder, with all that a layer tells of them."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from distore.diff.filekinds import XATTR
from distore.diff.idmap import Owners
from distore.diff.tarmember import BLOCK_DEVICE, CHARACTER, FIFO, MAX_NAME, REGULAR, SYMLINK, shown
from distore.errors import FailedPrecondition, PermissionDenied, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.diff.idmap import IdMap
    from distore.diff.tarmember import Member, Meta

MAX_ENTRIES: Final = 4_000_000  # names of one layer
MAX_SIZE: Final = 1 << 40  # plain bytes of one layer
# A kernel that stacks folders reads these as orders of its own; no layer gives orders.
_OVERLAY: Final = (b"trusted.overlay.", b"user.overlay.")
_ANYONES: Final = (b"user.", b"system.posix_acl_")
_ROOTS: Final = (b"trusted.", b"security.")
DEFAULT_ACL: Final = b"system.posix_acl_default"
_LABELS: Final = b"security.selinux"  # the system gives it to every file
# The file system, or this kind of file, has no such attributes.
_NO_ATTRIBUTE: Final = (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSPC, errno.ERANGE)
_FRACTION: Final = re.compile(rb"-?[0-9]{1,19}\.([0-9]+)")
_LATEST: Final = 1 << 62  # seconds; file systems cut to what they can hold
_MAX_MAJOR, _MAX_MINOR = 0xFFF, 0xFFFFF
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICES: Final = (CHARACTER, BLOCK_DEVICE)
_KINDS: Final = {FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}
_PIECE: Final = 64 * 1024  # bytes of one write; see fsops


class Devices(StrEnum):
    """What becomes of device nodes in a layer."""

    MAKE = "make"
    SKIP = "skip"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How a layer is laid over a folder.

    Args:
        as_root: Keep owners and the attributes that only root may set; else all belongs to whoever
            applies it.
        devices: What becomes of device nodes; only root can make them.
        max_entries: Members that a layer may have.
        max_size: Plain bytes that it may have.
        uid_map, gid_map: Which ids of the system stand for those of the layer, with ``as_root``; None:
            the same ones. Owners within ACLs and capabilities too.
    """

    as_root: bool
    devices: Devices = Devices.MAKE
    max_entries: int = MAX_ENTRIES
    max_size: int = MAX_SIZE
    uid_map: IdMap | None = None
    gid_map: IdMap | None = None


class Maker:
    """Makes what is no folder, no hard link, and not left out. OSErrors come as they are;
    FileExistsError: the name is taken, and nothing was changed."""

    def __init__(self, options: ApplyOptions, subject: str) -> None:
        self._as_root = options.as_root
        self._devices = options.devices
        self._owners = Owners(options.uid_map, options.gid_map)
        self._subject = subject
        self.left_out = 0  # devices and attributes

    def make(self, member: Member, folder: int, name: bytes) -> int | None:
        """Make it; for a regular file a descriptor to write to, which ``finish`` closes."""
        if member.kind == REGULAR:
            return os.open(name, _NEW, 0o600, dir_fd=folder)
        at = f"{self._subject}: {shown(member.name)}"
        if member.kind == SYMLINK:
            os.symlink(_link(member, at), name, dir_fd=folder)
        else:
            self._make_node(member, folder, name, at)
        meta = member.meta
        if self._as_root:
            os.chown(name, *self._owners.of(meta, at), dir_fd=folder, follow_symlinks=False)
        if member.kind != SYMLINK:
            os.chmod(name, meta.mode, dir_fd=folder)
        if meta.records:
            self._set_attributes(meta, f"/proc/self/fd/{folder}/".encode() + name, at)
        time = nanoseconds(meta)
        os.utime(name, ns=(time, time), dir_fd=folder, follow_symlinks=False)
        return None

    def finish(self, fd: int, meta: Meta, at: str) -> None:
        """Give an open file or folder what is told of it; ``at`` is what messages call it.

        Each step undoes nothing of those before: a change of owner drops the setuid bit and
        capabilities, a write changes the time.
        """
        if self._as_root:
            os.fchown(fd, *self._owners.of(meta, at))
        os.fchmod(fd, meta.mode)
        if meta.records:
            self._set_attributes(meta, fd, at)
        time = nanoseconds(meta)
        os.utime(fd, ns=(time, time))

    def clear_attributes(self, fd: int) -> None:
        """Remove those of a folder that lay here before; the layer tells all that it has."""
        for name in map(os.fsencode, _listed(fd, follow=True)):
            if name != _LABELS and self._may_set(name):
                os.removexattr(fd, name)

    def drop_default_acl(self, folder: int) -> bytes | None:
        """Remove the ACL that new files in a folder would get, which no layer tells of; what it was."""
        path = f"/proc/self/fd/{folder}"  # which is open for names alone
        try:
            value = os.getxattr(path, DEFAULT_ACL)
        except OSError:  # it has none, or its file system has none
            return None
        os.removexattr(path, DEFAULT_ACL)
        return value

    def copy(self, source: str | bytes, fd: int, info: os.stat_result) -> None:
        """Give an open file or folder what another one has: ``info``, and the attributes that the path
        ``source`` leads to."""
        if self._as_root:
            os.fchown(fd, info.st_uid, info.st_gid)
        os.fchmod(fd, stat.S_IMODE(info.st_mode))
        self._copy_attributes(source, fd, follow=True)
        os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))

    def copy_by_name(self, source: bytes, folder: int, name: bytes, info: os.stat_result) -> None:
        """The same for what cannot be opened."""
        if self._as_root:
            os.chown(name, info.st_uid, info.st_gid, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=folder)
        self._copy_attributes(source, f"/proc/self/fd/{folder}/".encode() + name, follow=False)
        os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=folder, follow_symlinks=False)

    def _copy_attributes(self, source: str | bytes, file: int | bytes, *, follow: bool) -> None:
        for name in map(os.fsencode, _listed(source, follow=follow)):
            if name != _LABELS and self._may_set(name):
                value = os.getxattr(source, name, follow_symlinks=follow)
                os.setxattr(file, name, value, follow_symlinks=follow)

    def leaves_out(self, member: Member) -> bool:
        """Whether it must not be made: it counts as if the layer had no such member.

        Raises:
            PermissionDenied: Devices are refused.
        """
        if member.kind not in _DEVICES:
            return False
        if self._devices is Devices.REFUSE:
            raise PermissionDenied(
                f"{self._subject}: {shown(member.name)}: a device, which only root can make"
            )
        # A character device 0:0 is the whiteout of overlayfs, and no layer gives orders.
        is_order = member.kind == CHARACTER and member.device == (0, 0)
        if self._devices is Devices.SKIP or is_order:
            self.left_out += 1
            return True
        return False

    def _make_node(self, member: Member, folder: int, name: bytes, at: str) -> None:
        if member.kind == FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
            return
        major, minor = member.device
        if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
            raise FailedPrecondition(f"{at}: device numbers {member.device}, which Linux has not")
        os.mknod(name, 0o600 | _KINDS[member.kind], os.makedev(major, minor), dir_fd=folder)

    def _set_attributes(self, meta: Meta, file: int | bytes, at: str) -> None:
        for name, told in _attributes(meta):
            if not self._may_set(name):
                self.left_out += 1
                continue
            value = self._owners.attribute(name, told, at)
            try:
                os.setxattr(file, name, value, follow_symlinks=isinstance(file, int))
            except OSError as error:
                if error.errno not in _NO_ATTRIBUTE or (error.errno == errno.ENOSPC and _is_full(file)):
                    raise
                self.left_out += 1

    def _may_set(self, name: bytes) -> bool:
        if name.startswith(_OVERLAY) or b"\0" in name:
            return False
        return name.startswith(_ANYONES) or (self._as_root and name.startswith(_ROOTS))


def write(fd: int, data: memoryview) -> None:
    """Append all of it."""
    while data:
        data = data[os.write(fd, data[:_PIECE]) :]


def nanoseconds(meta: Meta) -> int:
    """The time of a member since the epoch, with its parts of a second."""
    seconds = min(max(meta.mtime, -_LATEST), _LATEST)
    if not meta.records:
        return seconds * 1_000_000_000
    text = dict(meta.records).get(b"mtime", b"")
    found = _FRACTION.fullmatch(text)
    part = int(found[1][:9].ljust(9, b"0")) if found else 0
    return seconds * 1_000_000_000 + (-part if text.startswith(b"-") else part)


def _attributes(meta: Meta) -> Iterator[tuple[bytes, bytes]]:
    for key, value in meta.records:
        if key.startswith(XATTR):
            yield key[len(XATTR) :], value


def _listed(file: int | str | bytes, *, follow: bool) -> list[str]:
    try:
        return os.listxattr(file, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTE:
            return []
        raise


def _is_full(file: int | bytes) -> bool:
    """ENOSPC is also what file systems say to attributes that are too large for them."""
    found = os.fstatvfs(file) if isinstance(file, int) else os.statvfs(os.path.dirname(file))
    return found.f_bavail == 0


def _link(member: Member, at: str) -> bytes:
    link = member.link.encode("utf-8", "surrogateescape")
    if len(link) >= MAX_NAME:
        raise ResourceExhausted(f"{at} is a link of {len(link)} bytes")
    if not link or b"\0" in link:
        raise FailedPrecondition(f"{at} is a link to nothing")
    return link
