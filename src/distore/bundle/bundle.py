"""A bundle: a folder with config.json and rootfs that an OCI runtime runs (runtime-spec, bundle.md)."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translate, translated
from distore.bundle.roots import KEY_PREFIX, CopiedRoot, MountedRoot, RootFiles
from distore.bundle.spec import ROOTFS, runtime_config, user_of
from distore.bundle.users import resolve_user
from distore.bundle.validate import validate
from distore.errors import AlreadyExists, FailedPrecondition, NotFound
from distore.mount import mounts_below

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.bundle.spec import SpecOptions
    from distore.oci.runconfig import RunConfig
    from distore.snapshots.snapshotter import Snapshotter

CONFIG: Final = "config.json"
# Lines ``key value``, written first: what dist put into the folder, for --remove. No runtime looks at it.
MARK: Final = ".dist-bundle"
_MAX_MARK: Final = 4096  # bytes
_KEY: Final = re.compile(re.escape(KEY_PREFIX) + r"[0-9a-f]{12}")
_MODE: Final = 0o755  # of the root, where no layer tells of it
# Of the folder: setuid files of an image are nothing for other users of the machine. Where root in the
# container is one of them, it must get through.
_PRIVATE, _PASSED_THROUGH = 0o700, 0o711


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledImage:
    """What a bundle is made of; ``name`` as people and messages call it."""

    name: str
    config: RunConfig
    architecture: str


def write_bundle(
    folder: str, image: BundledImage, options: SpecOptions, root: RootFiles
) -> dict[str, object]:
    """Make a bundle in a folder that is not there, or empty; the config that was written. A folder that
    is made is its owner's alone; one that is there keeps its mode.

    When this raises the folder is as it was.

    Raises:
        FailedPrecondition: It is not empty, or no folder.
        DistoreError: As ``root.make``, ``config_of`` and ``validate``.
    """
    made = _begin(folder, _PASSED_THROUGH if options.new_userns else _PRIVATE)
    rootfs = os.path.join(folder, ROOTFS)
    is_rooted = False
    try:
        with translated(f"bundle {folder}"):
            _put(os.path.join(folder, MARK), _marked(root.notes()))
            os.mkdir(rootfs, _MODE)
            os.chmod(rootfs, _MODE)  # whatever the umask
        root.make(rootfs)
        is_rooted = True
        document = config_of(image, options, rootfs)
        write_config(folder, document)
    except BaseException:
        if is_rooted:
            root.undo(rootfs)
        _clear(folder, made=made)
        raise
    return document


def config_of(image: BundledImage, options: SpecOptions, rootfs: str) -> dict[str, object]:
    """The config for an image whose files are in ``rootfs``, checked.

    Raises:
        NotFound: Its user is no account there.
        DistoreError: As ``resolve_user``, ``runtime_config`` and ``validate``.
    """
    subject = f"image {image.name}"
    user = resolve_user(user_of(image.config, options), rootfs)
    document = runtime_config(image.config, user, options, architecture=image.architecture, subject=subject)
    validate(document)
    return document


def write_config(folder: str, document: Mapping[str, object]) -> None:
    """Put config.json into a folder, whole or not at all."""
    path = os.path.join(folder, CONFIG)
    text = json.dumps(document, indent="\t", ensure_ascii=False)
    with translated(f"bundle {folder}"):
        _put(path + ".new", text + "\n")
        os.rename(path + ".new", path)


def remove_bundle(folder: str, snapshotter: Callable[[str], Snapshotter]) -> bool:
    """Remove a bundle that ``write_bundle`` made, whole or not: unmount its root, drop the snapshot with
    all that was written to it, and then the files. Whether there was a snapshot.

    Args:
        snapshotter: The one of a name.
    Raises:
        NotFound: No such folder.
        FailedPrecondition: No bundle of ours, or there are other files in it, or its snapshot is in
            another store or namespace.
        Unavailable: Its root is in use; nothing was removed.
    """
    notes = _read_mark(folder)
    others = set(_names(folder)) - {CONFIG, CONFIG + ".new", MARK, ROOTFS}
    if others:
        raise FailedPrecondition(f"bundle {folder}: has other files in it, such as {min(others)[:60]!a}")
    root: RootFiles = CopiedRoot(write=lambda _path: None)
    if "key" in notes:
        if not _KEY.fullmatch(notes["key"]):
            raise FailedPrecondition(f"bundle {folder}: {MARK} is damaged")
        mounted = MountedRoot(snapshotter=snapshotter(notes.get("snapshotter", "")), key=notes["key"])
        _check_known(folder, mounted)
        root = mounted
    rootfs = os.path.join(folder, ROOTFS)
    if os.path.lexists(rootfs):
        root.undo(rootfs)
    _clear(folder, made=True)
    return "key" in notes


def _check_known(folder: str, root: MountedRoot) -> None:
    """Whoever took a root away whose snapshot is elsewhere would leave that there for ever."""
    if not mounts_below(os.path.realpath(os.path.join(folder, ROOTFS))):
        return
    try:
        root.snapshotter.stat(root.key)
    except NotFound as error:
        raise FailedPrecondition(
            f"bundle {folder}: its snapshot {root.key} is not in this store and namespace;"
            " give the --root and --namespace that it was made with"
        ) from error


def _begin(folder: str, mode: int) -> bool:
    """Whether the folder was made; it is there, and empty, now."""
    try:
        os.mkdir(folder, mode)
        return True
    except FileExistsError:
        if any(name == MARK for name in _names(folder)):
            raise AlreadyExists(
                f"bundle {folder}: there is one already; dist bundle --remove removes it"
            ) from None
        if _names(folder):
            raise FailedPrecondition(f"folder {folder}: not empty") from None
        return False
    except OSError as error:
        raise translate(OSError(error.errno, error.strerror), f"folder {folder}") from error


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise translate(OSError(error.errno, error.strerror), f"folder {folder}") from error


def _clear(folder: str, *, made: bool) -> None:
    """Remove our files, the mark last; what is left of a root is not ours to remove here."""
    files = [os.path.join(folder, name) for name in (CONFIG + ".new", CONFIG)]
    with translated(f"bundle {folder}"):
        with suppress(FileNotFoundError):
            os.rmdir(os.path.join(folder, ROOTFS))
        for path in files:
            with suppress(FileNotFoundError):
                os.unlink(path)
    with suppress(OSError):
        os.unlink(os.path.join(folder, MARK))
    if made:
        with suppress(OSError):
            os.rmdir(folder)


def _put(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)  # whatever the umask: a runtime of another user reads it
        file.write(text)


def _marked(notes: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in {"made-by": "dist", **notes}.items())


def _read_mark(folder: str) -> dict[str, str]:
    _names(folder)
    try:
        fd = os.open(os.path.join(folder, MARK), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise FailedPrecondition(f"folder {folder}: no bundle that dist made") from error
    with os.fdopen(fd, "rb") as file:
        lines = file.read(_MAX_MARK).decode(errors="replace").splitlines()
    return {key: value for key, blank, value in (line.partition(" ") for line in lines) if blank}
