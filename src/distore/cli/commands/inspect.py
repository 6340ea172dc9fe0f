"""``dist inspect``: what an image is made of, wherever it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Index, Manifest
    from distore.transfer.ends import Origin

SUMMARY: Final = "show what an image is made of, without fetching its layers"
EXAMPLES: Final = (
    "dist inspect redis",
    "dist inspect --json redis | jq -r '.config.labels'",
    "dist inspect --platform linux/arm64 --config redis | jq .history",
    "dist inspect oci:layout:1",
)
_WIDTH: Final = 12  # of the first column
# What people see of fields that programs see in the plural or with an underscore.
_ONE: Final = {
    "env": "env",
    "ports": "port",
    "volumes": "volume",
    "labels": "label",
    "working_dir": "working dir",
    "stop_signal": "stop signal",
}

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="REF, store:REF, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--config", action="store_true", help="print the config document of one platform")
    what.add_argument("--raw", action="store_true", help="print the manifest or index as it is")
    parser.add_argument("--platform", metavar="P", help="which image of an index (default: this machine's)")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.images.children import read_document
    from distore.transfer.copy import narrowed
    from distore.transfer.endname import EndName

    with app.copier.origin(EndName.parse(args.image)) as origin:
        root = origin.resolve()
        if args.raw:
            chosen = narrowed(origin, root, flags.one_platform(args.platform)) if args.platform else root
            _write(read_document(origin, chosen), out)
        elif args.config:
            _config(args, origin, root, out)
        else:
            _summary(args, origin, root, out)


def _config(args: argparse.Namespace, origin: Origin, root: Descriptor, out: Output) -> None:
    from distore.errors import FailedPrecondition
    from distore.images.children import read_manifest
    from distore.oci.manifest import Manifest
    from distore.transfer.copy import narrowed

    chosen = narrowed(origin, root, flags.one_platform(args.platform))
    document = read_manifest(origin, chosen)
    if not isinstance(document, Manifest):
        raise FailedPrecondition(f"{origin.name}: has no config for one platform; choose one with --platform")
    _write(_config_bytes(origin, document), out)


def _summary(args: argparse.Namespace, origin: Origin, root: Descriptor, out: Output) -> None:
    from distore.errors import InvalidArgument
    from distore.images.children import read_manifest
    from distore.oci.manifest import Index

    document = read_manifest(origin, root)
    chosen = _chosen(args, origin, root)
    manifest = document if chosen in (None, root) else read_manifest(origin, chosen)
    layers = () if isinstance(manifest, Index) else manifest.layers
    about: Mapping[str, object] | None = None
    try:
        about = _about(origin, manifest)
    except InvalidArgument as error:  # the rest is worth to be seen
        out.error(error)
    images = _images(document)
    if out.as_json:
        out.record(
            "",
            name=origin.name,
            descriptor=root.to_json(),
            artifact_type=document.artifact_type,
            annotations=dict(document.annotations),
            images=images,
            manifest=None if chosen is None or isinstance(manifest, Index) else chosen.digest,
            config=about,
            layers=[layer.to_json() for layer in layers],
            size=sum(layer.size for layer in layers),
        )
        return
    _line(out, "name", origin.name)
    _line(out, "digest", root.digest)
    _line(out, "type", document.artifact_type or root.media_type)
    for name, text in (*_parts(document, images), *_lines(about or {})):
        _line(out, name, text)
    if not isinstance(manifest, Index):
        _layers(manifest, out)


def _images(document: Manifest | Index) -> list[dict[str, object]]:
    """What an index has."""
    from distore.images.children import is_attestation
    from distore.oci.manifest import Index

    if not isinstance(document, Index):
        return []
    return [
        {
            "digest": child.digest,
            "platform": str(child.platform) if child.platform else None,
            "attestation": is_attestation(child),
        }
        for child in document.manifests
    ]


def _chosen(args: argparse.Namespace, origin: Origin, root: Descriptor) -> Descriptor | None:
    """The manifest of one platform; None when there is none for this machine and no other is wanted."""
    from distore.errors import NotFound
    from distore.transfer.copy import narrowed

    try:
        return narrowed(origin, root, flags.one_platform(args.platform))
    except NotFound:
        if args.platform:
            raise
        return None


def _about(origin: Origin, manifest: Manifest | Index) -> dict[str, object] | None:
    """What the config says that people ask for; None for what is no image.

    Raises:
        InvalidArgument: The config is nonsense.
    """
    from distore.oci import mediatypes
    from distore.oci.manifest import Manifest, parse_config

    if not isinstance(manifest, Manifest) or not mediatypes.is_config(manifest.config.media_type):
        return None
    parsed = parse_config(_config_bytes(origin, manifest), subject=manifest.config.digest)
    document = parsed.document
    inner = document.get("config")
    run = inner if isinstance(inner, dict) else {}
    return {
        "platform": str(parsed.platform),
        "created": _text(document.get("created")),
        "author": _text(document.get("author")),
        "user": _text(run.get("User")),
        "working_dir": _text(run.get("WorkingDir")),
        "entrypoint": _texts(run.get("Entrypoint")),
        "cmd": _texts(run.get("Cmd")),
        "env": _texts(run.get("Env")) or [],
        "ports": _keys(run.get("ExposedPorts")),
        "volumes": _keys(run.get("Volumes")),
        "stop_signal": _text(run.get("StopSignal")),
        "labels": _pairs(run.get("Labels")),
    }


def _parts(document: Manifest | Index, images: list[dict[str, object]]) -> Iterator[tuple[str, str]]:
    for key, value in document.annotations.items():
        yield "annotation", f"{key}={value}"
    for image in images:
        kind = "attestation" if image["attestation"] else image["platform"] or "no platform"
        yield "image", f"{image['digest']}  {kind}"


def _lines(about: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Names and texts for people; what is not known is left out."""
    import json

    for key, value in about.items():
        if key in ("entrypoint", "cmd"):
            if value:
                yield key, json.dumps(value)  # where a word ends is to be seen
        elif isinstance(value, dict):
            yield from ((_ONE[key], f"{name}={text}") for name, text in value.items())
        elif isinstance(value, list):
            yield from ((_ONE[key], text) for text in value)
        elif value:
            yield _ONE.get(key, key), str(value)


def _layers(manifest: Manifest, out: Output) -> None:
    from distore.cli.output import human_size

    for layer in manifest.layers:
        _line(out, "layer", f"{layer.digest}  {human_size(layer.size)}")
    size, count = sum(layer.size for layer in manifest.layers), len(manifest.layers)
    _line(out, "size", f"{human_size(size)} in {count} layer{'' if count == 1 else 's'}")


def _line(out: Output, name: str, text: str) -> None:
    from distore.cli.output import printable

    out.line(f"{name.ljust(_WIDTH)} {printable(text)}")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> list[str] | None:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else None


def _keys(value: object) -> list[str]:
    return sorted(value) if isinstance(value, dict) else []


def _pairs(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _config_bytes(origin: Origin, manifest: Manifest) -> bytes:
    from distore.content.blobs import read_blob
    from distore.oci.manifest import MAX_CONFIG_SIZE

    return read_blob(origin, manifest.config.digest, max_size=MAX_CONFIG_SIZE)


def _write(data: bytes, out: Output) -> None:
    sink = out.stdout.buffer
    sink.write(data)
    sink.flush()
