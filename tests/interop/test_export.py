"""What dist export writes, read by Debian's skopeo, umoci, podman, containerd and jq."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.export_images import HOST, arch, artifact, attestation, image, index, run

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.transfer.exporter import ExportOptions, LayoutFolder, export

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.interop.conftest import Containerd

    from distore.oci.descriptor import Descriptor

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]
ONE = "docker.io/library/one:7"
TWO = "registry.example/team/two:2"


@pytest.fixture
def call(peer: Callable[[str], str], tmp_path: Path) -> Callable[..., bytes]:
    def one(name: str, *words: str) -> bytes:
        done = subprocess.run(
            [peer(name), *words], capture_output=True, cwd=tmp_path, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return one


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def images(store: MemoryStore) -> list[tuple[str | None, Descriptor]]:
    """A single image with a referrer, and a sparse index with an attestation."""
    single = image(store, 1, layers=4)
    artifact(store, b"signature", single)
    here, gone = image(store, 2, platform=HOST), image(MemoryStore(), 3, platform=arch("s390x"))
    return [(ONE, single), (TWO, index(store, [gone, here, attestation(store, here)]))]


def config_of(store: MemoryStore, root: Descriptor) -> str:
    with store.reader(root.digest) as reader:
        return str(json.loads(reader.read_at(reader.size, 0))["config"]["digest"])


def test_skopeo_copies_each_image_out_of_one_archive(
    store: MemoryStore,
    images: list[tuple[str | None, Descriptor]],
    call: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    run(store, images, tmp_path / "ours.tar")

    call("skopeo", "--insecure-policy", "copy", "--preserve-digests", "oci-archive:ours.tar:7", "oci:one:7")
    call("skopeo", "--insecure-policy", "copy", "oci-archive:ours.tar:2", "oci:two:2")
    for name in (ONE, TWO):
        call("skopeo", "--insecure-policy", "copy", f"docker-archive:ours.tar:{name}", "oci:docker:x")

    (entry,) = json.loads((tmp_path / "one" / "index.json").read_text())["manifests"]
    assert entry["digest"] == images[0][1].digest


def test_skopeo_reads_every_image_of_a_docker_archive(
    store: MemoryStore,
    images: list[tuple[str | None, Descriptor]],
    call: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    run(store, images, tmp_path / "ours.tar", docker=True)

    raw = json.loads(call("skopeo", "inspect", "--raw", f"docker-archive:ours.tar:{ONE}"))
    call("skopeo", "--insecure-policy", "copy", f"docker-archive:ours.tar:{TWO}", "oci:two:2")

    assert raw["config"]["digest"] == config_of(store, images[0][1])
    assert len(raw["layers"]) == 4


def test_umoci_reads_a_layout(
    store: MemoryStore,
    images: list[tuple[str | None, Descriptor]],
    call: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "layout"
    target = LayoutFolder(str(folder), store=LocalStore(str(folder)))
    list(export(store, images, target, options=ExportOptions(host=HOST, referrers=False)))

    names = call("umoci", "ls", "--layout", "layout").decode().split()
    stat = json.loads(call("umoci", "stat", "--image", "layout:7", "--json"))
    call("umoci", "unpack", "--rootless", "--image", "layout:7", "bundle")

    assert sorted(names) == ["2", "7"]
    assert stat["history"] is None or isinstance(stat["history"], list)
    assert sorted(path.name for path in (tmp_path / "bundle" / "rootfs").iterdir()) == [
        f"file-{number}" for number in range(4)
    ]


@pytest.fixture
def podman(peer: Callable[[str], str]) -> Iterator[Callable[..., list[str]]]:
    """podman with a storage of its own; the words it answers."""
    folder = tempfile.mkdtemp(prefix="podman-")  # it takes no long paths
    folders = ["--root", f"{folder}/root", "--runroot", f"{folder}/run"]
    command = [peer("podman"), *folders, "--storage-driver", "vfs"]

    def one(*words: str) -> list[str]:
        done = subprocess.run([*command, *words], capture_output=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().split()

    tried = subprocess.run([*command, "images"], capture_output=True, timeout=60, check=False)
    if tried.returncode:
        pytest.skip(f"podman cannot run here: {tried.stderr.decode().splitlines()[-1]}")
    yield one
    subprocess.run([*command, "rmi", "-a", "-f"], capture_output=True, timeout=60, check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("docker", [False, True])
def test_podman_loads_every_image(
    docker: bool,
    store: MemoryStore,
    images: list[tuple[str | None, Descriptor]],
    podman: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    run(store, images, tmp_path / "ours.tar", docker=docker)

    podman("load", "-i", str(tmp_path / "ours.tar"))

    assert sorted(podman("images", "--format", "{{.Repository}}:{{.Tag}}")) == [ONE, TWO]


def test_podman_loads_a_single_image(
    store: MemoryStore, podman: Callable[..., list[str]], tmp_path: Path
) -> None:
    root = image(store, 1)
    run(store, [(ONE, root)], tmp_path / "ours.tar")

    podman("load", "-i", str(tmp_path / "ours.tar"))

    (found,) = podman("images", "--no-trunc", "--format", "{{.ID}}")
    assert found == config_of(store, root)


@pytest.mark.parametrize("docker", [False, True])
def test_containerd_imports_every_image_whole(
    docker: bool,
    store: MemoryStore,
    images: list[tuple[str | None, Descriptor]],
    containerd: Containerd,
    tmp_path: Path,
) -> None:
    run(store, images, tmp_path / "ours.tar", docker=docker)

    done = containerd.ctr("images", "import", "--no-unpack", str(tmp_path / "ours.tar"))

    assert done.returncode == 0, done.stderr.decode()
    checked = containerd.ctr("images", "check").stdout.decode().splitlines()[1:]
    assert [(line.split()[0], "complete" in line) for line in sorted(checked)] == [(ONE, True), (TWO, True)]
    if not docker:
        roots = {line.split()[0]: line.split()[2] for line in checked}
        assert roots == {name: root.digest for name, root in images}


def test_jq_finds_the_names_at_the_head_of_a_stream(
    store: MemoryStore,
    images: list[tuple[str | None, Descriptor]],
    call: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    run(store, images, tmp_path / "ours.tar")
    with tarfile.open(tmp_path / "ours.tar") as tar:
        tar.extract("index.json", tmp_path, filter="data")

    query = '.manifests[].annotations["io.containerd.image.name"] // empty'
    names = call("jq", "-r", query, "index.json").decode().split()

    assert names == [ONE, TWO]
