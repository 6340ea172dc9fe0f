"""How long does a large image take out of an archive, and into one, beside skopeo and ctr?

``--rounds N`` runs of each (3), ``--scale F`` to make the image smaller.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import measure
import peers
import transfer

NAME = "r.example/large"
Timed = Callable[[], tuple[float, int]]
SKOPEO = ("skopeo", "--insecure-policy", "copy", "-q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run of this file: ``base`` is its folder, ``daemon`` a containerd."""

    base: Path
    rounds: int
    image: peers.Image
    daemon: peers.Containerd

    @property
    def archive(self) -> Path:
        return self.base / "large.tar"

    @property
    def store(self) -> Path:
        return self.base / "store"

    def prepare(self) -> None:
        """The archive, and every store that an export begins at."""
        source = f"oci:{self.image.folder}:1"
        subprocess.run([*SKOPEO, source, f"oci-archive:{self.archive}:1"], check=True)
        subprocess.run(self.dist("import", str(self.archive), root=self.store), check=True)

    def dist(self, verb: str, *words: str, root: Path) -> list[str]:
        base = ("--base-name", NAME) if verb == "import" else ()
        return [*measure.DIST, verb, *words, *base, "--quiet", "--root", str(root)]

    def imports(self) -> dict[str, Timed]:
        """All that can import; each into something empty."""
        archive, fresh = str(self.archive), self.base / "fresh"
        skopeo = [*SKOPEO, f"oci-archive:{archive}:1", f"oci:{fresh}:1"]
        load = self.daemon.command("image", "import", "--no-unpack", "--base-name", NAME, archive)

        def stream() -> tuple[float, int]:
            return measure.run(self.dist("import", "-", root=fresh), stdin=archive)

        return {
            "`dist import FILE`": lambda: measure.run(self.dist("import", archive, root=fresh)),
            "`dist import - < FILE`": stream,
            "`skopeo copy oci-archive: oci:`": lambda: measure.run(skopeo),
            "`ctr image import`": lambda: measure.run(load),
        }

    def exports(self) -> dict[str, Timed]:
        """All that can export; each into a new file."""
        out, name = str(self.base / "fresh"), f"{NAME}:1"
        skopeo = [*SKOPEO, f"oci:{self.image.folder}:1", f"oci-archive:{out}:1"]
        save = self.daemon.command("image", "export", out, name)
        found = {
            "`dist export FILE`": lambda: measure.run(self.dist("export", out, name, root=self.store)),
            "`dist export - > /dev/null`": lambda: measure.run(
                self.dist("export", "-", name, root=self.store)
            ),
            "`skopeo copy oci: oci-archive:`": lambda: measure.run(skopeo),
            "`ctr image export`": lambda: measure.run(save),
        }
        return found if transfer.has("export") else {}

    def empty(self) -> None:
        """Nothing is there from the run before; nobody pays for what another left to be written."""
        fresh = self.base / "fresh"
        if fresh.is_dir():
            shutil.rmtree(fresh)
        fresh.unlink(missing_ok=True)
        os.sync()

    def forget(self) -> None:
        """Have containerd hold nothing, so that it takes all of it again."""
        self.empty()
        # The collector runs at once and is waited for.
        subprocess.run(
            self.daemon.command("image", "rm", "--sync", f"{NAME}:1"),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.sync()

    def load(self) -> None:
        """Have containerd hold the image."""
        command = self.daemon.command(
            "image", "import", "--no-unpack", "--base-name", NAME, str(self.archive)
        )
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def show(title: str, samples: Mapping[str, measure.Samples], size: int) -> None:
    """A table of medians; the first row is what the others are compared with."""
    first = next(iter(samples.values())).median
    measure.table(
        title,
        ("command", "median s", "from - to s", "first row / this", "MB/s", "peak memory of the command"),
        [
            (
                name,
                f"{found.median:.2f}",
                f"{found.best:.2f} - {max(found.seconds):.2f}",
                f"{first / found.median:.2f}",
                f"{size / found.median / transfer.MB:.0f}",
                f"{found.peak / measure.MIB:.0f} MiB",
            )
            for name, found in samples.items()
        ],
    )


@contextmanager
def prepared(base: Path, rounds: int, scale: float) -> Iterator[Bench]:
    """Image, archive and containerd."""
    sizes = [int(mb * scale * transfer.MB) for mb in transfer.LARGE]
    image = peers.make_image(base / "large", "large", sizes)
    (base / "containerd").mkdir()
    with peers.containerd(base / "containerd") as daemon:
        bench = Bench(base=base, rounds=rounds, image=image, daemon=daemon)
        bench.prepare()
        yield bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1, metavar="F")
    args = parser.parse_args()
    if absent := [program for program in ("skopeo", "containerd", "ctr") if shutil.which(program) is None]:
        print(f"archives is left out: not installed: {', '.join(absent)}", file=sys.stderr)
        return
    with measure.scratch() as folder, prepared(Path(folder), args.rounds, args.scale) as bench:
        what = f"{bench.image.size / transfer.MB:,.0f} MB in {len(bench.image.blobs)} blobs"
        after = f"{bench.rounds} alternating runs"
        bench.load()
        found = measure.alternate(bench.imports(), rounds=bench.rounds, before=bench.forget)
        show(f"Import of {what}, {after}", found, bench.image.size)
        bench.load()
        found = measure.alternate(bench.exports(), rounds=bench.rounds, before=bench.empty)
        if found:
            show(f"Export of {what}, {after}", found, bench.image.size)


if __name__ == "__main__":
    main()
