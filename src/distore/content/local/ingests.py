"""What the files of an ingest say: its ref, promises, times, bytes kept and owner."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore._internal import filelock, fsops
from distore.content.gaps import Frontier
from distore.content.store import Owner, Status
from distore.errors import InvalidArgument, Locked
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from distore.content.local.paths import IngestPaths

_MAX_NOTE: Final = 64 * 1024  # bytes; a longer note is not ours
_RESULT: Final = "result"


def time_text(when: datetime) -> str:
    """RFC 3339 as Go's time.MarshalText writes and reads it; ``when`` is aware UTC."""
    return when.isoformat().replace("+00:00", "Z")


def from_timestamp(seconds: float) -> datetime:
    """Aware UTC from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def note(path: str) -> str | None:
    """The text of a small file, or None when it is missing."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_NOTE).decode(errors="replace")
    except FileNotFoundError:
        return None


def _number(path: str) -> int | None:
    text = note(path)
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def total(paths: IngestPaths) -> int | None:
    """The size promised. Zero is how containerd spells unknown."""
    return _number(paths.total) or None


def expected(paths: IngestPaths) -> Digest | None:
    """The digest promised; None also when the note is damaged, for commit checks it anyway."""
    text = note(paths.expected)
    try:
        return Digest(text) if text else None
    except InvalidArgument:
        return None


def kept(paths: IngestPaths, data: os.stat_result) -> int:
    """Bytes without a gap that a resume keeps."""
    return arrived(paths, data).end


def arrived(paths: IngestPaths, data: os.stat_result) -> Frontier:
    """Which bytes a resume keeps: with a frontier note, what it says; else all there are.

    The note says less than there is, never more, as long as the process that wrote it is all that
    died. After a power cut it may be there and empty, and then nothing says what has arrived; or
    tell of bytes that never reached the device, which the commit finds out.
    """
    text = note(paths.frontier)
    if text is None:
        return Frontier(data.st_size)
    end, *islands = text.partition("\n")[0].split(" ")
    if not _is_number(end) or int(end) > data.st_size:
        return Frontier(min(int(end), data.st_size) if _is_number(end) else 0)
    frontier = Frontier(int(end))
    reached = frontier.end
    for island in islands:
        start, _, stop = island.partition("-")
        if not (_is_number(start) and _is_number(stop) and reached < int(start) < int(stop) <= data.st_size):
            break
        reached = int(stop)
        frontier.add(int(start), reached)
    return frontier


def note_of(frontier: Frontier) -> str:
    """The text of a frontier note: the end, and what has arrived behind it."""
    return " ".join([str(frontier.end), *(f"{start}-{end}" for start, end in frontier.islands)]) + "\n"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20


def status(paths: IngestPaths) -> Status | None:
    """The ingest's status, or None when there is none (or it ends while we look)."""
    try:
        data = os.stat(paths.data, follow_symlinks=False)
    except FileNotFoundError:
        return None
    ref = note(paths.ref)
    if ref is None:
        return None
    written = from_timestamp(data.st_mtime)
    started = _time(paths.started) or written
    return Status(
        ref=ref,
        offset=kept(paths, data),
        total=total(paths),
        expected=expected(paths),
        started=started,
        updated=max(started, written),
        owner=owner(paths),
    )


def _time(path: str) -> datetime | None:
    text = note(path)
    try:
        parsed = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return parsed.astimezone(UTC) if parsed else None


def owner(paths: IngestPaths) -> Owner | None:
    """Who writes the ingest now, or None when nobody does."""
    fd = filelock.open_to_look(paths.lock)
    if fd is None:
        return None
    try:
        return owner_of(filelock.read_fields(fd)) if filelock.is_held(fd) else None
    finally:
        os.close(fd)


def owner_of(fields: dict[str, str]) -> Owner:
    """The owner a lock file names."""
    pid = fields.get("pid", "")
    try:
        since = datetime.fromisoformat(fields.get("since", ""))
    except ValueError:
        since = None
    return Owner(
        pid=int(pid) if pid.isascii() and pid.isdecimal() else None,
        host=fields.get("host"),
        command=fields.get("command"),
        since=since.astimezone(UTC) if since else None,
    )


def owner_fields(command: str, now: datetime) -> dict[str, str]:
    """What this process writes into a lock it holds."""
    return {"pid": str(os.getpid()), "host": os.uname().nodename, "command": command, "since": time_text(now)}


def result_fields(digest: Digest) -> dict[str, str]:
    """What the holder leaves in the lock for those who follow it."""
    return {_RESULT: digest}


def result_of(fields: dict[str, str]) -> Digest | None:
    """The digest that the ingest was committed as, if it was."""
    text = fields.get(_RESULT)
    try:
        return Digest(text) if text else None
    except InvalidArgument:
        return None


def locked(ref: str, owner: Owner | None, now: datetime) -> Locked:
    """The error that names who holds ``ref`` and since when."""
    if owner is None:
        return Locked(f"ingest {ref!r}: locked by another writer", ref=ref)
    who = f"pid {owner.pid or '?'} on {owner.host or '?'} ({owner.command or '?'})"
    age = f" for {max(0, round((now - owner.since).total_seconds()))} s" if owner.since else ""
    return Locked(
        f"ingest {ref!r}: locked by {who}{age}",
        ref=ref,
        pid=owner.pid,
        host=owner.host,
        command=owner.command,
        since=owner.since,
    )


def discard(paths: IngestPaths) -> None:
    """Remove an ingest; the caller holds its lock and releases it afterwards.

    The data goes first and the lock last: a crash in between leaves a folder that no listing
    shows and that the next writer of the ref takes over. Someone who waits for the lock may
    have opened a new lock file by then; the folder is theirs and stays.
    """
    for path in (paths.data, *paths.notes(), paths.lock):
        try:
            fsops.unlink(path)
        except FileNotFoundError:
            continue
    try:
        fsops.remove_directory(paths.folder)
    except OSError:
        return


def open_data(path: str) -> int:
    """The data of an ingest, open to be written."""
    _let_go_of_a_link(path)
    try:
        return fsops.open_file(path)
    except PermissionError:
        if not os.path.exists(path):
            raise
        # A crash after the commit made the data read-only and before it was renamed.
        fsops.make_writable(path)
        return fsops.open_file(path)


def _let_go_of_a_link(path: str) -> None:
    """Data that is a second name of somebody's file was left by an ingest that linked it and was
    not committed. Writing it would write that file: only the name goes."""
    try:
        linked = os.lstat(path).st_nlink > 1
    except FileNotFoundError:
        return
    if linked:
        fsops.unlink(path)
