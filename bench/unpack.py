"""How long until an image is files, out of a store and out of a registry, beside umoci, tar, ctr and podman?

``--rounds N`` runs of each (3), ``--scale F`` to make the images smaller, ``--only one|large|pull``,
``--match TEXT`` for the commands that have it in their names, ``--images DIR`` to keep the images there
(making them takes minutes) and to take those that it has.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import measure
import peers
import rootfs
import transfer
from transfer import MB

# Bytes of files in the layers; compressed it is 0.56 of that: the blobs of transfer.LARGE.
LARGE = tuple(int(mb * 1.774) for mb in transfer.LARGE)  # MB
ONE = (355,)  # MB
NEEDED = ("umoci", "skopeo", "containerd", "ctr", "podman", "docker-registry", "tar", "mkfs.ext4")
DISK_SIZE = 30_000_000_000  # bytes; only what is written to is taken
PARTS = ("one", "large", "pull")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds by the clock and of CPU, the largest process in bytes, and seconds that a sync takes then."""

    seconds: float
    cpu: float
    peak: int
    sync: float = 0


# What is measured; it is given an empty folder of its own and makes ready before it starts the clock.
Contender = Callable[[Path], Cost]


def timed(command: Sequence[str], env: Mapping[str, str] | None = None) -> Cost:
    """Run it, and what it starts; output is thrown away."""
    os.sync()  # nobody pays for what another left to be written
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )
    try:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:  # Ctrl-C
            process.kill()
            process.wait()
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)}: exit status {process.returncode}")
    return Cost(seconds=seconds, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024)


def quietly(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def with_daemon(daemon: peers.Containerd, words: Sequence[str]) -> Cost:
    """A run of ctr: the CPU of both processes, the sum of their peaks."""
    before = daemon.cpu()
    cost = timed(daemon.command(*words))
    return replace(cost, cpu=cost.cpu + daemon.cpu() - before, peak=cost.peak + daemon.peak())


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacking:
    """An image in a layout, and the ways from there to files."""

    image: peers.Image

    @property
    def source(self) -> str:
        return f"{self.image.folder}:1"

    @property
    def name(self) -> str:
        return f"r.example/{self.image.name}:1"

    def contenders(self) -> dict[str, Contender]:
        raw = ["umoci", "raw", "unpack", "--image", self.source]
        bundle = ["umoci", "unpack", "--image", self.source]
        overlay, native = ("unpack", "--snapshotter", "overlayfs"), ("unpack", "--snapshotter", "native")
        return {
            "`dist unpack`, overlayfs": lambda folder: self.dist(folder, *overlay),
            "`dist unpack --no-sync`, overlayfs": lambda folder: self.dist(folder, *overlay, "--no-sync"),
            "`dist unpack`, native": lambda folder: self.dist(folder, *native),
            "`dist rootfs`": lambda folder: self.dist(folder, "rootfs"),
            "`umoci unpack`": lambda folder: timed([*bundle, f"{folder}/bundle"]),
            "`umoci raw unpack`": lambda folder: timed([*raw, f"{folder}/rootfs"]),
            "GNU `tar -xz`, layer by layer": self.tar,
            "`ctr snapshot unpack`, overlayfs": self.ctr,
            "`podman pull oci:`, overlay": self.podman,
        }

    def dist(self, folder: Path, verb: str, *words: str) -> Cost:
        """It syncs what it unpacks, unless told not to; the others do not."""
        store = ["--root", str(folder / "store")]
        taken = ["import", str(self.image.folder), "--base-name", self.name.rpartition(":")[0], "-q"]
        quietly([*measure.DIST, *taken, *store])
        target = [f"{folder}/rootfs"] if verb == "rootfs" else []
        return timed([*measure.DIST, verb, *words, self.name, *target, "-q", *store])

    def tar(self, folder: Path) -> Cost:
        """Whiteouts stay files; there are none in this image."""
        layers = [f"{self.image.folder}/blobs/sha256/{digest[7:]}" for digest, _ in self.image.blobs[1:]]
        (folder / "rootfs").mkdir()
        extract = f"tar -C {shlex.quote(str(folder))}/rootfs --numeric-owner -xzpf"
        return timed(["sh", "-ec", "\n".join(f"{extract} {shlex.quote(layer)}" for layer in layers)])

    def ctr(self, folder: Path) -> Cost:
        archive = folder / "image.tar"
        quietly(["tar", "-C", str(self.image.folder), "-cf", str(archive), "."])
        with peers.containerd(folder) as daemon:
            base = ("--base-name", self.name.rpartition(":")[0])
            quietly(daemon.command("image", "import", "--no-unpack", *base, str(archive)))
            archive.unlink()
            root = json.loads((self.image.folder / "index.json").read_text())["manifests"][0]["digest"]
            return with_daemon(daemon, ("snapshot", "--snapshotter", "overlayfs", "unpack", root))

    def podman(self, folder: Path) -> Cost:
        """It writes the compressed layers aside first."""
        return timed(podman(folder, "pull", "-q", f"oci:{self.source}"), env={"TMPDIR": str(folder)})


def podman(folder: Path, *words: str) -> list[str]:
    places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "overlay"]
    return ["podman", *places, *words]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulling:
    """An image in a registry, and the ways from there to files."""

    address: str
    image: peers.Image

    @property
    def name(self) -> str:
        return f"{self.address}/bench/{self.image.name}:1"

    def contenders(self) -> dict[str, Contender]:
        return {
            "`dist pull --unpack`, overlayfs": self.dist,
            "`ctr images pull`, overlayfs": self.ctr,
            "`podman pull`, overlay": self.podman,
            "`skopeo copy` and `umoci unpack`": self.skopeo,
        }

    def dist(self, folder: Path) -> Cost:
        words = ["pull", "--unpack", "--snapshotter", "overlayfs", "--plain-http", "-q", self.name]
        return timed([*measure.DIST, *words, "--root", f"{folder}/store"])

    def ctr(self, folder: Path) -> Cost:
        with peers.containerd(folder) as daemon:
            return with_daemon(
                daemon, ("images", "pull", "--plain-http", "--snapshotter", "overlayfs", self.name)
            )

    def podman(self, folder: Path) -> Cost:
        words = ("pull", "-q", "--tls-verify=false", f"docker://{self.name}")
        return timed(podman(folder, *words), env={"TMPDIR": str(folder)})

    def skopeo(self, folder: Path) -> Cost:
        layout = shlex.quote(f"{folder}/layout:1")
        copy = f"skopeo --insecure-policy copy -q --src-tls-verify=false docker://{self.name} oci:{layout}"
        unpack = f"umoci unpack --image {layout} {shlex.quote(str(folder))}/bundle"
        return timed(["sh", "-ec", f"{copy}\n{unpack}"])


@contextmanager
def new_disk(base: Path) -> Iterator[Path]:
    """An ext4 that nothing was ever deleted on: a file that is made where another one was deleted within
    five minutes costs it many times as much, and the device may take minutes to discard what was there."""
    image, folder = base / "disk", base / "run"
    folder.mkdir(exist_ok=True)
    if not image.exists():
        image.touch()
        os.truncate(image, DISK_SIZE)
    quietly(["mkfs.ext4", "-q", "-F", "-m0", "-E", "nodiscard,lazy_itable_init=1", str(image)])
    loop = subprocess.run(
        ["losetup", "--direct-io=on", "--show", "-f", str(image)], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        quietly(["mount", "-o", "nodiscard,noinit_itable", loop, str(folder)])
        try:
            yield folder
        finally:
            # podman leaves its overlay folder mounted within.
            quietly(["umount", "--recursive", str(folder)])
    finally:
        quietly(["losetup", "-d", loop])


def alternate(contenders: Mapping[str, Contender], base: Path, rounds: int) -> dict[str, list[Cost]]:
    """Each in turn, once a round; the first round only warms up, and leaves out who cannot."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name in list(costs):
            with new_disk(base) as folder:
                try:
                    cost = contenders[name](folder)
                except SystemExit as error:
                    if number:
                        raise
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    del costs[name]
                    continue
                started = time.perf_counter()
                os.sync()
                cost = replace(cost, sync=time.perf_counter() - started)
            if number:
                costs[name].append(cost)
    return costs


def show(title: str, costs: Mapping[str, Sequence[Cost]]) -> None:
    """A table of medians; the first row is what the others are compared with."""

    def middle(name: str, what: Callable[[Cost], float]) -> float:
        return statistics.median(what(cost) for cost in costs[name])

    first = middle(next(iter(costs)), lambda cost: cost.seconds)
    measure.table(
        title,
        (
            "command",
            "median s",
            "from - to s",
            "first row / this",
            "CPU s",
            "peak memory",
            "then sync s",
        ),
        [
            (
                name,
                f"{middle(name, lambda cost: cost.seconds):.2f}",
                f"{min(cost.seconds for cost in found):.2f} - {max(cost.seconds for cost in found):.2f}",
                f"{first / middle(name, lambda cost: cost.seconds):.2f}",
                f"{middle(name, lambda cost: cost.cpu):.2f}",
                transfer.memory(max(cost.peak for cost in found)),
                f"{middle(name, lambda cost: cost.sync):.2f}",
            )
            for name, found in costs.items()
        ],
    )


def image_in(folder: Path, name: str, files: Sequence[int]) -> peers.Image:
    """The image that was kept there, or a new one."""
    if not (folder / "index.json").exists():
        return rootfs.make_image(folder, name, files)
    blobs = folder / "blobs" / "sha256"

    def read(entry: dict[str, str]) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads((blobs / entry["digest"][7:]).read_text()))

    manifest = read(json.loads((folder / "index.json").read_text())["manifests"][0])
    found = [(part["digest"], part["size"]) for part in (manifest["config"], *manifest["layers"])]
    return peers.Image(name=name, folder=folder, blobs=tuple(found))


def measure_all(base: Path, args: argparse.Namespace) -> None:
    images, parts, rounds, scale = args.images or base, args.only or PARTS, args.rounds, args.scale
    after = f"{rounds} alternating runs"

    def compared(found: Mapping[str, Contender]) -> dict[str, list[Cost]]:
        wanted = [name for name in found if any(text in name for text in args.match or [""])]
        return alternate({name: found[name] for name in wanted}, base, rounds)

    for part, name, sizes in (("one", "one", ONE), ("large", "large", LARGE)):
        if part not in parts and not (part == "large" and "pull" in parts):
            continue
        files = [int(mb * scale * MB) for mb in sizes]
        image = image_in(images / f"{name}-{scale:g}", name, files)
        what = f"{image.size / MB:,.0f} MB in {len(files)} layers, {sum(files) / MB:,.0f} MB of files"
        if part in parts:
            show(f"Unpack of {what}, {after}", compared(Unpacking(image=image).contenders()))
        if part == "large" and "pull" in parts:
            with registry_with(image, base) as pulling:
                show(f"Pull and unpack of {what}, {after}", compared(pulling.contenders()))


@contextmanager
def registry_with(image: peers.Image, base: Path) -> Iterator[Pulling]:
    with peers.registry(base / "filled", peers.free_port()) as place:
        quietly(transfer.skopeo_to(place, image))
        yield Pulling(address=place.address, image=image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1, metavar="F")
    parser.add_argument("--only", choices=PARTS, action="append", metavar="PART")
    parser.add_argument("--match", action="append", metavar="TEXT")
    parser.add_argument("--images", type=Path, metavar="DIR")
    args = parser.parse_args()
    if absent := [program for program in NEEDED if shutil.which(program) is None]:
        print(f"unpack is left out: not installed: {', '.join(absent)}", file=sys.stderr)
        return
    if os.geteuid() != 0:
        print("unpack is left out: owners and overlays need root", file=sys.stderr)
        return
    with measure.scratch() as folder:
        measure_all(Path(folder), args)


if __name__ == "__main__":
    main()
