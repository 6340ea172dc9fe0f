"""Layers merged into one on the level of tar files: nothing is ever extracted.

The result has the tree that extracting the layers one after the other gives (image-spec, layer.md),
and no whiteouts. Links in folders are followed as they would be there, but never out of the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from distore.diff.tarmember import (
    END,
    FOLDER,
    HARD_LINK,
    MAX_NAME,
    REGULAR,
    SYMLINK,
    Member,
    Meta,
    header,
    members,
    padding,
    shown,
)
from distore.errors import FailedPrecondition, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from _typeshed import ReadableBuffer

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
_RESERVED: Final = ".wh..wh."  # what aufs keeps for itself; nothing of it is part of the image
MAX_NAMES: Final = 4_000_000  # of all layers together
MAX_CHARACTERS: Final = 512 * 1024 * 1024  # of all names that are seen
MAX_RECORDS: Final = 256 * 1024 * 1024  # bytes that folders say about themselves in pax records
MAX_STEPS: Final = 50_000_000  # parts of links that are followed for all names together
MAX_LINKS: Final = 40  # that are followed for one name, as Linux has it (path_resolution(7))
# A folder that only the names in it tell of, as extraction makes it.
UNTOLD: Final = Meta(mode=0o755)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTar:
    """A layer as a plain tar file.

    Args:
        subject: What messages call it.
        open: Gives its bytes in any pieces, each good until the next; called twice.
    """

    subject: str
    open: Callable[[], AbstractContextManager[Iterator[ReadableBuffer]]]


class Content:
    """What one or more names stand for that is no folder: a member of a layer."""

    __slots__ = ("at", "link")

    def __init__(self, at: tuple[int, int], link: str | None) -> None:
        self.at = at  # layer, and which of its members
        self.link = link  # of a symbolic link


class Node:
    """A name in the tree; ``top`` is the last layer that told of it or of something below, ``clear``
    the last one whose own alone is below it."""

    __slots__ = ("below", "clear", "content", "meta", "parent", "top")

    def __init__(self, parent: Node | None, content: Content | None = None, clear: int = -1) -> None:
        self.parent = parent
        self.content = content
        self.below: dict[str, Node] | None = {} if content is None else None
        self.meta: Meta | None = None  # of a folder that a member tells of
        self.top = -1
        self.clear = clear


class Overlay:
    """The names of an image while layer by layer is laid over it. Memory grows with them alone."""

    def __init__(self, *, max_names: int = MAX_NAMES) -> None:
        self._root = Node(None)
        self._max_names = max_names
        self._count = 0
        self._layer = -1
        self._member = -1
        self._metas: dict[Meta, Meta] = {}  # most folders have that of another one
        self._records = MAX_RECORDS
        self._steps = MAX_STEPS

    @property
    def root(self) -> Node:
        """The tree so far; it is for looking at."""
        return self._root

    def begin_layer(self) -> None:
        """What follows lies over what was there."""
        self._layer, self._member = self._layer + 1, -1

    def add(self, member: Member, *, subject: str) -> None:
        """Lay the next member of the layer over what is there.

        Raises:
            FailedPrecondition: What no extraction could make: a hard link to nothing, links that
                lead to each other, a folder with the name of a whiteout.
            ResourceExhausted: More than ``max_names``.
        """
        self._member += 1
        *folders, base = member.name.split("/")
        if WHITEOUT in member.name:  # which most names are spared to be looked at for part by part
            if any(part.startswith(_RESERVED) for part in folders):
                return
            if any(part.startswith(WHITEOUT) for part in folders):
                raise FailedPrecondition(
                    f"{subject}: {shown(member.name)} is in a folder named as a whiteout"
                )
        if base.startswith(WHITEOUT):
            self._whiteout(folders, base, member.name, subject)
            return
        if not base:
            if member.kind != FOLDER:
                raise FailedPrecondition(f"{subject}: its root is no folder")
            self._root.meta = self._shared(member.meta, subject)
            return
        parent = self._folder(folders, subject, create=True)
        assert parent is not None
        self._put(parent, base, member, subject)

    def folders(self) -> Iterator[Member]:
        """Every folder that must be told of, parents first, names in order."""
        for name, node in self._nodes():
            if node.below is None:
                continue
            if node.meta is not None:
                yield Member(name=name, kind=FOLDER, meta=node.meta)
            elif not node.below and name:
                yield Member(name=name, kind=FOLDER, meta=UNTOLD)

    def winners(self) -> dict[tuple[int, int], list[str]]:
        """Which members are seen, by layer and number, and all the names of each, in order."""
        found: dict[tuple[int, int], list[str]] = {}
        room = MAX_CHARACTERS
        for name, node in self._nodes():
            if node.content is not None:
                room -= len(name)
                if room < 0:
                    raise ResourceExhausted(f"the layers have names of over {MAX_CHARACTERS} characters")
                found.setdefault(node.content.at, []).append(name)
        return found

    def _put(self, parent: Node, base: str, member: Member, subject: str) -> None:
        assert parent.below is not None
        old = parent.below.get(base)
        if member.kind == FOLDER:
            node = old if old is not None and old.below is not None else self._new(parent, base)
            node.meta = self._shared(member.meta, subject)
        elif member.kind == HARD_LINK:
            content = self._target(member, subject)
            same = old is not None and old.content is content
            node = old if old is not None and same else self._new(parent, base, content)
        else:
            link = member.link if member.kind == SYMLINK else None
            node = self._new(parent, base, Content((self._layer, self._member), link))
        self._touch(node)

    def _target(self, member: Member, subject: str) -> Content:
        *folders, base = member.link.split("/")
        parent = self._folder(folders, subject, create=False)
        node = parent.below.get(base) if parent is not None and parent.below is not None else None
        if node is None or node.content is None:
            what = "no file" if node is not None or not base else "not there"
            raise FailedPrecondition(
                f"{subject}: {shown(member.name)} is a hard link to {shown(member.link)}, which is {what}"
            )
        return node.content

    def _new(self, parent: Node, base: str, content: Content | None = None) -> Node:
        """A name in the place of what had it."""
        assert parent.below is not None
        self._count += 1
        if self._count > self._max_names:
            raise ResourceExhausted(f"the layers have more than {self._max_names} names together")
        node = parent.below[base] = Node(parent, content, self._layer)
        return node

    def _touch(self, node: Node | None) -> None:
        while node is not None and node.top != self._layer:
            node.top = self._layer
            node = node.parent

    def _folder(self, parts: list[str], subject: str, *, create: bool) -> Node | None:
        """The folder of a name, links in it followed; what is missing is made, or the answer None."""
        at, links = self._root, 0
        waiting = parts[::-1]
        while waiting:
            part = waiting.pop()
            if part == "..":  # of a link
                at = at.parent or at
                continue
            assert at.below is not None
            child = at.below.get(part)
            link = child.content.link if child is not None and child.content is not None else None
            if link is not None:
                links += 1
                if links > MAX_LINKS:
                    raise FailedPrecondition(
                        f"{subject}: too many links on the way to {shown('/'.join(parts))}"
                    )
                at = self._root if link.startswith("/") else at
                words = link.split("/")
                self._steps -= len(words)
                if self._steps < 0:
                    raise ResourceExhausted(f"{subject}: its links lead over {MAX_STEPS} folders")
                waiting += [word for word in reversed(words) if word not in ("", ".")]
                continue
            if child is None or child.below is None:
                if not create:
                    return None
                child = self._new(at, part)
            at = child
        return at

    def _whiteout(self, folders: list[str], base: str, name: str, subject: str) -> None:
        """Hide what lower layers have; what this one has stays, whatever the order of its members."""
        if base.startswith(_RESERVED) and base != OPAQUE:
            return
        hidden = base.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise FailedPrecondition(f"{subject}: {shown(name)} is a whiteout of nothing")
        parent = self._folder(folders, subject, create=False)
        if parent is None or parent.below is None:
            return
        if base == OPAQUE:
            self._hide_below(parent)
        elif hidden in parent.below:
            self._hide(parent, hidden)

    def _hide(self, parent: Node, base: str) -> None:
        assert parent.below is not None
        node = parent.below[base]
        if node.top != self._layer:
            del parent.below[base]
        elif node.below is not None:
            self._hide_below(node)

    def _hide_below(self, folder: Node) -> None:
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            if at.below is None or at.clear == self._layer:
                continue  # the same whiteout may come again and again
            at.clear = self._layer
            for base in [base for base, node in at.below.items() if node.top != self._layer]:
                del at.below[base]
            waiting += at.below.values()

    def _shared(self, meta: Meta, subject: str) -> Meta:
        if meta not in self._metas:
            self._records -= sum(len(key) + len(value) for key, value in meta.records)
            if self._records < 0:
                raise ResourceExhausted(f"{subject}: its folders have over {MAX_RECORDS} bytes of records")
        return self._metas.setdefault(meta, meta)

    def _nodes(self) -> Iterator[tuple[str, Node]]:
        """Every name, parents before what is below them, siblings in order."""
        waiting = [("", "", self._root)]  # the names of a folder share their beginning in memory
        while waiting:
            prefix, base, node = waiting.pop()
            name = prefix + base
            if len(name) > MAX_NAME:  # through a link, which makes a short name a long one
                raise ResourceExhausted(f"the layers make a name of over {MAX_NAME} characters")
            yield name, node
            if node.below:
                prefix = f"{name}/" if name else ""
                waiting += [(prefix, each, node.below[each]) for each in sorted(node.below, reverse=True)]


def merged(layers: Sequence[LayerTar], *, max_names: int = MAX_NAMES) -> Iterator[ReadableBuffer]:
    """One plain tar file with what is seen through all of ``layers``, the lowest first.

    Folders come first, then the files in the order of the layers, each followed by its hard links.
    The bytes depend on the layers alone. They are read twice: once for the names, then for what wins.

    Raises:
        FailedPrecondition, ResourceExhausted: As ``Overlay.add``.
        DistoreError: As ``members`` and ``LayerTar.open``.
    """
    overlay = Overlay(max_names=max_names)
    for layer in layers:
        overlay.begin_layer()
        with layer.open() as chunks:
            for found in members(chunks, subject=layer.subject):
                if isinstance(found, Member):
                    overlay.add(found, subject=layer.subject)
    for folder in overlay.folders():
        yield header(folder)
    winners = overlay.winners()
    del overlay
    seen = {number for number, _ in winners}
    for number, layer in enumerate(layers):
        if number in seen:
            yield from _winning(number, layer, winners)
    yield END


def _winning(
    number: int, layer: LayerTar, winners: dict[tuple[int, int], list[str]]
) -> Iterator[ReadableBuffer]:
    """The members of a layer that are seen."""
    count = -1
    open_member: Member | None = None
    names: list[str] = []
    with layer.open() as chunks:
        for found in members(chunks, subject=layer.subject):
            if not isinstance(found, Member):
                if open_member is not None:
                    yield found
                continue
            if open_member is not None:
                yield from closed(open_member, names)
            count += 1
            names = winners.pop((number, count), [])
            open_member = replace(found, name=names[0]) if names else None
            if open_member is not None:
                yield header(open_member)
        if open_member is not None:
            yield from closed(open_member, names)


def closed(member: Member, names: list[str]) -> Iterator[bytes]:
    """What follows the bytes of a member: its padding, and its other names."""
    if member.kind == REGULAR and (fill := padding(member.size)):
        yield fill
    for name in names[1:]:
        yield header(Member(name=name, kind=HARD_LINK, link=names[0], meta=member.meta))
