"""``dist list``: the blobs in the store."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.cli.output import human_age, human_size, printable, row
from distore.errors import InvalidArgument
from distore.oci.digest import HEX_LENGTHS

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.content.store import Info

SUMMARY: Final = "list the blobs in the store"
EXAMPLES: Final = (
    "dist list",
    "dist list -q | xargs dist delete",
    "dist list sha256:01 sha256:02",
    "dist list --filter 'labels.\"app\"==web,size>1000000' --json",
)
_HEX: Final = frozenset("0123456789abcdef")
_WIDTHS: Final = (71, 9)  # a sha256 digest; a human size


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prefix", nargs="*", help="only digests that begin so, sha256: left out or not")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the digests")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FILTER",
        help="only what it matches (containerd filter syntax); several: what one of them matches",
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    prefixes = tuple(form for prefix in args.prefix for form in forms(prefix))
    store = app.content
    note_missing(args, store.root, out)
    if args.quiet and not args.filter and not args.json:
        for digest in store.digests():
            if digest.startswith(prefixes or ""):
                out.line(digest)
        return
    blobs = store.walk(*args.filter) if args.filter or args.json else store.files()
    if not args.quiet:
        out.header(row(("DIGEST", "SIZE", "AGE"), _WIDTHS))
    now = datetime.now(UTC)
    for info in blobs:
        if info.digest.startswith(prefixes or ""):
            out.record(info.digest if args.quiet else _row(info, now), **fields(info))


def note_missing(args: argparse.Namespace, root: str, out: Output) -> None:
    """A store that is not there is empty; say so when it was named, for it may be a slip."""
    if args.root is not None and not os.path.isdir(root):
        out.note(f"dist: no store at {printable(root)} yet")


def fields(info: Info) -> dict[str, object]:
    """A blob's fields under --json; stable."""
    return {
        "digest": info.digest,
        "size": info.size,
        "created": info.created,
        "updated": info.updated,
        "labels": dict(info.labels),
    }


def _row(info: Info, now: datetime) -> str:
    age = human_age((now - info.created).total_seconds())
    return row((info.digest, human_size(info.size), age), _WIDTHS)


def forms(prefix: str) -> tuple[str, ...]:
    """The digests a prefix may mean: 01ab stands for sha256:01ab and its sisters."""
    algorithm, colon, encoded = prefix.partition(":")
    if not colon and _HEX.issuperset(prefix):
        return tuple(f"{name}:{prefix}" for name in HEX_LENGTHS)
    known = algorithm in HEX_LENGTHS if colon else any(name.startswith(prefix) for name in HEX_LENGTHS)
    if not known or not _HEX.issuperset(encoded):
        raise InvalidArgument(f"prefix {prefix[:80]!r}: want the beginning of a digest, such as sha256:01ab")
    return (prefix,)
