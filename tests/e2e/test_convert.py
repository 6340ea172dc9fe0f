"""``dist convert``: what it makes, says and refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from tests.e2e.offered import failure, offer

from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def root(dist: Dist, registry: FakeRegistry) -> Descriptor:
    """``app:1`` in the store: three layers, two of them compressed."""
    found = offer(registry, "team/app:1")
    done = dist("copy", "-q", f"{registry.address}/team/app:1", "store:app:1")
    assert done.returncode == 0, done.stderr
    return found


def manifest(dist: Dist, name: str) -> Any:
    digest = next(
        json.loads(line)["target"]["digest"]
        for line in dist("images", "--json").stdout.splitlines()
        if json.loads(line)["name"] == f"docker.io/library/{name}"
    )
    return json.loads(dist("get", digest).stdout)


def kinds(document: Any) -> list[str]:
    return [layer["mediaType"] for layer in document["layers"]]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("--compression", "zstd"), mediatypes.OCI_LAYER_ZSTD),
        (("--compression", "gzip", "--level", "1"), mediatypes.OCI_LAYER_GZIP),
        (("--compression", "none"), mediatypes.OCI_LAYER),
        (("--compression", "gzip", "--docker"), mediatypes.DOCKER_LAYER_GZIP),
    ],
)
def test_a_new_image_is_named_and_its_digest_printed(
    dist: Dist, root: Descriptor, words: tuple[str, ...], kind: str
) -> None:
    done = dist("convert", "-q", *words, "app:1", "app:new")

    document = manifest(dist, "app:new")
    assert (done.returncode, done.stderr) == (0, b"")
    assert kinds(document) == [kind] * 3
    assert dist("info", done.stdout.decode().strip()).returncode == 0
    assert dist("copy", "-q", "store:app:new", "oci:out:new").stdout == done.stdout
    assert dist("fsck").returncode == 0


def test_with_nothing_to_change_another_name_stands_for_the_same(dist: Dist, root: Descriptor) -> None:
    done = dist("convert", "-q", "--oci", "app:1", "app:same")

    assert done.stdout.decode().strip() == root.digest


def test_an_image_converted_to_its_own_name_is_the_new_one(dist: Dist, root: Descriptor) -> None:
    done = dist("convert", "-q", "--compression", "zstd", "app:1", "app:1")

    assert kinds(manifest(dist, "app:1")) == [mediatypes.OCI_LAYER_ZSTD] * 3
    assert done.stdout.decode().strip() != root.digest


def test_an_image_is_found_by_its_digest(dist: Dist, root: Descriptor) -> None:
    assert dist("convert", "-q", root.digest, "app:again").stdout.decode().strip() == root.digest


def test_what_happens_is_told_on_standard_error_or_as_json(dist: Dist, root: Descriptor) -> None:
    told = dist("convert", "--compression", "zstd", "app:1", "app:z")
    lines = dist("convert", "--compression", "none", "--json", "app:1", "app:n").stdout.splitlines()

    assert b"converted sha256:" in told.stderr
    events = [json.loads(line) for line in lines]
    assert events[0] == {
        "event": "resolved",
        "name": "docker.io/library/app:n",
        "descriptor": root.to_json(),
    }
    assert events[-1]["event"] == "finished"
    assert {event["how"] for event in events if event["event"] == "done"} <= {"converted", "present"}


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--docker", "--compression", "zstd"), 2, "docker's media types have none"),
        (("--level", "3"), 2, "level 3: nothing is compressed"),
        (("--compression", "gzip", "--level", "12"), 2, "gzip has 1 to 9"),
        (("--platform", "linux/amd64", "--all-platforms"), 2, "want one of them"),
    ],
)
def test_what_does_not_go_together_is_refused(
    dist: Dist, root: Descriptor, words: tuple[str, ...], status: int, message: str
) -> None:
    done = dist("convert", *words, "app:1", "app:new")

    assert message in failure(done, status)
    assert dist("images", "-q").stdout == b"docker.io/library/app:1\n"


def test_an_image_that_is_not_there_is_not_found(dist: Dist, root: Descriptor) -> None:
    done = dist("convert", "none:1", "app:new")

    assert "dist pull brings it" in failure(done, 11)


def test_a_new_name_with_a_digest_is_refused(dist: Dist, root: Descriptor) -> None:
    done = dist("convert", "app:1", f"app:2@{root.digest}")

    assert "leave it out" in failure(done, 2)
