"""`dist serve` beside Debian's docker-registry: throughput, small things, crowds, memory, start.

``--rounds N`` runs of each (3), ``--scale F`` to make the large image smaller, ``--only NAME...`` for some of
pull push crowd small manifests memory start.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import measure
from servers import SERVERS, Server, debian, dist
from wire import Wire, begin_push, push_blob, push_small, put_manifest

MB = 1_000_000
LARGE = (500, 300, 220, 180, 120, 80)  # MB
CROWD = 16  # clients at once
CROWD_SIZE = 60  # MB for each of them
SMALL, SMALL_SIZE, SMALL_CLIENTS = 5000, 8_000, 8
MANY = 200  # transfers at once
MANY_SIZE = 64 * MB
WRK_SECONDS = 5
REPOSITORY = "bench/app"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

Blob = tuple[str, Path]


class Bench:
    """One run: ``base`` is its folder."""

    def __init__(self, base: Path, rounds: int, scale: float) -> None:
        self._base = base
        self._rounds = rounds
        self._number = 0
        self._scale = scale
        self.large = self._blobs("large", [int(size * MB * scale) for size in LARGE])
        self.rows: list[tuple[str, str, float, float, bool]] = []

    def pull(self) -> None:
        """One client gets all blobs of the large image; then 16 get one each."""
        size = _size(self.large)

        def one(server: Server) -> float:
            with Wire(server.address) as wire:
                return _timed(lambda: _get_all(wire, self.large))

        self._alternate("1 client pulls the image", size, one, self.large)

    def push(self) -> None:
        """One client pushes all blobs of the large image."""

        def one(server: Server) -> float:
            with Wire(server.address) as wire:

                def run() -> None:
                    for digest, file in self.large:
                        push_blob(wire, REPOSITORY, digest, file)
                    put_manifest(wire, REPOSITORY, "1", manifest(self.large))

                return _timed(run)

        self._alternate("1 client pushes the image", _size(self.large), one, ())

    def crowd(self) -> None:
        """16 clients at once."""
        blobs = self._blobs("crowd", [CROWD_SIZE * MB] * CROWD)

        def pull(server: Server) -> float:
            return _together(
                CROWD, lambda number: _with_wire(server, lambda wire: _get_all(wire, [blobs[number]] * 2))
            )

        def push(server: Server) -> float:
            return _together(
                CROWD,
                lambda number: _with_wire(server, lambda wire: push_blob(wire, REPOSITORY, *blobs[number])),
            )

        self._alternate(f"{CROWD} clients push {CROWD_SIZE} MB each", _size(blobs), push, ())
        self._alternate(f"{CROWD} clients pull {2 * CROWD_SIZE} MB each", 2 * _size(blobs), pull, blobs)

    def small(self) -> None:
        """5,000 small blobs."""
        number_of = int(SMALL * min(1.0, self._scale))
        data = [os.urandom(SMALL_SIZE) for _ in range(number_of)]
        named = [(f"sha256:{hashlib.sha256(one).hexdigest()}", one) for one in data]

        def push(server: Server) -> float:
            def some(number: int) -> None:
                with Wire(server.address) as wire:
                    for digest, one in named[number::SMALL_CLIENTS]:
                        push_small(wire, REPOSITORY, digest, one)

            return _together(SMALL_CLIENTS, some)

        def pull(server: Server) -> float:
            def some(number: int) -> None:
                with Wire(server.address) as wire:
                    for digest, _ in named[number::SMALL_CLIENTS]:
                        wire.ask("GET", f"/v2/{REPOSITORY}/blobs/{digest}", want=200)

            return _together(SMALL_CLIENTS, some)

        files = self._files("small", named)
        self._alternate(
            f"{number_of} blobs of {SMALL_SIZE // 1000} kB pushed", None, push, (), count=number_of
        )
        self._alternate(
            f"{number_of} blobs of {SMALL_SIZE // 1000} kB pulled", None, pull, files, count=number_of
        )

    def manifests(self) -> None:
        """GET of one manifest by its tag, by wrk."""
        rates: dict[str, list[float]] = {}
        blobs = self._blobs("tiny", [1000, 1000])
        with ExitStack() as running:
            servers = {
                "dist serve, 1 worker": running.enter_context(dist(self._fresh())),
                "dist serve, 2 workers": running.enter_context(dist(self._fresh(), workers=2)),
                "docker-registry": running.enter_context(debian(self._fresh())),
            }
            for server in servers.values():
                _fill(server, blobs)
            for _ in range(self._rounds):
                for name, server in servers.items():
                    rates.setdefault(name, []).append(_wrk(server))
        theirs = statistics.median(rates.pop("docker-registry"))
        for name, found in rates.items():
            self._row(f"manifests a second, {name}", "/s", statistics.median(found), theirs, more=True)

    def memory(self) -> None:
        """Peak of an image pushed and pulled; and with 200 transfers at once."""
        big = self._blobs("many", [MANY_SIZE])
        found: dict[str, list[int]] = {}
        for name, start in SERVERS.items():
            with start(self._fresh()) as server:
                idle = server.resident()
                with Wire(server.address) as wire:
                    for digest, file in self.large:
                        push_blob(wire, REPOSITORY, digest, file)
                    _get_all(wire, self.large)
                one = server.peak()
                _fill(server, big)
                pulling = _many_pulls(server, big[0][0])
                pushing = _many_pushes(server)
                found[name] = [idle, one, pulling, pushing, server.peak()]
        what = ("idle", "peak of one push and pull", f"{MANY} slow pulls", f"{MANY} slow pushes", "peak")
        for number, text in enumerate(what):
            ours, theirs = (found[name][number] / MB for name in SERVERS)
            self._row(f"memory: {text}", "MB", ours, theirs, more=False)

    def start(self) -> None:
        """Until the first answer."""
        times: dict[str, list[float]] = {}
        for number in range(self._rounds + 1):
            for name, start in SERVERS.items():
                began = time.perf_counter()
                with start(self._fresh()):
                    if number:
                        times.setdefault(name, []).append(time.perf_counter() - began)
        ours, theirs = (statistics.median(times[name]) * 1000 for name in SERVERS)
        self._row("start until the first answer", "ms", ours, theirs, more=False)

    def _alternate(
        self,
        title: str,
        size: int | None,
        run: Callable[[Server], float],
        filled: Sequence[Blob],
        *,
        count: int = 0,
    ) -> None:
        """Each server in turn, once a round; the first round only warms up."""
        seconds: dict[str, list[float]] = {name: [] for name in SERVERS}
        if filled:
            with ExitStack() as running:
                servers = {
                    name: running.enter_context(start(self._fresh())) for name, start in SERVERS.items()
                }
                for server in servers.values():
                    _fill(server, filled)
                for number in range(self._rounds + 1):
                    for name, server in servers.items():
                        took = run(server)
                        if number:
                            seconds[name].append(took)
        else:
            for _ in range(self._rounds):
                for name, start in SERVERS.items():
                    folder = self._fresh()
                    with start(folder) as server:
                        seconds[name].append(run(server))
                    shutil.rmtree(folder)
        amount = count if size is None else size / MB
        ours, theirs = (amount / statistics.median(seconds[name]) for name in SERVERS)
        self._row(title, "/s" if size is None else "MB/s", ours, theirs, more=True)

    def _row(self, title: str, unit: str, ours: float, theirs: float, *, more: bool) -> None:
        self.rows.append((title, unit, ours, theirs, more))
        print(f"{title}: {ours:.0f} {unit}, docker-registry {theirs:.0f} {unit}", file=sys.stderr, flush=True)

    def _fresh(self) -> Path:
        self._number += 1
        return self._base / f"server-{self._number}"

    def _blobs(self, name: str, sizes: Sequence[int]) -> list[Blob]:
        blobs = []
        for number, size in enumerate(sizes):
            path = self._base / f"{name}-{number}"
            measure.random_file(path, size)
            if size < measure.MIB:
                path.write_bytes(os.urandom(size))
            with path.open("rb") as file:
                blobs.append((f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}", path))
        return blobs

    def _files(self, name: str, named: Sequence[tuple[str, bytes]]) -> list[Blob]:
        folder = self._base / name
        folder.mkdir()
        for number, (_, data) in enumerate(named):
            (folder / str(number)).write_bytes(data)
        return [(digest, folder / str(number)) for number, (digest, _) in enumerate(named)]


def manifest(blobs: Sequence[Blob]) -> dict[str, object]:
    """A document whose config and layers these are."""
    parts = [{"mediaType": LAYER, "digest": digest, "size": path.stat().st_size} for digest, path in blobs]
    config, layers = {**parts[0], "mediaType": CONFIG}, parts[1:]
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}


def _size(blobs: Sequence[Blob]) -> int:
    return sum(path.stat().st_size for _, path in blobs)


def _fill(server: Server, blobs: Sequence[Blob]) -> None:
    def some(number: int) -> None:
        with Wire(server.address) as wire:
            for digest, path in blobs[number::CROWD]:
                push_blob(wire, REPOSITORY, digest, path)

    _together(min(CROWD, len(blobs)), some)
    with Wire(server.address) as wire:
        put_manifest(wire, REPOSITORY, "1", manifest(blobs[:100]))


def _get_all(wire: Wire, blobs: Sequence[Blob]) -> None:
    for digest, _ in blobs:
        wire.ask("GET", f"/v2/{REPOSITORY}/blobs/{digest}", want=200)


def _timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _with_wire(server: Server, run: Callable[[Wire], None]) -> None:
    with Wire(server.address) as wire:
        run(wire)


def _together(number: int, run: Callable[[int], None]) -> float:
    """Seconds until all threads have done it."""
    threads = [threading.Thread(target=run, args=(each,)) for each in range(number)]

    def all_of_them() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return _timed(all_of_them)


def _many_pulls(server: Server, digest: str) -> int:
    """Memory while many clients have got only the beginning of a blob."""
    with ExitStack() as open_wires:
        wires = [open_wires.enter_context(Wire(server.address)) for _ in range(MANY)]
        for wire in wires:
            wire.begin(f"/v2/{REPOSITORY}/blobs/{digest}")
        for wire in wires:
            for _ in range(3):
                wire.some()
        return server.resident()


def _many_pushes(server: Server) -> int:
    """Memory while many clients have sent only the beginning of a blob."""
    piece = os.urandom(256 * 1024)
    with ExitStack() as open_wires:
        wires = [open_wires.enter_context(Wire(server.address)) for _ in range(MANY)]
        for wire in wires:
            begin_push(wire, REPOSITORY, MANY_SIZE)
        for _ in range(4):
            for wire in wires:
                wire.send_some(piece)
        return server.resident()


def _wrk(server: Server) -> float:
    url = f"http://{server.address}/v2/{REPOSITORY}/manifests/1"
    command = ["wrk", "-t1", "-c16", f"-d{WRK_SECONDS}", "-H", f"Accept: {MANIFEST}", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout:
        raise SystemExit(done.stdout)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert found is not None
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("pull", "push", "crowd", "small", "manifests", "memory", "start")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    args = parser.parse_args()
    missing = [name for name in ("docker-registry", "wrk") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="distore-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
        bench = Bench(Path(folder), args.rounds, args.scale)
        for name in args.only:
            getattr(bench, name)()
    rows = []
    for title, unit, ours, theirs, _ in bench.rows:
        ratio = f"{ours / theirs:.2f}" if theirs else "-"
        rows.append((title, f"{ours:,.0f} {unit}", f"{theirs:,.0f} {unit}", ratio))
    measure.table("dist serve beside docker-registry", ("", "dist serve", "docker-registry", "ratio"), rows)


if __name__ == "__main__":
    main()
