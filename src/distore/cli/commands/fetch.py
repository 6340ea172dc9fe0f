"""``dist fetch``: an object of a registry to standard output, or into the store."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.output import printable
from distore.errors import DeadlineExceeded, DistoreError, InvalidArgument, Locked, NotFound

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.content.store import Status
    from distore.errors import Unavailable
    from distore.remotes.resolver import Fetcher, Target

SUMMARY: Final = "write an object of a registry to standard output, or into the store"
EXAMPLES: Final = (
    "dist fetch docker.io/library/redis latest \\\n"
    "    mediatype:application/vnd.docker.distribution.manifest.v2+json | jq .",
    "dist fetch docker.io/library/redis \\\n"
    "    sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa > layer.tar.gz",
    "dist fetch --store docker.io/library/redis latest",
    "dist fetch docker.io/library/redis latest | jq -r '.layers[].digest' | \\\n"
    "    dist fetch --store docker.io/library/redis -",
)
_TIMEOUT_VARIABLE: Final = "CONTAINERD_FETCH_TIMEOUT"

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("remote", help="a repository, such as docker.io/library/redis")
    parser.add_argument("object", help="a tag or a digest; - reads them from standard input, one a line")
    parser.add_argument(
        "hint", nargs="*", help="mediatype:TYPE (what to ask for, and where first) or size:BYTES"
    )
    parser.add_argument(
        "--timeout",
        type=flags.duration,
        metavar="D",
        help=f"give up after so long, such as 1m30s (default: ${_TIMEOUT_VARIABLE}, or never)",
    )
    parser.add_argument(
        "--store", action="store_true", help="put it into the store, resuming, and print its digest"
    )
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.reference import Reference
    from distore.remotes.resolver import Target

    media_type, size = _hints(args.hint)
    repository = Reference.parse(args.remote, default_tag=None)
    if repository.object is not None:
        raise InvalidArgument(
            f"remote {args.remote[:80]!r}: leave out the tag or digest; it is the next word"
        )
    fetcher = app.resolver.fetcher(repository)
    with flags.deadline(_timeout(args), f"fetch {printable(args.remote)}"):
        for word in flags.words([args.object]):
            try:
                target = Target.parse(word, media_type=media_type, size=size)
                _one(fetcher, target, args, app, out)
            except DistoreError as error:
                if args.object != "-" or isinstance(error, DeadlineExceeded):
                    raise
                out.error(error)


def _one(fetcher: Fetcher, target: Target, args: argparse.Namespace, app: App, out: Output) -> None:
    from distore._internal.retry import Retrier
    from distore.remotes import fetch

    def retrying(error: Unavailable, pause: float, left: int) -> None:
        out.note(f"dist: {error}; trying again in {pause:.1f} s ({left} left)")

    retrier = Retrier(on_retry=retrying)
    if args.store:
        watch = fetch.Watch(note=lambda text: out.note(f"dist: {text}"), follow=_follow)
        try:
            digest = fetch.fetch(app.content, fetcher, target, retrier=retrier, watch=watch)
        except NotFound:
            _forget_empty(target, app)
            raise
        out.record(digest, digest=digest, size=app.content.info(digest).size)
        out.flush()
        return
    sink = out.stdout.buffer
    if target.digest is None:
        sink.write(fetch.fetch_document(fetcher, target, retrier=retrier).data)
    else:
        for piece in fetch.stream(fetcher, target, retrier=retrier):
            sink.write(piece)
    sink.flush()


def _forget_empty(target: Target, app: App) -> None:
    """Nobody has it: an ingest without a byte would only puzzle whoever looks at ``dist active``."""
    from distore.remotes.refkey import ref_key

    if target.digest is None:
        return
    ref = ref_key(target.media_type, target.digest)
    try:
        if not app.content.status(ref).offset:
            app.content.abort(ref)
    except (Locked, NotFound):
        return


def _follow(status: Status) -> None:
    """While another process downloads it: how far that is, for somebody who looks."""
    from distore.cli.commands.active import progress_line

    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{progress_line(status)}")


def _hints(hints: list[str]) -> tuple[str | None, int | None]:
    """Media type and size; the last of each counts."""
    media_type, size = None, None
    for hint in hints:
        kind, _, value = hint.partition(":")
        if kind == "mediatype" and value:
            media_type = value
        elif kind == "size" and value:
            size = flags.size(value)
        else:
            raise InvalidArgument(f"hint {hint[:80]!r}: want mediatype:TYPE or size:BYTES")
    return media_type, size


def _timeout(args: argparse.Namespace) -> float | None:
    if args.timeout is not None:
        return float(args.timeout)
    text = os.environ.get(_TIMEOUT_VARIABLE)
    return flags.duration(text) if text else None
