"""``dist commit``: make a kept ingest visible as a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import AlreadyExists
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "make a kept ingest visible as a blob"
EXAMPLES: Final = (
    "dist commit big",
    "dist commit --expected-size 2000 --expected-digest sha256:010c454d55e5... big",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ref", help="the ingest")
    parser.add_argument("--expected-digest", type=Digest, metavar="DIGEST", help="refuse other bytes")
    parser.add_argument("--expected-size", type=flags.size, metavar="BYTES", help="refuse another size")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        type=flags.label,
        metavar="KEY=VALUE",
        help="label of the blob",
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    app.content.status(args.ref)  # NotFound: opening would make it
    try:
        with app.content.writer(args.ref) as writer:
            digest = writer.commit(
                size=args.expected_size, expected=args.expected_digest, labels=dict(args.label)
            )
    except AlreadyExists as error:
        out.note(f"content with digest {error.subject} already exists")
        digest = Digest(error.subject or "")
    out.record(digest, digest=digest, ref=args.ref)
