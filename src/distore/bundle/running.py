"""Containers that run, and what is left of them when whoever ran them was killed: ROOT/run/ID/.

``lock`` is held with flock by the processes that a run is made of; nobody holds it: it is over.
``run`` says which runtime and which snapshot, ``bundle/`` is what the runtime gets, ``state/`` its notes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from distore._internal import filelock
from distore._internal.oserrors import translate, translated
from distore.bundle.bundle import CONFIG, config_of, write_config
from distore.bundle.cgroups import remove_cgroups
from distore.bundle.commands import check_command
from distore.bundle.detach import detach
from distore.bundle.runtime import Runtime
from distore.bundle.spec import ROOTFS
from distore.bundle.supervisor import Job, hidden_cgroups, supervise
from distore.errors import AlreadyExists, DistoreError, InvalidArgument
from distore.mount import mounts_below, unmount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from distore._internal.filelock import FileLock
    from distore.bundle.bundle import BundledImage
    from distore.bundle.spec import SpecOptions
    from distore.mount import Mount

FOLDER: Final = "run"  # below the store's root
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MAX_RECORD: Final = 65536  # bytes
_PRIVATE: Final = 0o700
_TRIES: Final = 5  # to make a folder that a clean-up takes for an old one and removes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What undoing a run needs. ``snapshotter`` and ``key``: the snapshot to remove; "" when it is to
    be kept. ``cgroup``: its path; "" where there is none, without root."""

    runtime: str
    namespace: str
    snapshotter: str = ""
    key: str = ""
    cgroup: str = ""


class Run:
    """One run, locked. Leaving the block ends it: nothing of it is left but a snapshot that is to be kept.

    Args:
        drop: Removes the snapshot of a record; passes over one that is gone.
    """

    def __init__(self, path: str, lock: FileLock, drop: Callable[[Record], None]) -> None:
        self.path = path
        self.id = os.path.basename(path)
        self.bundle = os.path.join(path, "bundle")
        self.rootfs = os.path.join(self.bundle, ROOTFS)
        self._lock = lock
        self._drop = drop

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.clear()
        finally:
            self._lock.release()

    def begin(self, record: Record) -> Runtime:
        """Note what there will be, and make the folders; the runtime.

        Raises:
            DistoreError: As ``translate``.
        """
        with translated(f"run {self.id}"):
            path = os.path.join(self.path, "run")
            with open(path + ".new", "w", encoding="utf-8") as file:
                json.dump(asdict(record), file)
            os.rename(path + ".new", path)
            os.mkdir(self.bundle, _PRIVATE)
            os.mkdir(self.rootfs, 0o755)
        return self._runtime(record)

    def clear(self) -> None:
        """Undo it; again, where that did not work before.

        Raises:
            DistoreError: Something is left, for the next try.
        """
        record = self._record()
        if record is not None:
            runtime = self._runtime(record)
            if record.cgroup:  # else a runtime has nothing outside of the folder
                if os.path.lexists(os.path.join(runtime.state, self.id)):
                    _delete(runtime, self.id)
                remove_cgroups(record.cgroup)
            for one in reversed(mounts_below(self.path)):
                unmount(one.target, lazy=True)
            if record.key:
                self._drop(record)
        with translated(f"run {self.id}"):
            self._remove_files()

    def _remove_files(self) -> None:
        # Never what is in a root: that is another file system, or nothing.
        with suppress(FileNotFoundError):
            os.rmdir(self.rootfs)
        for name in (CONFIG, CONFIG + ".new"):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.bundle, name))
        with suppress(FileNotFoundError):
            os.rmdir(self.bundle)
        shutil.rmtree(os.path.join(self.path, "state"), ignore_errors=True)
        # The lock is held until its name is gone: whoever waits for it looks the name up again.
        for name in ("run.new", "run", "lock"):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.path, name))
        with suppress(FileNotFoundError):
            os.rmdir(self.path)

    def _runtime(self, record: Record) -> Runtime:
        return Runtime(
            path=record.runtime, state=os.path.join(self.path, "state"), has_cgroups=bool(record.cgroup)
        )

    def _record(self) -> Record | None:
        """None: it never came that far."""
        try:
            with open(os.path.join(self.path, "run"), "rb") as file:
                found = json.loads(file.read(_MAX_RECORD))
            return Record(**found)
        except (OSError, ValueError, TypeError):
            return None


def start(
    root: str,
    id: str,
    *,
    drop: Callable[[Record], None],
    sleep: Callable[[float], None],
    fields: Mapping[str, str],
) -> Run:
    """A new run.

    Args:
        root: The store's folder.
        id: Its name; what is left of one that had the same is cleared away first.
        fields: Who we are, for messages.
    Raises:
        InvalidArgument: No name for a container.
        AlreadyExists: One of that name runs.
    """
    if not _NAME.fullmatch(id):
        raise InvalidArgument(
            f"container {id[:80]!a}: want letters, digits and . _ - with a letter or digit first, 64 at most"
        )
    path = os.path.join(root, FOLDER, id)
    for _ in range(_TRIES):
        with translated(f"run {id}"):
            os.makedirs(os.path.dirname(path), _PRIVATE, exist_ok=True)
            with suppress(FileExistsError):
                os.mkdir(path, _PRIVATE)
        lock = _lock(path, sleep)
        if lock is None:
            continue
        found = Run(path, lock, drop)
        if os.listdir(path) != ["lock"]:
            with found:  # an old one, whose name goes, too
                continue
        lock.write(fields)
        return found
    raise AlreadyExists(f"container {id}: is running{_owner(path)}", subject=id)


def run(
    one: Run,
    record: Record,
    image: BundledImage,
    options: SpecOptions,
    *,
    mounts: Callable[[], Sequence[Mount]],
    environment: Mapping[str, str],
) -> int:
    """Run a container until it ends; its exit status, as ``supervise`` gives it.

    Args:
        mounts: Makes the snapshot of ``record``, and says how to see it.
        environment: Of the runtime.
    Raises:
        CommandNotFound, CommandNotExecutable: There is no such program in it.
        DistoreError: As ``mounts``, ``config_of`` and ``supervise``.
    """
    runtime = one.begin(record)

    def prepare() -> None:
        document = config_of(image, options, one.rootfs)
        check_command(document, one.rootfs, subject=f"image {image.name}")
        write_config(one.bundle, document)

    def let_go() -> None:
        sources = [mount.source for mount in options.mounts if mount.source.startswith("/")]
        detach(os.path.dirname(os.path.dirname(one.path)), keep=[*sources, runtime.path])

    root = tuple(replace(mount, target=one.rootfs) for mount in mounts())
    return supervise(
        Job(
            command=runtime.run(one.id, one.bundle),
            environment=environment,
            before=let_go,
            mounts=(*root, *(hidden_cgroups() if runtime.is_crun else ())),
            prepare=prepare,
        )
    )


def left_over(
    root: str, *, drop: Callable[[Record], None], sleep: Callable[[float], None]
) -> Iterator[tuple[str, DistoreError | None]]:
    """Clear away runs whose processes were killed; the id of each, and what went wrong with it."""
    folder = os.path.join(root, FOLDER)
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise translate(error, f"folder {folder}") from error
    for name in names:
        if not _NAME.fullmatch(name):
            continue
        problem: DistoreError | None = None
        try:
            lock = _lock(os.path.join(folder, name), sleep)
            if lock is None:
                continue
            with Run(os.path.join(folder, name), lock, drop):
                pass
        except DistoreError as error:
            problem = error
        yield name, problem


def _lock(path: str, sleep: Callable[[float], None]) -> FileLock | None:
    """None: somebody has it, or the folder is gone."""
    try:
        return filelock.acquire(os.path.join(path, "lock"), sleep=sleep)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise translate(error, f"run {os.path.basename(path)}") from error


def _owner(path: str) -> str:
    fd = filelock.open_to_look(os.path.join(path, "lock"))
    if fd is None:
        return ""
    try:
        pid = filelock.read_fields(fd).get("pid", "")
    finally:
        os.close(fd)
    return f" (process {pid})" if pid.isdecimal() else ""


def _delete(runtime: Runtime, id: str) -> None:
    """Have the runtime forget it, with its cgroups. Its processes are gone: they died with their init."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        supervise(
            Job(
                command=runtime.delete(id),
                environment={},
                mounts=hidden_cgroups() if runtime.is_crun else (),
                output=null,
            )
        )
    finally:
        os.close(null)
