"""``dist fetch-object``: what a reference stands for, to standard output, as ctr has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "write what a reference stands for to standard output, as ctr does"
EXAMPLES: Final = (
    "dist fetch-object docker.io/library/redis:8",
    "dist fetch-object redis@sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", help="an image, or a repository with @DIGEST")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.reference import Reference
    from distore.remotes.fetch import fetch_document, stream
    from distore.remotes.resolver import Target

    reference = Reference.parse(args.reference)
    fetcher = app.resolver.fetcher(reference)
    sink = out.stdout.buffer
    if reference.digest is None:
        sink.write(fetch_document(fetcher, Target(tag=reference.tag)).data)
    else:
        for piece in stream(fetcher, Target(digest=reference.digest)):
            sink.write(piece)
    sink.flush()
