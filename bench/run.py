"""Run every bench, or those named: ``python bench/run.py startup resume``. Prints Markdown tables."""

from __future__ import annotations

import os
import platform
import sys

import ingest
import resume
import scale
import startup

ALL = {"startup": startup.main, "ingest": ingest.main, "resume": resume.main, "scale": scale.main}


def main() -> None:
    chosen = sys.argv[1:] or list(ALL)
    for name in chosen:
        if name not in ALL:
            raise SystemExit(f"no bench {name}; there are {', '.join(ALL)}")
    system = f"{platform.system()} {platform.machine()}"
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {system}")
    for name in chosen:
        ALL[name]()


if __name__ == "__main__":
    main()
