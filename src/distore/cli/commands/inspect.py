"""``dist inspect``: what an image is made of, wherever it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.config import Config
    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Index, Manifest
    from distore.transfer.ends import Origin

SUMMARY: Final = "show what an image is made of, without fetching its layers"
EXAMPLES: Final = (
    "dist inspect redis",
    "dist inspect --platform linux/arm64 --config redis | jq .config.Env",
    "dist inspect --json oci:layout:1",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="REF, store:REF, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE")
    parser.add_argument("--config", action="store_true", help="print the config document of one platform")
    parser.add_argument("--raw", action="store_true", help="print the root document as it is")
    parser.add_argument("--platform", metavar="P", help="which image of an index (default: this machine's)")
    flags.add_registry(parser)


def config(config: Config, args: argparse.Namespace) -> Config:
    return flags.registry_config(config, args)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.transfer.endname import EndName
    from distore.transfer.push import read_document

    with app.copier.origin(EndName.parse(args.image)) as origin:
        root = origin.resolve()
        if args.raw:
            out.stdout.buffer.write(read_document(origin, root))
            out.stdout.buffer.flush()
        elif args.config:
            _config(args, origin, root, out)
        else:
            _summary(args, origin, root, out)


def _config(args: argparse.Namespace, origin: Origin, root: Descriptor, out: Output) -> None:
    from distore.content.blobs import read_blob
    from distore.errors import FailedPrecondition
    from distore.oci.manifest import MAX_CONFIG_SIZE, Manifest
    from distore.transfer.copy import narrowed

    chosen = narrowed(origin, root, flags.one_platform(args.platform))
    document = _document(origin, chosen)
    if not isinstance(document, Manifest):
        raise FailedPrecondition(f"{origin.name}: has no config for one platform; choose one with --platform")
    out.stdout.buffer.write(read_blob(origin, document.config.digest, max_size=MAX_CONFIG_SIZE))
    out.stdout.buffer.flush()


def _summary(args: argparse.Namespace, origin: Origin, root: Descriptor, out: Output) -> None:
    from distore.cli.output import human_size, printable
    from distore.images.children import is_attestation
    from distore.oci.manifest import Index
    from distore.transfer.copy import narrowed

    document = _document(origin, root)
    images = []
    if isinstance(document, Index):
        images = [
            {
                "digest": child.digest,
                "platform": str(child.platform) if child.platform else None,
                "attestation": is_attestation(child),
            }
            for child in document.manifests
        ]
        root_of_one = narrowed(origin, root, flags.one_platform(args.platform)) if images else root
        one = _document(origin, root_of_one) if root_of_one is not root else document
    else:
        one = document
    layers = () if isinstance(one, Index) else one.layers
    size = sum(layer.size for layer in layers)
    if out.as_json:
        out.record(
            "",
            name=origin.name,
            descriptor=root.to_json(),
            artifact_type=document.artifact_type,
            annotations=dict(document.annotations),
            images=images,
            layers=[layer.to_json() for layer in layers],
            size=size,
        )
        return
    out.line(f"name       {printable(origin.name)}")
    out.line(f"digest     {root.digest}")
    out.line(f"type       {printable(document.artifact_type or root.media_type)}")
    for image in images:
        kind = "attestation" if image["attestation"] else image["platform"] or "no platform"
        out.line(f"image      {image['digest']}  {printable(str(kind))}")
    for layer in layers:
        out.line(f"layer      {layer.digest}  {human_size(layer.size)}")
    out.line(f"size       {human_size(size)} in {len(layers)} layers")


def _document(origin: Origin, descriptor: Descriptor) -> Manifest | Index:
    from distore.oci.manifest import parse_manifest
    from distore.transfer.push import read_document

    data = read_document(origin, descriptor)
    return parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)
