"""Whether a runtime's config keeps the rules of the OCI runtime-spec 1.2 (config.md, config-linux.md).

Fields that the specification does not have are passed over, as it demands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from distore._internal.userns import IdMap, overlap
from distore.bundle.capabilities import NAMES
from distore.bundle.validate_seccomp import check_seccomp
from distore.bundle.validating import At, enum, flag, integer, items, path, strings, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION: Final = re.compile(r"1\.[0-9]{1,4}\.[0-9]{1,4}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?")
_NAMESPACES: Final = frozenset(("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"))
_HOOKS: Final = (
    *("prestart", "createRuntime", "createContainer"),
    *("startContainer", "poststart", "poststop"),
)
_PROPAGATION: Final = frozenset(("shared", "slave", "private", "unbindable"))
_RLIMIT: Final = re.compile(r"RLIMIT_[A-Z]{1,16}")
_MAX_HOST: Final = 64  # bytes of a host name (sethostname(2))
_MAX_32: Final = 0xFFFFFFFF
_MAX_64: Final = (1 << 64) - 1
_SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")


def validate(document: Mapping[str, object]) -> None:
    """Look at a config that a runtime is to start a process from, on Linux.

    Raises:
        InvalidArgument: It breaks a rule; names the field.
    """
    at = At(document, "config.json")
    at.no_nul()
    version = text(at, "ociVersion", required=True)
    if not _VERSION.fullmatch(version or ""):
        raise at.wrong("ociVersion", "want a version 1.x.y")
    root = at.part("root", required=True)
    if not text(root, "path", required=True):
        raise root.wrong("path", "is empty")
    flag(root, "readonly")
    linux = at.part("linux")
    namespaces = _namespaces(linux)
    _process(at.part("process", required=True))
    for key in ("hostname", "domainname"):
        name = text(at, key)
        if name is not None and (len(name.encode()) > _MAX_HOST or "uts" not in namespaces):
            raise at.wrong(key, f"want {_MAX_HOST} bytes at most, and a uts namespace")
    for mount in items(at, "mounts"):
        _mount(mount)
    _linux(linux, namespaces)
    _hooks(at.part("hooks"))
    for key, value in at.part("annotations").value.items():
        if not key or not isinstance(value, str):
            raise at.wrong("annotations", "want texts under names that are not empty")


def _process(process: At) -> None:
    path(process, "cwd", required=True)
    words = strings(process, "args", required=True)
    if not words or not words[0]:
        raise process.wrong("args", "want a program")
    for variable in strings(process, "env"):
        if variable.find("=") < 1:
            raise process.wrong("env", f"{variable[:60]!a} is not NAME=VALUE")
    user = process.part("user", required=True)
    for key in ("uid", "gid"):
        integer(user, key, 0, _MAX_32 - 1, required=True)
    integer(user, "umask", 0, 0o777)
    for one in user.entries("additionalGids"):
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < _MAX_32:
            raise user.wrong("additionalGids", "want group ids")
    for key in ("terminal", "noNewPrivileges"):
        flag(process, key)
    for key in ("apparmorProfile", "selinuxLabel"):
        text(process, key)
    integer(process, "oomScoreAdj", -1000, 1000)
    size = process.part("consoleSize")
    if size.value:
        for key in ("height", "width"):
            integer(size, key, 0, _MAX_32, required=True)
    _capabilities(process.part("capabilities"))
    _rlimits(process)


def _capabilities(given: At) -> None:
    found = {key: frozenset(strings(given, key)) for key in _SETS}
    for key, names in found.items():
        if unknown := names.difference(NAMES):
            raise given.wrong(key, f"there is no {min(unknown)[:40]!a}")
    if not found["effective"] <= found["permitted"]:
        raise given.wrong("effective", "more than what is permitted")
    if not found["ambient"] <= found["permitted"] & found["inheritable"]:
        raise given.wrong("ambient", "want what is permitted and inheritable")


def _rlimits(process: At) -> None:
    seen = set()
    for limit in items(process, "rlimits"):
        kind = text(limit, "type", required=True) or ""
        if not _RLIMIT.fullmatch(kind) or kind in seen:
            raise limit.wrong("type", f"{kind[:40]!a} is none, or there twice")
        seen.add(kind)
        soft, hard = (integer(limit, key, 0, _MAX_64, required=True) for key in ("soft", "hard"))
        if (soft or 0) > (hard or 0):
            raise limit.wrong("soft", "over the hard one")


def _mount(mount: At) -> None:
    path(mount, "destination", required=True)
    for key in ("type", "source"):
        text(mount, key)
    options = strings(mount, "options")
    if not {"bind", "rbind"}.isdisjoint(options) and not text(mount, "source"):
        raise mount.wrong("source", "a bind mount has one")
    _maps(mount, "uidMappings")
    _maps(mount, "gidMappings")


def _namespaces(linux: At) -> frozenset[str]:
    found: list[str] = []
    for one in items(linux, "namespaces"):
        found.append(enum(one, "type", _NAMESPACES, required=True) or "")
        path(one, "path")
    if len(set(found)) != len(found):
        raise linux.wrong("namespaces", "one of them is there twice")
    return frozenset(found)


def _linux(linux: At, namespaces: frozenset[str]) -> None:
    for key in ("uidMappings", "gidMappings"):
        if _maps(linux, key) and "user" not in namespaces:
            raise linux.wrong(key, "without a user namespace")
    for key in ("maskedPaths", "readonlyPaths"):
        for one in strings(linux, key):
            if not one.startswith("/"):
                raise linux.wrong(key, f"{one[:60]!a} is not absolute")
    cgroup = text(linux, "cgroupsPath")
    if cgroup is not None and (not cgroup or ".." in cgroup.split("/")):
        raise linux.wrong("cgroupsPath", "is empty, or leads out")
    enum(linux, "rootfsPropagation", _PROPAGATION)
    text(linux, "mountLabel")
    for key, value in linux.part("sysctl").value.items():
        if not key or not isinstance(value, str):
            raise linux.wrong("sysctl", "want texts under names")
    _devices(linux)
    _resources(linux.part("resources"))
    if "seccomp" in linux.value:
        check_seccomp(linux.part("seccomp", required=True))


def _maps(at: At, key: str) -> bool:
    """Whether there are any."""
    found = []
    for one in items(at, key):
        inside, outside = (
            integer(one, name, 0, _MAX_32, required=True) for name in ("containerID", "hostID")
        )
        size = integer(one, "size", 1, _MAX_32, required=True) or 0
        made = IdMap(container=inside or 0, host=outside or 0, size=size)
        if max(made.container, made.host) + size > _MAX_32 + 1:
            raise one.wrong("size", "it goes past the last id")
        found.append(made)
    if overlap(found):
        raise at.wrong(key, "an id is in two of them")
    return bool(found)


def _devices(linux: At) -> None:
    seen = set()
    for device in items(linux, "devices"):
        kind = enum(device, "type", frozenset("cbup"), required=True)
        name = path(device, "path", required=True)
        if name in seen:
            raise device.wrong("path", f"{name!a} is there twice")
        seen.add(name)
        for key in ("major", "minor"):
            integer(device, key, 0, _MAX_32, required=kind != "p")
        integer(device, "fileMode", 0, 0o7777)
        for key in ("uid", "gid"):
            integer(device, key, 0, _MAX_32 - 1)


def _resources(resources: At) -> None:
    for rule in items(resources, "devices"):
        flag(rule, "allow", required=True)
        enum(rule, "type", frozenset("abc"))
        access = text(rule, "access")
        if access is not None and (not access or not set(access) <= set("rwm") or len(access) > 3):
            raise rule.wrong("access", "want some of r, w and m")
        for key in ("major", "minor"):
            integer(rule, key, -1, _MAX_32)
    for key, names in (("memory", ("limit", "reservation", "swap")), ("pids", ("limit",))):
        for name in names:
            integer(resources.part(key), name, -1, _MAX_64 >> 1)
    cpu = resources.part("cpu")
    for name in ("shares", "period"):
        integer(cpu, name, 0, _MAX_64)
    integer(cpu, "quota", -_MAX_64 >> 1, _MAX_64 >> 1)


def _hooks(hooks: At) -> None:
    for key in hooks.value:
        if key not in _HOOKS:
            continue
        for hook in items(hooks, key):
            path(hook, "path", required=True)
            strings(hook, "args")
            strings(hook, "env")
            integer(hook, "timeout", 1, _MAX_32)
