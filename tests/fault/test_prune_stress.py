"""The promise of pruning: beside twenty processes that bring, convert and read images it hurts none."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.fault.prune_stress import ROLES, TAGS
from tests.unit.transfer.ends_images import tar_of

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.testing.server import FakeRegistry

WORKERS = 20
PRUNERS = 3
SECONDS = 25.0
LAYERS = 6


def offer(registry: FakeRegistry, numbers: range) -> None:
    """Images of few layers among them all: each is met while somebody else has just removed it."""
    chance = Random(7)
    plain = [tar_of({f"file-{n}": chance.randbytes(20_000 * n + 10)}) for n in range(LAYERS)]
    for tag in range(TAGS):
        chosen = [plain[(tag + step) % LAYERS] for step in range(4)]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(each) for each in chosen]},
        }
        parts = [(mediatypes.OCI_CONFIG, json.dumps(config).encode())]
        parts += [(mediatypes.OCI_LAYER_GZIP, gzip.compress(each, 1, mtime=0)) for each in chosen]
        described = [
            {"mediaType": kind, "digest": Digest.of(data), "size": len(data)} for kind, data in parts
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        for number in numbers:
            for _, data in parts:
                registry.put(f"team/app-{number}", data)
            registry.tag(f"team/app-{number}", str(tag), json.dumps(manifest).encode())


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_prunes_beside_twenty_that_bring_images_hurt_none_of_them(
    tmp_path: Path, registry: FakeRegistry, count: Callable[[str, int], None]
) -> None:
    offer(registry, range(WORKERS))
    root = str(tmp_path / "store")
    for folder in ("ops", "wrong"):
        Path(f"{root}.{folder}").mkdir()
    script = str(Path(__file__).with_name("prune_stress.py"))
    roles = [ROLES[number // 2 % len(ROLES)] for number in range(WORKERS)] + ["prune"] * PRUNERS
    processes = [
        subprocess.Popen(
            [sys.executable, script, root, registry.address, role, str(number)], stderr=subprocess.DEVNULL
        )
        for number, role in enumerate(roles)
    ]
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end and all(process.poll() is None for process in processes):
            time.sleep(0.2)
    finally:
        for process in processes:
            process.kill()
            process.wait()

    wrong = [path.read_text() for path in Path(f"{root}.wrong").iterdir()]
    assert wrong == []
    for role in sorted({*roles}):
        done = sum(path.stat().st_size for path in Path(f"{root}.ops").glob(f"{role}-*"))
        count(f"verbs that succeeded beside prunes, by those who {role}", done)
        assert done > 20
    store = LocalStore(root)
    for namespace in ("default", "other"):
        images = Metadata(store.view(namespace=namespace), command="t").images
        for image in list(images.list()):
            images.delete(image.name)
    for status in list(store.statuses()):
        store.abort(status.ref)
    Metadata(store, command="t").collect()
    assert list(store.files()) == []
    assert list(store.view(namespace="other").digests()) == []
    store.close()
