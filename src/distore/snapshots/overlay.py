"""The snapshotter ``overlayfs``: each snapshot has what it changes, and the kernel lays them together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Final

from distore._internal import fsops
from distore.mount import Mount, escaped
from distore.snapshots.copying import copy_attributes
from distore.snapshots.driver import Driver
from distore.snapshots.filetree import open_folder
from distore.snapshots.folders import FILES, WORK
from distore.snapshots.records import check_active
from distore.snapshots.snapshotter import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.snapshots.records import Record, Records

TRUSTED: Final = b"trusted.overlay."
USER: Final = b"user.overlay."
_NOTE: Final = "attributes"  # a file that says which of the two, from the first snapshot on
_PARAMETERS: Final = "/sys/module/overlay/parameters"
_WHOLE: Final = "         0          0 4294967295"  # uid_map of the machine's own user namespace


class Overlay(Driver):
    """A Snapshotter, and Stacked."""

    name: ClassVar[str] = "overlayfs"

    def __init__(self, folder: str, records: Records, *, sync: bool = True) -> None:
        super().__init__(folder, records, sync=sync)
        self._noted: bytes | None = None

    # Stacked

    @property
    def attributes(self) -> bytes:
        if self._noted is None:
            self._noted = noted(self._folders.path) or (TRUSTED if is_root() else USER)
        return self._noted

    def upper(self, key: str, /) -> str:
        record = self._records.get(key)
        check_active(record.info)
        return self._folders.files(record.id)

    def layers(self, name: str, /) -> tuple[str, ...]:
        return tuple(self._folders.files(id) for id in self._records.chain(name))

    # Driver

    def _fill(self, id: int, kind: Kind, parents: Sequence[int]) -> None:
        self._note()
        if parents:
            above, below = open_folder(self._folders.files(id)), open_folder(self._folders.files(parents[0]))
            try:  # the uppermost folder decides what the root of the whole is
                copy_attributes(below, above, leave_out=(TRUSTED, USER))
            finally:
                os.close(above)
                os.close(below)
        if kind == Kind.ACTIVE:
            fsops.make_directory(self._folders.work(id), 0o700)
        self._folders.sync(id)

    def _mounts(self, id: int, kind: Kind, parents: Sequence[int]) -> tuple[Mount, ...]:
        folder = os.path.realpath(self._folders.path)  # as mountinfo tells it
        files = [os.path.join(folder, str(number), FILES) for number in (id, *parents)]
        if not parents:
            return (_bind(files[0], kind),)
        if kind == Kind.VIEW and len(parents) == 1:
            return (_bind(files[1], kind),)
        options = ["index=off"] if os.path.exists(f"{_PARAMETERS}/index") else []
        options += _plain_uppers() if self.attributes == TRUSTED else ["userxattr"]
        if kind == Kind.ACTIVE:
            work = os.path.join(os.path.dirname(files[0]), WORK)
            options += [f"workdir={escaped(work)}", f"upperdir={escaped(files[0])}"]
        lower = ":".join(escaped(path, colon=True) for path in files[1:])
        return (Mount(type="overlay", source="overlay", target="", options=(*options, f"lowerdir={lower}")),)

    def _shown(self, record: Record, parents: Sequence[int]) -> int:
        if record.info.kind == Kind.COMMITTED:
            return record.id
        return parents[0] if record.info.kind == Kind.VIEW and parents else record.id

    def _note(self) -> None:
        """Say, with the first snapshot, what these snapshots tell whiteouts and opaque folders by."""
        if noted(self._folders.path) is None:
            fd = fsops.open_file(os.path.join(self._folders.path, _NOTE))
            try:
                fsops.write(fd, self.attributes, 0)
                fsops.sync_file(fd)
            finally:
                os.close(fd)


def is_root() -> bool:
    """Whether this is root of the machine itself, who may set attributes that are ``trusted``."""
    if os.geteuid() != 0:
        return False
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().rstrip("\n") == _WHOLE
    except OSError:
        return True


def _bind(path: str, kind: Kind) -> Mount:
    return Mount(
        type="bind", source=path, target="", options=("rw" if kind == Kind.ACTIVE else "ro", "rbind")
    )


def _plain_uppers() -> list[str]:
    """Options under which an upper folder is all that was changed, where this machine has others."""
    return [f"{name}=off" for name in ("metacopy", "redirect_dir") if _is_on(name)]


def _is_on(parameter: str) -> bool:
    try:
        with open(f"{_PARAMETERS}/{parameter}", encoding="ascii") as file:
            return file.read().startswith("Y")
    except OSError:
        return False


def noted(folder: str) -> bytes | None:
    """What the snapshots below ``folder`` tell whiteouts by; None: there are none yet."""
    try:
        with open(os.path.join(folder, _NOTE), "rb") as file:
            text = file.read(64).strip()
    except OSError:
        return None
    return text if text in (TRUSTED, USER) else None
