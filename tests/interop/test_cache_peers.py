"""containerd, skopeo and podman's library pull through our cache from Debian's docker-registry."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.interop.conftest import program, stop
from tests.interop.registries import PASSWORD, USER, served

from distore.testing.server import FakeRegistry

if TYPE_CHECKING:
    from tests.interop.conftest import Containerd
    from tests.interop.registries import Served

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]

LAYERS = tuple(gzip.compress(os.urandom(size), 1, mtime=0) for size in (3_000_000, 1000))
NAME = "library/app"


@dataclass(frozen=True)
class Cached:
    """A cache of docker.io, whose place a docker-registry with passwords takes."""

    host: str
    store: Path
    upstream: Served
    digest: str


@pytest.fixture
def cached(tmp_path: Path) -> Iterator[Cached]:
    (tmp_path / "upstream").mkdir()
    with served(tmp_path / "upstream", "passwords") as upstream:
        digest = fill(upstream)
        (tmp_path / "password").write_text(PASSWORD + "\n")
        config = tmp_path / "serve.toml"
        config.write_text(
            f"""[cache]
default = "docker.io"
[[cache.upstream]]
host = "docker.io"
server = "http://{upstream.host}"
username = "{USER}"
password_file = "password"
"""
        )
        store = tmp_path / "store"
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-m", "distore", "--root", str(store)),
                *("serve", "--json", "--config", str(config), "--listen", "127.0.0.1:0"),
            ],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            host = json.loads(process.stdout.readline())["addresses"][0]
            yield Cached(host, store, upstream, digest)
        finally:
            stop(process)
            process.stdout.close()


def fill(upstream: Served) -> str:
    """Push an image there; the digest of its manifest."""
    with FakeRegistry() as fake:
        descriptor = fake.image(NAME, "1", LAYERS)
        login = f"{USER}:{PASSWORD}"
        words = ["--src-tls-verify=false", "--dest-tls-verify=false", f"--dest-creds={login}"]
        source, target = f"docker://{fake.address}/{NAME}:1", f"docker://{upstream.host}/{NAME}:1"
        run(program("skopeo"), "copy", "-q", *words, source, target)
    return str(descriptor.digest)


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_containerd_uses_it_as_a_mirror(cached: Cached, containerd: Containerd, tmp_path: Path) -> None:
    folder = tmp_path / "hosts" / "docker.io"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(
        f'server = "http://127.0.0.1:1"\n[host."http://{cached.host}"]\ncapabilities = ["pull", "resolve"]\n'
    )

    done = containerd.ctr("content", "fetch", "--hosts-dir", str(tmp_path / "hosts"), f"docker.io/{NAME}:1")

    assert done.returncode == 0, done.stderr
    for blob in LAYERS:
        kept = [path.read_bytes() for path in (containerd.content / "blobs" / "sha256").iterdir()]
        assert blob in kept
    assert (cached.store / "blobs" / "sha256" / cached.digest.removeprefix("sha256:")).exists()


def test_containerd_pulls_while_the_upstream_is_down(
    cached: Cached, containerd: Containerd, tmp_path: Path
) -> None:
    run(
        program("skopeo"),
        *("copy", "-q", "--src-tls-verify=false", f"docker://{cached.host}/docker.io/{NAME}:1"),
        f"dir:{tmp_path / 'first'}",
    )
    cached.upstream.tree.rename(tmp_path / "away")
    folder = tmp_path / "hosts" / "docker.io"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(f'server = "http://127.0.0.1:1"\n[host."http://{cached.host}"]\n')

    done = containerd.ctr("content", "fetch", "--hosts-dir", str(tmp_path / "hosts"), f"docker.io/{NAME}:1")

    assert done.returncode == 0, done.stderr


def test_skopeo_names_the_upstream_in_the_path(cached: Cached, tmp_path: Path) -> None:
    source = f"docker://{cached.host}/docker.io/{NAME}:1"

    run(program("skopeo"), "copy", "-q", "--src-tls-verify=false", source, f"dir:{tmp_path / 'image'}")

    manifest = (tmp_path / "image" / "manifest.json").read_bytes()
    assert [layer["size"] for layer in json.loads(manifest)["layers"]] == [len(each) for each in LAYERS]


def test_skopeo_is_led_to_it_by_registries_conf(cached: Cached, tmp_path: Path) -> None:
    conf = tmp_path / "registries.conf"
    conf.write_text(
        f"""[[registry]]
prefix = "docker.io"
location = "127.0.0.1:1"
[[registry.mirror]]
location = "{cached.host}/docker.io"
insecure = true
"""
    )

    run(
        *(program("skopeo"), "--registries-conf", str(conf), "copy", "-q"),
        *(f"docker://docker.io/{NAME}:1", f"dir:{tmp_path / 'image'}"),
    )

    assert (tmp_path / "image" / "manifest.json").exists()


def test_tags_are_those_of_the_upstream(cached: Cached) -> None:
    listed = run(
        program("skopeo"), "list-tags", "--tls-verify=false", f"docker://{cached.host}/docker.io/{NAME}"
    )

    assert json.loads(listed)["Tags"] == ["1"]


def test_the_cache_takes_pushes_beside_its_copies(cached: Cached, tmp_path: Path) -> None:
    source = f"docker://{cached.host}/docker.io/{NAME}:1"
    words = ("copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false")

    run(program("skopeo"), *words, source, f"docker://{cached.host}/mine/app:1")
    refused = subprocess.run(
        [program("skopeo"), *words, source, f"docker://{cached.host}/docker.io/{NAME}:2"],
        capture_output=True,
        check=False,
    )

    assert refused.returncode != 0
    assert b"copy of docker.io/library/app" in refused.stderr or b"denied" in refused.stderr
