"""A small image with a shell in it, and ``dist`` on a store that has it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.interop.conftest import DIST, program

# fmt: off
APPLETS = (
    "cat", "chmod", "chown", "date", "echo", "env", "false", "grep", "head", "hostname", "id", "ip", "kill",
    "ln", "ls", "mkdir", "mount", "ping", "ps", "pwd", "readlink", "rm", "sh", "sleep", "stat", "stty", "su",
    "test", "touch", "true", "tty", "umount", "uname", "wc", "whoami",
)
# fmt: on
PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
)
GROUP = "root:x:0:root\ntty:x:5:\napp:x:1000:\nvideo:x:44:app,root\nextra:x:2000:app\nnogroup:x:65534:\n"
CONFIG: dict[str, object] = {
    "Env": ["PATH=/usr/bin:/bin", "GREETING=hello"],
    "Cmd": ["sh", "-c", "echo $GREETING"],
    "WorkingDir": "/home/app",
}
RUNTIMES = ("runc", "crun")


def tar_of_busybox() -> bytes:
    """Two folders of programs, an account or two, and a folder that anybody may write to."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "", owner: int = 0) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname, info.size = kind, mode, link, len(data)
            info.uid = info.gid = owner
            tar.addfile(info, io.BytesIO(data))

        for name in ("bin", "etc", "root", "proc", "sys", "dev", "home", "usr", "usr/bin"):
            add(name, tarfile.DIRTYPE, 0o755)
        add("home/app", tarfile.DIRTYPE, 0o755, owner=1000)
        add("tmp", tarfile.DIRTYPE, 0o1777)
        add("bin/busybox", tarfile.REGTYPE, 0o755, Path(program("busybox")).read_bytes())
        add("bin/plain", tarfile.REGTYPE, 0o644, b"no program\n")
        for name in APPLETS:
            add(f"bin/{name}", tarfile.SYMTYPE, 0o777, link="busybox")
        add("etc/passwd", tarfile.REGTYPE, 0o644, PASSWD.encode())
        add("etc/group", tarfile.REGTYPE, 0o644, GROUP.encode())
    return out.getvalue()


def write_layout(
    folder: Path, *, name: str, config: dict[str, object], architecture: str | None = None
) -> None:
    """An OCI layout with the image, which says that it is for ``architecture``, or this machine's."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    plain = tar_of_busybox()
    layer = put(gzip.compress(plain, 1, mtime=0), "layer.v1.tar+gzip")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    diff_id = f"sha256:{hashlib.sha256(plain).hexdigest()}"
    document = {
        "architecture": architecture or machine,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(document).encode(), "config.v1+json"),
        "layers": [layer],
    }
    top = put(json.dumps(manifest).encode(), "manifest.v1+json")
    top["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


@dataclass(frozen=True)
class Dist:
    """``dist`` on one store; ``uid``: another user than us, who owns it."""

    store: Path
    uid: int | None = None

    def words(self, *words: object) -> list[str]:
        other = []
        if self.uid is not None:
            ids = [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
            other = [program("setpriv"), *ids]
        return [*other, str(DIST), "--root", str(self.store), *(str(word) for word in words)]

    def __call__(self, *words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words), input=stdin, capture_output=True, text=True, timeout=100, check=False
        )

    def out(self, *words: object) -> str:
        """Standard output of what must end well."""
        done = self(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout
