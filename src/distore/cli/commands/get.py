"""``dist get``: a blob to standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import DataLoss, OutOfRange
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "write a blob to standard output"
EXAMPLES: Final = (
    "dist get sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa | tar tz",
    "dist get --length 512 sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa",
)
_CHUNK: Final = 1024 * 1024  # bytes


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("digest", type=Digest, help="a digest")
    parser.add_argument("--offset", type=flags.size, default=0, metavar="BYTES", help="where to begin")
    parser.add_argument("--length", type=flags.size, metavar="BYTES", help="how much at most (default: all)")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    """A whole blob is verified while it is written: a wrong one ends in an error."""
    digest: Digest = args.digest
    sink = out.stdout.buffer
    with app.content.reader(digest) as reader:
        if args.offset > reader.size:
            raise OutOfRange(f"content {digest}: offset {args.offset} is past its {reader.size} bytes")
        end = reader.size if args.length is None else min(reader.size, args.offset + args.length)
        verifier = digest.verifier() if args.offset == 0 and end == reader.size else None
        space = memoryview(bytearray(_CHUNK))
        at = args.offset
        while at < end and (size := reader.readinto_at(space[: min(_CHUNK, end - at)], at)):
            sink.write(space[:size])
            at += size
            if verifier:
                verifier.update(space[:size])
    sink.flush()
    if verifier and not verifier.verified():
        raise DataLoss(
            f"content {digest}: damaged, the bytes are those of {verifier.actual()}; run dist fsck"
        )
