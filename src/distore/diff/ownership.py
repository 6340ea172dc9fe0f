"""Owners as the image numbers them, in extended attributes, too."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from distore.diff.idmap import mapped_acl
from distore.errors import FailedPrecondition

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from distore.diff.idmap import IdMap
    from distore.diff.readtree import Attributes, Tree

Owner = tuple[int, int]
_ACL: Final = b"system.posix_acl_"
_CAPABILITY: Final = b"security.capability"
_REVISION_2, _REVISION_3 = 0x02000000, 0x03000000  # linux/capability.h
_SIZE_2, _SIZE_3 = 20, 24  # bytes; the third revision ends with the user who is root


def same_owner(uid: int, gid: int) -> Owner:
    """Users and groups as they are."""
    return uid, gid


def as_roots(uid: int, gid: int) -> Callable[[int, int], Owner]:
    """Owners for a tree that somebody made who is not root: what is theirs is root's in the image."""
    return lambda user, group: (0 if user == uid else user, 0 if group == gid else group)


def of_image(uids: IdMap | None, gids: IdMap | None) -> Callable[[int, int], Owner]:
    """Owners for a tree that was made with other numbers than those of the image. What is called so
    raises FailedPrecondition for those that have none.

    Args:
        uids, gids: As they were when the tree was made; None: the numbers are the same.
    """
    return lambda uid, gid: (_inside(uids, uid, "user"), _inside(gids, gid, "group"))


def _inside(ids: IdMap | None, number: int, what: str) -> int:
    if ids is None:
        return number
    for inside, outside, size in ids.ranges:
        if outside <= number < outside + size:
            return inside + number - outside
    raise FailedPrecondition(f"{what} id {number} is not in the id map {ids}")


def owner_at(tree: Tree, path: bytes, info: os.stat_result, owner: Callable[[int, int], Owner]) -> Owner:
    """Whose a file is in the image.

    Raises:
        FailedPrecondition: Nobody's; names it.
    """
    try:
        return owner(info.st_uid, info.st_gid)
    except FailedPrecondition as error:
        raise FailedPrecondition(f"{tree.shown(path)}: {error}") from error


def unmapped(attributes: Attributes, owner: Callable[[int, int], Owner]) -> Iterator[tuple[bytes, bytes]]:
    """Attributes of a file with all users and groups as ``owner`` calls them."""
    for name, value in attributes:
        if name.startswith(_ACL):
            yield name, mapped_acl(value, lambda uid: owner(uid, uid)[0], lambda gid: owner(gid, gid)[1])
        elif name == _CAPABILITY:
            yield name, _capability(value, owner)
        else:
            yield name, value


def _capability(value: bytes, owner: Callable[[int, int], Owner]) -> bytes:
    """One that counts below a user who is root in the image counts everywhere there."""
    if len(value) != _SIZE_3:
        return value
    magic, root = struct.unpack_from("<I", value)[0], struct.unpack_from("<I", value, _SIZE_2)[0]
    if magic & 0xFF000000 != _REVISION_3 or owner(root, root)[0] != 0:
        return value
    return struct.pack("<I", magic - _REVISION_3 + _REVISION_2) + value[4:_SIZE_2]
