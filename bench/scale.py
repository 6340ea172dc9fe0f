"""Time and memory of list, active and fsck at 1, 1,000 and 100,000 blobs (or ingests)."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import measure

COUNTS = (1, 1_000, 100_000)
ROUNDS = 3


def fill(root: Path, count: int) -> None:
    """Blobs and ingests laid down as the store would, without a process for each."""
    blobs, ingests = root / "blobs" / "sha256", root / "ingest"
    shutil.rmtree(root, ignore_errors=True)
    blobs.mkdir(parents=True)
    ingests.mkdir()
    for number in range(count):
        data = b"blob %d" % number
        path = blobs / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        path.chmod(0o444)
        ref = f"ingest/{number}"
        folder = ingests / hashlib.sha256(ref.encode()).hexdigest()
        folder.mkdir()
        (folder / "ref").write_text(ref)
        (folder / "startedat").write_text("2026-01-01T00:00:00Z")
        (folder / "data").write_bytes(b"x")


def main() -> None:
    rows = []
    with measure.scratch() as folder:
        for count in COUNTS:
            root = Path(folder) / f"store-{count}"
            fill(root, count)
            for verb in (["list", "-q"], ["list"], ["list", "--json"], ["active"], ["fsck"]):
                command = [*measure.DIST, *verb, "--root", str(root)]
                samples = measure.alternate({"x": lambda: measure.run(command)}, rounds=ROUNDS)["x"]  # noqa: B023 - run at once
                rows.append(
                    (
                        f"`dist {' '.join(verb)}`",
                        f"{count:,}",
                        f"{samples.median:.3f}",
                        f"{samples.peak / measure.MIB:.1f} MiB",
                    )
                )
    measure.table(
        f"Listings and fsck of small blobs, medians of {ROUNDS} runs",
        ("command", "blobs (active: ingests)", "seconds", "peak memory"),
        sorted(rows, key=lambda row: row[0]),
    )


if __name__ == "__main__":
    main()
