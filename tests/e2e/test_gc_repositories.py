"""``dist gc``, ``dist df`` and ``dist fsck`` of a store that a registry is in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.metadata.repository_world import World

from distore.content.local.store import LocalStore
from distore.oci.digest import Digest

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]
LONG_AGO = 1_500_000_000.0  # seconds since the epoch


@pytest.fixture
def pushed(tmp_path: Path) -> tuple[Digest, Digest, Digest]:
    """A manifest with a layer, pushed as v1, and a blob that no manifest names."""
    store = LocalStore(str(tmp_path / ".content"))
    world = World(store)
    world.clock.now = LONG_AGO
    image, lonely = world.image("it", "v1"), world.blob(b"lonely")
    world.metadata.close()
    store.close()
    return (*image, lonely)


def test_what_is_pushed_stays_and_what_nothing_came_to_name_goes(
    dist: Dist, pushed: tuple[Digest, Digest, Digest]
) -> None:
    manifest, layer, lonely = pushed

    would = dist("gc", "--dry-run")
    done = dist("gc")

    for each, verb in ((would, "would remove"), (done, "removed")):
        assert each.stdout.decode().split() == [lonely]
        assert f"dist: {verb} offer app@{lonely}\n" in each.stderr.decode()
    assert sorted(dist("list", "-q").stdout.decode().split()) == sorted([manifest, layer])
    assert dist("gc").stdout == b""


def test_why_it_stays_is_told(dist: Dist, pushed: tuple[Digest, Digest, Digest]) -> None:
    manifest, layer, _ = pushed

    text = dist("gc", "--explain", layer).stdout.decode()
    found = json.loads(dist("gc", "--explain", layer, "--json").stdout)

    assert text == f"kept: repository app -> tag v1 -> content {manifest} -> content {layer}\n"
    assert [step["kind"] for step in found["path"]] == ["repository", "tag", "content", "content"]


def test_it_is_counted_and_a_missing_blob_is_found(
    dist: Dist, pushed: tuple[Digest, Digest, Digest], tmp_path: Path
) -> None:
    manifest, layer, _ = pushed
    found = {each["kind"]: each for each in map(json.loads, dist("df", "--json").stdout.splitlines())}
    assert (found["repositories"]["count"], found["repositories"]["size"]) == (1, 11 + 14 + 6)

    (tmp_path / ".content" / "blobs" / "sha256" / layer.encoded).unlink()
    done = dist("fsck")

    assert done.returncode != 0
    text = done.stdout.decode() + done.stderr.decode()
    assert f"repository: app: blob {layer} of namespace default is missing; push it again" in text
    assert str(manifest) not in text
