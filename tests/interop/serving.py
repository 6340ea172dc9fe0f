"""A registry with one image of random layers, as a program: it can run in a network namespace.

Prints one JSON line when it listens, and serves until its standard input is closed.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence

from distore.registry.app import RegistryServer
from distore.testing.server import FakeRegistry

REPOSITORY, TAG = "library/large", "1"


def main(words: Sequence[str]) -> None:
    """HOST, bytes a second for each connection (0: no limit), and the size of each layer in bytes."""
    host, rate, *sizes = words
    draw = random.Random(11)
    fake = FakeRegistry()  # never started: it only makes the image
    fake.image(REPOSITORY, TAG, [draw.randbytes(int(size)) for size in sizes])
    with RegistryServer(fake.registry.handle, host=host, rate=int(rate) or None) as server:
        size = sum(map(len, fake.blobs.data.values()))
        ready = {"name": f"{server.address}/{REPOSITORY}:{TAG}", "size": size, "blobs": list(fake.blobs.data)}
        print(json.dumps(ready), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
