"""How long does an ingest take beside hashing alone and copying alone? 1 GiB, warm cache, fsync on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import measure

SIZE = 1024 * measure.MIB
ROUNDS = 7


def main() -> None:
    with measure.scratch() as folder:
        base = Path(folder)
        big, copy, root = base / "big", base / "copy", base / "store"
        measure.random_file(big, SIZE)

        def clean() -> None:
            copy.unlink(missing_ok=True)
            shutil.rmtree(root, ignore_errors=True)
            os.sync()

        dist = [*measure.DIST, "ingest", "--root", str(root)]
        samples = measure.alternate(
            {
                "`openssl dgst -sha256`": lambda: measure.run(["openssl", "dgst", "-sha256", str(big)]),
                "`cp`": lambda: measure.run(["cp", str(big), str(copy)]),
                "`cp` and fsync": lambda: measure.run(["sh", "-c", f"cp {big} {copy} && sync {copy}"]),
                "`dist ingest x < big`": lambda: measure.run([*dist, "x"], stdin=str(big)),
                "`cat big \\| dist ingest x`": lambda: measure.run(
                    ["sh", "-c", f"cat {big} | {' '.join(dist)} x"]
                ),
                "`dist ingest --from big`": lambda: measure.run([*dist, "--from", str(big)]),
            },
            rounds=ROUNDS,
            before=clean,
        )
        names = list(samples)
        slower = max(samples[names[0]].median, samples[names[1]].median)
        measure.table(
            f"Ingest of 1 GiB, medians of {ROUNDS} alternating runs; 1 = the slower of hashing and copying",
            ("command", "seconds", "ratio", "peak memory"),
            [
                (name, f"{s.median:.2f}", f"{s.median / slower:.2f}", f"{s.peak / measure.MIB:.0f} MiB")
                for name, s in samples.items()
            ],
        )


if __name__ == "__main__":
    main()
