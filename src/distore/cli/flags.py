"""Flags that verbs share, and how their texts become values."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from distore._internal.gotime import parse_duration
from distore.errors import DeadlineExceeded, DistoreError, FailedPrecondition, InvalidArgument
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from threading import Event
    from types import FrameType
    from typing import BinaryIO

    from distore.cli.output import Output
    from distore.config import Config

DEFAULT_ROOT: Final = ".content"
ROOT_VARIABLES: Final = ("DIST_ROOT", "CONTAINERD_DIST_CONTENT_STORE")
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


def registry_config(config: Config, args: argparse.Namespace) -> Config:
    """``config`` with what ``add_registry`` parsed and what the environment says."""
    proxies = tuple(
        (scheme, value)
        for scheme in ("http", "https", "all", "no")
        if (value := os.environ.get(f"{scheme}_proxy") or (os.environ.get(f"{scheme.upper()}_PROXY")))
    )
    from distore.remotes.options import RegistryOptions

    options = RegistryOptions(
        hosts_dir=args.hosts_dir or os.environ.get("DIST_HOSTS_DIR") or None,
        plain_http=args.plain_http,
        skip_verify=args.skip_verify,
        ca=args.ca,
        min_speed=args.min_speed or None,
        proxies=dict(proxies),
    )
    return config._replace(registry=options)


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


def size(text: str) -> int:
    """Bytes: a decimal number, with k, M, G (thousands) or Ki, Mi, Gi (1024s)."""
    digits = text.rstrip("kKmMgGiI")
    factor = _SIZE_SUFFIXES.get(text[len(digits) :].lower())
    if factor is None or not (digits.isascii() and digits.isdecimal()) or len(digits) > 19:
        raise InvalidArgument(f"size {text[:40]!r}: want a number of bytes, 0 or more")
    return int(digits) * factor


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
