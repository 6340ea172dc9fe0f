"""``dist serve`` with a gate before it, as a program."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.conftest import stop

PASSWORDS = {"ann": "interop-secret", "bob": "other-secret"}
RULES = """
[auth.groups]
ci = ["bob"]

[[auth.rule]]
repositories = ["team/**", "public/**"]
users = ["ann"]

[[auth.rule]]
repositories = ["team/**"]
users = ["@ci"]
actions = ["pull"]

[[auth.rule]]
repositories = ["public/**"]
users = ["anonymous"]
actions = ["pull"]
"""


@contextmanager
def serving(folder: Path, text: str) -> Iterator[str]:
    """The registry with a configuration, on a free port; its ``host:port``."""
    folder.mkdir(exist_ok=True)
    (folder / "serve.toml").write_text(f'listen = ["127.0.0.1:0"]\n{text}')
    command = [sys.executable, "-m", "distore", "--root", str(folder / "store"), "serve", "--json"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config", str(folder / "serve.toml")], stdout=subprocess.PIPE, stderr=log
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            yield str(json.loads(line)["addresses"][0])
        finally:
            stop(process)
            assert process.stdout is not None
            process.stdout.close()


def write_users(htpasswd: str, path: Path) -> None:
    """As Apache's program writes them."""
    for number, (user, password) in enumerate(PASSWORDS.items()):
        made = ["-c"] if number == 0 else []
        subprocess.run([htpasswd, "-bB", *made, path, user, password], check=True, capture_output=True)


def write_layout(folder: Path, data: bytes = b"content\n") -> None:
    """An OCI layout with one small image, called latest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(media_type: str, data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        kind = f"application/vnd.oci.image.{media_type}"
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    diff_id = f"sha256:{hashlib.sha256(packed.getvalue()).hexdigest()}"
    layer = put("layer.v1.tar+gzip", gzip.compress(packed.getvalue(), mtime=0))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    described = put("config.v1+json", json.dumps(config).encode())
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": [layer]}
    entry_of = put("manifest.v1+json", json.dumps(manifest).encode())
    entry_of["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry_of]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def environment(home: Path) -> dict[str, str]:
    """Of a client without logins of its own."""
    kept = ("PATH", "LANG", "TMPDIR", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(home)}
