"""Compare: the layer that turns one folder into another (image-spec, layer.md, "Creating").

Applied to the lower tree it gives the upper one. The bytes depend on the trees alone: names come in
order, and of times only the last change of a file counts. The folders on the way to a change are told
of as well: who stacks folders would else not know what these are like.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.diff.changes import Comparison, Kind, find_changes
from distore.diff.filekinds import KINDS, XATTR
from distore.diff.overlaytar import OPAQUE, WHITEOUT
from distore.diff.ownership import owner_at, same_owner, unmapped
from distore.diff.plainheader import plain_header
from distore.diff.readtree import Tree
from distore.diff.safepath import join
from distore.diff.sameness import SECOND
from distore.diff.tarmember import (
    BLOCK_DEVICE,
    CHARACTER,
    END,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    Member,
    Meta,
    header,
    padding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from _typeshed import ReadableBuffer

    from distore.diff.changes import Change
    from distore.diff.ownership import Owner
    from distore.diff.readtree import Attributes

_BATCH: Final = 256 * 1024  # bytes handed on at once; larger files come by themselves
_OPAQUE: Final = OPAQUE.encode()
_WHITEOUT: Final = WHITEOUT.encode()
_REMOVED: Final = Meta(mode=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What a layer tells of a tree.

    Args:
        checksum, source_date_epoch, note: As ``Comparison`` has them; no file of the layer changed
            later than ``source_date_epoch``.
        owner: What the layer calls a user and a group of the tree, for a tree that was made with
            other numbers than those of the image; may raise FailedPrecondition.
        lower_owner: The same for the lower tree; None: as ``owner``.
    """

    checksum: bool = False
    source_date_epoch: int | None = None
    owner: Callable[[int, int], Owner] = same_owner
    lower_owner: Callable[[int, int], Owner] | None = None
    note: Callable[[str], None] = field(default=lambda _text: None)

    def comparison(self, overlay: bytes | None = None, *, is_upper: bool = False) -> Comparison:
        """The part that finds changes."""
        return Comparison(
            checksum=self.checksum,
            source_date_epoch=self.source_date_epoch,
            overlay=overlay,
            is_upper=is_upper,
            owner=self.owner,
            lower_owner=self.lower_owner or self.owner,
            note=self.note,
        )


@dataclass(slots=True)
class Told:
    """What a layer was made of, as far as it is written."""

    changes: int = 0


def changes(
    lower: str | None, upper: str, options: CompareOptions, *, subject: str | None = None
) -> Iterator[Change]:
    """What differs between two folders; everything is new without a lower one. As ``find_changes``.

    Args:
        subject: What messages call ``upper``.
    """
    with ExitStack() as stack:
        top = stack.enter_context(Tree(upper, subject=subject))
        below = [stack.enter_context(Tree(lower))] if lower is not None else []
        yield from find_changes(below, top, options.comparison())


def compare(
    lower: str | None,
    upper: str,
    options: CompareOptions,
    *,
    subject: str | None = None,
    told: Told | None = None,
) -> Iterator[ReadableBuffer]:
    """The plain tar file of the layer that turns ``lower`` into ``upper``, in pieces, each good until
    the next. Without a lower folder it has the whole tree. Where nothing differs it is empty.

    Nobody may change the trees meanwhile; they are only read. Memory is as ``find_changes`` has it.

    Args:
        subject: What messages call ``upper``.
        told: Counts the changes.
    Raises:
        FailedPrecondition: A name that no layer can have, or something changed meanwhile.
        NotFound, PermissionDenied, DistoreError: Something cannot be read.
    """
    how = options.comparison()
    return _compared([] if lower is None else [lower], upper, how, options, subject=subject, told=told)


def compare_layers(
    lower: Sequence[str],
    attributes: bytes,
    upper: str,
    options: CompareOptions,
    *,
    subject: str | None = None,
    told: Told | None = None,
) -> Iterator[ReadableBuffer]:
    """The same for a lower tree in several folders that overlayfs stacks, which need not be mounted.

    Args:
        lower: The uppermost first.
        attributes: As for ``from_upper``.
    """
    how = options.comparison(attributes)
    return _compared(lower, upper, how, options, subject=subject, told=told)


def from_upper(
    upper: str,
    attributes: bytes,
    lower: Sequence[str],
    options: CompareOptions,
    *,
    subject: str | None = None,
    told: Told | None = None,
) -> Iterator[ReadableBuffer]:
    """The same layer out of the folder that overlayfs keeps changes in; of what lies below, only the
    names in it are looked at.

    Args:
        attributes: How overlayfs begins the names of its attributes: ``b"trusted.overlay."`` or
            ``b"user.overlay."``.
        lower: The folders below, the uppermost first. What was copied up and is as it was is left out.
        subject: What messages call ``upper``.
        told: Counts the changes.
    Raises:
        FailedPrecondition: Also for what refers to a file of the lower folders (redirect_dir, metacopy).
        NotFound, PermissionDenied, DistoreError: Something cannot be read.
    """
    how = options.comparison(attributes, is_upper=True)
    return _compared(lower, upper, how, options, subject=subject, told=told)


def _compared(
    lower: Sequence[str],
    upper: str,
    how: Comparison,
    options: CompareOptions,
    *,
    subject: str | None,
    told: Told | None,
) -> Iterator[ReadableBuffer]:
    with ExitStack() as stack:
        top = stack.enter_context(Tree(upper, subject=subject))
        below = [stack.enter_context(Tree(each)) for each in lower]
        yield from _written(top, find_changes(below, top, how), options, told or Told())


def _written(
    tree: Tree, found: Iterable[Change], options: CompareOptions, told: Told
) -> Iterator[ReadableBuffer]:
    layer = _Layer(tree, options)
    for change in found:
        told.changes += 1
        layer.lay_folders(change)
        if change.kind in (Kind.DELETE, Kind.OPAQUE):
            layer.lay_whiteout(change)
        else:
            yield from layer.lay(change.path)
        if len(layer.batch) >= _BATCH:
            yield layer.batch
            layer.batch = bytearray()
    yield layer.batch + END


class _Layer:
    """Writes members, small ones into ``batch``."""

    def __init__(self, tree: Tree, options: CompareOptions) -> None:
        self._tree = tree
        self._options = options
        self._latest = options.comparison().latest
        self._names: dict[tuple[int, int], bytes] = {}  # the first one of a file with several
        self._folder = b""  # that was told of last, with those on the way to it
        self._space = memoryview(bytearray(_BATCH))
        self.batch = bytearray()

    def lay_folders(self, change: Change) -> None:
        """Tell of the folders on the way to a change, unless they were the last ones."""
        folder = change.path if change.kind is Kind.OPAQUE else change.path.rpartition(b"/")[0]
        if folder == self._folder:
            return
        if folder:
            parts, told = folder.split(b"/"), self._folder.split(b"/")
            depth = 0
            while depth < min(len(parts), len(told)) and parts[depth] == told[depth]:
                depth += 1
            for end in range(depth + 1, len(parts) + 1):
                path = b"/".join(parts[:end])
                self._lay_other(path, self._tree.stat(path))
        self._folder = folder

    def lay_whiteout(self, change: Change) -> None:
        """Tell that a name is gone, or all that lay in a folder."""
        head, _, name = change.path.rpartition(b"/")
        path = join(change.path, _OPAQUE) if change.kind is Kind.OPAQUE else join(head, _WHITEOUT + name)
        self.batch += header(Member(name=_text(path), kind=REGULAR, meta=_REMOVED))

    def lay(self, path: bytes) -> Iterator[ReadableBuffer]:
        """Tell of a name; what is too large for the batch comes out."""
        info = self._tree.last_stat(path)
        if stat.S_ISDIR(info.st_mode):
            self._folder = path
        elif info.st_nlink > 1:
            first = self._names.setdefault((info.st_dev, info.st_ino), path)
            if first != path:
                meta = self._meta(path, info, ())
                self.batch += header(Member(name=_text(path), kind=HARD_LINK, meta=meta, link=_text(first)))
                return
        if stat.S_ISREG(info.st_mode):
            yield from self._lay_file(path, info)
        else:
            self._lay_other(path, info)

    def _lay_other(self, path: bytes, info: os.stat_result) -> None:
        kind = KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            raise self._tree.changed(path)
        device = (os.major(info.st_rdev), os.minor(info.st_rdev))
        member = Member(
            name=_text(path),
            kind=kind,
            meta=self._meta(path, info, self._tree.attributes(path)),
            link=_text(self._tree.link(path)) if kind == SYMLINK else "",
            device=device if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0),
        )
        self.batch += header(member)

    def _lay_file(self, path: bytes, info: os.stat_result) -> Iterator[ReadableBuffer]:
        fd = self._tree.open(path, info)
        try:
            self.batch += self._file_header(path, info, self._tree.attributes(path, fd))
            left = info.st_size
            while left:
                size = self._tree.read(path, fd, self._space[:left])
                if not size:
                    raise self._tree.changed(path)
                left -= size
                if size < _BATCH:
                    self.batch += self._space[:size]
                    continue
                yield self.batch
                self.batch = bytearray()
                yield self._space
            self.batch += padding(info.st_size)
            self._tree.check(path, fd, info)
        finally:
            os.close(fd)

    def _file_header(self, path: bytes, info: os.stat_result, attributes: Attributes) -> bytes:
        if not attributes:
            time = self._time(info)
            plain = plain_header(
                path,
                REGULAR,
                mode=stat.S_IMODE(info.st_mode),
                owner=owner_at(self._tree, path, info, self._options.owner),
                size=info.st_size,
                time=time // SECOND,
                exact=_decimal(time) if time % SECOND else b"",
            )
            if plain is not None:
                return plain
        meta = self._meta(path, info, attributes)
        return header(Member(name=_text(path), kind=REGULAR, meta=meta, size=info.st_size))

    def _time(self, info: os.stat_result) -> int:
        return info.st_mtime_ns if self._latest is None else min(info.st_mtime_ns, self._latest)

    def _meta(self, path: bytes, info: os.stat_result, attributes: Attributes) -> Meta:
        time = self._time(info)
        uid, gid = owner_at(self._tree, path, info, self._options.owner)
        records = (
            [(XATTR + name, value) for name, value in unmapped(attributes, self._options.owner)]
            if attributes
            else []
        )
        if time % SECOND:
            records.append((b"mtime", _decimal(time)))
        return Meta(
            mode=stat.S_IMODE(info.st_mode),
            uid=uid,
            gid=gid,
            mtime=time // SECOND,
            records=tuple(records),
        )


def _decimal(time: int) -> bytes:
    """Nanoseconds as seconds, whose parts count away from zero."""
    whole, part = divmod(abs(time), SECOND)
    return b"%s%d.%09d" % (b"-" if time < 0 else b"", whole, part)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
