"""``dist sync``: what is copied, what is not, and what it says at the end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.testing import server
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]
TAGS = [f"v{number}" for number in range(30)]


@pytest.fixture
def roots(registry: FakeRegistry) -> dict[str, Descriptor]:
    """30 images of one repository by their tag; they share a layer."""
    return {tag: registry.image("team/app", tag, [b"shared", tag.encode()]) for tag in TAGS}


@pytest.fixture
def source(registry: FakeRegistry, roots: dict[str, Descriptor]) -> str:
    return f"{registry.address}/team/app"


def spoil(registry: FakeRegistry, tag: str) -> None:
    """An image whose config is not there."""
    config = {"mediaType": mediatypes.OCI_CONFIG, "digest": Digest.of(b"lost"), "size": 4}
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "config": config, "layers": []}
    registry.tag("team/app", tag, json.dumps(document).encode())


def told(done: subprocess.CompletedProcess[bytes]) -> dict[str, str]:
    """What became of each tag."""
    words = [line.split() for line in done.stdout.decode().splitlines()]
    return {tag: how for how, tag, _ in words}


@pytest.mark.parametrize("destination", ["oci:mirror", "store:mirror/app", "REGISTRY/mirror/app"])
def test_every_tag_is_copied_once(
    dist: Dist, registry: FakeRegistry, source: str, roots: dict[str, Descriptor], destination: str
) -> None:
    destination = destination.replace("REGISTRY", registry.address)

    first = dist("sync", source, destination)
    uploads = len(registry.seen("/uploads/"))
    second = dist("sync", source, destination)

    assert told(first) == dict.fromkeys(TAGS, "copied")
    assert first.stderr.decode() == "dist: 30 copied, 0 present, 0 failed\n"
    assert told(second) == dict.fromkeys(TAGS, "present")
    assert second.stderr.decode() == "dist: 0 copied, 30 present, 0 failed\n"
    assert len(registry.seen("/uploads/")) == uploads
    one = f"{destination}:v7"
    assert json.loads(dist("inspect", "--json", one).stdout)["descriptor"]["digest"] == roots["v7"].digest


def test_only_a_tag_that_has_moved_is_copied_again(dist: Dist, registry: FakeRegistry, source: str) -> None:
    dist("sync", "-q", source, "oci:mirror")
    moved = registry.image("team/app", "v3", [b"new"])

    done = dist("sync", source, "oci:mirror")

    assert [tag for tag, how in told(done).items() if how == "copied"] == ["v3"]
    assert f"copied v3 {moved.digest}\n" in done.stdout.decode()


def test_a_broken_tag_stops_no_other_and_is_named(dist: Dist, registry: FakeRegistry, source: str) -> None:
    spoil(registry, "v13")

    done = dist("sync", source, "oci:mirror")

    assert done.returncode == 11
    assert told(done) == {tag: "copied" for tag in TAGS if tag != "v13"}
    error, summary = done.stderr.decode().splitlines()
    assert error.startswith("dist: v13: ")
    assert Digest.of(b"lost") in error
    assert summary == "dist: 29 copied, 0 present, 1 failed"


def test_json_tells_of_each_tag_even_of_one_that_failed(
    dist: Dist, registry: FakeRegistry, source: str, roots: dict[str, Descriptor]
) -> None:
    spoil(registry, "v13")

    done = dist("sync", "--json", "--tag", "v1[23]", source, "oci:mirror")

    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert good == {"tag": "v12", "digest": roots["v12"].digest, "how": "copied", "error": None}
    assert {**bad, "error": ""} == {"tag": "v13", "digest": None, "how": "failed", "error": ""}
    assert bad["error"] in done.stderr.decode()


def test_a_dry_run_changes_nothing(dist: Dist, registry: FakeRegistry, source: str, tmp_path: Path) -> None:
    before = {name: dict(tags) for name, tags in registry.repositories.items()}

    results = [
        dist("sync", "--dry-run", "--tag", "v2*", source, destination)
        for destination in ("oci:mirror", "store:mirror", f"{registry.address}/mirror/app")
    ]

    for done in results:
        assert set(told(done).values()) == {"missing"}
        assert done.stderr.decode() == "dist: 11 missing, 0 present, 0 failed\n"
    assert {name: tags for name, tags in registry.repositories.items() if tags} == before
    assert all(request.method in ("GET", "HEAD") for request in registry.requests)
    assert list(tmp_path.iterdir()) == []


def test_patterns_choose_among_the_tags(dist: Dist, source: str) -> None:
    words = ("sync", "--dry-run", "--tag", "v1?", "--tag", "v2", "--exclude", "*5", "--exclude", "v10")

    assert set(told(dist(*words, source, "oci:x"))) == {"v2", *(f"v1{n}" for n in (1, 2, 3, 4, 6, 7, 8, 9))}


def test_nothing_to_do_is_said(dist: Dist, registry: FakeRegistry, source: str) -> None:
    registry.put("empty/app", b"x")

    for words in (["--tag", "z*", source], [f"{registry.address}/empty/app"]):
        done = dist("sync", *words, "oci:mirror")

        assert (done.returncode, done.stdout) == (0, b"")
        assert done.stderr.decode() == f"dist: no tag of {words[-1]} is wanted; nothing to do\n"


def test_quiet_says_results_and_errors_alone(dist: Dist, registry: FakeRegistry, source: str) -> None:
    spoil(registry, "v13")

    done = dist("sync", "-q", source, "oci:mirror")

    assert len(done.stdout.splitlines()) == 29
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["SOURCE", "oci-archive:x"], 2, "an archive holds one image; use oci:DIR"),
        (["SOURCE", "oci:"], 2, "want a path behind the colon"),
        (["SOURCE", "Bad"], 2, "lower case"),
        (["SOURCE", "r.example/x:tag"], 2, "want a name without tag and digest"),
        (["SOURCE", "store:x:tag"], 2, "want a name without tag and digest"),
        (["SOURCE:v1", "oci:x"], 2, "want a name without tag and digest"),
        (["SOURCE", "SOURCE"], 2, "is both the source and the destination"),
        (["SOURCE", "docker://SOURCE"], 2, "is both the source and the destination"),
        (["oci:x", "SOURCE"], 2, "want a repository of a registry"),
        (["REGISTRY/none", "oci:x"], 11, "tags of REGISTRY/none: not found"),
        (["SOURCE", "oci:x", "--platform", "nonsense"], 2, "platform 'nonsense'"),
        (["SOURCE"], 2, "destination"),
    ],
)
def test_a_wrong_word_is_one_line_before_anything_is_done(
    dist: Dist, registry: FakeRegistry, source: str, tmp_path: Path, words: list[str], status: int, part: str
) -> None:
    def real(text: str) -> str:
        return text.replace("SOURCE", source).replace("REGISTRY", registry.address)

    done = dist("sync", *map(real, words))

    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (status, b"")
    assert text.startswith("dist: ")
    assert text.count("\n") == 1
    assert real(part) in text
    assert list(tmp_path.iterdir()) == []


def test_what_would_fail_for_every_tag_ends_after_a_few(dist: Dist, source: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")

    done = dist("sync", source, "oci:file")

    lines = done.stderr.decode().splitlines()
    assert done.returncode == 14
    assert len(lines) == 5
    assert all("oci:file: not a folder" in line for line in lines[:3])
    assert lines[3:] == [
        "dist: 3 tags in a row failed alike; the others were not tried",
        "dist: 0 copied, 0 present, 3 failed",
    ]


def test_one_platform_is_copied_once_although_its_digest_is_not_that_of_the_tag(
    dist: Dist, registry: FakeRegistry
) -> None:
    images = {arch: registry.image("multi", arch, [arch.encode()]) for arch in ("amd64", "s390x")}
    index = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [
            {**image.to_json(), "platform": {"os": "linux", "architecture": arch}}
            for arch, image in images.items()
        ],
    }
    root = registry.tag("multi", "all", json.dumps(index).encode(), mediatypes.OCI_INDEX)
    words = ("sync", "-q", "--tag", "all", f"{registry.address}/multi", "--platform")

    to_layout = [dist(*words, "linux/s390x", "oci:mirror").stdout.decode() for _ in range(2)]
    to_store = [
        dist(*words, arch, "store:mirror").stdout.decode()
        for arch in ("linux/s390x", "linux/s390x", "linux/amd64")
    ]

    digest = images["s390x"].digest
    assert to_layout == [f"copied all {digest}\n", f"present all {digest}\n"]
    assert to_store == [f"{how} all {root.digest}\n" for how in ("copied", "present", "copied")]


def test_a_new_signature_of_an_old_image_comes_along(
    dist: Dist, registry: FakeRegistry, source: str, roots: dict[str, Descriptor]
) -> None:
    words = ("sync", "-q", "--referrers", "--tag", "v1", source, f"{registry.address}/mirror/app")
    dist(*words)
    empty = {"mediaType": mediatypes.OCI_EMPTY, "digest": registry.put("team/app", b"{}"), "size": 2}
    layer = {"mediaType": "text/plain", "digest": registry.put("team/app", b"signed"), "size": 6}
    signature = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": "application/example",
        "config": empty,
        "layers": [layer],
        "subject": roots["v1"].to_json(),
    }
    registry.tag("team/app", "signature", json.dumps(signature).encode())

    done = dist(*words)
    referrers = dist("referrers", f"{registry.address}/mirror/app:v1")

    assert done.returncode == 0, done
    assert "application/example" in referrers.stdout.decode()


def test_a_destination_that_answers_403_for_what_is_not_there_gets_it(
    dist: Dist, registry: FakeRegistry, source: str
) -> None:
    registry.inject(server.refuse(403, "DENIED"), path="/v2/mirror/app/manifests/", method="HEAD")
    words = ("--tag", "v1", source, f"{registry.address}/mirror/app")

    assert told(dist("sync", *words)) == {"v1": "copied"}
