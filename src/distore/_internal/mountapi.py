"""Overlays of more layers than a page of options names (mount(2) takes no more).

Linux 6.5 and later take one layer at a time (fsopen(2) and its like), 6.13 and later as descriptors.
Elsewhere the names are made short: relative to a folder that all layers are in. All functions raise
OSError as the system does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# linux/mount.h, and the numbers of the calls, which are the same on every architecture but alpha
_FSOPEN, _FSCONFIG, _FSMOUNT, _MOVE_MOUNT = 430, 431, 432, 429
_CLOEXEC: Final = 1
_SET_FLAG, _SET_STRING, _SET_FD, _CREATE = 0, 1, 5, 6
_MOVE_FROM_EMPTY: Final = 4  # MOVE_MOUNT_F_EMPTY_PATH
_AT_FDCWD: Final = -100
_MAX_STRING: Final = 255  # bytes of a value of fsconfig(2)
_CLONE_FS: Final = 0x200
_MAX_MESSAGE: Final = 4096
_NOT_HERE: Final = (errno.ENOSYS, errno.EPERM, errno.EINVAL)  # no such call, a filter, no such key
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PATHS: Final = ("upperdir", "workdir")


class Overlay(NamedTuple):
    """What is mounted: ``options`` are all but the lower folders, escaped as mount(2) has it;
    ``attributes`` those of the mount itself (MOUNT_ATTR_*)."""

    source: str
    target: str
    lowers: Sequence[str]
    options: Sequence[tuple[str, str | None]]
    attributes: int
    is_read_only: bool


def mount_layers(what: Overlay) -> bool:
    """Mount it, one layer at a time; whether this kernel takes that (else nothing was done)."""
    try:
        context = _call(_FSOPEN, b"overlay", _CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):  # without the right to, mount(2) says so
            return False
        raise
    try:
        if not _configured(context, what):
            return False
        try:
            _set(context, _CREATE, None, None, 0)
            made = _call(_FSMOUNT, context, _CLOEXEC, what.attributes)
        except OSError as error:
            raise OSError(error.errno, _message(context) or error.strerror) from error
    finally:
        os.close(context)
    try:
        _call(_MOVE_MOUNT, made, b"", _AT_FDCWD, os.fsencode(what.target), _MOVE_FROM_EMPTY)
    finally:
        os.close(made)
    return True


def _configured(context: int, what: Overlay) -> bool:
    _set(context, _SET_STRING, "source", what.source, 0)
    for key, value in what.options:
        if key not in _PATHS or value is None:
            _set(context, _SET_FLAG if value is None else _SET_STRING, key, value, 0)
        elif not _set_path(context, key, plain(value), text=value):
            return False
    for lower in what.lowers:
        if not _set_path(context, "lowerdir+", lower, text=lower):
            return False
    if what.is_read_only:
        _set(context, _SET_FLAG, "ro", None, 0)
    return True


def _set_path(context: int, key: str, path: str, *, text: str) -> bool:
    """Add a folder, by its descriptor or by its name; whether this kernel takes either."""
    fd = os.open(path, _FOLDER)  # here: a name that is not there says which it is
    try:
        _set(context, _SET_FD, key, None, fd)
        return True
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    finally:
        os.close(fd)
    if len(os.fsencode(text)) > _MAX_STRING:
        return False
    try:
        _set(context, _SET_STRING, key, text, 0)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return False
        raise
    return True


def _set(context: int, command: int, key: str | None, value: str | None, number: int) -> None:
    name = None if key is None else key.encode()
    _call(_FSCONFIG, context, command, name, None if value is None else os.fsencode(value), number)


def _message(context: int) -> str:
    """What the kernel says of the last failure, without the letter of its level."""
    try:
        return os.read(context, _MAX_MESSAGE).decode(errors="replace").strip().removeprefix("e ")
    except OSError:
        return ""


def in_folder(path: str, action: Callable[[], None]) -> None:
    """Do it with ``path`` as the working folder, of nobody but a thread of its own (CLONE_FS)."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call = ctypes.CDLL(None, use_errno=True).unshare
            if call(_CLONE_FS):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            os.chdir(path)
            action()
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def plain(value: str) -> str:
    """A value without the backslashes that hide other characters from the reader of options."""
    kept, hidden = [], False
    for char in value:
        if char == "\\" and not hidden:
            hidden = True
            continue
        kept.append(char)
        hidden = False
    return "".join(kept)


def split(text: str, separator: str) -> list[str]:
    """The parts between separators that no backslash hides; the backslashes stay."""
    parts, start, hidden = [], 0, False
    for at, char in enumerate(text):
        if char == separator and not hidden:
            parts.append(text[start:at])
            start = at + 1
        hidden = char == "\\" and not hidden
    return [*parts, text[start:]]


def _call(number: int, *arguments: int | bytes | None) -> int:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    words = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    result = int(call(ctypes.c_long(number), *words))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
