"""``dist referrers``: what refers to an image: signatures, attestations, SBOMs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "list what refers to an image: signatures, attestations, SBOMs"
EXAMPLES: Final = (
    "dist referrers registry.example/team/app:1",
    "dist referrers --artifact-type application/spdx+json registry.example/team/app:1",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", help="an image, such as registry.example/team/app:1")
    parser.add_argument("--artifact-type", metavar="TYPE", help="only those of this type")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.output import printable
    from distore.oci.reference import Reference

    reference = Reference.parse(args.reference)
    digest = reference.digest or app.resolver.resolve(reference).digest
    found = app.resolver.repository(reference).referrers(digest, artifact_type=args.artifact_type)
    for each in found:
        kind = each.artifact_type or each.media_type
        out.record(f"{each.digest} {each.size} {printable(kind)}", **each.to_json())
