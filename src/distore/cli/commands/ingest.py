"""``dist ingest``: copy standard input, or a file, into the store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.commands.active import progress_line
from distore.cli.output import printable
from distore.content import blobs
from distore.errors import AlreadyExists, InvalidArgument, Locked, NotFound
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.content.store import FileWriter, Status

SUMMARY: Final = "store standard input as one blob and print its digest"
EXAMPLES: Final = (
    "echo hello | dist ingest greeting",
    "dist fetch docker.io/library/redis sha256:010c... | dist ingest --expected-digest sha256:010c... \\\n"
    "    --expected-size 1990402 docker.io/library/redis@sha256:010c...",
    "dist ingest --from model.safetensors --link reflink",
    "head -c 1000 big | dist ingest --keep big; tail -c +1001 big | dist ingest --resume big",
)
LINKS: Final = ("auto", "reflink", "hardlink", "copy")
_PIPE_SIZE: Final = 1024 * 1024  # bytes; the most an ordinary user may ask for
_F_SETPIPE_SZ: Final = 1031  # linux/fcntl.h


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ref", nargs="?", metavar="key", help="name of this ingest (default: made of the expected digest)"
    )
    parser.add_argument("--expected-digest", type=Digest, metavar="DIGEST", help="refuse other bytes")
    parser.add_argument("--expected-size", type=flags.size, metavar="BYTES", help="refuse another size")
    parser.add_argument(
        "--timeout", type=flags.duration, metavar="D", help="give up after so long, such as 1m30s"
    )
    parser.add_argument(
        "--keep", action="store_true", help="write without commit; dist commit does that later"
    )
    parser.add_argument(
        "--resume", action="store_true", help="append to what is kept instead of starting over"
    )
    parser.add_argument("--from", dest="source", metavar="FILE", help="take a file instead of standard input")
    parser.add_argument(
        "--link",
        choices=LINKS,
        default="auto",
        help="with --from: share blocks, link (the file becomes read-only and must not change), or copy",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        type=flags.label,
        metavar="KEY=VALUE",
        help="label of the blob",
    )
    parser.add_argument(
        "--on-locked",
        choices=blobs.ON_LOCKED,
        default="follow",
        help="another process writes this ingest: take its result (default), wait for the turn, or fail",
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    ref = _ref(args)
    with flags.deadline(args.timeout, f"ingest {printable(ref)!r}"):
        try:
            digest = _ingest(ref, args, app, out)
        except AlreadyExists as error:
            # Concurrent and repeated downloads of one content are no error (dist-2017.md).
            out.note(f"content with digest {error.subject} already exists")
            digest = Digest(error.subject or "")
    if digest is not None:
        out.record(digest, digest=digest, ref=ref)


def _ingest(ref: str, args: argparse.Namespace, app: App, out: Output) -> Digest | None:
    """The digest, or None when the bytes are only kept."""
    if args.expected_digest is not None:
        _refuse_known(args.expected_digest, app)
    if args.source is None:
        flags.standard_input()  # closed: refused before there is an ingest
    if not args.resume:
        _start_over(ref, app)
    with blobs.open_writer(
        app.content,
        ref,
        total=args.expected_size,
        expected=args.expected_digest,
        on_locked=args.on_locked,
        on_progress=_progress,
        timeout=args.timeout,
    ) as writer:
        _fill(writer, args)
        if args.keep:
            out.record(f"{printable(ref)} {writer.offset}", ref=ref, offset=writer.offset)
            return None
        labels = dict(args.label)
        return writer.commit(size=args.expected_size, expected=args.expected_digest, labels=labels)


def _refuse_known(expected: Digest, app: App) -> None:
    """Opening a writer would say the same, but after work that a blob that is there does not need."""
    try:
        app.content.path(expected)
    except NotFound:
        return
    raise AlreadyExists(f"content {expected} already exists", subject=expected)


def _ref(args: argparse.Namespace) -> str:
    if args.ref is not None:
        return str(args.ref)
    if args.expected_digest is not None:
        return str(args.expected_digest).replace(":", "-")
    if args.source is not None:
        return f"file-{Digest.of(args.source.encode(errors='surrogateescape'))}"
    raise InvalidArgument("must specify a transaction reference or expected digest")


def _start_over(ref: str, app: App) -> None:
    """Drop what an earlier run kept, its promises too, unless somebody is writing it."""
    try:
        app.content.abort(ref)
    except (NotFound, Locked):
        return


def _fill(writer: FileWriter, args: argparse.Namespace) -> None:
    if args.source is not None:
        if args.resume:
            raise InvalidArgument("--resume: a file is taken whole; leave out --resume or --from")
        writer.take_file(args.source, link=args.link)
        return
    source = flags.standard_input()
    if writer.offset and not args.resume:
        writer.truncate()  # what comes through the pipe starts at its first byte
    _widen(source.fileno())
    with open(source.fileno(), "rb", buffering=0, closefd=False) as raw:
        writer.fill(raw)


def _widen(fd: int) -> None:
    """Make a pipe as wide as one read; anything else stays as it is."""
    import fcntl

    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        return


def _progress(status: Status) -> None:
    """While another process writes the ingest: how far it is, for somebody who looks."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{progress_line(status)}")
