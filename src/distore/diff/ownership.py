"""Owners within extended attributes, as the image numbers them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.diff.readtree import Attributes

Owner = tuple[int, int]
_ACL: Final = b"system.posix_acl_"
_CAPABILITY: Final = b"security.capability"
_ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, user or group (linux/posix_acl_xattr.h)
_HEAD: Final = 4  # bytes before the entries
_USER, _GROUP = 0x02, 0x08  # tags of entries that name somebody
_REVISION_2, _REVISION_3 = 0x02000000, 0x03000000  # linux/capability.h
_SIZE_2, _SIZE_3 = 20, 24  # bytes; the third revision ends with the user who is root


def unmapped(attributes: Attributes, owner: Callable[[int, int], Owner]) -> Iterator[tuple[bytes, bytes]]:
    """Attributes of a file with all users and groups as ``owner`` calls them."""
    for name, value in attributes:
        if name.startswith(_ACL):
            yield name, _access(value, owner)
        elif name == _CAPABILITY:
            yield name, _capability(value, owner)
        else:
            yield name, value


def _access(value: bytes, owner: Callable[[int, int], Owner]) -> bytes:
    if len(value) < _HEAD or (len(value) - _HEAD) % _ENTRY.size:
        return value
    entries = bytearray(value)
    for at in range(_HEAD, len(value), _ENTRY.size):
        tag, permissions, who = _ENTRY.unpack_from(value, at)
        if tag in (_USER, _GROUP):
            who = owner(who, who)[0 if tag == _USER else 1]
            _ENTRY.pack_into(entries, at, tag, permissions, who)
    return bytes(entries)


def _capability(value: bytes, owner: Callable[[int, int], Owner]) -> bytes:
    """One that counts below a user who is root in the image counts everywhere there."""
    if len(value) != _SIZE_3:
        return value
    magic, root = struct.unpack_from("<I", value)[0], struct.unpack_from("<I", value, _SIZE_2)[0]
    if magic & 0xFF000000 != _REVISION_3 or owner(root, root)[0] != 0:
        return value
    return struct.pack("<I", magic - _REVISION_3 + _REVISION_2) + value[4:_SIZE_2]


def as_roots(uid: int, gid: int) -> Callable[[int, int], Owner]:
    """Owners for a tree that somebody made who is not root: what is theirs is root's in the image."""
    return lambda user, group: (0 if user == uid else user, 0 if group == gid else group)
