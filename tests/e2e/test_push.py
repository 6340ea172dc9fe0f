"""``dist push``: what it sends and says, for people and for programs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import family, make_image, read

from distore.content.blobs import write_blob
from distore.content.local.store import LocalStore
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.testing import server
from distore.testing.server import FakeRegistry

Dist = Callable[..., subprocess.CompletedProcess[bytes]]
pytestmark = pytest.mark.slow


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def content(tmp_path: Path) -> LocalStore:
    """The store that ``dist`` uses."""
    return LocalStore(str(tmp_path / ".content"))


def fill(store: LocalStore, seed: int = 1, *, layers: int = 3) -> Descriptor:
    """An image in the store, without a name."""
    image, root = make_image(seed, layers=layers)
    for one in (*family(image, root), root):
        write_blob(store, "fill", read(image, one.digest))
    return root


def joined(store: LocalStore) -> tuple[Descriptor, Descriptor, Descriptor]:
    """An index of two images: itself and both of them."""
    children = [
        Descriptor(
            media_type=root.media_type,
            digest=root.digest,
            size=root.size,
            platform=Platform(os="linux", architecture=name),
        )
        for root, name in ((fill(store, 1), "amd64"), (fill(store, 2), "arm64"))
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [child.to_json() for child in children],
    }
    data = json.dumps(document).encode()
    digest = write_blob(store, "fill", data)
    return (
        Descriptor(media_type=mediatypes.OCI_INDEX, digest=digest, size=len(data)),
        children[0],
        children[1],
    )


def test_an_image_is_pushed_by_digest_and_its_digest_printed(
    dist: Dist, registry: FakeRegistry, content: LocalStore
) -> None:
    root = fill(content)

    done = dist("push", f"{registry.address}/team/app:1", f"sha256:{root.digest.encoded}")

    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{root.digest}\n"
    assert registry.repositories["team/app"] == {"1": root}
    words = done.stderr.decode()
    assert f"{registry.address}/team/app:1: {root.digest}" in words
    assert words.count("pushed sha256:") == 5


def test_what_was_pulled_is_pushed_under_another_name_and_back(
    dist: Dist, registry: FakeRegistry, tmp_path: Path
) -> None:
    root = registry.image("library/app", "1", [b"layer one", b"layer two"])
    name = f"{registry.address}/library/app:1"
    assert dist("pull", "--all-platforms", name).returncode == 0

    with FakeRegistry() as other:
        done = dist("push", f"{other.address}/mine:2", name)

        assert done.returncode == 0, done.stderr
        assert other.repositories["mine"] == {"2": root}
        assert other.blobs.data[root.digest] == registry.blobs.data[root.digest]

    again = dist("push", name)
    assert again.returncode == 0, again.stderr


def test_blobs_of_another_repository_of_the_registry_are_mounted(dist: Dist, registry: FakeRegistry) -> None:
    registry.image("library/app", "1", [b"layer one", b"layer two"])
    name = f"{registry.address}/library/app:1"
    assert dist("pull", "--all-platforms", name).returncode == 0
    before = registry.bytes_received

    done = dist("push", "--json", f"{registry.address}/mine:1", name)

    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["how"] for event in events if event["event"] == "done"] == ["mounted"] * 3 + ["pushed"]
    sizes = [event["size"] for event in events if event["event"] == "done"]
    assert registry.bytes_received - before == sizes[-1]


def test_json_has_a_line_for_each_event(dist: Dist, registry: FakeRegistry, content: LocalStore) -> None:
    root = fill(content)

    done = dist("push", "--json", f"{registry.address}/app:1", root.digest)

    events = [json.loads(line) for line in done.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert names[:2] == ["resolved", "planned"]
    assert names[-1] == "finished"
    assert events[-1]["descriptor"]["digest"] == root.digest
    assert done.stderr == b""


def test_one_platform_goes_alone_under_the_name(
    dist: Dist, registry: FakeRegistry, content: LocalStore
) -> None:
    index, amd64, arm64 = joined(content)

    done = dist("push", "--platform", "linux/arm64", f"{registry.address}/app:arm", index.digest)

    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == arm64.digest
    assert registry.repositories["app"]["arm"].digest == arm64.digest
    assert not registry.has("app", index.digest)
    assert not registry.has("app", amd64.digest)


def test_all_platforms_go_unless_one_is_chosen(
    dist: Dist, registry: FakeRegistry, content: LocalStore
) -> None:
    index, amd64, arm64 = joined(content)

    assert dist("push", f"{registry.address}/app:all", index.digest).returncode == 0

    assert registry.repositories["app"]["all"] == index
    assert registry.has("app", amd64.digest)
    assert registry.has("app", arm64.digest)


def test_a_platform_that_is_not_there_is_not_found(
    dist: Dist, registry: FakeRegistry, content: LocalStore
) -> None:
    index, _, _ = joined(content)

    done = dist("push", "--platform", "linux/s390x", f"{registry.address}/app:1", index.digest)

    assert done.returncode == 11
    assert b"linux/amd64, linux/arm64" in done.stderr
    assert registry.requests == []


def test_a_name_that_nobody_knows_says_what_to_do(dist: Dist, registry: FakeRegistry) -> None:
    done = dist("push", f"{registry.address}/app:1")

    assert done.returncode == 11
    assert b"dist pull" in done.stderr


def test_a_name_with_another_digest_is_refused_before_anything_is_sent(
    dist: Dist, registry: FakeRegistry, content: LocalStore
) -> None:
    root = fill(content)

    done = dist("push", f"{registry.address}/app@{Digest.of(b'other')}", root.digest)

    assert done.returncode == 2, done.stderr
    assert b"leave out the digest" in done.stderr
    assert registry.requests == []


def test_a_push_that_broke_off_goes_on_in_another_process(
    dist: Dist, registry: FakeRegistry, content: LocalStore, tmp_path: Path
) -> None:
    big = bytes(range(256)) * 4 * 1024 * 80  # more than one chunk
    digest = write_blob(content, "fill", big)
    uploads = tmp_path / ".content" / "uploads"
    registry.inject(server.refuse(403), path="/blobs/uploads/", method="PUT")
    words = ("push-object", f"{registry.address}/app", digest, mediatypes.OCI_LAYER)

    first = dist(*words)
    kept = [file.stat().st_mode & 0o777 for file in uploads.iterdir()]
    second = dist(*words)

    assert first.returncode == 16, first.stderr
    assert kept == [0o600]
    assert second.returncode == 0, second.stderr
    assert registry.has("app", digest)
    assert registry.bytes_received == len(big)
    assert [seen.method for seen in registry.seen("/blobs/uploads/")] == [
        "POST",
        "PATCH",
        "PUT",
        "GET",
        "PUT",
    ]
    assert not uploads.exists()
    assert dist("fsck").returncode == 0


def test_damage_is_found_and_nothing_is_tagged(
    dist: Dist, registry: FakeRegistry, content: LocalStore, tmp_path: Path
) -> None:
    root = fill(content)
    layer = json.loads(read(content, root.digest))["layers"][0]["digest"]
    file = tmp_path / ".content" / "blobs" / "sha256" / layer.removeprefix("sha256:")
    file.chmod(0o644)
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))

    done = dist("push", f"{registry.address}/app:1", root.digest)

    assert done.returncode == 29
    assert f"content {layer}: damaged".encode() in done.stderr
    assert b"dist fsck" in done.stderr
    assert registry.repositories.get("app", {}) == {}


@pytest.mark.parametrize(("status", "code"), [(401, 17), (403, 16), (413, 18), (507, 18)])
def test_the_exit_status_says_why_a_push_failed(
    status: int, code: int, dist: Dist, registry: FakeRegistry, content: LocalStore
) -> None:
    root = fill(content)
    registry.inject(server.refuse(status), path="/blobs/uploads/", times=None)

    done = dist("push", "-q", f"{registry.address}/app:1", root.digest)

    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1


def test_a_push_with_credentials_never_shows_them(dist: Dist, content: LocalStore, tmp_path: Path) -> None:
    root = fill(content)
    with FakeRegistry(with_tokens=True, users={"ann": "topsecret"}) as registry:
        auth = tmp_path / "auth.json"
        auth.write_text(
            json.dumps({"auths": {registry.address: {"username": "ann", "password": "topsecret"}}})
        )

        done = dist("push", "--authfile", str(auth), f"{registry.address}/app:1", root.digest)
        refused = dist("push", f"{registry.address}/app:2", root.digest)

        assert done.returncode == 0, done.stderr
        assert registry.repositories["app"] == {"1": root}
        assert refused.returncode == 17
        assert b"dist login" in refused.stderr
        assert b"topsecret" not in done.stderr + done.stdout + refused.stderr


def test_an_image_of_a_hundred_small_layers_arrives(
    dist: Dist, registry: FakeRegistry, content: LocalStore
) -> None:
    root = fill(content, layers=100)

    assert dist("push", "-q", f"{registry.address}/app:1", root.digest).returncode == 0

    assert registry.repositories["app"] == {"1": root}
