"""Run every bench, or those named: ``python bench/run.py startup resume``. Prints Markdown tables."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

ALL = ("startup", "ingest", "resume", "scale", "garbage", "transfer", "archives", "unpack", "files", "serve")


def main() -> None:
    chosen = sys.argv[1:] or list(ALL)
    for name in chosen:
        if name not in ALL:
            raise SystemExit(f"no bench {name}; there are {', '.join(ALL)}")
    system = f"{platform.system()} {platform.machine()}"
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {system}", flush=True)
    for name in chosen:
        # A process each: the memory of one would count into the peaks of the next.
        subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=True)


if __name__ == "__main__":
    main()
