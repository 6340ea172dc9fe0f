"""Image layouts and archives with Debian's skopeo on the other side."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import contents, family, make_image, push_all, read

from distore.content.local.store import LocalStore
from distore.transfer.archive import OciArchiveOrigin, OciArchiveSink
from distore.transfer.dockerarchive import DockerArchiveOrigin, DockerArchiveSink
from distore.transfer.endname import EndName, Kind
from distore.transfer.layout import LayoutOrigin, LayoutSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distore.oci.digest import Digest
    from distore.transfer.ends import Origin

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def skopeo(peer: Callable[[str], str], tmp_path: Path) -> Callable[..., bytes]:
    program = peer("skopeo")

    def run(*words: str) -> bytes:
        done = subprocess.run(
            [program, "--insecure-policy", *words],
            capture_output=True,
            cwd=tmp_path,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def open_origin(text: str, folder: Path) -> Origin:
    end = EndName.parse(text)
    assert end.path is not None
    path = str(folder / end.path)
    if end.kind is Kind.LAYOUT:
        return LayoutOrigin(path, end.name, store=LocalStore(path))
    if end.kind is Kind.OCI_ARCHIVE:
        return OciArchiveOrigin(path, end.name)
    return DockerArchiveOrigin(path, end.reference)


def write(text: str, folder: Path, seed: int = 1) -> set[Digest]:
    """Our image at an end; the digests of all that it is made of."""
    end = EndName.parse(text)
    assert end.path is not None
    path = str(folder / end.path)
    store, root = make_image(seed, layers=4)
    if end.kind is Kind.LAYOUT:
        with LayoutSink(path, end.name, store=LocalStore(path)) as layout:
            push_all(store, root, layout)
    elif end.kind is Kind.OCI_ARCHIVE:
        with OciArchiveSink(path, end.name) as archive:
            push_all(store, root, archive)
    else:
        with DockerArchiveSink(path, end.reference) as docker:
            push_all(store, root, docker)
    return {root.digest, *(child.digest for child in family(store, root))}


def plain_image(seed: int = 1) -> tuple[Digest, list[str]]:
    """Config and DiffIDs, which no copy changes."""
    store, root = make_image(seed, layers=4)
    config = family(store, root)[-1].digest
    return config, diff_ids_of(read(store, config))


def plain_of(origin: Origin) -> tuple[Digest, list[str]]:
    root = origin.resolve()
    config = family(origin, root)[-1].digest
    return config, diff_ids_of(contents(origin)[config])


def diff_ids_of(config: bytes) -> list[str]:
    return list(json.loads(config)["rootfs"]["diff_ids"])


SAME = ("--preserve-digests",)  # else it packs what is plain
ENDS = ("oci:ours", "oci:ours:v1", "oci:ours:redis:7", "oci-archive:ours.tar", "oci-archive:ours.tar:v1")


@pytest.mark.parametrize("end", ENDS)
def test_skopeo_reads_what_we_write_digest_by_digest(
    end: str, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    digests = write(end, tmp_path)

    skopeo("copy", *SAME, end, "oci:theirs:out")

    assert contents(open_origin("oci:theirs:out", tmp_path)).keys() == digests
    assert {f"sha256:{path.name}" for path in (tmp_path / "theirs/blobs/sha256").iterdir()} == digests


@pytest.mark.parametrize("end", ["oci:theirs:v1", "oci:theirs:redis:7", "oci-archive:theirs.tar:v1"])
def test_we_read_what_skopeo_writes_digest_by_digest(
    end: str, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    digests = write("oci:ours:v1", tmp_path)

    skopeo("copy", *SAME, "oci:ours:v1", end)

    with open_origin(end, tmp_path) as origin:
        assert contents(origin).keys() == digests
    with open_origin(end.removesuffix(":v1").removesuffix(":redis:7"), tmp_path) as origin:
        assert contents(origin).keys() == digests


@pytest.mark.parametrize("end", ["docker-archive:ours.tar", "docker-archive:ours.tar:redis:7"])
def test_skopeo_reads_our_docker_archive(end: str, skopeo: Callable[..., bytes], tmp_path: Path) -> None:
    write(end, tmp_path)

    raw = json.loads(skopeo("inspect", "--raw", end))
    skopeo("copy", end, "docker-archive:theirs.tar:x:1")
    skopeo("copy", end, "oci:theirs:out")

    config, diff_ids = plain_image()
    assert raw["config"]["digest"] == config
    assert [layer["digest"] for layer in raw["layers"]] == diff_ids
    with open_origin("docker-archive:theirs.tar:x:1", tmp_path) as again:
        assert plain_of(again) == (config, diff_ids)
    assert plain_of(open_origin("oci:theirs:out", tmp_path))[1] == diff_ids


def test_we_read_skopeos_docker_archive(skopeo: Callable[..., bytes], tmp_path: Path) -> None:
    write("oci:ours:v1", tmp_path)

    skopeo("copy", "oci:ours:v1", "docker-archive:theirs.tar:redis:7")

    for end in ("docker-archive:theirs.tar", "docker-archive:theirs.tar:redis:7"):
        with open_origin(end, tmp_path) as origin:
            config, diff_ids = plain_of(origin)
            assert (config, diff_ids) == plain_image()
            assert {config, *diff_ids} < set(map(str, contents(origin)))


def test_images_of_two_programs_live_in_one_layout(skopeo: Callable[..., bytes], tmp_path: Path) -> None:
    write("oci:both:first", tmp_path, seed=1)
    write("oci:other:x", tmp_path, seed=2)

    skopeo("copy", *SAME, "oci:other:x", "oci:both:second")
    third = write("oci:both:third", tmp_path, seed=3)
    skopeo("copy", *SAME, "oci:both:first", "oci:out:first")

    assert contents(open_origin("oci:both:third", tmp_path)).keys() == third
    assert plain_of(open_origin("oci:both:second", tmp_path)) == plain_image(2)
    assert plain_of(open_origin("oci:out:first", tmp_path)) == plain_image(1)
