"""A store with images whose files are looked at, and ``dist`` on it in this process."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.diff.applied_trees import layer, member
from tests.unit.transfer.ends_images import manifest_of, put
from tests.unit.unpack.layered import put_image

from distore.app import App
from distore.cli.main import main
from distore.config import Config
from distore.oci import mediatypes

BASE = layer(
    member("etc", tarfile.DIRTYPE, mode=0o755, mtime=100),
    member("etc/passwd", data=b"root\n", mode=0o644, mtime=200, uid=0),
    member("etc/shadow", data=b"secret\n", mode=0o600, mtime=200, gid=42),
    member("etc/mtab", tarfile.SYMTYPE, "/proc/mounts", mtime=200),
    member("bin", tarfile.SYMTYPE, "usr/bin"),
    member("usr/bin/su", data=b"#!su", mode=0o4755, mtime=300),
    member("usr/bin/su2", tarfile.LNKTYPE, "usr/bin/su"),
    member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
    member("up", tarfile.SYMTYPE, "../../../../etc"),
)
TOP = layer(
    member("etc/.wh.mtab"),
    member("etc/passwd", data=b"root\nweb\n", mode=0o644, mtime=400),
    member("srv/a\x1b[31m", data=b"odd name", mtime=500),
)
OTHER = layer(
    member("etc/.wh.mtab"),
    member("etc/passwd", data=b"root\ndb0\n", mode=0o644, mtime=400),
    member("opt/new", data=b"12345", mtime=500),
    member("etc/shadow", data=b"secret\n", mode=0o640, mtime=200, gid=42),
)


@dataclass
class Dist:
    """``dist`` on the store; what it wrote is kept apart."""

    root: Path
    capture: pytest.CaptureFixture[bytes]

    def __call__(self, *words: str, status: int = 0) -> str:
        return self.raw(*words, status=status).decode()

    def raw(self, *words: str, status: int = 0) -> bytes:
        self.capture.readouterr()
        found = main([*words, "--root", str(self.root)])
        out, error = self.capture.readouterr()
        self.error = error.decode()
        assert found == status, self.error
        return out

    def records(self, *words: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self("--json", *words).splitlines()]


def fill(root: Path) -> None:
    app = App(Config(root=str(root)))
    content = app.content
    app.images.put("docker.io/library/app:1", put_image(content, BASE, TOP))
    app.images.put("docker.io/library/app:2", put_image(content, BASE, OTHER))
    config = put(content, b"{}", "application/vnd.example.config")
    artifact = put(content, manifest_of(config, []), mediatypes.OCI_MANIFEST)
    app.images.put("docker.io/library/artifact:1", artifact)
    app.close()
