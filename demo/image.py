"""A real multi-layer image out of what every machine with Python has: its standard library."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path

from distore.content import blobs
from distore.content.store import Ingester
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

LAYERS = 4
_LEFT_OUT = {"test", "tests", "site-packages", "idlelib", "__pycache__"}


def library_files() -> list[Path]:
    """Source files of the standard library, the same order on every run."""
    root = Path(sysconfig.get_path("stdlib"))
    return [path for path in sorted(root.rglob("*.py")) if not _LEFT_OUT & set(path.relative_to(root).parts)]


def layer(files: list[Path], root: Path) -> bytes:
    """A tar of ``files`` below usr/lib/python, owners and times left out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in files:
            member = tarfile.TarInfo(f"usr/lib/python/{path.relative_to(root)}")
            member.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(member, file)
    return buffer.getvalue()


def put(store: Ingester, data: bytes, media_type: str) -> Descriptor:
    """Keep a blob; its descriptor."""
    digest = blobs.write_blob(store, f"demo-{Digest.of(data)}", data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def build(store: Ingester) -> Mapping[str, Descriptor]:
    """Fill ``store``; the tags: ``latest`` is a schema-2 manifest, ``oci`` an OCI one, ``any`` an index."""
    root, files = Path(sysconfig.get_path("stdlib")), library_files()
    tars = [layer(files[number::LAYERS], root) for number in range(LAYERS)]
    packed = [gzip.compress(tar, 6, mtime=0) for tar in tars]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars],
        },
    }
    tags = {}
    families = {
        "latest": (mediatypes.DOCKER_MANIFEST, mediatypes.DOCKER_CONFIG, mediatypes.DOCKER_LAYER_GZIP),
        "oci": (mediatypes.OCI_MANIFEST, mediatypes.OCI_CONFIG, mediatypes.OCI_LAYER_GZIP),
    }
    for tag, (manifest_type, config_type, layer_type) in families.items():
        manifest = {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": put(store, json.dumps(config).encode(), config_type).to_json(),
            "layers": [put(store, data, layer_type).to_json() for data in packed],
        }
        tags[tag] = put(store, json.dumps(manifest, indent=2).encode(), manifest_type)
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [tags["oci"].to_json()]}
    tags["any"] = put(store, json.dumps(index, indent=2).encode(), mediatypes.OCI_INDEX)
    return tags
