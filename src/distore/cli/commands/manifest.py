"""``dist manifest``: one manifest or index of a registry, as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.reference import Reference

SUMMARY: Final = "get, put or delete one manifest of a registry"
EXAMPLES: Final = (
    "dist manifest get redis:8 | jq .",
    "dist manifest put registry.example/team/app:2 manifest.json",
    "dist manifest get a.example/app:1 | dist manifest put a.example/app:stable -",
    "dist manifest delete registry.example/team/app:2",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("get", "put", "delete"), help="what to do")
    parser.add_argument("reference", help="such as redis:8 or registry.example/app@sha256:...")
    parser.add_argument("file", nargs="?", help="put: the file; - is standard input")
    parser.add_argument("--media-type", metavar="TYPE", help="put: what it is (default: what it says itself)")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.mediatypes import OCI_MANIFEST
    from distore.oci.reference import Reference
    from distore.remotes.resolver import Target

    reference = Reference.parse(args.reference)
    if (args.file is None) == (args.action == "put"):
        raise InvalidArgument(
            f"manifest {args.action}: a file {'is needed' if args.file is None else 'is too much'}"
        )
    if args.action == "get":
        from distore.remotes.fetch import fetch_document

        fetcher = app.resolver.fetcher(reference)
        out.stdout.buffer.write(fetch_document(fetcher, Target.parse(reference.object or "")).data)
        out.stdout.buffer.flush()
    elif args.action == "put":
        _put(args, reference, app, out)
    else:
        app.resolver.repository(reference).delete(
            Target.parse(reference.object or "", media_type=OCI_MANIFEST)
        )
        out.record(str(reference), reference=str(reference))


def _put(args: argparse.Namespace, reference: Reference, app: App, out: Output) -> None:
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest

    data = flags.read_file(args.file, limit=MAX_MANIFEST_SIZE)
    subject = flags.file_name(args.file)
    parsed = parse_manifest(data, media_type=args.media_type, subject=subject)
    digest = Digest.of(data, algorithm=reference.digest.algorithm if reference.digest else "sha256")
    if reference.digest not in (None, digest):
        raise FailedPrecondition(f"{subject}: its digest is {digest}, not {reference.digest}")
    media_type = args.media_type or parsed.media_type
    root = Descriptor(media_type=media_type, digest=digest, size=len(data), data=data)
    app.resolver.pusher(reference).tag(root, app.content)
    out.record(digest, digest=digest, media_type=root.media_type, size=root.size)
