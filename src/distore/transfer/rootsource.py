"""Where the files of a new image come from: a folder, a bundle or a snapshot, and what lies below them."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.bundle.bundle import CONFIG, MARK
from distore.bundle.spec import ROOTFS
from distore.diff.compare import compare, compare_layers, from_upper
from distore.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from distore.snapshots.snapshotter import Kind, Stacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _typeshed import ReadableBuffer

    from distore.diff.compare import CompareOptions, Told
    from distore.mount import Mount
    from distore.snapshots.snapshotter import Snapshotter

SNAPSHOT: Final = "snapshot:"
_MAX_MARK: Final = 4096  # bytes
_VIEW: Final = "commit-rootfs-"  # begins the key of a view that is there while it is read


@dataclass(frozen=True, slots=True, kw_only=True)
class RootSource:
    """What people named: a folder, or a snapshot by its key or name.

    Args:
        text: As they did.
        folder: With the files; None for a snapshot.
        key: Of a snapshot; "" for a folder.
        snapshotter: That has it; None: whichever is asked.
    """

    text: str
    folder: str | None = None
    key: str = ""
    snapshotter: str | None = None

    @classmethod
    def parse(cls, text: str) -> RootSource:
        """``snapshot:KEY``, a folder with a bundle in it, or one with files.

        Raises:
            NotFound: No such folder.
            FailedPrecondition: No folder.
            InvalidArgument: No key.
        """
        if text.startswith(SNAPSHOT):
            if text == SNAPSHOT:
                raise InvalidArgument(f"source {SNAPSHOT}: want the key or the name of a snapshot behind it")
            return cls(text=text, key=text.removeprefix(SNAPSHOT))
        with translated(f"source {text!a}"):
            if not os.path.lexists(text):
                raise NotFound(f"source {text!a}: no such folder")
            if not os.path.isdir(text):
                raise FailedPrecondition(f"source {text!a}: want a folder, or {SNAPSHOT}KEY")
            rootfs = os.path.join(text, ROOTFS)
            if not (os.path.isfile(os.path.join(text, CONFIG)) and os.path.isdir(rootfs)):
                return cls(text=text, folder=text)
            notes = _notes(os.path.join(text, MARK))
        if "key" in notes:
            return cls(text=text, key=notes["key"], snapshotter=notes.get("snapshotter"))
        return cls(text=text, folder=rootfs)


def _notes(path: str) -> dict[str, str]:
    """What ``dist bundle`` noted; nothing for a bundle that it did not make."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return {}
        lines = file.read(_MAX_MARK).decode(errors="replace").splitlines()
    return {key: value for key, blank, value in (line.partition(" ") for line in lines) if blank}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Folders to compare.

    Args:
        lower: What lies below, the uppermost first; None: nothing, so that all is told of.
        attributes: How overlayfs begins its attributes in the lower folders; None: there is one, and
            it is a plain tree.
        is_upper: ``upper`` has what was changed alone, in the form of overlayfs.
    """

    upper: str
    subject: str
    lower: tuple[str, ...] | None = None
    attributes: bytes | None = None
    is_upper: bool = False

    def layer(self, options: CompareOptions, told: Told) -> Iterator[ReadableBuffer]:
        """The plain bytes of the layer, as ``compare`` gives them."""
        lower, attributes, subject = self.lower or (), self.attributes, self.subject
        if attributes is None:
            below = lower[0] if lower else None
            return compare(below, self.upper, options, subject=subject, told=told)
        if self.is_upper:
            return from_upper(self.upper, attributes, lower, options, subject=subject, told=told)
        return compare_layers(lower, attributes, self.upper, options, subject=subject, told=told)


@contextmanager
def folder_trees(
    folder: str,
    snapshotter: Snapshotter,
    parent: str | None,
    *,
    subject: str,
    token: Callable[[], str],
) -> Iterator[Trees]:
    """A folder with files, and the committed snapshot below it if there is one.

    Args:
        token: Gives a text that no two calls share.
    """
    if parent is None:
        yield Trees(upper=folder, subject=subject)
    elif isinstance(snapshotter, Stacked):
        yield Trees(
            upper=folder,
            subject=subject,
            lower=snapshotter.layers(parent),
            attributes=snapshotter.attributes,
        )
    else:
        with _viewed(snapshotter, parent, token) as below:
            yield Trees(upper=folder, subject=subject, lower=(below,))


@contextmanager
def snapshot_trees(
    snapshotter: Snapshotter, key: str, *, subject: str, token: Callable[[], str]
) -> Iterator[Trees]:
    """A snapshot, and the one below it.

    Raises:
        NotFound: No such snapshot.
        FailedPrecondition: A view, in which nothing is changed.
    """
    info = snapshotter.stat(key)
    if info.kind == Kind.VIEW:
        raise FailedPrecondition(f"{subject}: a view, in which nothing can be changed")
    if isinstance(snapshotter, Stacked):
        upper, lower = _stacked(snapshotter, key, info.kind, info.parent)
        yield Trees(
            upper=upper, subject=subject, lower=lower, attributes=snapshotter.attributes, is_upper=True
        )
        return
    with ExitStack() as stack:
        if info.kind == Kind.COMMITTED:
            upper = stack.enter_context(_viewed(snapshotter, key, token))
        else:
            upper = _bound(snapshotter.mounts(key), key)
        parent = info.parent
        below = None if parent is None else (stack.enter_context(_viewed(snapshotter, parent, token)),)
        yield Trees(upper=upper, subject=subject, lower=below)


def _stacked(snapshotter: Stacked, key: str, kind: Kind, parent: str | None) -> tuple[str, tuple[str, ...]]:
    if kind == Kind.COMMITTED:
        upper, *lower = snapshotter.layers(key)
        return upper, tuple(lower)
    return snapshotter.upper(key), () if parent is None else snapshotter.layers(parent)


@contextmanager
def _viewed(snapshotter: Snapshotter, name: str, token: Callable[[], str]) -> Iterator[str]:
    """The folder of a committed snapshot; a view keeps it from going meanwhile."""
    key = f"{_VIEW}{token()}"
    mounts = snapshotter.view(key, name)
    try:
        yield _bound(mounts, name)
    finally:
        snapshotter.remove(key)


def _bound(mounts: Sequence[Mount], name: str) -> str:
    if len(mounts) != 1 or mounts[0].type != "bind":
        raise Unimplemented(
            f"snapshot {name}: lies in no folder of its own; commit the folder it is mounted at"
        )
    return mounts[0].source
