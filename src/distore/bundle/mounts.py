"""Mounts of a container: those that containerd gives each one, and those that are asked for."""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass
from typing import Final

from distore._internal.oserrors import translate
from distore.errors import InvalidArgument, NotFound
from distore.oci.runconfig import MAX_NAME, check_text

_NO_DEVICES: Final = ("nosuid", "noexec", "nodev")
_DEV: Final = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
_SMALL: Final = ("nosuid", "strictatime", "mode=755", "size=65536k")
_ETC: Final = ("/etc/hosts", "/etc/resolv.conf")  # what names mean is the network's business
_PROPAGATION: Final = frozenset(
    f"{prefix}{word}" for prefix in ("", "r") for word in ("private", "slave", "shared", "unbindable")
)
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleMount:
    """An entry of ``mounts`` of a runtime's config."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As the runtime specification has it."""
        return {
            "destination": self.destination,
            "type": self.type,
            "source": self.source,
            "options": list(self.options),
        }


def default_mounts(*, is_rootless: bool) -> tuple[BundleMount, ...]:
    """containerd's (pkg/oci/mounts.go), in its order.

    Args:
        is_rootless: Without what only the machine's root may do: group 5 may not be mapped, and sysfs
            belongs to the network, which may be the machine's. As ``runc spec --rootless`` does it.
    """
    pts = _DEV if is_rootless else (*_DEV, "gid=5")
    sysfs = BundleMount(
        destination="/sys",
        type="none" if is_rootless else "sysfs",
        source="/sys" if is_rootless else "sysfs",
        options=("rbind", *_NO_DEVICES, "ro") if is_rootless else (*_NO_DEVICES, "ro"),
    )
    shm = (*_NO_DEVICES, "mode=1777", "size=65536k")
    return (
        BundleMount(destination="/proc", type="proc", source="proc", options=_NO_DEVICES),
        BundleMount(destination="/dev", type="tmpfs", source="tmpfs", options=_SMALL),
        BundleMount(destination="/dev/pts", type="devpts", source="devpts", options=pts),
        BundleMount(destination="/dev/shm", type="tmpfs", source="shm", options=shm),  # noqa: S108 - not ours
        BundleMount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_NO_DEVICES),
        sysfs,
        BundleMount(destination="/run", type="tmpfs", source="tmpfs", options=_SMALL),
    )


def host_network_mounts() -> tuple[BundleMount, ...]:
    """The machine's names for hosts, for a container on the machine's network; those that are there."""
    return tuple(
        BundleMount(destination=path, type="bind", source=path, options=("rbind", "ro"))
        for path in _ETC
        if os.path.isfile(path)
    )


def parse_mount(text: str) -> BundleMount:
    """``type=bind,src=PATH,dst=PATH[,ro][,OPTION...]`` or ``type=tmpfs,dst=PATH[,size=...]``; the words are
    those of docker and podman. The source of a bind mount is made absolute, and is there.

    Raises:
        InvalidArgument: Another form.
        NotFound: No such source.
    """
    given: dict[str, str] = {}
    options: list[str] = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        key = _KEYS.get(key, key)
        if key in ("type", "source", "destination"):
            if key in given or not value:
                raise InvalidArgument(f"mount {text[:_SHOWN]!a}: want one {key}")
            given[key] = check_text(value, "mount", limit=MAX_NAME)
        elif key == "readonly" and (not equals or value in ("true", "1")):
            options.append("ro")
        elif part and part.isprintable():
            options.append(part)
        else:
            raise InvalidArgument(f"mount {text[:_SHOWN]!a}: an empty option")
    kind = given.get("type", "bind")
    destination = _destination(given.get("destination", ""), text)
    if kind == "tmpfs":
        return BundleMount(destination=destination, type=kind, source="tmpfs", options=_tmpfs(options))
    if kind != "bind":
        raise InvalidArgument(f"mount {text[:_SHOWN]!a}: type {kind[:_SHOWN]!a}; want bind or tmpfs")
    if "source" not in given:
        raise InvalidArgument(f"mount {text[:_SHOWN]!a}: want a source: src=PATH")
    source = _source(given["source"])
    return BundleMount(destination=destination, type=kind, source=source, options=_bind(options))


_KEYS: Final = {
    "src": "source",
    "dst": "destination",
    "target": "destination",
    "ro": "readonly",
}


def _destination(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"mount {text[:_SHOWN]!a}: want an absolute path in the container: dst=/PATH")
    normal = posixpath.normpath("/" + path.lstrip("/"))
    if normal == "/":
        raise InvalidArgument(f"mount {text[:_SHOWN]!a}: not over the root of the container")
    return normal


def _source(path: str) -> str:
    found = os.path.abspath(path)
    try:
        mode = os.stat(found).st_mode
    except FileNotFoundError as error:
        raise NotFound(f"mount: source {path[:_SHOWN]!a}: not found") from error
    except OSError as error:
        raise translate(OSError(error.errno, error.strerror), f"mount: source {path[:_SHOWN]!a}") from error
    if stat.S_ISFIFO(mode) or stat.S_ISLNK(mode):
        raise InvalidArgument(f"mount: source {path[:_SHOWN]!a}: want a folder, a file, a socket or a device")
    return found


def _bind(options: list[str]) -> tuple[str, ...]:
    """Without a word about it a bind mount takes what is mounted below along, and tells nobody of what is
    mounted later."""
    found = list(options)
    if "bind" not in found and "rbind" not in found:
        found.insert(0, "rbind")
    if not _PROPAGATION.intersection(found):
        found.append("rprivate")
    return tuple(dict.fromkeys(found))


def _tmpfs(options: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(["nosuid", "nodev", *options]))
