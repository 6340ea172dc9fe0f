"""How long until a kept ingest takes bytes again, and until it is committed? 1 GiB, 90 % kept."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path

import measure
from distore.content.local.store import LocalStore

SIZE = 1024 * measure.MIB
ROUNDS = 5


def main() -> None:
    rows = []
    with measure.scratch() as folder:
        big = Path(folder) / "big"
        measure.random_file(big, SIZE)
        data = big.read_bytes()
        for share in (0, 10, 50, 90):
            kept = SIZE * share // 100
            ready, first, whole = [], [], []
            for _ in range(ROUNDS):
                root = Path(folder) / "store"
                shutil.rmtree(root, ignore_errors=True)
                with LocalStore(str(root)).writer("x") as writer:
                    writer.write(data[:kept])
                os.sync()
                started = time.perf_counter()
                with LocalStore(str(root)).writer("x") as writer:
                    ready.append(time.perf_counter() - started)
                    writer.write(data[kept : kept + measure.MIB])
                    first.append(time.perf_counter() - started)
                    for at in range(kept + measure.MIB, SIZE, measure.MIB):
                        writer.write(data[at : at + measure.MIB])
                    writer.commit(size=SIZE)
                whole.append(time.perf_counter() - started)
            times = [f"{1000 * statistics.median(values):.1f}" for values in (ready, first, whole)]
            rows.append((f"{share} %", *times))
    measure.table(
        f"Resume of 1 GiB, medians of {ROUNDS} runs, milliseconds",
        ("kept", "writer open", "first MiB written", "committed"),
        rows,
    )


if __name__ == "__main__":
    main()
