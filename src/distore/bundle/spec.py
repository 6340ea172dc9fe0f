"""From an image's config to a runtime's: config.json (OCI runtime-spec 1.2, as containerd fills it).

Where it says nothing else, the values are those of containerd's oci.WithDefaultSpec, WithDefaultUnixDevices
and WithImageConfig (docs/decisions/0011-bundles.md).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from distore._internal.userns import Maps, holds
from distore.bundle import capabilities as caps
from distore.bundle.mounts import BundleMount, default_mounts, host_network_mounts
from distore.bundle.seccomp import default_profile
from distore.errors import FailedPrecondition, InvalidArgument
from distore.oci.runconfig import MAX_NAME, MAX_WORD, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distore._internal.userns import IdMap
    from distore.bundle.users import User
    from distore.oci.runconfig import RunConfig

# What crun 1.8 and runc 1.1 both take; every field that is written here is in 1.0.2 and still in 1.2.
VERSION: Final = "1.0.2"
ROOTFS: Final = "rootfs"  # below the bundle's folder
PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_FILES: Final = 1024  # open files of a process
_NAMESPACES: Final = ("pid", "ipc", "uts", "mount")
_MASKED: Final = (
    *(f"/proc/{name}" for name in ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list")),
    *(f"/proc/{name}" for name in ("timer_stats", "sched_debug")),
    *("/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi"),
)
_READ_ONLY: Final = tuple(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))
# null random full tty zero urandom console, terminals, ptmx: major and minor; None is any.
_DEVICES: Final = ((1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (5, 1), (136, None), (5, 2))
_SHOWN: Final = 60


class Network(StrEnum):
    """Whose network a container is on."""

    NONE = "none"  # one of its own, with nothing but lo
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecOptions:
    """What to do otherwise than the image says; the defaults are the image's and containerd's.

    Args:
        entrypoint, command: Replace the image's; an entrypoint alone drops the image's command, which
            was that of the old one.
        env: ``NAME=VALUE``; over the image's.
        hostname: None: the name of the machine.
        max_files: Open files of a process, soft and hard.
        console_size: Rows and columns of the terminal; None: the runtime finds out, or not.
        profile: ``linux.seccomp``; None: the default one, unless ``is_confined`` is False.
        is_rootless: Without what only the machine's root may do: no cgroup, no devices, /sys as it is.
        maps: The ids of the namespace in which it runs, where these are not the machine's.
        new_userns: That namespace is to be made by the runtime.
        cgroups_path: None: none.
    """

    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    user: str | None = None
    working_dir: str | None = None
    mounts: tuple[BundleMount, ...] = ()
    read_only: bool = False
    hostname: str | None = None
    network: Network = Network.NONE
    max_files: int = MAX_FILES
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    capabilities: tuple[str, ...] = caps.DEFAULT
    profile: Mapping[str, object] | None = None
    is_confined: bool = True
    is_rootless: bool = False
    maps: Maps | None = None
    new_userns: bool = False
    cgroups_path: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


def runtime_config(
    config: RunConfig, user: User, options: SpecOptions, *, architecture: str, subject: str
) -> dict[str, object]:
    """The document; the root is ``rootfs`` beside it.

    Args:
        user: Whom ``user_of`` names, looked up in the root (``resolve_user``).
        architecture: Of the image, as ``Platform`` has it.
        subject: What messages call the image.
    Raises:
        FailedPrecondition: Nothing to run, or a user that the namespace does not know.
        InvalidArgument, ResourceExhausted: A variable, a word or a folder that no process can have.
    """
    document: dict[str, object] = {
        "ociVersion": VERSION,
        "process": _process(config, user, options, subject),
        "root": {"path": ROOTFS, **({"readonly": True} if options.read_only else {})},
    }
    if options.hostname is not None:
        document["hostname"] = options.hostname
    document["mounts"] = [one.to_json() for one in _mounts(options)]
    document["linux"] = _linux(options, architecture)
    if options.annotations:
        document["annotations"] = dict(options.annotations)
    return document


def user_of(config: RunConfig, options: SpecOptions) -> str:
    """``USER[:GROUP]`` as the options or the image say it."""
    return config.user if options.user is None else options.user


def _process(config: RunConfig, user: User, options: SpecOptions, subject: str) -> dict[str, object]:
    process: dict[str, object] = {"terminal": True} if options.terminal else {}
    if options.console_size is not None:
        process["consoleSize"] = dict(zip(("height", "width"), options.console_size, strict=True))
    process["user"] = _user(user, options, subject)
    process["args"] = _arguments(config, options, subject)
    process["env"] = _environment(config, user, options)
    process["cwd"] = _folder(config, options)
    sets = ("bounding", "effective", "permitted")
    process["capabilities"] = {key: list(options.capabilities) for key in sets}
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": options.max_files, "soft": options.max_files}]
    process["noNewPrivileges"] = True
    return process


def _user(user: User, options: SpecOptions, subject: str) -> dict[str, object]:
    maps = options.maps
    if maps is None:
        return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
    for what, number, known in (("user", user.uid, maps.uids), ("group", user.gid, maps.gids)):
        if not holds(known, number):
            raise FailedPrecondition(
                f"{subject}: {what} {number} is not mapped in this user namespace; give the user ranges in"
                " /etc/subuid and /etc/subgid (and have newuidmap), or run as root"
            )
    # runc sets no groups when it is not root itself, even where they are mapped (1.1), and refuses to start.
    may_set = maps.groups and not (options.is_rootless and options.new_userns)
    groups = [group for group in user.groups if holds(maps.gids, group)] if may_set else []
    return {"uid": user.uid, "gid": user.gid, **({"additionalGids": groups} if groups else {})}


def _arguments(config: RunConfig, options: SpecOptions, subject: str) -> list[str]:
    entrypoint, command = config.entrypoint, config.cmd
    if options.entrypoint is not None:
        entrypoint, command = options.entrypoint, ()
    if options.command is not None:
        command = options.command
    words = [check_text(word, "command", limit=MAX_WORD) for word in (*entrypoint, *command)]
    if not words or not words[0]:
        raise FailedPrecondition(f"{subject}: nothing to run: its config names no command, so give one")
    return words


def _environment(config: RunConfig, user: User, options: SpecOptions) -> list[str]:
    """The image's order; what replaces a variable takes its place, what is new comes behind."""
    found: dict[str, str] = {}
    for text in (*config.env, *options.env):
        name, equals, _ = check_text(text, "variable", limit=MAX_WORD).partition("=")
        if not name or not equals:
            raise InvalidArgument(f"variable {text[:_SHOWN]!a}: want NAME=VALUE")
        found[name] = text
    if "PATH" not in found:
        found = {"PATH": PATH, **found}
    if options.terminal:
        found.setdefault("TERM", "TERM=xterm")
    if user.home is not None:
        found.setdefault("HOME", f"HOME={user.home}")
    return list(found.values())


def _folder(config: RunConfig, options: SpecOptions) -> str:
    path = options.working_dir if options.working_dir is not None else config.working_dir
    check_text(path, "working folder", limit=MAX_NAME)
    return posixpath.normpath("/" + path.lstrip("/"))


def _mounts(options: SpecOptions) -> Iterable[BundleMount]:
    """What is asked for takes the place of a default one, and comes last."""
    mounts = default_mounts(is_rootless=options.is_rootless)
    if options.network is Network.HOST:
        mounts += host_network_mounts()
    asked = {one.destination for one in options.mounts}
    return (*(one for one in mounts if one.destination not in asked), *options.mounts)


def _linux(options: SpecOptions, architecture: str) -> dict[str, object]:
    linux: dict[str, object] = {}
    namespaces = [*_NAMESPACES, *(["network"] if options.network is Network.NONE else [])]
    if options.new_userns and options.maps is not None:
        namespaces.append("user")
        linux["uidMappings"] = [_id_map(one) for one in options.maps.uids]
        linux["gidMappings"] = [_id_map(one) for one in options.maps.gids]
    if not options.is_rootless:
        linux["resources"] = {"devices": _device_rules()}
        if options.cgroups_path is not None:
            linux["cgroupsPath"] = options.cgroups_path
    linux["namespaces"] = [{"type": name} for name in namespaces]
    if options.profile is not None:
        linux["seccomp"] = dict(options.profile)
    elif options.is_confined:
        linux["seccomp"] = default_profile(architecture, options.capabilities)
    linux["maskedPaths"] = list(_MASKED)
    linux["readonlyPaths"] = list(_READ_ONLY)
    return linux


def _id_map(one: IdMap) -> dict[str, object]:
    return {"containerID": one.container, "hostID": one.host, "size": one.size}


def _device_rules() -> list[dict[str, object]]:
    """All are forbidden, and then some are not."""
    rules: list[dict[str, object]] = [{"allow": False, "access": "rwm"}]
    for major, minor in _DEVICES:
        rule: dict[str, object] = {"allow": True, "type": "c", "major": major}
        rules.append({**rule, **({} if minor is None else {"minor": minor}), "access": "rwm"})
    return rules
