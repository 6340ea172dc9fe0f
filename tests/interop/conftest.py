"""Peers from Debian's packages: a registry with a real image in it, and a containerd."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interop.rootfs_images import RealImage

LAYERS = 5
LAYER_SIZE = 90_000_000  # bytes of files in each layer, before compression
DIST = Path(__file__).parents[2] / "dist"


def program(name: str) -> str:
    """The path of a peer; without it CI fails, others skip."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing; .ci/run installs it")
        pytest.skip(f"{name} is not installed")
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def eventually(check: Callable[[], bool], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Registry:
    """A running docker-registry; ``layers`` are (digest, size) of its image."""

    host: str
    hosts_dir: Path
    layers: tuple[tuple[str, int], ...]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DIST_HOSTS_DIR": str(self.hosts_dir)}


def package_files() -> Iterator[Path]:
    """Regular files of the largest Debian packages that are installed here."""
    query = ["dpkg-query", "-W", "-f=${Installed-Size} ${Package}:${Architecture}\n"]
    found = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    for line in sorted(found, key=lambda line: -int(line.split()[0] or 0)):
        package = line.split()[1]
        listed = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True, check=False)
        for name in listed.stdout.splitlines():
            path = Path(name)
            if path.is_file() and not path.is_symlink():
                yield path


def write_layout(folder: Path) -> None:
    """An OCI layout with one image whose layers hold the files of Debian packages."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> tuple[str, int]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return f"sha256:{digest}", len(data)

    files = package_files()
    layers, diff_ids = [], []
    for number in range(LAYERS):
        path = folder / f"layer-{number}"
        size = 0
        with tarfile.open(path, "w") as tar:
            for file in files:
                tar.add(file, arcname=str(file).lstrip("/"), recursive=False)
                size += file.stat().st_size
                if size >= LAYER_SIZE:
                    break
        data = path.read_bytes()
        path.unlink()
        diff_ids.append(f"sha256:{hashlib.sha256(data).hexdigest()}")
        digest, length = put(gzip.compress(data, 1, mtime=0))
        media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
        layers.append({"mediaType": media_type, "digest": digest, "size": length})
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    digest, length = put(json.dumps(config).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": length},
        "layers": layers,
    }
    digest, length = put(json.dumps(manifest).encode())
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": manifest["mediaType"],
                "digest": digest,
                "size": length,
                "annotations": {"org.opencontainers.image.ref.name": "latest"},
            }
        ],
    }
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Debian's docker-registry, filled by Debian's skopeo, standing in for docker.io."""
    server, skopeo = program("docker-registry"), program("skopeo")
    base = tmp_path_factory.mktemp("registry")
    port = free_port()
    (base / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {base}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    write_layout(base / "layout")
    log = (base / "log").open("wb")
    process = subprocess.Popen([server, "serve", str(base / "config.yml")], stdout=log, stderr=log)
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/v2/"), "docker-registry's first answer")
        target = f"docker://127.0.0.1:{port}/library/redis:latest"
        copy = [skopeo, "copy", "-q", "--format", "v2s2", "--dest-tls-verify=false"]
        subprocess.run([*copy, f"oci:{base}/layout:latest", target], check=True, timeout=300)
        shutil.rmtree(base / "layout")
        hosts = base / "hosts"
        (hosts / "docker.io").mkdir(parents=True)
        (hosts / "docker.io" / "hosts.toml").write_text(f'server = "http://127.0.0.1:{port}"\n')
        raw = subprocess.run(
            [skopeo, "inspect", "--raw", "--tls-verify=false", target], capture_output=True, check=True
        )
        layers = tuple((layer["digest"], layer["size"]) for layer in json.loads(raw.stdout)["layers"])
        yield Registry(host=f"127.0.0.1:{port}", hosts_dir=hosts, layers=layers)
    finally:
        stop(process)
        log.close()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with ``./dist`` in it, as the lines of 2017 want."""
    (tmp_path / "dist").symlink_to(DIST)
    return tmp_path


@dataclass(frozen=True)
class Containerd:
    """A containerd of our own; ``content`` is the root of its local content plugin."""

    socket: Path
    content: Path

    def ctr(self, *words: str, stdin: Path = Path(os.devnull)) -> subprocess.CompletedProcess[bytes]:
        """Run ctr with a file as its input."""
        command = [program("ctr"), "--address", str(self.socket), "--namespace", "test", *words]
        with stdin.open("rb") as source:
            return subprocess.run(command, stdin=source, capture_output=True, timeout=60, check=False)


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[Containerd]:
    """Debian's containerd on a socket of its own, with nothing but content to do."""
    daemon = program("containerd")
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")
    root, state, address = tmp_path / "root", tmp_path / "state", tmp_path / "c.sock"
    (tmp_path / "config.toml").write_text(
        f'version = 2\nroot = "{root}"\nstate = "{state}"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",'
        ' "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]\n'
        # A blob that nothing refers to is garbage to containerd; here it shall stay.
        '[plugins."io.containerd.gc.v1.scheduler"]\nstartup_delay = "24h"\nmutation_threshold = 1000000\n'
        f'[grpc]\naddress = "{address}"\n[ttrpc]\naddress = "{address}.ttrpc"\n'
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [daemon, "--config", str(tmp_path / "config.toml")], stdout=log, stderr=log
        )
        peer = Containerd(address, root / "io.containerd.content.v1.content")
        try:
            eventually(lambda: peer.ctr("version").returncode == 0, "containerd's first answer")
            yield peer
        finally:
            stop(process)


@pytest.fixture(scope="session")
def real_image(tmp_path_factory: pytest.TempPathFactory) -> RealImage:
    """A real root filesystem in six layers; the first test that wants it waits a minute or two."""
    from tests.interop import rootfs_images

    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    return rootfs_images.build(tmp_path_factory.mktemp("rootfs"))
