"""The contract with registries on Debian's docker-registry, and images to and from skopeo and containerd."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.interop.registries import PASSWORD, SHAPES, USER, Served, served
from tests.unit.remotes.pushing import CHUNK, Clients
from tests.unit.transfer.ends_images import family, make_image, push_all, read

from distore.content.local.store import LocalStore
from distore.errors import DataLoss, Unauthenticated
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.remotes.sessions import FileSessions
from distore.testing.altered import Altered
from distore.testing.remote_suite import RemoteSuite, an_image, send
from distore.testing.server import BytesReader
from distore.transfer.layout import LayoutSink

if TYPE_CHECKING:
    from tests.interop.conftest import Containerd

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]
Run = Callable[..., bytes]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("plain")) as registry:
        yield registry


@pytest.fixture(scope="module", params=SHAPES)
def shaped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One after the other."""
    with served(tmp_path_factory.mktemp("shaped"), request.param) as registry:
        yield registry


@pytest.fixture
def skopeo(peer: Callable[[str], str], tmp_path: Path) -> Run:
    program = peer("skopeo")

    def run(*words: str) -> bytes:
        command = [program, "--insecure-policy", *words]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=100, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture
def ours(tmp_path: Path) -> Run:
    def run(*words: str) -> bytes:
        command = [sys.executable, "-I", "-m", "distore", *words]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=100, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def layout(folder: Path, seed: int) -> dict[str, bytes]:
    """An image in a layout, tagged v1; its blobs."""
    store, root = make_image(seed, layers=4)
    with LayoutSink(str(folder), "v1", store=LocalStore(str(folder))) as sink:
        push_all(store, root, sink)
    return {one.digest: read(store, one.digest) for one in (root, *family(store, root))}


def blobs(folder: Path) -> dict[str, bytes]:
    files = (folder / "blobs" / "sha256").iterdir()
    return {f"sha256:{file.name}": file.read_bytes() for file in files}


class TestDockerRegistry(RemoteSuite):
    @pytest.fixture
    def resolver(self, shaped: Served) -> Iterator[HttpResolver]:
        with HttpResolver(shaped.options) as resolver:
            yield resolver

    @pytest.fixture
    def repository(self, shaped: Served, request: pytest.FixtureRequest) -> Reference:
        name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
        return Reference(domain=shaped.host, path=f"suite/{name}")


@pytest.mark.parametrize("shape", ["passwords", "tokens"])
def test_without_the_password_nothing_is_pushed(shape: str, tmp_path: Path) -> None:
    store, root = an_image([b"layer"])
    with served(tmp_path, shape) as registry:
        stranger = RegistryOptions(hosts_dir=registry.options.hosts_dir)
        repository = Reference(domain=registry.host, path="suite/app")
        with HttpResolver(stranger) as resolver, pytest.raises(Unauthenticated, match="dist login") as caught:
            send(resolver, repository, store, root)

        assert PASSWORD not in str(caught.value)
        assert not (registry.tree / "suite").exists()


@pytest.mark.parametrize("shape", ["passwords", "tokens"])
def test_a_login_is_enough_for_a_push_and_a_pull(shape: str, tmp_path: Path) -> None:
    with served(tmp_path, shape) as registry:
        image = layout(tmp_path / "image", 3)
        name, auth = f"{registry.host}/suite/app:1", str(tmp_path / "login.json")

        def run(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
            command = [sys.executable, "-I", "-m", "distore", *words, "--authfile", auth]
            return subprocess.run(
                command, input=given, capture_output=True, cwd=tmp_path, timeout=60, check=False
            )

        login = run("login", registry.host, "-u", USER, "--password-stdin", given=PASSWORD.encode())
        sent = run("copy", "oci:image:v1", name)
        got = run("pull", name)

    assert login.returncode == 0, login.stderr
    assert sent.returncode == 0, sent.stderr
    assert got.returncode == 0, got.stderr
    assert got.stdout.decode().strip() in image


def test_what_skopeo_pushed_we_copy_byte_by_byte(
    plain: Served, skopeo: Run, ours: Run, tmp_path: Path
) -> None:
    image = layout(tmp_path / "theirs", 11)
    name = f"{plain.host}/from/skopeo:1"
    skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", "oci:theirs:v1", f"docker://{name}")

    ours("copy", name, "oci:ours:v1")
    ours("pull", name)

    assert blobs(tmp_path / "ours") == image
    assert blobs(tmp_path / ".content") == image


def test_what_we_pushed_skopeo_copies_byte_by_byte(
    plain: Served, skopeo: Run, ours: Run, tmp_path: Path
) -> None:
    image = layout(tmp_path / "ours", 12)
    name = f"{plain.host}/from/us:1"
    ours("copy", "oci:ours:v1", name)

    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", f"docker://{name}", "oci:theirs:v1")
    shown = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}"))

    assert blobs(tmp_path / "theirs") == image
    assert shown["Digest"] in image


def test_what_we_pushed_containerd_pulls(
    plain: Served, containerd: Containerd, ours: Run, tmp_path: Path
) -> None:
    image = layout(tmp_path / "ours", 13)
    name = f"{plain.host}/for/containerd:1"
    ours("copy", "oci:ours:v1", name)

    fetched = containerd.ctr("content", "fetch", "--plain-http", "--platform", "linux/amd64", name)
    pulled = containerd.ctr(
        *("images", "pull", "--plain-http", "--snapshotter", "native", "--platform", "linux/amd64", name)
    )

    assert fetched.returncode == 0, fetched.stderr
    assert pulled.returncode == 0, pulled.stderr
    for digest, data in image.items():
        assert containerd.ctr("content", "get", digest).stdout == data


def test_an_upload_that_broke_off_ends_right_in_the_next_try(plain: Served, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20
    digest = Digest.of(data)
    sessions = FileSessions(str(tmp_path / "uploads"))
    with Clients() as clients:
        client = clients.client(f"{plain.host}/broken/app")
        with pytest.raises(DataLoss):
            broken = Altered(BytesReader(data), until=3 * CHUNK + 300)
            clients.upload(client, broken, digest=digest, sessions=sessions)
        kept = list((tmp_path / "uploads").iterdir())

        assert clients.upload(client, data, sessions=sessions) == "pushed"

        response = client.request(client.hosts[0], "GET", f"blobs/{digest}", headers={}, scope="")
        assert response.read_small(1 << 20) == data
        response.close()
    assert len(kept) == 1
    assert not (tmp_path / "uploads").exists()


def test_an_upload_that_stopped_between_two_chunks_sends_only_the_rest(plain: Served, tmp_path: Path) -> None:
    data = bytes(range(255, -1, -1)) * 20
    sessions, seen = FileSessions(str(tmp_path / "uploads")), list[int]()

    class Stopped(Exception):
        pass

    def stop(offset: int) -> None:
        seen.append(offset)
        if seen.count(2 * CHUNK) == 2:  # where the second chunk ends and the third begins
            raise Stopped

    with Clients() as clients:
        client = clients.client(f"{plain.host}/stopped/app")
        with pytest.raises(Stopped):  # before the first byte of the third chunk
            clients.upload(client, data, sessions=sessions, on_progress=stop)
        told: list[int] = []

        assert clients.upload(client, data, sessions=sessions, on_progress=told.append) == "pushed"

    assert told[0] == 2 * CHUNK
    assert told[-1] == len(data)


def test_ten_thousand_tags_are_listed(plain: Served) -> None:
    tags = plain.tree / "many" / "_manifests" / "tags"
    names = [f"v{number:05}" for number in range(10_000)]
    for name in names:  # as the registry itself keeps them, and much faster than by pushes
        (tags / name / "current").mkdir(parents=True)
        (tags / name / "current" / "link").write_text(f"sha256:{'0' * 64}")

    with HttpResolver(plain.options) as resolver:
        found = list(resolver.repository(Reference(domain=plain.host, path="many")).tags())

    assert sorted(found) == names


def test_the_catalog_names_what_was_pushed(plain: Served) -> None:
    store, root = an_image([b"layer"])
    with HttpResolver(plain.options) as resolver:
        for number in range(3):
            send(resolver, Reference(domain=plain.host, path=f"catalog/app{number}"), store, root)

        found = set(resolver.catalog(plain.host))

    assert {"catalog/app0", "catalog/app1", "catalog/app2"} <= found


def test_a_blob_is_mounted_from_another_repository(plain: Served) -> None:
    store, root = an_image([b"a layer for several"])
    layer = next(child for child in family(store, root) if child.media_type == mediatypes.OCI_LAYER_GZIP)
    with HttpResolver(plain.options) as resolver:
        send(resolver, Reference(domain=plain.host, path="mount/from"), store, root)

        pusher = resolver.pusher(Reference(domain=plain.host, path="mount/to"))

        assert pusher.push(layer, store, sources=["mount/none", "mount/from"]) in ("mounted", "pushed")
        assert (
            resolver.pusher(Reference(domain=plain.host, path="mount/two")).push(
                layer, store, sources=["mount/from"]
            )
            == "mounted"
        )
