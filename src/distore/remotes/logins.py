"""Logins: keep a credential where all tools look for it, and forget it again."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore._internal.oserrors import translate, translated
from distore.errors import FailedPrecondition, InvalidArgument
from distore.oci.reference import Reference
from distore.remotes.credentials import host_name, server_name
from distore.remotes.dockerconfig import AuthFile, entry_of, load, parse_key, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distore.remotes.credentials import Credential
    from distore.remotes.helpers import Helper

_MODE: Final = 0o600  # for its owner alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A credential that is kept or was forgotten: for whom, in which file, by which helper."""

    server: str
    file: str
    helper: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What to keep: the credential, or an identity token that the registry gave for it.

    ``asked`` is False when the registry lets everybody in, so that nothing was verified.
    """

    credential: Credential
    asked: bool


def parse_server(text: str) -> str:
    """``HOST[:PORT][/NAMESPACE]`` as credentials are kept for, of any spelling that Docker takes.

    Raises:
        InvalidArgument: Not a host.
    """
    host, below = parse_key(text.strip().rstrip("/") if "://" not in text else text.strip())
    try:
        Reference(domain=host, path=below or "a/b")
    except InvalidArgument as error:
        raise InvalidArgument(f"host {text[:80]!a}: want HOST[:PORT], such as quay.io") from error
    return f"{host}/{below}" if below else host


def keep(server: str, credential: Credential, files: Sequence[str]) -> Login:
    """Keep ``credential`` for ``server`` (``HOST`` or ``HOST/NAMESPACE``), replacing what was.

    It goes into the first of ``files`` that is there, since that is the first to be read, or else
    into a new one at the last name; to the file's helper when it names one and ``server`` is a host.

    Raises:
        InvalidArgument: The file is damaged; it is left as it was.
        FailedPrecondition, DeadlineExceeded: The helper is missing or fails.
        DistoreError: The file cannot be written; it is left as it was.
    """
    if not files:
        raise FailedPrecondition(f"login {server}: no auth file to keep it in; name one with --authfile")
    path = next((path for path in files if os.path.exists(path)), files[-1])
    host, below = parse_key(server)
    with _changing(path):
        file = load(path) or AuthFile(path, {})
        helper = None if below else file.helper_for(host) or file.helper_for_all
        # First what may fail, then the file that would otherwise promise it.
        if helper is not None:
            helper.store(server_name(host), credential)
        same = [key for key in file.keys if parse_key(key) == (host, below)]
        if helper is None:
            _write(file, drop=same, add={spelled(host, below): entry_of(credential)})
        elif same:
            _write(file, drop=same, add={})
    return Login(server=_name(host, below), file=path, helper=None if helper is None else helper.name)


def forget(server: str, files: Sequence[str]) -> list[Login]:
    """Forget what every one of ``files`` and its helpers have for exactly ``server``.

    Raises:
        As ``keep``; what was forgotten before stays so.
    """
    wanted = parse_key(server)
    gone: list[Login] = []
    for path in files:
        with _changing(path):
            file = load(path)
            if file is None:
                continue
            host, below = wanted
            for helper in () if below else _helpers(file, host):
                if helper.erase(server_name(host)):
                    gone.append(Login(server=host, file=path, helper=helper.name))
            same = [key for key in file.keys if parse_key(key) == wanted]
            held = [key for key in same if not _is_marker(file, key)]
            if same:
                _write(file, drop=same, add={})
            gone += [Login(server=_name(*wanted), file=path) for _ in held[:1]]
    return gone


def forget_all(files: Sequence[str]) -> list[Login]:
    """Forget everything that ``files`` and the helpers they name have.

    Raises:
        As ``keep``; what was forgotten before stays so.
    """
    gone: list[Login] = []
    for path in files:
        with _changing(path):
            file = load(path)
            if file is None:
                continue
            for helper, server in _everything(file):
                if helper.erase(server):
                    gone.append(Login(server=_name(*parse_key(server)), file=path, helper=helper.name))
            held = {parse_key(key): None for key in file.keys if not _is_marker(file, key)}
            if file.keys:
                _write(file, drop=file.keys, add={})
            gone += [Login(server=_name(*key), file=path) for key in held]
    return gone


def _everything(file: AuthFile) -> Iterator[tuple[Helper, str]]:
    for host in file.helper_hosts:
        own = file.helper_for(host)
        if own is not None:
            yield own, server_name(host)
    common = file.helper_for_all
    if common is not None:
        for server in common.servers():
            yield common, server


def _helpers(file: AuthFile, host: str) -> tuple[Helper, ...]:
    both = (file.helper_for(host), file.helper_for_all)
    return tuple(dict.fromkeys(helper for helper in both if helper is not None))


def _is_marker(file: AuthFile, key: str) -> bool:
    """Docker keeps an empty entry for each server that a helper knows."""
    auths = file.document.get("auths")
    return isinstance(auths, dict) and auths.get(key) in (None, {})


def _name(host: str, below: str) -> str:
    return f"{host_name(host)}/{below}" if below else host_name(host)


@contextmanager
def _changing(path: str) -> Iterator[None]:
    """Let no other login change files of the same folder meanwhile. Files elsewhere that are read
    and written without a lock are no worse off than with Docker, which has none."""
    folder = os.path.dirname(os.path.realpath(path))
    with ExitStack() as stack:
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            fd = None  # nothing to lose
        except OSError as error:
            raise translate(error, f"auth file {path}") from error
        if fd is not None:
            stack.callback(os.close, fd)
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def _new_file(path: str) -> int:
    """A file that nobody else has ever been able to open: not one that was there already, and not one
    that is closed to others a moment after it was made."""
    with suppress(FileNotFoundError):
        fsops.unlink(path)  # of a login that died
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)


def _write(file: AuthFile, *, drop: Sequence[str], add: dict[str, dict[str, str]]) -> None:
    """Replace the file at once: whoever reads it meanwhile sees the old or the new one whole."""
    auths = file.document.get("auths")
    kept = {
        key: value for key, value in (auths if isinstance(auths, dict) else {}).items() if key not in drop
    }
    document = {**file.document, "auths": {**kept, **add}}
    data = json.dumps(document, indent="\t", ensure_ascii=False).encode() + b"\n"
    target = os.path.realpath(file.path)  # a link to a file kept elsewhere stays a link
    folder = os.path.dirname(target)
    draft = f"{target}.{os.getpid()}.tmp"
    with translated(f"auth file {file.path}"):
        fsops.ensure_directory(folder)
        fd = _new_file(draft)
        try:
            fsops.write(fd, data, 0)
            fsops.sync_file(fd)
            fsops.rename(draft, target)
        except BaseException:
            fsops.unlink(draft)
            raise
        finally:
            os.close(fd)
        fsops.sync_directory(folder)
