"""``dist blob``: one blob of a registry, without the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.reference import Reference

SUMMARY: Final = "get, put or delete one blob of a registry"
EXAMPLES: Final = (
    "dist blob get r@sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa | tar tz",
    "dist blob put registry.example/team/app layer.tar.gz",
    "dist blob delete r.example/app@sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("get", "put", "delete"), help="what to do")
    parser.add_argument("reference", help="a repository; for get and delete with @DIGEST")
    parser.add_argument("file", nargs="?", help="put: the file; - is standard input")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.mediatypes import OCTET_STREAM
    from distore.oci.reference import Reference
    from distore.remotes.resolver import Target

    if (args.file is None) == (args.action == "put"):
        raise InvalidArgument(
            f"blob {args.action}: a file {'is needed' if args.file is None else 'is too much'}"
        )
    if args.action == "put":
        _put(args, Reference.parse_name(args.reference), app, out)
        return
    reference = Reference.parse(args.reference, default_tag=None)
    if reference.digest is None:
        raise InvalidArgument(f"blob {args.reference[:120]!r}: want REPOSITORY@DIGEST")
    if args.action == "delete":
        app.resolver.repository(reference).delete(Target(digest=reference.digest, media_type=OCTET_STREAM))
        out.record(reference.digest, digest=reference.digest)
        return
    from distore.remotes.fetch import stream

    sink = out.stdout.buffer
    for piece in stream(app.resolver.fetcher(reference), Target(digest=reference.digest)):
        sink.write(piece)
    sink.flush()


def _put(args: argparse.Namespace, repository: Reference, app: App, out: Output) -> None:
    from distore.content.fileblob import FileBlob
    from distore.oci.descriptor import Descriptor
    from distore.oci.mediatypes import OCTET_STREAM

    opened = FileBlob.spooled(flags.standard_input()) if args.file == "-" else FileBlob.open(args.file)
    with opened as blob:
        descriptor = Descriptor(media_type=OCTET_STREAM, digest=blob.digest, size=blob.size)
        how = app.resolver.pusher(repository).push(descriptor, blob)
    out.record(descriptor.digest, digest=descriptor.digest, size=descriptor.size, how=how)
