"""Copies of files out of an image: as a tar file, or into a folder, which nothing leads out of."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.diff.apply import apply
from distore.diff.overlaytar import closed
from distore.diff.safepath import Root
from distore.diff.tarmember import END, FOLDER, Member, header, shown
from distore.errors import AlreadyExists, FailedPrecondition, NotFound
from distore.unpack.filetree import FileKind

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from _typeshed import ReadableBuffer

    from distore.diff.entry import ApplyOptions
    from distore.unpack.fileaccess import LayerFiles
    from distore.unpack.filetree import FileInfo, Place

_STAGE: Final = ".dist-cp-"  # beside what is made; a crash leaves it
_OWNER: Final = 0o700


def tar_stream(files: LayerFiles, top: FileInfo, name: str) -> Generator[ReadableBuffer, None, None]:
    """A tar file of a path and all below it; names that stand for one file come as hard links.

    Folders come first, then files in the order of the layers, each piece good until the next.

    Args:
        top: What is copied.
        name: What it is called in the tar file; empty: the tar file is about what is in it.
    Raises:
        DataLoss, NotFound: As ``LayerFiles.pieces``.
    """
    names: dict[Place, list[str]] = {}
    cut = 0 if top.path == "/" else len(top.path)
    if top.place is not None:
        names[top.place] = [name]
    else:
        for info in files.tree.walk(top.path):
            new = (name + info.path[cut:]).strip("/")
            if info.place is not None:
                names.setdefault(info.place, []).append(new)
            else:
                yield header(Member(name=new, kind=FOLDER, meta=files.tree.folder_meta(info.path)))
    last: tuple[Member, list[str]] | None = None
    for place, each in files.pieces(names):
        if not isinstance(each, Member):
            yield each
            continue
        if last is not None:
            yield from closed(*last)
        last = replace(each, name=names[place][0]), names[place]
        yield header(last[0])
    if last is not None:
        yield from closed(*last)
    yield END


def copy_out(
    files: LayerFiles, path: str, target: str, options: ApplyOptions, *, follow: bool, force: bool
) -> tuple[str, int]:
    """Copy a path of an image, with all below it, into the file system.

    Where ``target`` is a folder, it goes into that under its own name; a path that ends in ``/.``, and
    the root, means what is in the folder instead. What is new appears whole, or not at all; a folder
    that is there already is written to, and what an error leaves there, too.

    Args:
        follow: A link that the last part is, is followed.
        force: What is there may be replaced; a folder is never.
    Returns:
        The path that was made or written to, and how many devices and attributes were left out.
    Raises:
        AlreadyExists: The target is there, and not ``force``; nothing was changed.
        NotFound: Nothing is at ``path``, or the folder of the target is not there.
        FailedPrecondition: A folder should replace a file, or the other way round.
        DistoreError: As ``apply``.
    """
    top = files.tree.stat(path, follow=follow)
    is_content = top.path == "/" or path.endswith("/.")
    goal = _goal(top, target, is_content=is_content)
    is_folder = top.kind is FileKind.FOLDER
    is_link = os.path.islink(goal.rstrip("/")) and not is_content
    merges = is_folder and os.path.isdir(goal) and not is_link
    _check(files, top, goal, is_content=is_content, merges=merges, force=force)
    if merges:
        # Its own mode and time stay: the root of the tar file is left out.
        return goal, _lay(files, top, "", goal, options, with_root=not is_content)
    parent = os.path.dirname(goal.rstrip("/")) or "."
    if not os.path.isdir(parent):
        raise NotFound(f"folder {shown(parent)}: not found")
    with translated(f"folder {shown(parent)}"):
        stage = tempfile.mkdtemp(prefix=_STAGE, dir=parent)
    try:
        left_out = _lay_new(files, top, stage, goal, options)
    finally:
        with translated(f"folder {shown(stage)}"), Root(parent, unlock=True) as root:
            root.remove(os.fsencode(os.path.basename(stage)))
    return goal, left_out


def _goal(top: FileInfo, target: str, *, is_content: bool) -> str:
    """What is to be made."""
    if not os.path.isdir(target):
        if target.endswith("/") and top.kind is not FileKind.FOLDER:
            raise NotFound(f"folder {shown(target)}: not found")
        return target
    return target if is_content else os.path.join(target, top.name)


def _check(
    files: LayerFiles, top: FileInfo, goal: str, *, is_content: bool, merges: bool, force: bool
) -> None:
    """Raise unless the goal may be made or written to."""
    if not os.path.lexists(goal):
        return
    if merges and is_content:
        for name in files.tree.listdir(top.path):
            if not force and os.path.lexists(os.path.join(goal, name)):
                raise AlreadyExists(
                    f"{shown(os.path.join(goal, name))}: there already; --force writes over it"
                )
        return
    if not force:
        raise AlreadyExists(f"{shown(goal)}: there already; --force writes over it")
    if not merges and (top.kind is FileKind.FOLDER or os.path.isdir(goal)):
        what = ("a folder", "no folder") if top.kind is FileKind.FOLDER else ("no folder", "one")
        raise FailedPrecondition(
            f"{shown(goal)}: {shown(top.path)} is {what[0]}, and what is there is {what[1]}"
        )


def _lay(
    files: LayerFiles, top: FileInfo, name: str, folder: str, options: ApplyOptions, *, with_root: bool
) -> int:
    """Lay the tar file over a folder; how much was left out."""
    with closing(tar_stream(files, top, name)) as chunks:
        if not with_root:
            next(chunks)
        return apply(_Pieces(chunks), folder, options, subject=files.subject).left_out


def _lay_new(files: LayerFiles, top: FileInfo, stage: str, goal: str, options: ApplyOptions) -> int:
    """Make what is new in a folder of its own, and give it its name."""
    is_folder = top.kind is FileKind.FOLDER
    made = os.path.join(stage, "made" if is_folder else top.name)  # messages have the name of a file
    if is_folder:
        os.mkdir(made)
        left_out = _lay(files, top, "", made, options, with_root=True)
    else:
        left_out = _lay(files, top, top.name, stage, options, with_root=True)
        if not os.path.lexists(made):
            raise FailedPrecondition(
                f"{files.subject}: {shown(top.path)} is a {top.kind}, which only root can make"
            )
    with translated(f"file {shown(goal)}"):
        mode = stat.S_IMODE(os.lstat(made).st_mode)
        locked = is_folder and mode & _OWNER != _OWNER  # to move it means to change its ..
        if locked:
            os.chmod(made, mode | _OWNER)
        try:
            os.rename(made, goal)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise AlreadyExists(f"{shown(goal)}: there already") from error
            raise
        if locked:
            os.chmod(goal, mode)
    return left_out


class _Pieces:
    """Bytes that come in pieces as an Input."""

    def __init__(self, chunks: Iterator[ReadableBuffer]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        filled = 0
        while filled < len(buffer):
            if not self._left:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._left = memoryview(chunk).cast("B")
                continue
            size = min(len(buffer) - filled, len(self._left))
            buffer[filled : filled + size] = self._left[:size]
            self._left = self._left[size:]
            filled += size
        return filled
