"""What changed from one image's files to another's, from the layers alone."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from distore.diff.tarmember import Member
from distore.oci.digest import DEFAULT_ALGORITHM, new_hasher
from distore.unpack.filetree import FileKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.oci.digest import Hasher
    from distore.unpack.fileaccess import LayerFiles
    from distore.unpack.filetree import FileInfo, Place


class Change(StrEnum):
    """What became of a name, by the letters of ``docker diff``."""

    ADDED = "A"
    CHANGED = "C"
    DELETED = "D"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One name that is not the same; ``before`` or ``after`` is None where it is not there."""

    change: Change
    before: FileInfo | None
    after: FileInfo | None

    @property
    def path(self) -> str:
        """The name, from the root of the image."""
        info = self.after or self.before
        assert info is not None
        return info.path


def file_changes(before: LayerFiles, after: LayerFiles) -> Iterator[FileChange]:
    """Every name that was added, changed or deleted, in the order of the paths' parts.

    A file is changed when its kind, mode, owner, size, time, attributes, link or bytes are others. The
    bytes are compared where all else is equal, and never where one layer has both. A folder's time is no
    change: everything that happens in it changes that.

    Raises:
        NotFound, DataLoss: As ``LayerFiles.pieces``.
    """
    doubtful = [(old, new) for old, new in _pairs(before, after) if old and new and _is_doubtful(old, new)]
    doubtful = [(old, new) for old, new in doubtful if _source(before, old) != _source(after, new)]
    olds = _digests(before, [old.place for old, _ in doubtful if old.place])
    news = _digests(after, [new.place for _, new in doubtful if new.place])
    changed = {
        new.path for old, new in doubtful if old.place and new.place and olds[old.place] != news[new.place]
    }
    del doubtful, olds, news
    for old, new in _pairs(before, after):
        if old is None or new is None:
            change = Change.ADDED if old is None else Change.DELETED
        elif _told(old) != _told(new) or new.path in changed:
            change = Change.CHANGED
        else:
            continue
        yield FileChange(change=change, before=old, after=new)


def _pairs(before: LayerFiles, after: LayerFiles) -> Iterator[tuple[FileInfo | None, FileInfo | None]]:
    """Every path of both trees, what is the same side by side."""
    olds, news = before.tree.walk(), after.tree.walk()
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        if new is None or (old is not None and _parts(old) < _parts(new)):
            yield old, None
            old = next(olds, None)
        elif old is None or _parts(new) < _parts(old):
            yield None, new
            new = next(news, None)
        else:
            yield old, new
            old, new = next(olds, None), next(news, None)


def _parts(info: FileInfo) -> list[str]:
    """What a walk is sorted by."""
    return info.path.rstrip("/").split("/")


def _told(info: FileInfo) -> tuple[object, ...]:
    """What must be equal, beside the bytes."""
    is_folder = info.kind is FileKind.FOLDER
    time = 0 if is_folder else info.mtime
    return info.mode, info.uid, info.gid, info.size, time, info.link, info.device, info.xattrs


def _is_doubtful(old: FileInfo, new: FileInfo) -> bool:
    return stat.S_ISREG(old.mode) and old.size > 0 and _told(old) == _told(new)


def _source(files: LayerFiles, info: FileInfo) -> tuple[object, ...]:
    """The same for what has the same bytes for sure."""
    assert info.place is not None
    return files.image.diff_ids[info.place.layer], info.place.start


def _digests(files: LayerFiles, places: list[Place]) -> dict[Place, str]:
    found: dict[Place, Hasher] = {}
    for place, each in files.pieces(places):
        if isinstance(each, Member):
            found[place] = new_hasher(DEFAULT_ALGORITHM)
        else:
            found[place].update(each)
    return {place: hasher.hexdigest() for place, hasher in found.items()}
