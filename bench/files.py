"""How long until one sees what is in an image that is not unpacked, or has one of its files?

``--rounds N`` runs of each (3), ``--scale F`` to make the image smaller, ``--images DIR`` as bench/unpack.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import measure
import transfer
import unpack
from transfer import MB
from unpack import Cost, quietly, timed

NAME = "bench.example/large:1"
NEEDED = ("umoci", "tar")


class Looks:
    """Ways to look at one image of a store."""

    def __init__(self, layout: Path, store: Path) -> None:
        self._layout = layout
        self._root = ["--root", str(store)]
        self._listings = store / "listings"
        quietly([*measure.DIST, "import", "-q", str(layout), "--name", NAME, *self._root])
        # Somewhere in the middle of the largest layer.
        files = self._files()
        largest = max(files, key=lambda digest: self._blob(digest).stat().st_size)
        self._file = files[largest][len(files[largest]) // 2]
        self._largest = self._blob(largest)

    def ways(self, base: Path) -> dict[str, Callable[[], Cost]]:
        """What is measured; without listings kept first, as nobody looked before."""
        dist = [*measure.DIST]
        copied = base / "copied"

        def fresh(*words: str) -> Cost:
            shutil.rmtree(self._listings, ignore_errors=True)
            return timed([*dist, *words, *self._root])

        def again(*words: str) -> Cost:
            return timed([*dist, *words, *self._root])

        def copy() -> Cost:
            shutil.rmtree(copied, ignore_errors=True)
            return again("cp", f"{NAME}:{os.path.dirname(self._file)}", str(copied))

        def unpacked() -> Cost:
            folder = base / "umoci"
            rights = [] if os.geteuid() == 0 else ["--rootless"]
            command = ["umoci", "raw", "unpack", *rights, "--image", f"{self._layout}:1", str(folder)]
            try:
                return timed(command)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        member = self._file.lstrip("/")
        return {
            "dist ls -R, the first look": lambda: fresh("ls", "-R", NAME),
            "dist cat, the first look": lambda: fresh("cat", f"{NAME}:{self._file}"),
            "dist ls -R": lambda: again("ls", "-R", NAME),
            "dist ls of a folder": lambda: again("ls", "-l", f"{NAME}:{os.path.dirname(self._file)}"),
            "dist cat": lambda: again("cat", f"{NAME}:{self._file}"),
            "dist cp of its folder": copy,
            "dist diff with itself": lambda: again("diff", NAME, NAME),
            "tar -xzO out of the right layer": lambda: timed(["tar", "-xzOf", str(self._largest), member]),
            "umoci raw unpack": unpacked,
        }

    def _blob(self, digest: str) -> Path:
        return self._layout / "blobs" / "sha256" / digest[7:]

    def _files(self) -> dict[str, list[str]]:
        """The paths of all files, by layer; read line by line, for what is held counts in every peak."""
        command = [*measure.DIST, "ls", "-R", "--json", NAME, *self._root]
        found: dict[str, list[str]] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            for line in map(json.loads, running.stdout):
                if line["type"] == "file":
                    found.setdefault(line["layer"], []).append(line["path"])
        return found


def show(title: str, costs: dict[str, list[Cost]]) -> None:
    rows = []
    for name, found in costs.items():
        seconds = [cost.seconds for cost in found]
        rows.append(
            (
                name,
                f"{statistics.median(seconds):.2f}",
                f"{min(seconds):.2f} - {max(seconds):.2f}",
                f"{statistics.median(cost.cpu for cost in found):.2f}",
                transfer.memory(max(cost.peak for cost in found)),
            )
        )
    measure.table(title, ("command", "median s", "from - to s", "CPU s", "peak memory"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1, metavar="F")
    parser.add_argument("--images", type=Path, metavar="DIR")
    args = parser.parse_args()
    if absent := [program for program in NEEDED if shutil.which(program) is None]:
        print(f"files is left out: not installed: {', '.join(absent)}", file=sys.stderr)
        return
    with measure.scratch() as folder:
        base = Path(folder)
        sizes = [int(mb * args.scale * MB) for mb in unpack.LARGE]
        image = unpack.image_in((args.images or base) / f"large-{args.scale:g}", "large", sizes)
        ways = Looks(image.folder, base / "store").ways(base)
        costs: dict[str, list[Cost]] = {name: [] for name in ways}
        for _ in range(args.rounds):
            for name, way in ways.items():
                costs[name].append(way())
        what = f"{image.size / MB:,.0f} MB in {len(sizes)} layers, {sum(sizes) / MB:,.0f} MB of files"
        show(f"Looking into {what}, {args.rounds} alternating runs", costs)


if __name__ == "__main__":
    main()
