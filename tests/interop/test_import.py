"""Archives and layouts of skopeo, umoci, podman and ctr, imported."""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import family, make_image, push_all, read
from tests.unit.transfer.import_archives import Target, index_of, merged

from distore.content.local.store import LocalStore
from distore.images.select import Selection
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.oci.reference import Reference
from distore.transfer.layout import LayoutSink

if TYPE_CHECKING:
    from tests.interop.conftest import Containerd

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]

Run = Callable[..., bytes]
HOWS = ["file", "stream"]
NAME = "registry.example/team/app:1"
BASE = Reference.parse_name("registry.example/team/app")


@pytest.fixture
def run(peer: Callable[[str], str], tmp_path: Path) -> Run:
    """Run a peer; it must succeed."""

    def one(program: str, *words: str) -> bytes:
        done = subprocess.run(
            [peer(program), *words], capture_output=True, cwd=tmp_path, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return one


@pytest.fixture
def layout(tmp_path: Path) -> Descriptor:
    """Our image in the folder ``ours`` under the tag 1; its layers are in part compressed."""
    store, root = make_image(1, layers=4)
    with LayoutSink(str(tmp_path / "ours"), "1", store=LocalStore(str(tmp_path / "ours"))) as sink:
        push_all(store, root, sink)
    return root


def taken(path: Path, how: str, store: Path, **options: object) -> Target:
    """Imported from the file, or as a stream; nothing went wrong."""
    target = Target(store=LocalStore(str(store / how)))
    target.take(io.BytesIO(path.read_bytes()) if how == "stream" else str(path), **options)
    assert target.errors == []
    return target


def diff_ids(target: Target, root: Digest) -> list[str]:
    """The DiffIDs of an image whose blobs are all there."""
    manifest = json.loads(read(target.store, root))
    for layer in manifest["layers"]:
        assert target.store.info(Digest(layer["digest"])).size == layer["size"]
    return list(json.loads(read(target.store, Digest(manifest["config"]["digest"])))["rootfs"]["diff_ids"])


def expected_diff_ids(seed: int = 1) -> list[str]:
    store, root = make_image(seed, layers=4)
    return list(json.loads(read(store, family(store, root)[-1].digest))["rootfs"]["diff_ids"])


@pytest.mark.parametrize("how", HOWS)
def test_an_oci_archive_of_skopeo(how: str, run: Run, layout: Descriptor, tmp_path: Path) -> None:
    run(
        "skopeo", "--insecure-policy", "copy", "--preserve-digests", "oci:ours:1", f"oci-archive:a.tar:{NAME}"
    )

    target = taken(tmp_path / "a.tar", how, tmp_path)

    assert target.names.digests == {NAME: layout.digest}
    assert diff_ids(target, layout.digest) == expected_diff_ids()


@pytest.mark.parametrize("how", HOWS)
def test_a_docker_archive_of_skopeo(how: str, run: Run, layout: Descriptor, tmp_path: Path) -> None:
    run("skopeo", "--insecure-policy", "copy", "oci:ours:1", f"docker-archive:a.tar:{NAME}")

    target = taken(tmp_path / "a.tar", how, tmp_path)

    assert list(target.names.digests) == [NAME]
    assert diff_ids(target, target.names.digests[NAME]) == expected_diff_ids()


def test_a_layout_of_umoci(run: Run, tmp_path: Path) -> None:
    (tmp_path / "content").write_text("hello")
    run("umoci", "init", "--layout", "theirs")
    run("umoci", "new", "--image", "theirs:1")
    run("umoci", "insert", "--image", "theirs:1", "content", "/content")
    target = Target(store=LocalStore(str(tmp_path / "s")))

    target.take(str(tmp_path / "theirs"), base_name=BASE)

    assert (target.errors, list(target.names.digests)) == ([], [NAME])
    assert len(diff_ids(target, target.names.digests[NAME])) == 1


@pytest.fixture
def podman(run: Run, layout: Descriptor, peer: Callable[[str], str], tmp_path: Path) -> Iterator[Run]:
    """podman with our image under two names; skipped where it cannot run."""
    program = peer("podman")
    # It takes no path of over 50 characters.
    with tempfile.TemporaryDirectory(prefix="podman-") as folder:
        place = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]

        def one(*words: str) -> bytes:
            return run("podman", *place, *words)

        pull = [program, *place, "pull", "-q", f"oci:{tmp_path}/ours:1"]
        tried = subprocess.run(pull, capture_output=True, timeout=100, check=False)
        if tried.returncode:
            pytest.skip(f"podman does not run here: {tried.stderr.decode()[-300:]}")
        one("tag", tried.stdout.decode().split()[-1], NAME, "docker.io/library/other:2")
        yield one


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_what_podman_saves(kind: str, how: str, podman: Run, tmp_path: Path) -> None:
    podman("save", "-q", "--format", kind, "-o", str(tmp_path / "a.tar"), NAME)

    target = taken(tmp_path / "a.tar", how, tmp_path)

    assert NAME in target.names.digests
    assert diff_ids(target, target.names.digests[NAME]) == expected_diff_ids()


@pytest.mark.parametrize("how", HOWS)
def test_several_names_that_podman_saves(how: str, podman: Run, tmp_path: Path) -> None:
    names = [NAME, "docker.io/library/other:2"]
    podman("save", "-q", "--multi-image-archive", "-o", str(tmp_path / "a.tar"), *names)

    target = taken(tmp_path / "a.tar", how, tmp_path)

    assert set(names) <= set(target.names.digests)


@pytest.fixture
def exported(containerd: Containerd, run: Run, tmp_path: Path) -> Callable[..., Path]:
    """What ctr exports of an index of two platforms."""
    made = [make_image(seed, layers=4) for seed in (1, 2)]
    store = merged(*(store for store, _ in made))
    index = index_of(store, (made[0][1], "amd64"), (made[1][1], "s390x"))
    with LayoutSink(str(tmp_path / "both"), NAME, store=LocalStore(str(tmp_path / "both"))) as sink:
        push_all(store, index, sink)
    run("tar", "-C", str(tmp_path / "both"), "-cf", str(tmp_path / "both.tar"), ".")
    loaded = containerd.ctr(
        "image", "import", "--no-unpack", "--all-platforms", "--digests", str(tmp_path / "both.tar")
    )
    assert loaded.returncode == 0, loaded.stderr

    def one(*words: str) -> Path:
        done = containerd.ctr("image", "export", *words, str(tmp_path / "a.tar"), NAME)
        assert done.returncode == 0, done.stderr
        return tmp_path / "a.tar"

    return one


@pytest.mark.parametrize("how", HOWS)
def test_what_ctr_exports(how: str, exported: Callable[..., Path], tmp_path: Path) -> None:
    every = taken(exported("--all-platforms"), how, tmp_path / "every")
    host = taken(exported("--platform", "linux/amd64"), how, tmp_path / "host")

    root = every.names.digests[NAME]
    children = [Digest(one["digest"]) for one in json.loads(read(every.store, root))["manifests"]]
    assert [diff_ids(every, child) for child in children] == [expected_diff_ids(1), expected_diff_ids(2)]
    assert host.names.digests == {NAME: root}
    assert diff_ids(host, children[0]) == expected_diff_ids(1)
    assert children[1] not in host.digests


def test_one_platform_of_what_ctr_exports(exported: Callable[..., Path], tmp_path: Path) -> None:
    selection = Selection(platforms=(Platform.parse("linux/s390x"),))

    target = taken(exported("--all-platforms"), "file", tmp_path, selection=selection)

    root = target.names.digests[NAME]
    first, second = (Digest(one["digest"]) for one in json.loads(read(target.store, root))["manifests"])
    assert diff_ids(target, second) == expected_diff_ids(2)
    assert first not in target.digests
