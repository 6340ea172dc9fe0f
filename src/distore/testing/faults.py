"""Faults at the seam of ``_internal.fsops``: record the steps, crash before one, fail one.

``record`` also keeps enough to replay what a disk may hold after a power cut (``PowerCut``).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distore._internal import fsops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS: Final = (
    "open_file",
    "write",
    "put_text",
    "put_line",
    "truncate",
    "reserve",
    "clone",
    "sync_file",
    "sync_directory",
    "sync_file_system",
    "set_mode",
    "make_writable",
    "rename",
    "link",
    "unlink",
    "remove_directory",
    "make_directory",
)


class Crash(BaseException):
    """The process dies here; nothing after it reaches the disk."""


class Step(NamedTuple):
    """One call: its name, its arguments with descriptors replaced by inode numbers, its result."""

    name: str
    arguments: tuple[Any, ...]
    inode: int | None


@contextmanager
def patched(wrap: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Replace every step by ``wrap(name, original)`` within the block."""
    originals = {name: getattr(fsops, name) for name in STEPS}
    try:
        for name, original in originals.items():
            setattr(fsops, name, wrap(name, original))
        yield
    finally:
        for name, original in originals.items():
            setattr(fsops, name, original)


@contextmanager
def record() -> Iterator[list[Step]]:
    """The steps taken within the block, in order."""
    steps: list[Step] = []

    def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            kept = tuple(bytes(a) if isinstance(a, memoryview | bytearray) else a for a in arguments)
            result = original(*arguments)
            fd = result if name == "open_file" else arguments[0]
            inode = os.fstat(fd).st_ino if isinstance(fd, int) else None
            steps.append(Step(name, kept, inode))
            return result

        return step

    with patched(wrap):
        yield steps


@contextmanager
def crash_before(number: int) -> Iterator[list[str]]:
    """Raise Crash before step ``number`` (from 1) and every later one; gives the steps done."""
    done: list[str] = []

    def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            if len(done) + 1 >= number:
                raise Crash(name)
            done.append(name)
            return original(*arguments)

        return step

    with patched(wrap):
        yield done


@contextmanager
def fail_at(number: int, code: int) -> Iterator[list[str]]:
    """Fail step ``number`` (from 1) with an errno; the others work. Gives the steps tried."""
    tried: list[str] = []

    def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            tried.append(name)
            if len(tried) == number:
                raise OSError(code, os.strerror(code))
            return original(*arguments)

        return step

    with patched(wrap):
        yield tried


class PowerCut:
    """What a disk may hold when the power goes after some recorded steps.

    A model of what POSIX promises and no more: bytes are safe after ``sync_file``, names after
    ``sync_directory`` of their folder. Everything else may or may not be there, so a cut has
    several outcomes; ``OUTCOMES`` names the extreme ones.
    """

    # names, bytes: are those that were never synced there after all?
    OUTCOMES: Final = (
        ("lost", "lost"),
        ("kept", "lost"),
        ("kept", "zeroed"),
        ("lost", "kept"),
        ("kept", "kept"),
    )

    def __init__(self) -> None:
        self.bytes: dict[int, bytearray] = {}
        self.safe_bytes: dict[int, bytes] = {}
        self.names: dict[str, int | None] = {}  # path -> inode, None for a folder
        self.safe_names: dict[str, int | None] = {}
        self._fresh = 0  # numbers for files that were only ever named by path

    def apply(self, step: Step) -> None:
        """Take one step."""
        getattr(self, f"_{step.name}")(step)

    def restore(self, root: str, *, names: str, data: str) -> None:
        """Lay the tree below ``root`` as it may be after the cut, in the same place."""
        chosen = self.names if names == "kept" else self.safe_names
        for path in sorted(chosen):
            if not path.startswith(root) or not self._reachable(path, root, chosen):
                continue
            inode = chosen[path]
            if inode is None:
                os.makedirs(path, exist_ok=True)
                continue
            with open(path, "wb") as file:
                file.write(self._surviving(inode, data))

    def _surviving(self, inode: int, data: str) -> bytes:
        written, safe = bytes(self.bytes.get(inode, b"")), self.safe_bytes.get(inode, b"")
        if data == "kept":
            return written
        if data == "zeroed" and len(written) > len(safe):
            return safe + bytes(len(written) - len(safe))
        return safe

    def _reachable(self, path: str, root: str, chosen: dict[str, int | None]) -> bool:
        """A name is lost with the folder it is in."""
        parent = os.path.dirname(path)
        while len(parent) > len(root):
            if parent not in chosen:
                return False
            parent = os.path.dirname(parent)
        return True

    def _open_file(self, step: Step) -> None:
        assert step.inode is not None
        self.names.setdefault(step.arguments[0], step.inode)
        self.bytes.setdefault(self._inode(step.arguments[0], step.inode), bytearray())

    def _inode(self, path: str, inode: int) -> int:
        self.names[path] = inode
        return inode

    def _write(self, step: Step) -> None:
        assert step.inode is not None
        _, data, offset = step.arguments
        content = self.bytes.setdefault(step.inode, bytearray())
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data

    def _put_text(self, step: Step) -> None:
        path, text = step.arguments
        self._fresh -= 1
        inode = self.names.get(path) or self._fresh
        self.names[path] = inode
        self.bytes[inode] = bytearray(text.encode())

    def _put_line(self, step: Step) -> None:
        path, line = step.arguments
        self._fresh -= 1
        inode = self.names.get(path) or self._fresh
        self.names[path] = inode
        data = line.encode()
        self.bytes.setdefault(inode, bytearray())[: len(data)] = data

    def _truncate(self, step: Step) -> None:
        assert step.inode is not None
        content = self.bytes.setdefault(step.inode, bytearray())
        size = step.arguments[1]
        content.extend(bytes(max(0, size - len(content))))
        del content[size:]

    def _sync_file(self, step: Step) -> None:
        assert step.inode is not None
        self.safe_bytes[step.inode] = bytes(self.bytes.get(step.inode, b""))

    def _sync_directory(self, step: Step) -> None:
        folder = step.arguments[0]
        for path in [path for path in self.safe_names if os.path.dirname(path) == folder]:
            if path not in self.names:
                del self.safe_names[path]
        for path, inode in self.names.items():
            if os.path.dirname(path) == folder:
                self.safe_names[path] = inode

    def _sync_file_system(self, _step: Step) -> None:
        self.safe_bytes = {inode: bytes(content) for inode, content in self.bytes.items()}
        self.safe_names = dict(self.names)

    def _rename(self, step: Step) -> None:
        source, target = step.arguments
        self.names[target] = self.names.pop(source)

    def _link(self, step: Step) -> None:
        source, target = step.arguments
        self.names[target] = self.names.get(source)

    def _unlink(self, step: Step) -> None:
        self.names.pop(step.arguments[0], None)

    def _make_directory(self, step: Step) -> None:
        self.names[step.arguments[0]] = None

    def _remove_directory(self, step: Step) -> None:
        self.names.pop(step.arguments[0], None)

    def _reserve(self, step: Step) -> None:
        """Blocks without bytes."""

    def _set_mode(self, step: Step) -> None:
        """Modes do not decide what is read back."""

    def _make_writable(self, step: Step) -> None:
        """Modes do not decide what is read back."""
