"""IdMap: which ids of the system stand for those of an image (user_namespaces(7))."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Self

from distore.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.diff.tarmember import Meta

_MAX_ID: Final = 0xFFFFFFFE  # the next one means "none"
_MAX_RANGES: Final = 340  # lines of one map in Linux
_ACLS: Final = (b"system.posix_acl_access", b"system.posix_acl_default")
_CAPABILITY: Final = b"security.capability"
_ACL_VERSION: Final = 2  # linux/posix_acl_xattr.h
_ACL_ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, id
_ACL_USER, _ACL_GROUP = 0x02, 0x08
_CAPS_2, _CAPS_3 = 0x02000000, 0x03000000  # linux/capability.h, VFS_CAP_REVISION_*
_CAPS_REVISION: Final = 0xFF000000
_CAPS_SIZES: Final = {_CAPS_2: 20, _CAPS_3: 24}


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """Ranges of (first id in the image, first id in the system, how many); none overlap."""

    ranges: tuple[tuple[int, int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of the form ``CONTAINER:HOST:SIZE``, several with commas between them.

        Raises:
            InvalidArgument: It is none.
        """
        ranges: list[tuple[int, int, int]] = []
        for part in text.split(","):
            fields = part.split(":")
            if len(fields) != 3 or not all(field.isascii() and field.isdigit() for field in fields):
                raise InvalidArgument(f"id map {text!r}: want CONTAINER:HOST:SIZE")
            container, host, size = (int(field[:20]) for field in fields)
            if not size or container + size - 1 > _MAX_ID or host + size - 1 > _MAX_ID:
                raise InvalidArgument(f"id map {text!r}: no ids from {part!r}")
            ranges.append((container, host, size))
        if len(ranges) > _MAX_RANGES:
            raise InvalidArgument(f"id map of over {_MAX_RANGES} ranges")
        for side in (0, 1):
            placed = sorted((one[side], one[2]) for one in ranges)
            for (first, size), (second, _) in pairwise(placed):
                if first + size > second:
                    raise InvalidArgument(f"id map {text!r}: id {second} twice")
        return cls(ranges=tuple(ranges))

    def __str__(self) -> str:
        return ",".join("{}:{}:{}".format(*one) for one in self.ranges)

    def host(self, number: int) -> int | None:
        """What stands for an id of the image; None: nothing does."""
        for container, host, size in self.ranges:
            if container <= number < container + size:
                return host + number - container
        return None


class Owners:
    """Owners in the system for those in a layer; ``None`` for a map: they are the same."""

    def __init__(self, uid_map: IdMap | None, gid_map: IdMap | None) -> None:
        self._uid_map = uid_map
        self._gid_map = gid_map

    def of(self, meta: Meta, at: str) -> tuple[int, int]:
        """User and group; ``at`` is what messages call the member.

        Raises:
            FailedPrecondition: There are none.
        """
        if not (0 <= meta.uid <= _MAX_ID and 0 <= meta.gid <= _MAX_ID):
            raise FailedPrecondition(f"{at}: owner {meta.uid}:{meta.gid}, which Linux has not")
        if self._uid_map is None and self._gid_map is None:
            return meta.uid, meta.gid
        return _host(self._uid_map, meta.uid, "user", at), _host(self._gid_map, meta.gid, "group", at)

    def attribute(self, name: bytes, value: bytes, at: str) -> bytes:
        """The value of an extended attribute: some have owners in them.

        Raises:
            FailedPrecondition: There are none.
        """
        if self._uid_map is None and self._gid_map is None:
            return value
        if name in _ACLS:
            return mapped_acl(
                value,
                lambda number: _host(self._uid_map, number, "user", at),
                lambda number: _host(self._gid_map, number, "group", at),
            )
        if name == _CAPABILITY:
            return mapped_capability(value, lambda number: _host(self._uid_map, number, "user", at))
        return value


def _host(ids: IdMap | None, number: int, what: str, at: str) -> int:
    host = number if ids is None else ids.host(number)
    if host is None:
        raise FailedPrecondition(f"{at}: {what} id {number} is not in the id map {ids}")
    return host


def mapped_acl(value: bytes, uid: Callable[[int], int], gid: Callable[[int], int]) -> bytes:
    """An ACL whose users and groups are those of the system; one of a strange form as it is."""
    entries = value[4:]
    if int.from_bytes(value[:4], "little") != _ACL_VERSION or len(entries) % _ACL_ENTRY.size:
        return value
    hosts = {_ACL_USER: uid, _ACL_GROUP: gid}
    return value[:4] + b"".join(
        _ACL_ENTRY.pack(tag, permissions, hosts[tag](number) if tag in hosts else number)
        for tag, permissions, number in _ACL_ENTRY.iter_unpack(entries)
    )


def mapped_capability(value: bytes, uid: Callable[[int], int]) -> bytes:
    """Capabilities of a file, for the namespace whose root is not that of the system: they hold in
    there alone then (capabilities(7), "Namespaced file capabilities")."""
    head = int.from_bytes(value[:4], "little")
    revision = head & _CAPS_REVISION
    if len(value) != _CAPS_SIZES.get(revision):
        return value
    root = uid(int.from_bytes(value[20:24], "little"))
    if not root:
        return value
    return (head & ~_CAPS_REVISION | _CAPS_3).to_bytes(4, "little") + value[4:20] + root.to_bytes(4, "little")
