"""``dist serve`` on a disk that fills up while somebody pushes."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.serving import served

from distore.oci.digest import Digest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]
BIG = random.Random(1).randbytes(12_000_000)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder whose ``store`` is a disk of 10 MB."""
    store = tmp_path / "store"
    store.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=10m", "none", str(store)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield tmp_path
    subprocess.run(["umount", "-l", str(store)], check=True)


def test_a_push_that_does_not_fit_is_refused_and_pulls_go_on(small: Path) -> None:
    (small / "serve.toml").write_text("[keep]\nfree = 0\n")
    with served(small, "--config", "serve.toml") as server:
        kept = server.push("a", b"small")
        location = server.ask("POST", "/v2/a/blobs/uploads/").headers["location"]

        refused = server.ask("PATCH", location, BIG)

        assert (refused.status, refused.headers["content-type"]) == (507, "application/json")
        assert json.loads(refused.body)["errors"][0]["code"]
        assert server.ask("GET", f"/v2/a/blobs/{kept}").body == b"small"
        assert server.ask("GET", f"/v2/a/blobs/{Digest.of(BIG)}").status == 404
        assert server.ask("DELETE", location).status == 204
        assert server.push("a", b"small again")
        assert server.ask("GET", "/readyz").status == 200
        assert "Traceback" not in server.said()


def test_what_is_there_can_be_had_when_nothing_at_all_can_be_written(small: Path) -> None:
    with served(small) as server:
        kept = server.push("a", b"small")
    subprocess.run(["mount", "-o", "remount,ro", str(small / "store")], check=True)

    with served(small) as server:
        answer = server.ask("GET", f"/v2/a/blobs/{kept}")
        pushed = server.ask("POST", "/v2/a/blobs/uploads/")

        assert (answer.status, answer.body) == (200, b"small")
        assert pushed.status == 507
        assert str(small).encode() not in pushed.body
        assert server.ask("GET", "/readyz").status == 503
