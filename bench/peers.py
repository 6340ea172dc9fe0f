"""What `dist` is measured beside: Debian's docker-registry, skopeo, containerd and curl; and an image."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import measure

sys.path.insert(0, str(Path(__file__).parents[1]))  # the wire is the one of the tests
from tests.interop.netns import Network

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NEEDED = ("docker-registry", "skopeo", "containerd", "ctr", "curl")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image as an OCI layout in ``folder``; blobs are config and layers, as (digest, bytes)."""

    name: str
    folder: Path
    blobs: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        return sum(size for _, size in self.blobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a registry listens, and how the bytes to and from it are counted."""

    address: str
    traffic: Callable[[], int]  # bytes so far, both ways


def _write(path: Path, size: int) -> tuple[str, str]:
    """A gzip file of ``size`` random bytes, not compressed; digests of it and of what is in it."""
    packed, plain = hashlib.sha256(), hashlib.sha256()
    pack = zlib.compressobj(0, wbits=31)  # skopeo would compress what does not look like gzip
    with path.open("wb") as file:
        for at in range(0, size, measure.MIB):
            data = os.urandom(min(measure.MIB, size - at))
            plain.update(data)
            piece = pack.compress(data)
            packed.update(piece)
            file.write(piece)
        piece = pack.flush()
        packed.update(piece)
        file.write(piece)
    return packed.hexdigest(), plain.hexdigest()


def make_image(folder: Path, name: str, sizes: Sequence[int]) -> Image:
    """An OCI layout with one image under the tag 1, whose layers have these sizes in bytes."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    found = []
    for size in sizes:
        found.append(_write(folder / "layer", size))
        (folder / "layer").rename(blobs / found[-1][0])
    return describe_image(folder, name, found)


def describe_image(folder: Path, name: str, layer_digests: Sequence[tuple[str, str]]) -> Image:
    """Make a layout of ``folder``, which has the layers; of each the hex digests, and of what is in it."""
    blobs = folder / "blobs" / "sha256"

    def described(kind: str, digest: str) -> dict[str, object]:
        size = (blobs / digest).stat().st_size
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}

    def put(kind: str, document: dict[str, object]) -> dict[str, object]:
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return described(kind, digest)

    layers = [described(LAYER, digest) for digest, _ in layer_digests]
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{plain}" for _, plain in layer_digests]}
    config = put(CONFIG, {"architecture": "amd64", "os": "linux", "rootfs": rootfs})
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    root = {**put(MANIFEST, document), "annotations": {"org.opencontainers.image.ref.name": "1"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    found = [
        (str(part["digest"]), (blobs / str(part["digest"])[7:]).stat().st_size) for part in (config, *layers)
    ]
    return Image(name=name, folder=folder, blobs=tuple(found))


def missing() -> list[str]:
    """The programs needed here that are not installed."""
    return [program for program in NEEDED if shutil.which(program) is None]


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server for the length of the block, in a session of its own: Ctrl-C is for the bench to handle."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: no answer within 30 s")
        time.sleep(0.02)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def registry(storage: Path, port: int, network: Network | None = None) -> Iterator[Place]:
    """docker-registry over ``storage``, on loopback or at the far end of ``network``."""
    address = f"{network.address if network else '127.0.0.1'}:{port}"
    with tempfile.TemporaryDirectory(prefix="distore-registry-") as folder:
        config = Path(folder) / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{address}'}}\n"
        )
        command = ["docker-registry", "serve", str(config)]
        if network:
            command = network.inside(*command)
        with started(command, Path(folder) / "log"):
            _await(lambda: _answers(f"http://{address}/v2/"), "docker-registry")
            yield Place(address=address, traffic=_traffic(network))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _traffic(network: Network | None) -> Callable[[], int]:
    if network:
        return lambda: network.received() + network.sent()
    # Whatever is sent on loopback is received there: one of the two counts both ways.
    return lambda: int(Path("/sys/class/net/lo/statistics/rx_bytes").read_text())


@dataclass(frozen=True, slots=True, kw_only=True)
class Containerd:
    """A containerd of our own."""

    pid: int
    address: Path

    def command(self, *words: str) -> list[str]:
        """``ctr`` that talks to it."""
        return ["ctr", "--address", str(self.address), "--namespace", "bench", *words]

    def cpu(self) -> float:
        """Seconds of CPU it has taken."""
        # The name in parentheses may hold anything; utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak(self) -> int:
        """The most memory it has had resident, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def containerd(folder: Path) -> Iterator[Containerd]:
    """An empty containerd, all of it in ``folder``, with nothing but content to do."""
    address = folder / "c.sock"
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",'
        ' "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]\n'
        f'[grpc]\naddress = "{address}"\n[ttrpc]\naddress = "{address}.ttrpc"\n'
    )
    with started(["containerd", "--config", str(config)], folder / "log") as process:
        peer = Containerd(pid=process.pid, address=address)
        _await(lambda: _succeeds(peer.command("version")), "containerd")
        yield peer


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def curl(place: Place, image: Image, folder: Path) -> list[str]:
    """Four curl at once that throw every blob away: what the network and the registry can do."""
    shares: list[list[str]] = [[], [], [], []]
    loads = [0, 0, 0, 0]
    for digest, size in sorted(image.blobs, key=lambda blob: -blob[1]):
        least = loads.index(min(loads))
        loads[least] += size
        url = f"http://{place.address}/v2/bench/{image.name}/blobs/{digest}"
        shares[least].append(f'url = "{url}"\noutput = "/dev/null"\n')
    words = []
    for number, share in enumerate(shares):
        file = folder / f"curl-{number}"
        file.write_text("".join(share))
        words.append(f"curl -sfK {file} & p{number}=$!")
    waits = " && ".join(f"wait $p{number}" for number in range(len(shares)))
    return ["sh", "-c", "\n".join([*words, waits])]
