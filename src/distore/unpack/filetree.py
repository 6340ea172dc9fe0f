"""FileTree: the files of an image as its layers tell of them, without their bytes.

Paths are as within the image, ``/`` its root. Links are followed there alone: none leads out of it.
"""

from __future__ import annotations

import stat
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from distore.diff.entry import nanoseconds
from distore.diff.filekinds import XATTR
from distore.diff.overlaytar import MAX_LINKS, UNTOLD, Overlay
from distore.diff.tarmember import BLOCK_DEVICE, CHARACTER, FIFO, MAX_NAME, SYMLINK, shown
from distore.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distore.diff.overlaytar import Content, Node
    from distore.diff.tarmember import Member, Meta
    from distore.unpack.listing import Listing

_MAX_STEPS: Final = 4096  # parts that are looked at for one path, those of links in it too


class FileKind(StrEnum):
    """What a name stands for."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"


_KINDS: Final = {
    SYMLINK: (FileKind.SYMLINK, stat.S_IFLNK),
    CHARACTER: (FileKind.CHARACTER, stat.S_IFCHR),
    BLOCK_DEVICE: (FileKind.BLOCK, stat.S_IFBLK),
    FIFO: (FileKind.FIFO, stat.S_IFIFO),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which member of which layer has the bytes of a file: equal for hard links."""

    layer: int  # from 0, the lowest
    number: int  # of the member, from 0
    start: int  # bytes of the plain layer before its headers


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """What an image tells of a file.

    Args:
        path: From the root of the image, such as ``/etc/passwd``; links in it were followed.
        mode: As ``st_mode`` has it, with the kind.
        size: Bytes of a file; 0 of everything else.
        mtime: Nanoseconds since the epoch.
        link: Where a symbolic link leads, or None.
        device: Major and minor number of a device, or None.
        links: Names that the file has.
        xattrs: Extended attributes, such as ``security.capability``.
        place: Where its bytes are; None for a folder.
    """

    path: str
    kind: FileKind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str | None
    device: tuple[int, int] | None
    links: int
    xattrs: Mapping[str, bytes]
    place: Place | None

    @property
    def name(self) -> str:
        """The last part of the path; empty for the root."""
        return self.path.rpartition("/")[2]


class FileTree:
    """The names of an image. It does not change; any number of threads may look.

    Args:
        listings: Of its layers, the lowest first.
        subjects: What messages call each layer.
        subject: What they call the image.
    Raises:
        FailedPrecondition, ResourceExhausted: As ``Overlay.add``.
    """

    def __init__(self, listings: Sequence[Listing], *, subjects: Sequence[str], subject: str) -> None:
        self._subject = subject
        overlay = Overlay()
        for listing, name in zip(listings, subjects, strict=True):
            overlay.begin_layer()
            for member in listing.members:
                overlay.add(member, subject=name)
        self._root = overlay.root
        names = Counter(node.content.at for node in _nodes(self._root) if node.content is not None)
        self._links = {at: count for at, count in names.items() if count > 1}
        # What no name stands for any more is let go.
        self._seen = {
            (number, layer): (listings[number].members[layer], listings[number].starts[layer])
            for number, layer in names
        }

    def __len__(self) -> int:
        """All names, without the root."""
        return sum(1 for _ in _nodes(self._root)) - 1

    def stat(self, path: str, *, follow: bool = True) -> FileInfo:
        """What a path stands for.

        Args:
            follow: Also a link that the last part is.
        Raises:
            NotFound: Nothing.
            FailedPrecondition: A part on the way is no folder, or there are too many links.
            InvalidArgument: No path at all.
        """
        name, node = self._find(path, follow=follow)
        return self._info(name, node)

    def exists(self, path: str, *, follow: bool = True) -> bool:
        """Whether a path stands for anything."""
        try:
            self._find(path, follow=follow)
        except (NotFound, FailedPrecondition, InvalidArgument):
            return False
        return True

    def listdir(self, path: str = "/") -> list[str]:
        """The names in a folder, in order.

        Raises:
            NotFound, FailedPrecondition: It is not there; it is no folder.
        """
        return sorted(self._below(path)[1])

    def scandir(self, path: str = "/") -> Iterator[FileInfo]:
        """What is in a folder, in the order of the names, links not followed.

        Raises:
            NotFound, FailedPrecondition: As ``listdir``.
        """
        name, below = self._below(path)
        for base in sorted(below):
            yield self._info(f"{name}/{base}", below[base])

    def walk(self, path: str = "/") -> Iterator[FileInfo]:
        """A path and all below it, folders before what is in them, no link followed but those in
        ``path``; siblings in order.

        Raises:
            NotFound, FailedPrecondition: As ``stat``.
        """
        name, node = self._find(path, follow=True)
        waiting = [(name, node)]
        while waiting:
            name, node = waiting.pop()
            if len(name) > MAX_NAME:  # through a link, which makes a short name a long one
                raise ResourceExhausted(f"{self._subject}: a path of over {MAX_NAME} characters")
            yield self._info(name, node)
            if node.below:
                waiting += [(f"{name}/{base}", node.below[base]) for base in sorted(node.below, reverse=True)]

    def readlink(self, path: str) -> str:
        """Where a symbolic link leads, as it is written there.

        Raises:
            NotFound: Nothing is there.
            FailedPrecondition: It is no link.
        """
        name, node = self._find(path, follow=False)
        if node.content is None or node.content.link is None:
            raise FailedPrecondition(f"{self._subject}: {shown(name or '/')} is no symbolic link")
        return node.content.link

    def real(self, path: str) -> str:
        """The path without links.

        Raises:
            NotFound, FailedPrecondition: As ``stat``.
        """
        return self._find(path, follow=True)[0] or "/"

    def _below(self, path: str) -> tuple[str, dict[str, Node]]:
        name, node = self._find(path, follow=True)
        if node.below is None:
            raise FailedPrecondition(f"{self._subject}: {shown(name)} is no folder")
        return name, node.below

    def _find(self, path: str, *, follow: bool) -> tuple[str, Node]:
        """The path without links, that of the root empty, and what it stands for."""
        if "\0" in path or len(path) > MAX_NAME:
            raise InvalidArgument(f"{self._subject}: {shown(path)} is no path")
        at: list[tuple[str, Node]] = [("", self._root)]
        waiting = path.split("/")[::-1]
        is_folder = path.endswith(("/", "/.", "/.."))
        links = steps = 0
        while waiting:
            part, steps = waiting.pop(), steps + 1
            if steps > _MAX_STEPS:
                raise FailedPrecondition(f"{self._subject}: too many links on the way to {shown(path)}")
            name, node = at[-1]
            if node.below is None:
                raise FailedPrecondition(f"{self._subject}: {shown(name)} is no folder")
            if part in ("", "."):
                continue
            if part == "..":
                del at[max(1, len(at) - 1) :]
                continue
            assert node.below is not None
            child = node.below.get(part)
            if child is None:
                raise NotFound(f"{self._subject}: {shown(f'{name}/{part}')} is not there")
            link = child.content.link if child.content is not None else None
            if link is not None and (follow or waiting or is_folder):
                links += 1
                if links > MAX_LINKS:
                    raise FailedPrecondition(f"{self._subject}: too many links on the way to {shown(path)}")
                if link.startswith("/"):
                    del at[1:]
                waiting += link.split("/")[::-1]
                continue
            at.append((f"{name}/{part}", child))
        return at[-1]

    def _info(self, name: str, node: Node) -> FileInfo:
        if node.content is None:
            return _folder(name, node.meta or UNTOLD)
        return self._file(name, node.content)

    def _file(self, name: str, content: Content) -> FileInfo:
        member, start = self._seen[content.at]
        kind, bits = _KINDS.get(member.kind, (FileKind.FILE, stat.S_IFREG))
        is_link = kind is FileKind.SYMLINK
        layer, number = content.at
        return FileInfo(
            path=name,
            kind=kind,
            mode=bits | (0o777 if is_link else member.meta.mode),
            uid=member.meta.uid,
            gid=member.meta.gid,
            size=member.size,
            mtime=nanoseconds(member.meta),
            link=member.link if is_link else None,
            device=member.device if kind in (FileKind.CHARACTER, FileKind.BLOCK) else None,
            links=self._links.get(content.at, 1),
            xattrs=_xattrs(member.meta),
            place=Place(layer=layer, number=number, start=start),
        )

    def member(self, place: Place) -> Member:
        """What the layer has there, as its listing tells of it."""
        return self._seen[place.layer, place.number][0]

    def folder_meta(self, path: str) -> Meta:
        """What the layers say about a folder.

        Raises:
            NotFound, FailedPrecondition: As ``stat``.
        """
        return self._find(path, follow=True)[1].meta or UNTOLD


def _folder(name: str, meta: Meta) -> FileInfo:
    return FileInfo(
        path=name or "/",
        kind=FileKind.FOLDER,
        mode=stat.S_IFDIR | meta.mode,
        uid=meta.uid,
        gid=meta.gid,
        size=0,
        mtime=nanoseconds(meta),
        link=None,
        device=None,
        links=1,
        xattrs=_xattrs(meta),
        place=None,
    )


def _xattrs(meta: Meta) -> dict[str, bytes]:
    return {
        key[len(XATTR) :].decode("utf-8", "surrogateescape"): value
        for key, value in meta.records
        if key.startswith(XATTR)
    }


def _nodes(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if node.below:
            waiting += node.below.values()
