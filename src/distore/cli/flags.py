"""Flags that verbs share, and how their texts become values."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from distore._internal.gotime import parse_duration
from distore.errors import (
    DeadlineExceeded,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from distore.oci.digest import HEX_LENGTHS, Digest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from threading import Event
    from types import FrameType
    from typing import BinaryIO

    from distore.cli.output import Output
    from distore.config import Config
    from distore.images.select import Selection
    from distore.oci.platform import Platform
    from distore.oci.reference import Reference
    from distore.remotes.environment import Environment
    from distore.transfer.copy import CopyOptions

DEFAULT_ROOT: Final = ".content"
ROOT_VARIABLES: Final = ("DIST_ROOT", "CONTAINERD_DIST_CONTENT_STORE")
DEFAULT_NAMESPACE: Final = "default"
NAMESPACE_VARIABLES: Final = ("DIST_NAMESPACE", "CONTAINERD_NAMESPACE")
SNAPSHOTTER_VARIABLES: Final = ("DIST_SNAPSHOTTER", "CONTAINERD_SNAPSHOTTER")
_SIZE_SUFFIXES: Final = {
    "": 1,
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "ki": 1024,
    "mi": 1024**2,
    "gi": 1024**3,
}


def add_common(parser: argparse.ArgumentParser) -> None:
    """Flags of every verb."""
    parser.add_argument(
        "-p",
        "--root",
        "--path",
        metavar="DIR",
        help=f"the store's folder (default: ${ROOT_VARIABLES[0]}, ${ROOT_VARIABLES[1]}, {DEFAULT_ROOT})",
    )
    parser.add_argument(
        "--namespace",
        metavar="NAME",
        help="whose blobs and names (default: $DIST_NAMESPACE, $CONTAINERD_NAMESPACE, default)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--debug", action="store_true", help="show a traceback when something fails")


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Flags of verbs that talk to registries."""
    parser.add_argument(
        "--hosts-dir", metavar="DIR", help="folder with HOST/hosts.toml files (default: $DIST_HOSTS_DIR)"
    )
    parser.add_argument(
        "--plain-http", action="store_true", help="HTTP for every host, not only for loopback"
    )
    parser.add_argument("--ca", metavar="FILE", help="trust this CA bundle (PEM) instead of the system's")
    parser.add_argument("--skip-verify", action="store_true", help="do not check TLS certificates")
    parser.add_argument(
        "--min-speed",
        type=size,
        default=1024,
        metavar="BYTES",
        help="replace a connection that gives fewer bytes a second over 30s (default: 1024; 0: never)",
    )
    parser.add_argument(
        "--authfile",
        metavar="FILE",
        help="credentials are here (default: $REGISTRY_AUTH_FILE, or where podman and docker have them)",
    )


def add_selection(parser: argparse.ArgumentParser, *, default: str = "this machine's") -> None:
    """Flags that choose among the platforms of an image."""
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="P",
        help=f"which image of an index, such as linux/arm64; may be given again (default: {default})",
    )
    parser.add_argument("--all-platforms", action="store_true", help="every image of an index")
    parser.add_argument(
        "--referrers", action="store_true", help="also signatures, attestations and SBOMs about the images"
    )


def add_transfer(parser: argparse.ArgumentParser) -> None:
    """Flags of verbs that move many bytes."""
    from distore.transfer.pace import DEFAULT_CONCURRENCY

    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument(
        "--concurrency",
        type=count,
        default=DEFAULT_CONCURRENCY,
        metavar="N",
        help=f"connections at once, for all blobs together (default: {DEFAULT_CONCURRENCY})",
    )
    parser.add_argument(
        "--limit-rate",
        type=size,
        default=0,
        metavar="BYTES",
        help="bytes a second for all connections together, such as 10Mi (default: no limit)",
    )


def copy_options(args: argparse.Namespace, *, every_platform: bool = False) -> CopyOptions:
    """What ``add_selection`` and ``add_transfer`` parsed.

    Args:
        every_platform: Without a choice every image of an index counts, not this machine's alone.
    """
    from distore.images.select import Selection
    from distore.transfer.copy import CopyOptions

    platforms = chosen_platforms(args)
    selection = Selection()
    if platforms or not (args.all_platforms or every_platform):
        from distore.api.transfers import this_platform

        selection = Selection(platforms=platforms or (this_platform(),), attestations=args.referrers)
    return CopyOptions(
        selection=selection,
        concurrency=args.concurrency,
        limit_rate=args.limit_rate or None,
        referrers=args.referrers,
        overwrite=getattr(args, "force", False),
    )


def chosen_platforms(args: argparse.Namespace) -> tuple[Platform, ...]:
    """What ``--platform`` names; none without it, or with ``--all-platforms`` where a verb has that.

    Raises:
        InvalidArgument: A bad name, or both flags.
    """
    if args.platform and getattr(args, "all_platforms", False):
        raise InvalidArgument("--all-platforms and --platform: want one of them")
    if not args.platform:
        return ()
    from distore.api.transfers import chosen_platforms

    return chosen_platforms(args.platform)


def one_platform(text: str | None) -> Selection:
    """The image of an index for one platform, or for this machine."""
    from distore.api.transfers import this_platform
    from distore.images.select import Selection
    from distore.oci.platform import Platform

    host = this_platform()
    return Selection(platforms=(Platform.parse(text, host=host) if text else host,))


def read_file(path: str, *, limit: int) -> bytes:
    """A small file, or standard input for ``-``.

    Raises:
        NotFound: There is none.
        FailedPrecondition: It is a folder.
        InvalidArgument: It cannot be read.
        ResourceExhausted: It has more than ``limit`` bytes.
    """
    try:
        if path == "-":
            data = standard_input().read(limit + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise FailedPrecondition(f"{path}: a folder, want a file") from error
    except OSError as error:
        raise InvalidArgument(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
    if len(data) > limit:
        raise ResourceExhausted(f"{file_name(path)}: more than {limit} bytes")
    return data


def file_name(path: str) -> str:
    """What messages call a file that may be standard input."""
    return "standard input" if path == "-" else path


def image(text: str) -> Reference:
    """An image of the store: a reference, or a digest alone.

    A digest needs no name to be found; the one it gets here only completes the reference.
    """
    from distore.oci.reference import Reference

    if text.partition(":")[0] in HEX_LENGTHS:
        return Reference(domain="localhost", path="content", digest=Digest(text))
    return Reference.parse(text)


def registry_config(config: Config, args: argparse.Namespace) -> Config:
    """``config`` with what ``add_registry`` parsed and what the environment says."""
    from distore.remotes.options import RegistryOptions

    found = _environment()
    options = RegistryOptions(
        hosts_dir=args.hosts_dir or found.hosts_dir,
        plain_http=args.plain_http,
        skip_verify=args.skip_verify,
        ca=args.ca,
        min_speed=args.min_speed or None,
        proxies=found.proxies,
        auth_files=auth_files(args.authfile),
    )
    return config._replace(registry=options)


def auth_files(given: str | None) -> tuple[str, ...]:
    """Where credentials may be, in the order to look; a file that is named is the only one."""
    return (given,) if given else _environment().auth_files


def _environment() -> Environment:
    from distore.remotes.environment import Environment

    return Environment.read(os.environ, uid=os.getuid(), home=os.path.expanduser("~"))


class ticker:  # noqa: N801 - reads as the noun it is
    """Context manager: ``show`` a few times a second on a terminal, nothing anywhere else."""

    def __init__(self, show: Callable[[], None]) -> None:
        self._show = show
        self._stop: Event | None = None

    def __enter__(self) -> None:
        if sys.stderr is None or not sys.stderr.isatty():
            return
        import threading

        stop = self._stop = threading.Event()

        def tick() -> None:
            while not stop.wait(0.2):
                self._show()

        threading.Thread(target=tick, daemon=True).start()

    def __exit__(self, *exc: object) -> None:
        if self._stop is not None:
            self._stop.set()
            sys.stderr.write("\r\x1b[K")


def root(given: str | None) -> str:
    """The store's folder: the flag, the environment, the default."""
    if given is not None:
        if not given:
            raise InvalidArgument("--root '': want a folder")
        return given
    for variable in ROOT_VARIABLES:
        if value := os.environ.get(variable):
            return value
    return DEFAULT_ROOT


def namespace(given: str | None) -> str:
    """The namespace: the flag, the environment, the default."""
    if given is not None:
        if not given:
            raise InvalidArgument("--namespace '': want a name")
        return given
    for variable in NAMESPACE_VARIABLES:
        if value := os.environ.get(variable):
            return value
    return DEFAULT_NAMESPACE


def snapshotter(given: str | None) -> str | None:
    """The snapshotter: the flag, the environment, or None for the best there is."""
    if given is not None:
        return given
    return next((value for name in SNAPSHOTTER_VARIABLES if (value := os.environ.get(name))), None)


def size(text: str) -> int:
    """Bytes: a decimal number, with k, M, G (thousands) or Ki, Mi, Gi (1024s)."""
    digits = text.rstrip("kKmMgGiI")
    factor = _SIZE_SUFFIXES.get(text[len(digits) :].lower())
    if factor is None or not (digits.isascii() and digits.isdecimal()) or len(digits) > 19:
        raise InvalidArgument(f"size {text[:40]!r}: want a number of bytes, 0 or more")
    return int(digits) * factor


def count(text: str) -> int:
    """A whole number from 1 to MAX_CONCURRENCY."""
    from distore.transfer.pace import MAX_CONCURRENCY

    if not (text.isascii() and text.isdecimal() and len(text) < 5 and 1 <= int(text) <= MAX_CONCURRENCY):
        raise InvalidArgument(f"number {text[:40]!r}: want 1 to {MAX_CONCURRENCY}")
    return int(text)


def label(text: str) -> tuple[str, str]:
    """``KEY=VALUE``; ``KEY=`` has an empty value."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidArgument(f"label {text[:60]!r}: want KEY=VALUE, or KEY= to remove it")
    return key, value


def duration(text: str) -> float:
    """Seconds, from Go's duration syntax."""
    return parse_duration(text)


class deadline:  # noqa: N801 - reads as the noun it is: `with deadline(30.0, "fetch"):`
    """Context manager: DeadlineExceeded in the main thread once ``seconds`` are over; None: never."""

    def __init__(self, seconds: float | None, subject: str) -> None:
        if seconds is not None and seconds <= 0:
            raise InvalidArgument(f"{subject}: a timeout of {seconds:g} s leaves no time")
        self._seconds = seconds
        self._subject = subject

    def __enter__(self) -> None:
        if self._seconds is None:
            return
        import signal

        def expire(number: int, frame: FrameType | None) -> None:
            raise DeadlineExceeded(f"{self._subject}: not done after {self._seconds:g} s; what came is kept")

        signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *exc: object) -> None:
        if self._seconds is not None:
            import signal

            signal.setitimer(signal.ITIMER_REAL, 0)


def standard_input() -> BinaryIO:
    """Standard input as bytes.

    Raises:
        FailedPrecondition: It is closed.
    """
    if sys.stdin is None:
        raise FailedPrecondition("standard input is closed")
    return sys.stdin.buffer


def words(given: Sequence[str]) -> Iterator[str]:
    """The arguments, ``-`` standing for the lines of standard input."""
    for word in given:
        if word != "-":
            yield word
            continue
        for line in standard_input():
            if text := line.decode(errors="replace").strip():
                yield text


def each_digest(given: Sequence[str], out: Output, act: Callable[[Digest], None]) -> None:
    """Do ``act`` with each digest; report each bad one and go on."""
    for word in words(given):
        try:
            act(Digest(word))
        except DistoreError as error:
            out.error(error)
