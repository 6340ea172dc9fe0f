"""What does the start of a content verb cost beside bare Python?"""

from __future__ import annotations

import subprocess
import sys

import measure

ROUNDS = 41


def main() -> None:
    with measure.scratch() as folder:
        dist = [*measure.DIST]
        root = ["--root", f"{folder}/store"]
        subprocess.run([*dist, "ingest", "x", *root], input=b"x", stdout=subprocess.DEVNULL, check=True)
        listing = subprocess.run([*dist, "list", "-q", *root], capture_output=True, text=True, check=True)
        digest = listing.stdout.strip()
        commands = {
            "`python3 -c pass`": [sys.executable, "-c", "pass"],
            "`dist active`": [*dist, "active", *root],
            "`dist list`": [*dist, "list", *root],
            "`dist list -q`": [*dist, "list", "-q", *root],
            "`dist path DIGEST`": [*dist, "path", digest, *root],
            "`dist ingest`, content there": [
                "sh",
                "-c",
                f"exec {' '.join([*dist, 'ingest', '--expected-digest', digest, *root])} 2>&-",
            ],
        }
        samples = measure.alternate(
            {name: lambda command=command: measure.run(command) for name, command in commands.items()},  # type: ignore[misc]  # bound early
            rounds=ROUNDS,
        )
        bare = samples["`python3 -c pass`"].median
        measure.table(
            f"Start-up, medians of {ROUNDS} alternating runs",
            ("command", "ms", "times bare Python", "peak memory"),
            [
                (name, f"{1000 * s.median:.1f}", f"{s.median / bare:.2f}", f"{s.peak / measure.MIB:.1f} MiB")
                for name, s in samples.items()
            ],
        )


if __name__ == "__main__":
    main()
