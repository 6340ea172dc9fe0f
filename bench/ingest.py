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
        hashing, copying = list(samples.values())[:2]
        slower = max(hashing.median, copying.median)
        slower_best = max(hashing.best, copying.best)
        measure.table(
            f"Ingest of 1 GiB, {ROUNDS} alternating runs; 1 = the slower of hashing and copying alone",
            ("command", "median s", "ratio", "best s", "ratio", "peak memory"),
            [
                (
                    name,
                    f"{found.median:.2f}",
                    f"{found.median / slower:.2f}",
                    f"{found.best:.2f}",
                    f"{found.best / slower_best:.2f}",
                    f"{found.peak / measure.MIB:.0f} MiB",
                )
                for name, found in samples.items()
            ],
        )


if __name__ == "__main__":
    main()
