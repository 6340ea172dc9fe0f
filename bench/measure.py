"""How every bench here measures: alternating runs, medians, peak memory from wait4."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DIST = [str(Path(__file__).parents[1] / "dist")]
MIB = 1024 * 1024


@dataclass
class Samples:
    """Wall times in seconds, and the largest peak of memory in bytes, of one command."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def run(
    command: Sequence[str], *, stdin: str = os.devnull, env: Mapping[str, str] | None = None
) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of one run; output is thrown away.

    The peak is never below that of this process, which the kernel counts in until exec.
    """
    with open(stdin, "rb") as source, open(os.devnull, "wb") as null:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=source, stdout=null, env={**os.environ, **(env or {})})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: exit status {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


def alternate(
    commands: Mapping[str, Callable[[], tuple[float, int]]],
    *,
    rounds: int,
    before: Callable[[], None] = lambda: None,
) -> dict[str, Samples]:
    """Every command once a round, in turn, so that a slow moment of the machine hits them all.

    A first round is not counted: it pays for memory that the machine has not touched yet.
    """
    samples = {name: Samples() for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            before()
            seconds, peak = command()
            if number == 0:
                continue
            samples[name].seconds.append(seconds)
            samples[name].peak = max(samples[name].peak, peak)
    return samples


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder on the file system of $BENCH_DIR, or of the system's temporary files."""
    return tempfile.TemporaryDirectory(prefix="distore-bench-", dir=os.environ.get("BENCH_DIR"))


def random_file(path: Path, size: int) -> None:
    """A file of bytes that do not compress."""
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
