"""Layers that are new to an image: from a tar file, or from a folder, always the same bytes for the same."""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.content.blobs import CHUNK
from distore.diff.compression import Decompressed
from distore.diff.filekinds import KINDS, XATTR
from distore.diff.overlaytar import WHITEOUT, LayerTar
from distore.diff.tarmember import (
    BLOCK_DEVICE,
    CHARACTER,
    END,
    FOLDER,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    Member,
    Meta,
    header,
    members,
    padding,
    shown,
)
from distore.errors import FailedPrecondition, NotFound
from distore.transfer.flatten import opened_layer, pieces, write_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from _typeshed import ReadableBuffer

    from distore.transfer.newimage import LayerFormat, NewLayer
    from distore.transfer.storesink import SinkStore

# Those that mean the same on every machine.
_XATTRS: Final = ("security.capability", "user.")
_NANOSECONDS: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """What a layer made of a folder says about its files.

    Args:
        mtime: Of everything, in seconds since the epoch; None: as it is.
        keep_owner: Users and groups as they are, not root.
    """

    mtime: int | None = 0
    keep_owner: bool = False


def tar_stream(fd: Callable[[], int], *, name: str) -> LayerTar:
    """A tar file out of something that is read once, such as standard input."""

    @contextmanager
    def opened() -> Iterator[Iterator[ReadableBuffer]]:
        yield pieces(Decompressed(_File(fd(), name), subject=name))

    return LayerTar(subject=name, open=opened)


def tar_file(path: str) -> LayerTar:
    """A tar file by its path, plain, gzip or zstd."""

    @contextmanager
    def opened() -> Iterator[Iterator[ReadableBuffer]]:
        with translated(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", buffering=0) as file:
            yield pieces(Decompressed(_File(file.fileno(), path), subject=path))

    return LayerTar(subject=path, open=opened)


def folder(path: str, options: FolderOptions) -> LayerTar:
    """A folder; what is in it lies in the root of the image."""

    @contextmanager
    def opened() -> Iterator[Iterator[ReadableBuffer]]:
        yield _folder_tar(path, options)

    return LayerTar(subject=path, open=opened)


class _File:
    """A file as an Input, with our errors."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    def readinto(self, buffer: memoryview, /) -> int:
        with translated(self._path):
            return os.readv(self._fd, [buffer])


class Additions:
    """Layers that several images get: each is read once and stored once for every format."""

    def __init__(self, store: SinkStore, tars: Sequence[LayerTar]) -> None:
        self._store = store
        self._tars = tars
        self._made: dict[tuple[int, str | None], NewLayer] = {}

    def names(self) -> list[str]:
        """What they are called."""
        return [os.path.basename(tar.subject.rstrip("/")) or tar.subject for tar in self._tars]

    def layers(self, layer_format: LayerFormat) -> list[NewLayer]:
        """All of them.

        Raises:
            FailedPrecondition, DataLoss: One is no tar file.
            DistoreError: One cannot be read.
        """
        return [self._layer(number, layer_format) for number in range(len(self._tars))]

    def _layer(self, number: int, layer_format: LayerFormat) -> NewLayer:
        key = (number, layer_format.compression)
        if key not in self._made:
            made = next((layer for (at, _), layer in self._made.items() if at == number), None)
            tar = self._tars[number]
            # Standard input gives its bytes once; another format is made of what is stored.
            if made is not None:
                tar = LayerTar(subject=tar.subject, open=partial(opened_layer, self._store, made.descriptor))
            with tar.open() as chunks:
                checked = _checked(chunks, tar.subject)
                self._made[key] = write_layer(self._store, checked, layer_format, subject=tar.subject)
        made = self._made[key]
        # The bytes are the same for both families of media types.
        return replace(made, descriptor=replace(made.descriptor, media_type=layer_format.media_type))


def _checked(chunks: Iterable[ReadableBuffer], subject: str) -> Iterator[bytes]:
    """The same bytes; that they are a tar file shows on the way."""
    passed: deque[bytes] = deque()

    def noted() -> Iterator[bytes]:
        for chunk in chunks:
            passed.append(bytes(chunk))
            yield passed[-1]

    for _ in members(noted(), subject=subject):
        while passed:
            yield passed.popleft()
    yield from passed


def _folder_tar(top: str, options: FolderOptions) -> Iterator[ReadableBuffer]:
    """Everything below ``top``, names in order, folders before what is in them."""
    linked: dict[tuple[int, int], str] = {}
    waiting = _inside(top, "")
    while waiting:
        name = waiting.pop()
        path = os.path.join(top, name)
        if os.path.basename(name).startswith(WHITEOUT):
            raise FailedPrecondition(
                f"{path}: as a layer's file its name would remove another one; a tar file may have it"
            )
        with translated(path):
            found = os.lstat(path)
        kind = KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:  # a socket: it is nothing without its process
            continue
        if kind == FOLDER:
            waiting += _inside(top, name)
        else:
            first = linked.setdefault((found.st_dev, found.st_ino), name) if found.st_nlink > 1 else name
            if first != name:
                yield header(_member(path, name, found, options, hard_link=first))
                continue
        member = _member(path, name, found, options)
        yield header(member)
        if kind == REGULAR:
            yield from _bytes_of(path, found)
            yield padding(member.size)
    yield END


def _inside(top: str, name: str) -> list[str]:
    """The names in a folder, the last one first."""
    path = os.path.join(top, name) if name else top
    with translated(path):
        found = os.listdir(path)
    prefix = f"{name}/" if name else ""
    return [prefix + each for each in sorted(found, key=os.fsencode, reverse=True)]


def _member(
    path: str, name: str, found: os.stat_result, options: FolderOptions, *, hard_link: str | None = None
) -> Member:
    kind = HARD_LINK if hard_link is not None else KINDS[stat.S_IFMT(found.st_mode)]
    seconds, fraction = divmod(found.st_mtime_ns, _NANOSECONDS)
    records = [] if hard_link is not None else _xattrs(path)
    if options.mtime is not None:
        seconds = options.mtime
    elif fraction:
        whole = found.st_mtime_ns // _NANOSECONDS
        text = f"{whole}.{fraction:09d}" if whole >= 0 else f"{found.st_mtime_ns / _NANOSECONDS:.9f}"
        records.append((b"mtime", text.encode()))
    link = hard_link or ""
    if kind == SYMLINK:
        with translated(path):
            link = os.readlink(path)
    return Member(
        name=name,
        kind=kind,
        link=link,
        size=found.st_size if kind == REGULAR else 0,
        device=(os.major(found.st_rdev), os.minor(found.st_rdev))
        if kind in (CHARACTER, BLOCK_DEVICE)
        else (0, 0),
        meta=Meta(
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid if options.keep_owner else 0,
            gid=found.st_gid if options.keep_owner else 0,
            mtime=seconds,
            records=tuple(records),
        ),
    )


def _xattrs(path: str) -> list[tuple[bytes, bytes]]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return [
            (XATTR + os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
            for name in sorted(names)
            if name.startswith(_XATTRS)
        ]
    except OSError:  # a file system without any, or somebody else's file
        return []


def _bytes_of(path: str, found: os.stat_result) -> Iterator[memoryview]:
    """As many bytes as the header says."""
    left = found.st_size
    space = memoryview(bytearray(max(1, min(CHUNK, left))))
    with translated(path):
        # Not blocking: a fifo may have taken its place.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb", buffering=0) as file:
        while left:
            with translated(path):
                size = os.readv(file.fileno(), [space[:left]])
            if not size:
                break
            left -= size
            yield space[:size]
        if left or os.fstat(file.fileno()).st_size != found.st_size:
            raise FailedPrecondition(f"{path}: changed while it was read")


def addition(path: str, options: FolderOptions) -> LayerTar:
    """A file or a folder, whichever it is.

    Raises:
        NotFound: Neither is there.
    """
    with translated(shown(path)):
        if os.path.isdir(path):
            return folder(path, options)
        if not os.path.lexists(path):
            raise NotFound(f"{path}: no such file or folder")
    return tar_file(path)
