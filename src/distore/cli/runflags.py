"""Flags of ``dist run`` and ``dist bundle``: what a container does otherwise than its image says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument, PermissionDenied

if TYPE_CHECKING:
    import argparse

    from distore._internal.userns import IdMap, Maps
    from distore.bundle.bundle import BundledImage
    from distore.bundle.spec import SpecOptions
    from distore.unpack.layers import ImageLayers

_NOT_FOR_RUNTIMES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET")


def add_spec(parser: argparse.ArgumentParser) -> None:
    """Flags that change what the image says, or what containers are given."""
    parser.add_argument(
        "--entrypoint", type=words, metavar="WORDS", help="instead of the image's; drops its command"
    )
    parser.add_argument(
        "-e",
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="set a variable; NAME alone takes it from here; may be given again",
    )
    parser.add_argument("-u", "--user", metavar="USER[:GROUP]", help="names or numbers")
    parser.add_argument("-w", "--workdir", metavar="PATH", help="where the process starts")
    parser.add_argument(
        "--mount",
        action="append",
        default=[],
        metavar="type=bind,src=PATH,dst=PATH[,ro]",
        help="or type=tmpfs,dst=PATH[,size=...]; may be given again",
    )
    parser.add_argument("--read-only", action="store_true", help="no writing to the root")
    parser.add_argument("--hostname", metavar="NAME", help="(default: the machine's)")
    parser.add_argument(
        "--network",
        choices=("none", "host"),
        default="none",
        help="none: nothing but lo; host: the machine's (default: none)",
    )
    for flag in ("--cap-add", "--cap-drop"):
        parser.add_argument(
            flag, action="append", default=[], metavar="NAME", help="a capability, or ALL; may be given again"
        )
    parser.add_argument(
        "--seccomp", metavar="FILE", help="another profile: linux.seccomp of the runtime specification"
    )
    parser.add_argument("--no-seccomp", action="store_true", help="every system call is allowed")
    parser.add_argument(
        "--rootless",
        action="store_true",
        help="in a user namespace, without cgroups; always so without root",
    )


def spec_options(args: argparse.Namespace, **others: object) -> SpecOptions:
    """What ``add_spec`` parsed.

    Args:
        others: Fields of SpecOptions that the flags do not tell.
    Raises:
        InvalidArgument, NotFound, ResourceExhausted: A value that cannot be.
    """
    from distore.bundle.capabilities import chosen, known_here
    from distore.bundle.mounts import parse_mount
    from distore.bundle.seccomp import MAX_PROFILE_SIZE, parse_profile
    from distore.bundle.spec import Network, SpecOptions
    from distore.cli.flags import read_file

    if args.seccomp and args.no_seccomp:
        raise InvalidArgument("--seccomp and --no-seccomp: want one of them")
    profile = None
    if args.seccomp:
        data = read_file(args.seccomp, limit=MAX_PROFILE_SIZE)
        profile = parse_profile(data, subject=f"profile {args.seccomp}")
    return SpecOptions(
        entrypoint=args.entrypoint,
        env=tuple(text for one in args.env for text in _variable(one)),
        user=args.user,
        working_dir=args.workdir,
        mounts=tuple(parse_mount(text) for text in args.mount),
        read_only=args.read_only,
        hostname=args.hostname,
        network=Network(args.network),
        capabilities=chosen(args.cap_add, args.cap_drop, known=known_here()),
        profile=profile,
        is_confined=not args.no_seccomp,
        **others,  # type: ignore[arg-type]  # mypy does not see the fields behind a **
    )


def bundled(text: str, image: ImageLayers) -> BundledImage:
    """An image, as bundles are made of it.

    Raises:
        InvalidArgument, ResourceExhausted: Its config has a value that cannot be.
    """
    from distore.bundle.bundle import BundledImage
    from distore.oci.runconfig import run_config

    config = run_config(image.config, subject=f"image {text}")
    platform = image.config.platform.normalized()
    return BundledImage(name=text, config=config, architecture=platform.architecture)


def is_root() -> bool:
    """Whether this process may do what the machine's root may."""
    from distore._internal.userns import in_first
    from distore.mount import may_mount

    return os.geteuid() == 0 and may_mount() and in_first()


def enter_namespace() -> Maps:
    """Make this process root of a user namespace, unless it is that of one already; what it maps.

    Raises:
        PermissionDenied: The system does not let us.
        DistoreError: As ``userns.enter``.
    """
    from distore._internal.userns import enter, in_first, maps_here
    from distore.mount import may_mount

    if not in_first() and os.geteuid() == 0 and may_mount():
        return maps_here()
    enter(outer_maps())
    return maps_here()


def outer_maps() -> Maps:
    """The ids that a namespace of this user may have, by their numbers out here."""
    import pwd

    from distore._internal.userns import own_maps

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = None
    return own_maps(uid=os.geteuid(), gid=os.getegid(), name=name)


def id_maps(texts: list[str]) -> tuple[IdMap, ...]:
    """``ID:HOST:COUNT``, each.

    Raises:
        InvalidArgument: Another form, or an id that is there twice.
    """
    from distore._internal.userns import IdMap, overlap

    found = []
    for text in texts:
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
            raise InvalidArgument(f"map {text[:60]!a}: want ID:HOST:COUNT")
        inside, outside, size = (int(part) for part in parts)
        if not size or max(inside, outside) + size > 1 << 32:
            raise InvalidArgument(f"map {text[:60]!a}: ids end at {(1 << 32) - 1}")
        found.append(IdMap(container=inside, host=outside, size=size))
    if overlap(found):
        raise InvalidArgument("maps of ids: an id is in two of them")
    return tuple(found)


def max_files() -> int:
    """Open files that a process may have: as containerd sets it, and no more than we may give."""
    import resource

    from distore.bundle.spec import MAX_FILES

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)


def runtime_environment() -> dict[str, str]:
    """Ours, without what would hand descriptors and sockets of ours on into a container."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_RUNTIMES}


def terminal_size() -> tuple[int, int] | None:
    """Rows and columns of the terminal to hand on; None: it does not tell.

    Raises:
        InvalidArgument: There is none.
    """
    if not (os.isatty(0) and os.isatty(1)):
        raise InvalidArgument("--tty: standard input and output are no terminal")
    columns, rows = os.get_terminal_size(1)
    return (rows, columns) if rows and columns else None


def check_root(what: str) -> None:
    """Raises PermissionDenied for those who are not root."""
    if not is_root():
        raise PermissionDenied(f"{what}: needs root")


def _variable(text: str) -> tuple[str, ...]:
    if "=" in text:
        return (text,)
    value = os.environ.get(text)
    return () if value is None else (f"{text}={value}",)


def words(text: str) -> tuple[str, ...]:
    """A JSON list, or words as a shell splits them."""
    from distore.cli.imagewords import command_words

    return command_words(text)
