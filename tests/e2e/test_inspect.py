"""``dist inspect``: what an image is made of."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from tests.e2e.offered import CONFIG, failure, image

from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]


def index(registry: FakeRegistry, *platforms: str) -> tuple[Descriptor, list[Descriptor]]:
    images, entries = [], []
    for platform in platforms:
        system, architecture = platform.split("/")
        images.append(
            image(
                registry, f"team/app:{architecture}", {**CONFIG, "os": system, "architecture": architecture}
            )
        )
        entries.append(
            {**images[-1].to_json(), "platform": {"os": system, "architecture": architecture}},
        )
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": entries}
    return registry.tag("team/app", "multi", json.dumps(document).encode(), mediatypes.OCI_INDEX), images


@pytest.fixture
def app(registry: FakeRegistry) -> str:
    return f"{registry.address}/team/app"


def test_the_summary_says_what_people_ask_for(dist: Dist, registry: FakeRegistry, app: str) -> None:
    root = image(registry, annotations={"a": "b"})

    done = dist("inspect", f"{app}:1")

    assert done.stderr == b""
    assert [line.split(None, 1) for line in done.stdout.decode().splitlines()] == [
        ["name", f"{app}:1"],
        ["digest", root.digest],
        ["type", mediatypes.OCI_MANIFEST],
        ["annotation", "a=b"],
        ["platform", "linux/amd64"],
        ["created", "2026-01-02T03:04:05Z"],
        ["author", "Ann"],
        ["user", "web"],
        ["working", "dir  /srv"],
        ["entrypoint", '["/bin/sh", "-c", "echo $A"]'],
        ["env", "PATH=/bin"],
        ["env", "A=1"],
        ["port", "80/tcp"],
        ["volume", "/data"],
        ["stop", "signal  SIGQUIT"],
        ["label", "version=1.2"],
        ["layer", f"{Digest.of(b'layer')}  5 B"],
        ["size", "5 B in 1 layer"],
    ]
    assert not registry.seen(Digest.of(b"layer"))


def test_json_has_the_same_and_the_config_as_an_object(dist: Dist, registry: FakeRegistry, app: str) -> None:
    root = image(registry)

    found = json.loads(dist("inspect", "--json", f"{app}:1").stdout)

    assert found["descriptor"]["digest"] == found["manifest"] == root.digest
    assert found["config"] == {
        "platform": "linux/amd64",
        "created": "2026-01-02T03:04:05Z",
        "author": "Ann",
        "user": "web",
        "working_dir": "/srv",
        "entrypoint": ["/bin/sh", "-c", "echo $A"],
        "cmd": None,
        "env": ["PATH=/bin", "A=1"],
        "ports": ["80/tcp"],
        "volumes": ["/data"],
        "stop_signal": "SIGQUIT",
        "labels": {"version": "1.2"},
    }


def test_an_index_shows_its_images_and_one_of_them_in_full(
    dist: Dist, registry: FakeRegistry, app: str
) -> None:
    _, (amd, s390) = index(registry, "linux/amd64", "linux/s390x")

    text = dist("inspect", "--platform", "linux/s390x", f"{app}:multi").stdout.decode()
    raw = dist("inspect", "--raw", f"{app}:multi")
    one = dist("inspect", "--raw", "--platform", "linux/amd64", f"{app}:multi")

    assert f"image        {amd.digest}  linux/amd64\n" in text
    assert f"image        {s390.digest}  linux/s390x\n" in text
    assert "platform     linux/s390x\n" in text
    assert json.loads(raw.stdout)["manifests"]
    assert Digest.of(one.stdout) == amd.digest


def test_an_index_without_this_machine_is_still_shown(dist: Dist, registry: FakeRegistry, app: str) -> None:
    index(registry, "windows/amd64")

    shown = dist("inspect", f"{app}:multi")
    found = json.loads(dist("inspect", "--json", f"{app}:multi").stdout)

    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"windows/amd64" in shown.stdout
    assert (found["manifest"], found["config"], found["layers"]) == (None, None, [])
    wanted = dist("inspect", "--platform", "linux/s390x", f"{app}:multi")
    assert "it has windows/amd64" in failure(wanted, 11)


def test_an_artifact_has_a_type_and_no_config(dist: Dist, registry: FakeRegistry, app: str) -> None:
    empty = {"mediaType": mediatypes.OCI_EMPTY, "digest": registry.put("team/app", b"{}"), "size": 2}
    registry.tag(
        "team/app",
        "sbom",
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.OCI_MANIFEST,
                "artifactType": "application/spdx+json",
                "config": empty,
                "layers": [],
            }
        ).encode(),
    )

    found = json.loads(dist("inspect", "--json", f"{app}:sbom").stdout)

    assert (found["artifact_type"], found["config"]) == ("application/spdx+json", None)


@pytest.mark.parametrize(
    "config", [b"garbage", b"[]", b'{"os":7}', b"[" * 100_000, b'{"rootfs":{"diff_ids":[1]}}', b""]
)
def test_a_config_that_is_nonsense_hides_nothing_else(
    dist: Dist, registry: FakeRegistry, app: str, config: bytes
) -> None:
    root = image(registry, config=config)

    done = dist("inspect", "--json", f"{app}:1")

    assert done.returncode == 2
    assert json.loads(done.stdout)["descriptor"]["digest"] == root.digest
    assert done.stderr.decode().startswith(f"dist: config {Digest.of(config)}: ")


def test_odd_fields_of_a_config_are_passed_over(dist: Dist, registry: FakeRegistry, app: str) -> None:
    odd = {
        "Env": "PATH",
        "Labels": [1],
        "Entrypoint": {"a": 1},
        "User": 0,
        "Volumes": ["x"],
        "Cmd": [1, "a"],
    }
    image(registry, config={**CONFIG, "config": odd, "created": 7})

    found = json.loads(dist("inspect", "--json", f"{app}:1").stdout)["config"]

    assert (found["env"], found["labels"], found["entrypoint"], found["cmd"]) == ([], {}, None, ["a"])
    assert (found["created"], found["user"], found["volumes"]) == (None, None, [])


def test_what_an_image_says_cannot_play_tricks_on_a_terminal(
    dist: Dist, registry: FakeRegistry, app: str
) -> None:
    labels = {"a\x1b[2Jb": "c\nd"}
    image(
        registry,
        config={**CONFIG, "author": "\x1b]0;x\x07", "config": {"Env": ["A=\x1b[31m"], "Labels": labels}},
    )

    text = dist("inspect", f"{app}:1").stdout.decode()

    assert all(line.isprintable() for line in text.splitlines())


def test_every_end_can_be_inspected(dist: Dist, registry: FakeRegistry, app: str) -> None:
    root = image(registry)
    for end in ("store:app", "oci:layout:1", "oci-archive:app.tar:1"):
        dist("copy", "-q", f"{app}:1", end)

        found = json.loads(dist("inspect", "--json", end).stdout)

        assert (found["descriptor"]["digest"], found["config"]["author"]) == (root.digest, "Ann")


@pytest.mark.parametrize("words", [["--raw", "--config"], ["--platform", "nonsense"], []])
def test_wrong_words_are_one_line(dist: Dist, words: list[str]) -> None:
    failure(dist("inspect", *words, *(["oci:x"] if words else [])), 11 if "nonsense" in words else 2)
