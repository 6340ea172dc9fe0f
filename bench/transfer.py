"""How long does a whole image take, to the store and back, beside skopeo, ctr and curl?

``--rounds N`` runs of each (3), ``--delay MS`` of round trip for the rows with a network (20), ``--scale F``
to make the large image smaller.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import measure
import peers
from peers import Image, Place

# isort: split
# After peers, which puts the tests on the path.
from tests.interop import netns

MB = 1_000_000
LARGE = (500, 300, 220, 180, 120, 90)  # MB
SMALL = (20_000,) * 50  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Seconds by the clock and of CPU; the largest process and the traffic in bytes."""

    seconds: float
    cpu: float
    peak: int
    traffic: int


# What is measured: the registry, the image, and an empty folder of its own.
Contender = Callable[[Place, Image, Path], Run]


def timed(command: Sequence[str], place: Place) -> Run:
    """Run it; output is thrown away, complaints are not."""
    before = place.traffic()
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:  # Ctrl-C
            process.kill()
            process.wait()
    if process.returncode:
        raise SystemExit(f"{command}: exit status {process.returncode}")
    return Run(
        seconds=seconds,
        cpu=usage.ru_utime + usage.ru_stime,
        peak=usage.ru_maxrss * 1024,
        traffic=place.traffic() - before,
    )


def whole(blobs: Path, image: Image) -> None:
    """End the bench if a blob of the image is not there with its size."""
    for digest, size in image.blobs:
        path = blobs / "sha256" / digest.removeprefix("sha256:")
        if not path.exists() or path.stat().st_size != size:
            raise SystemExit(f"{path}: missing, or not of {size} bytes")


def dist_pull(place: Place, image: Image, folder: Path) -> Run:
    run = timed([*dist("pull", place, image), "--root", str(folder / "store")], place)
    whole(folder / "store" / "blobs", image)
    return run


def skopeo_pull(place: Place, image: Image, folder: Path) -> Run:
    source, target = f"docker://{place.address}/bench/{image.name}:1", f"oci:{folder}/layout:1"
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", source, target]
    run = timed(copy, place)
    whole(folder / "layout" / "blobs", image)
    return run


def ctr_pull(place: Place, image: Image, folder: Path) -> Run:
    """The CPU time of both processes; the sum of their peaks."""
    with peers.containerd(folder) as daemon:
        before = daemon.cpu()
        fetch = ("content", "fetch", "--plain-http", f"{place.address}/bench/{image.name}:1")
        run = timed(daemon.command(*fetch), place)
        whole(folder / "root" / "io.containerd.content.v1.content" / "blobs", image)
        return Run(
            seconds=run.seconds,
            cpu=run.cpu + daemon.cpu() - before,
            peak=run.peak + daemon.peak(),
            traffic=run.traffic,
        )


def curl_pull(place: Place, image: Image, folder: Path) -> Run:
    return timed(peers.curl(place, image, folder), place)


def skopeo_push(place: Place, image: Image, folder: Path) -> Run:
    return timed(skopeo_to(place, image), place)


def skopeo_to(place: Place, image: Image) -> list[str]:
    source, target = f"oci:{image.folder}:1", f"docker://{place.address}/bench/{image.name}:1"
    return ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", source, target]


def dist(verb: str, place: Place, image: Image) -> list[str]:
    return [*measure.DIST, verb, f"{place.address}/bench/{image.name}:1", "--plain-http", "--quiet"]


def has(verb: str) -> bool:
    """Whether this `dist` knows the verb; says so if not."""
    known = subprocess.run([*measure.DIST, verb, "--help"], capture_output=True, check=False).returncode == 0
    if not known:
        print(f"no `dist {verb}` yet: its rows are left out", file=sys.stderr)
    return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run of this file: ``base`` is its folder, ``filled`` holds the registry with the images."""

    base: Path
    rounds: int
    port: int

    @property
    def filled(self) -> Path:
        return self.base / "filled"

    def pull(self, image: Image, network: netns.Network | None) -> dict[str, list[Run]]:
        """All that can pull, from one registry."""
        contenders: dict[str, Contender] = {}
        if has("pull"):
            contenders["`dist pull`"] = dist_pull
        contenders["`skopeo copy docker: oci:`"] = skopeo_pull
        contenders["`ctr content fetch`"] = ctr_pull
        contenders["4 `curl` to /dev/null"] = curl_pull

        @contextmanager
        def same() -> Iterator[Place]:
            yield place

        with peers.registry(self.filled, self.port, network) as place:
            return self._alternate(contenders, image, same)

    def push(self, image: Image, network: netns.Network | None) -> dict[str, list[Run]]:
        """All that can push, each time into a registry that has nothing."""
        contenders: dict[str, Contender] = {}
        store = self.base / "store"
        if has("push"):
            # Pulled from the address it is pushed to later: one name will do, whatever is listening.
            with peers.registry(self.filled, self.port, network) as place:
                timed([*dist("pull", place, image), "--root", str(store)], place)

            def dist_push(place: Place, image: Image, folder: Path) -> Run:
                return timed([*dist("push", place, image), "--root", str(store)], place)

            contenders["`dist push`"] = dist_push
        contenders["`skopeo copy oci: docker:`"] = skopeo_push

        @contextmanager
        def fresh() -> Iterator[Place]:
            storage = self.base / "fresh"
            try:
                with peers.registry(storage, self.port, network) as place:
                    yield place
            finally:
                shutil.rmtree(storage, ignore_errors=True)

        try:
            return self._alternate(contenders, image, fresh)
        finally:
            shutil.rmtree(store, ignore_errors=True)

    def _alternate(
        self,
        contenders: Mapping[str, Contender],
        image: Image,
        place: Callable[[], AbstractContextManager[Place]],
    ) -> dict[str, list[Run]]:
        """Each in turn, once a round; the first round only warms up."""
        runs: dict[str, list[Run]] = {name: [] for name in contenders}
        for number in range(self.rounds + 1):
            for name, contender in contenders.items():
                folder = self.base / "run"
                folder.mkdir()
                with place() as at:
                    os.sync()  # nobody pays for what another left to be written
                    run = contender(at, image, folder)
                shutil.rmtree(folder)
                if number:
                    runs[name].append(run)
        return runs


def memory(size: int) -> str:
    """As text; the kernel counts this process into what it starts, so less than that is not seen."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"{'at most ' if size <= own else ''}{size / measure.MIB:.0f} MiB"


def show(title: str, runs: Mapping[str, Sequence[Run]]) -> None:
    """A table of medians; the first row is what the others are compared with."""

    def middle(name: str, what: Callable[[Run], float]) -> float:
        return statistics.median(what(run) for run in runs[name])

    first = middle(next(iter(runs)), lambda run: run.seconds)
    measure.table(
        title,
        ("command", "median s", "from - to s", "first row / this", "CPU s", "peak memory", "traffic, about"),
        [
            (
                name,
                f"{middle(name, lambda run: run.seconds):.2f}",
                f"{min(run.seconds for run in found):.2f} - {max(run.seconds for run in found):.2f}",
                f"{first / middle(name, lambda run: run.seconds):.2f}",
                f"{middle(name, lambda run: run.cpu):.2f}",
                memory(max(run.peak for run in found)),
                f"{middle(name, lambda run: run.traffic) / MB:.1f} MB",
            )
            for name, found in runs.items()
        ],
    )


def measure_all(bench: Bench, scale: float, delay: float) -> None:
    large = peers.make_image(bench.base / "large", "large", [int(mb * scale * MB) for mb in LARGE])
    small = peers.make_image(bench.base / "small", "small", SMALL)
    with peers.registry(bench.filled, bench.port) as place:
        for image in (large, small):
            subprocess.run(skopeo_to(place, image), check=True)

    def tables(network: netns.Network | None, where: str) -> None:
        after = f"{where}, {bench.rounds} alternating runs"
        for image in (large, small):
            what = f"of {image.size / MB:,.0f} MB in {len(image.blobs)} blobs"
            show(f"Pull {what}, {after}", bench.pull(image, network))
            show(f"Push {what}, {after}", bench.push(image, network))

    tables(None, "loopback")
    if not delay:
        return
    if not netns.possible():
        print("the rows with a network are left out: they need root and /dev/net/tun", file=sys.stderr)
        return
    with netns.network(delay=delay / 1000) as network:
        tables(network, f"{delay:g} ms of round trip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, default=20, metavar="MS")
    parser.add_argument("--scale", type=float, default=1, metavar="F")
    args = parser.parse_args()
    if absent := peers.missing():
        print(f"transfer is left out: not installed: {', '.join(absent)}", file=sys.stderr)
        return
    # SIGTERM as Ctrl-C: every `with` block ends, and with it what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with measure.scratch() as folder:
            bench = Bench(base=Path(folder), rounds=args.rounds, port=peers.free_port())
            measure_all(bench, args.scale, args.delay)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
