"""Listings kept in files, so that a layer is read for its names once (docs/formats/store.md#listings).

They may go at any time. Names and places alone are taken from them: whoever reads a member looks
whether its header says the same.
"""

from __future__ import annotations

import os
import re
import zlib
from array import array
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from distore.diff.tarmember import BLOCK, Member, Meta
from distore.unpack.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest

_VERSION: Final = 1
_MAX_FILE: Final = 256 * 1024 * 1024  # bytes of a file
_MAX_TEXT: Final = 512 * 1024 * 1024  # and of what is packed in it
_LEVEL: Final = 1
_PARTIAL: Final = ".partial"
# What taking apart damaged text raises.
_DAMAGED: Final = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    zlib.error,
)
_META: Final = [int, int, int, int, str, str]
# Of a name in its one spelling; what no layer gives after ``tarmember.clean``.
_UNCLEAN: Final = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")


class ListingFiles:
    """The listings of layers in a folder, by the digest of the layer.

    Args:
        folder: Where they are; it is made with the first one. What cannot be read there is not
            there, and what cannot be written is not written.
        is_kept: Whether a layer is still in the store.
    """

    def __init__(self, folder: str, *, is_kept: Callable[[str, str], bool]) -> None:
        self._folder = folder
        self._is_kept = is_kept

    def get(self, layer: Descriptor, diff_id: Digest) -> Listing | None:
        """The listing of a layer that is known to unpack to ``diff_id``."""
        try:
            with open(self._path(layer.digest), "rb") as file:
                data = file.read(_MAX_FILE + 1)
        except OSError:
            return None
        head = _head(layer, diff_id)
        if not data.startswith(head) or len(data) > _MAX_FILE:
            return None
        try:
            return _decoded(data[len(head) :])
        except _DAMAGED:
            return None  # the layer tells it again

    def put(self, layer: Descriptor, diff_id: Digest, listing: Listing) -> None:
        """Keep a listing; those of layers that are gone go."""
        path = self._path(layer.digest)
        partial = f"{path}{_PARTIAL}-{os.getpid()}-{get_ident()}"
        data = _head(layer, diff_id) + _encoded(listing)
        if len(data) > _MAX_FILE:
            return
        with suppress(OSError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                with open(partial, "wb") as file:
                    file.write(data)
                # Not synced: what a power cut leaves does not unpack, and counts for nothing.
                os.replace(partial, path)
            except BaseException:
                os.unlink(partial)
                raise
            self.prune()

    def prune(self) -> None:
        """Remove the listings of layers that are gone, and what crashes left."""
        with suppress(OSError), os.scandir(self._folder) as algorithms:
            for algorithm in [one.name for one in algorithms if one.is_dir(follow_symlinks=False)]:
                folder = os.path.join(self._folder, algorithm)
                for name in os.listdir(folder):
                    whose, partial, by = name.partition(_PARTIAL)
                    is_used = _is_alive(by) if partial else self._is_kept(algorithm, whose)
                    if not is_used:
                        with suppress(OSError):
                            os.unlink(os.path.join(folder, name))

    def _path(self, digest: Digest) -> str:
        return os.path.join(self._folder, digest.algorithm, digest.encoded)


def _head(layer: Descriptor, diff_id: Digest) -> bytes:
    return f"distore listing {_VERSION} {layer.size} {diff_id}\n".encode()


def _is_alive(by: str) -> bool:
    """Whether the process that writes ``-<pid>-<thread>`` is there."""
    pid = by[1:].partition("-")[0]
    return pid.isdecimal() and os.path.isdir(f"/proc/{pid}")


def _encoded(listing: Listing) -> bytes:
    import json

    numbers: dict[Meta, int] = {}
    rows: list[list[object]] = []
    for member, start in zip(listing.members, listing.starts, strict=True):
        meta = numbers.setdefault(member.meta, len(numbers))
        row = [member.name, member.kind.decode(), meta, start // BLOCK, member.size, member.link]
        rows.append([*row, *member.device] if any(member.device) else row)
    metas = [
        [meta.mode, meta.uid, meta.gid, meta.mtime, meta.uname, meta.gname]
        + [part.decode("latin-1") for record in meta.records for part in record]
        for meta in numbers
    ]
    text = json.dumps([metas, rows], separators=(",", ":"))
    return zlib.compress(text.encode(), _LEVEL)


def _decoded(data: bytes) -> Listing:
    """Raises ValueError and its like for what is not as ``_encoded`` makes it."""
    import json

    unpack = zlib.decompressobj()
    text = unpack.decompress(data, _MAX_TEXT)
    if not unpack.eof:
        raise ValueError("cut short")
    metas, rows = json.loads(text)
    shared = [_meta(each) for each in metas]
    found, starts = [], array("Q")
    for name, kind, meta, start, size, link, *device in rows:
        if _UNCLEAN.search(name) and name:
            raise ValueError("a name that leads elsewhere")
        major, minor = device or (0, 0)
        found.append(
            Member(
                name=name,
                kind=kind.encode(),
                meta=shared[meta],
                link=str(link),
                size=int(size),
                device=(int(major), int(minor)),
            )
        )
        starts.append(start * BLOCK)
    return Listing(members=found, starts=starts)


def _meta(row: list[Any]) -> Meta:
    mode, uid, gid, mtime, uname, gname, *texts = row
    records: tuple[tuple[bytes, bytes], ...] = ()
    if texts:
        parts = [part.encode("latin-1") for part in texts]
        records = tuple(zip(parts[::2], parts[1::2], strict=True))
    meta = Meta(mode=mode, uid=uid, gid=gid, mtime=mtime, uname=uname, gname=gname, records=records)
    if [type(each) for each in row[:6]] != _META:
        raise TypeError("not what a meta has")
    return meta
