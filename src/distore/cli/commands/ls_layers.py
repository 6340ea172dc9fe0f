"""``dist ls-layers``: the layers of a manifest, for pipelines on machines without jq."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.flags import standard_input
from distore.errors import InvalidArgument, ResourceExhausted
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "print the digest and size of each layer of a manifest on standard input"
EXAMPLES: Final = (
    "dist fetch docker.io/library/redis latest \\\n"
    "    mediatype:application/vnd.docker.distribution.manifest.v2+json | dist ls-layers",
)
MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024  # bytes (distribution-spec, pushing manifests)


def configure(parser: argparse.ArgumentParser) -> None:
    """No flags of its own."""


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    import json

    data = standard_input().read(MAX_MANIFEST_SIZE + 1)
    if len(data) > MAX_MANIFEST_SIZE:
        raise ResourceExhausted(f"manifest: over {MAX_MANIFEST_SIZE} bytes")
    try:
        layers = [(Digest(layer["digest"]), int(layer["size"])) for layer in json.loads(data)["layers"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidArgument(
            "manifest: not a manifest with layers (an index? fetch one of its manifests)"
        ) from error
    for digest, size in layers:
        out.record(f"{digest} {size}", digest=digest, size=size)
