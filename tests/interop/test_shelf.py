"""Images of the store, pulled from ``dist serve`` by Debian's clients and by dist."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.e2e.serving import DIST, Served, served
from tests.interop.conftest import program

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

pytestmark = [pytest.mark.interop, pytest.mark.slow]
REDIS = "docker.io/library/redis"


def put(store: LocalStore, data: bytes, media_type: str) -> Descriptor:
    digest = Digest.of(data)
    with store.writer(f"put-{digest}") as writer:
        writer.write(data)
        writer.commit()
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """Over a store with one image, which nobody pushed."""
    tar = bytes(10_240)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar)]},
    }
    with closing(LocalStore(str(tmp_path / "store"))) as store:
        manifest = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": put(store, json.dumps(config).encode(), mediatypes.OCI_CONFIG).to_json(),
            "layers": [put(store, gzip.compress(tar, mtime=0), mediatypes.OCI_LAYER_GZIP).to_json()],
        }
        target = put(store, json.dumps(manifest).encode(), mediatypes.OCI_MANIFEST)
        Metadata(store, command="tests").images.put(f"{REDIS}:latest", target)
    with served(tmp_path) as running:
        yield running


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_skopeo_copies_an_image_of_the_store(server: Served, tmp_path: Path) -> None:
    source = f"docker://{server.address}/{REDIS}:latest"

    run(
        program("skopeo"),
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        source,
        f"oci:{tmp_path}/out:1",
    )

    assert len(list((tmp_path / "out" / "blobs" / "sha256").iterdir())) == 3


def test_skopeo_pushes_an_image_of_the_store_back_under_another_tag(server: Served) -> None:
    source, target = (f"docker://{server.address}/{REDIS}:{tag}" for tag in ("latest", "mine"))
    flags = ("--src-tls-verify=false", "--dest-tls-verify=false")

    run(program("skopeo"), "--insecure-policy", "copy", *flags, source, target)

    listed = json.loads(server.ask("GET", f"/v2/{REDIS}/tags/list").body)
    assert listed["tags"] == ["latest", "mine"]


def test_dist_pulls_an_image_of_another_store(server: Served, tmp_path: Path) -> None:
    root = str(tmp_path / "other")

    run(*DIST, "pull", "--root", root, "--quiet", f"{server.address}/{REDIS}:latest")

    assert f"{server.address}/{REDIS}:latest" in run(*DIST, "images", "--root", root)


def test_nothing_of_the_store_is_served_when_that_is_off(server: Served, tmp_path: Path) -> None:
    settings = tmp_path / "serve.toml"
    settings.write_text("images = false\npage = false\n")

    with served(tmp_path, "--config", str(settings)) as other:
        assert server.ask("GET", f"/v2/{REDIS}/manifests/latest").status == 200
        assert other.ask("GET", f"/v2/{REDIS}/manifests/latest").status == 404
        assert json.loads(other.ask("GET", "/v2/_catalog").body) == {"repositories": []}
        assert other.ask("GET", "/").status == 404
