"""User: who the process of a container is, out of the passwd and group files of its root (image-spec,
config.md, "User")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.bundle.rootfile import opened, read_file
from distore.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.diff.safepath import Root

MAX_ID: Final = 0xFFFFFFFE  # the next one means "leave it" (setuid(2))
MAX_FILE_SIZE: Final = 8 * 1024 * 1024  # bytes of passwd or group; shipped ones have 1 kB
MAX_LINE: Final = 64 * 1024  # bytes; longer lines are passed over
MAX_GROUPS: Final = 65536  # that a process can be in (NGROUPS_MAX)
_PASSWD: Final = b"etc/passwd"
_GROUP: Final = b"etc/group"
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Numbers for the runtime. ``groups`` has ``gid`` first, as containerd writes it; ``home`` is None
    where passwd does not tell."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str | None = None


@dataclass(frozen=True, slots=True)
class _Account:
    name: bytes
    uid: int
    gid: int
    home: bytes


def resolve_user(text: str, rootfs: str) -> User:
    """Who ``USER[:GROUP]`` is, names or numbers; "" is root.

    Without a group it is the account's, with those that group has the account in; a number that is no
    account has group 0. With a group that one is the only one (image-spec, config.md).

    Args:
        rootfs: The container's root; links in it lead nowhere else.
    Raises:
        NotFound: No account or group of that name.
        InvalidArgument: A number out of range, or no name at all.
        FailedPrecondition, ResourceExhausted: passwd or group is no file, or too large.
    """
    name, colon, group = text.partition(":")
    if text and (not name or (colon and not group) or ":" in group or not text.isprintable()):
        raise InvalidArgument(f"user {text[:_SHOWN]!a}: want USER or USER:GROUP")
    with opened(rootfs) as root:
        account = _account(root, name or "0", text)
        if colon:
            gid = _group(root, group, text)
            return User(uid=account.uid, gid=gid, groups=(gid,), home=_home(account))
        others = sorted(_memberships(root, account.name)) if account.name else []
    groups = tuple(dict.fromkeys([account.gid, *others]))[:MAX_GROUPS]
    return User(uid=account.uid, gid=account.gid, groups=groups, home=_home(account))


def _home(account: _Account) -> str | None:
    """Only what can be a folder: the runtime would take anything."""
    home = account.home.decode("utf-8", "replace")
    return home if home.startswith("/") and home.isprintable() else None


def _account(root: Root, name: str, text: str) -> _Account:
    number = _number(name, text)
    for fields in _lines(root, _PASSWD, at_least=4):
        uid, gid = _id(fields[2]), _id(fields[3])
        if uid is None or gid is None:
            continue
        if fields[0] == name.encode() or (number is not None and uid == number):
            return _Account(fields[0], uid, gid, fields[5] if len(fields) > 5 else b"")
    if number is None:
        raise NotFound(f"user {name[:_SHOWN]!a}: /etc/passwd of the image has no such account")
    return _Account(b"", number, 0, b"")


def _group(root: Root, name: str, text: str) -> int:
    for fields in _lines(root, _GROUP, at_least=3):
        gid = _id(fields[2])
        if gid is not None and fields[0] == name.encode():
            return gid
    number = _number(name, text)
    if number is None:
        raise NotFound(f"group {name[:_SHOWN]!a}: /etc/group of the image has no such group")
    return number


def _memberships(root: Root, name: bytes) -> set[int]:
    found = set()
    for fields in _lines(root, _GROUP, at_least=4):
        gid = _id(fields[2])
        if gid is not None and name in fields[3].split(b","):
            found.add(gid)
    return found


def _number(name: str, text: str) -> int | None:
    """A user or group that is given by number; None: a name."""
    if not (name.isascii() and name.isdecimal()):
        return None
    if len(name) > 10 or int(name) > MAX_ID:
        raise InvalidArgument(f"user {text[:_SHOWN]!a}: ids end at {MAX_ID}")
    return int(name)


def _id(field: bytes) -> int | None:
    """None: a line that is none."""
    if not field.isdigit() or len(field) > 10:
        return None
    return int(field) if int(field) <= MAX_ID else None


def _lines(root: Root, path: bytes, *, at_least: int) -> Iterator[list[bytes]]:
    """The fields of each line that has so many; comments and what is no such line are passed over."""
    for line in _read(root, path).split(b"\n"):
        if len(line) > MAX_LINE or line.startswith(b"#") or b"\0" in line:
            continue
        fields = [field.strip() for field in line.strip().split(b":")]
        if len(fields) >= at_least and fields[0]:
            yield fields


def _read(root: Root, path: bytes) -> bytes:
    """A file of the image, "" when it is not there."""
    data = read_file(root, path, limit=MAX_FILE_SIZE)
    return b"" if data is None else data
