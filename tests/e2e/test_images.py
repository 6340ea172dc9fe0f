"""``dist images``: the names in the store."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from distore.content.blobs import write_blob
from distore.content.local.store import LocalStore
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def root(dist: Dist, registry: FakeRegistry) -> Descriptor:
    """An image that the store has under two names."""
    found = registry.image("team/app", "1", [b"layer"])
    dist("copy", "-q", f"{registry.address}/team/app:1", "store:app:1")
    dist("copy", "-q", "store:app:1", "store:r.example/app:2")
    return found


def test_names_are_listed_with_their_digests(dist: Dist, root: Descriptor) -> None:
    head, first, second = dist("images").stdout.decode().splitlines()

    assert re.fullmatch(r"IMAGE +DIGEST +AGE", head)
    assert re.fullmatch(rf"docker\.io/library/app:1 +{root.digest}  (now|\d+ seconds?)", first)
    assert second.split()[:2] == ["r.example/app:2", root.digest]
    assert dist("images", "-q").stdout == b"docker.io/library/app:1\nr.example/app:2\n"


def test_json_has_the_whole_descriptor(dist: Dist, root: Descriptor) -> None:
    first, _ = map(json.loads, dist("images", "--json").stdout.splitlines())

    assert first["name"] == "docker.io/library/app:1"
    assert first["target"] == root.to_json()
    assert first["created"] <= first["updated"]


def test_a_name_is_forgotten_and_the_content_stays(dist: Dist, root: Descriptor) -> None:
    done = dist("images", "rm", "app:1")

    assert done.stdout == b"docker.io/library/app:1\n"
    assert dist("images", "-q").stdout == b"r.example/app:2\n"
    assert dist("get", root.digest).returncode == 0


def test_a_name_that_is_not_there_stops_no_other(dist: Dist, root: Descriptor) -> None:
    done = dist("images", "rm", "none", "Bad", "app:1")

    assert done.returncode == 11
    assert done.stdout == b"docker.io/library/app:1\n"
    assert [line.split(":")[1] for line in done.stderr.decode().splitlines()] == [
        " image docker.io/library/none",
        " reference 'Bad'",
    ]


def test_names_come_from_standard_input(dist: Dist, root: Descriptor) -> None:
    dist("images", "rm", "-", input=dist("images", "-q").stdout)

    assert dist("images", "-q").stdout == b""


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["rm"], "want the names"),
        (["ls", "x"], "takes no names"),
        (["list"], "invalid choice"),
        (["tag", "a"], "want an image and its new names"),
        (["label"], "want an image, and KEY=VALUE"),
        (["inspect"], "want one image"),
        (["inspect", "a", "b"], "want one image"),
        (["check", "--platform", "amd64", "--all-platforms"], "want one of them"),
        (["check", "--platform", "nonsense/"], "platform 'nonsense/'"),
        (["ls", "--filter", "name="], "filter 'name=': position 5"),
    ],
)
def test_wrong_words_are_one_line(dist: Dist, words: list[str], part: str) -> None:
    done = dist("images", *words)

    assert done.returncode == 2
    assert part in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.fixture
def sparse(dist: Dist, registry: FakeRegistry) -> Descriptor:
    """An index of two images as ``app:all``, of which the store has the one for amd64."""
    images = [registry.image("team/app", arch, [b"both", arch.encode()]) for arch in ("amd64", "arm64")]
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [
            {**image.to_json(), "platform": {"os": "linux", "architecture": arch}}
            for image, arch in zip(images, ("amd64", "arm64"), strict=True)
        ],
    }
    found = registry.tag("team/app", "all", json.dumps(document).encode(), mediatypes.OCI_INDEX)
    done = dist("copy", "-q", "--platform", "amd64", f"{registry.address}/team/app:all", "store:app:all")
    assert done.returncode == 0
    return found


def test_a_wide_listing_has_what_is_there(dist: Dist, root: Descriptor, sparse: Descriptor) -> None:
    head, *lines = dist("images", "--wide").stdout.decode().splitlines()
    records = [json.loads(line) for line in dist("images", "--wide", "--json").stdout.splitlines()]

    assert head.split() == ["IMAGE", "DIGEST", "SIZE", "PLATFORMS", "AGE"]
    assert len(lines) == 3
    assert "linux/amd64" in next(line for line in lines if str(sparse.digest) in line)
    assert [(each["name"], each["platforms"]) for each in records] == [
        ("docker.io/library/app:1", ["linux/amd64"]),
        ("docker.io/library/app:all", ["linux/amd64"]),
        ("r.example/app:2", ["linux/amd64"]),
    ]
    assert all(each["size"] > 0 for each in records)


def test_a_listing_is_filtered(dist: Dist, root: Descriptor) -> None:
    dist("images", "label", "app:1", "team=web")

    assert dist("images", "-q", "--filter", "labels.team==web").stdout == b"docker.io/library/app:1\n"
    assert dist("images", "-q", "--filter", f"target.digest=={root.digest}").stdout.count(b"\n") == 2
    assert dist("images", "-q", "--filter", "name~=/^r/", "--filter", "labels.team").stdout.count(b"\n") == 2


def test_quiet_reads_no_documents(dist: Dist, root: Descriptor, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / ".content" / "blobs")

    done = dist("images", "-q")

    assert (done.returncode, done.stdout) == (0, b"docker.io/library/app:1\nr.example/app:2\n")


def test_an_image_gets_other_names(dist: Dist, root: Descriptor) -> None:
    done = dist("images", "tag", "app:1", "r.example/app:2", "new", "Bad", root.digest)
    forced = dist("images", "tag", "--force", root.digest, "r.example/app:2")

    assert (done.returncode, done.stdout) == (12, b"docker.io/library/new:latest\n")
    assert [line.split(": ", 1)[1] for line in done.stderr.decode().splitlines()] == [
        "image r.example/app:2: exists already",
        "reference 'Bad': the repository must be lower case; did you mean 'library/bad'?",
        f"image '{root.digest}': a digest, want a name",
    ]
    assert (forced.returncode, forced.stdout) == (0, b"r.example/app:2\n")


def test_labels_are_set_shown_and_removed(dist: Dist, root: Descriptor) -> None:
    assert dist("images", "label", "app:1", "a=1", "b=2").stdout == b"docker.io/library/app:1 a=1 b=2\n"
    assert dist("images", "label", "app:1", "a=").stdout == b"docker.io/library/app:1 b=2\n"
    assert dist("images", "label", "app:1").stdout == b"docker.io/library/app:1 b=2\n"

    long = dist("images", "label", "app:1", "c=3", "d=" + "x" * 5000)
    bad = dist("images", "label", "app:1", "nonsense")

    assert (long.returncode, bad.returncode) == (2, 2)
    assert dist("images", "label", "app:1").stdout == b"docker.io/library/app:1 b=2\n"


def test_forgetting_in_sync_removes_what_nothing_else_needs(dist: Dist, root: Descriptor) -> None:
    first = dist("images", "rm", "--sync", "app:1")
    kept = dist("list", "-q").stdout.count(b"\n")
    second = dist("images", "rm", "--sync", "r.example/app:2")

    assert (first.returncode, second.returncode, kept) == (0, 0, 3)
    assert dist("list", "-q").stdout == b""


def test_forgetting_nothing_in_sync_removes_nothing(dist: Dist, root: Descriptor) -> None:
    dist("ingest", "loose", input=b"loose")

    done = dist("images", "rm", "--sync", "none")

    assert done.returncode == 11
    assert dist("get", Digest.of(b"loose")).stdout == b"loose"


def test_forgetting_many_collects_garbage_when_the_schedule_says_so(dist: Dist, root: Descriptor) -> None:
    dist("gc", "--schedule", "deletion_threshold=2")

    dist("images", "rm", "app:1")
    before = dist("list", "-q").stdout.count(b"\n")
    dist("images", "rm", "r.example/app:2")

    assert (before, dist("list", "-q").stdout) == (3, b"")


def test_a_digest_cannot_be_forgotten(dist: Dist, root: Descriptor) -> None:
    done = dist("images", "rm", root.digest)

    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a digest, want a name" in done.stderr


def test_inspect_shows_the_record_and_the_tree(dist: Dist, sparse: Descriptor) -> None:
    dist("images", "label", "app:all", "a=b")

    lines = dist("images", "inspect", "app:all").stdout.decode().splitlines()
    by_digest = dist("images", "inspect", sparse.digest).stdout.decode().splitlines()

    assert " ".join(line.split()[0] for line in lines) == (
        "name created updated label target type platforms size index manifest config layer layer manifest"
    )
    assert lines[0].split() == ["name", "docker.io/library/app:all"]
    assert re.fullmatch(r"    layer  sha256:[0-9a-f]{64}  4 B", lines[11])
    assert re.fullmatch(r"  manifest  sha256:[0-9a-f]{64}  linux/arm64  \d+ B  missing", lines[-1])
    assert by_digest == lines[4:]


def test_a_chain_of_indexes_of_any_length_is_shown(dist: Dist, tmp_path: Path) -> None:
    """The root names every link, so that no level is deep, but each link names the next one, too."""
    with closing(LocalStore(str(tmp_path / ".content"))) as store:
        chain = [index(store)]
        for _ in range(1200):
            chain.append(index(store, chain[-1]))
        root = index(store, *reversed(chain))

    shown = dist("images", "inspect", root.digest)
    as_json = dist("images", "inspect", "--json", root.digest)

    assert (shown.returncode, shown.stderr) == (0, b"")
    assert max(len(line) - len(line.lstrip()) for line in shown.stdout.decode().splitlines()[5:]) == 4
    assert len(json.loads(as_json.stdout)["tree"]["children"]) == 1201


def index(store: LocalStore, *manifests: Descriptor) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [each.to_json() for each in manifests],
    }
    data = json.dumps(document).encode()
    return Descriptor(media_type=mediatypes.OCI_INDEX, digest=write_blob(store, "r", data), size=len(data))


def test_inspect_in_json_nests_what_is_below(dist: Dist, sparse: Descriptor) -> None:
    document = json.loads(dist("images", "inspect", "--json", "app:all").stdout)

    assert (document["complete"], document["missing"], document["platforms"]) == (True, 0, ["linux/amd64"])
    amd, arm = document["tree"]["children"]
    assert [each["kind"] for each in amd["children"]] == ["config", "layer", "layer"]
    assert (arm["state"], arm["platform"], arm["children"]) == ("missing", "linux/arm64", [])


def test_check_tells_and_fails_when_an_image_is_incomplete(dist: Dist, sparse: Descriptor) -> None:
    well = dist("images", "check")
    layer = Digest.of(b"both")
    dist("delete", layer)
    ill = dist("images", "check")
    record = json.loads(dist("images", "check", "--json").stdout)

    assert (well.returncode, well.stderr) == (0, b"")
    head, line = well.stdout.decode().splitlines()
    assert head.split() == ["REF", "TYPE", "DIGEST", "STATUS", "MISSING", "PLATFORMS"]
    assert line.split() == [
        "docker.io/library/app:all",
        "index",
        sparse.digest,
        "complete",
        "-",
        "linux/amd64",
    ]
    assert ill.returncode == 11
    assert ill.stdout.decode().splitlines()[1].split()[3:] == ["incomplete", "1", "blob,", "4", "B", "-"]
    assert ill.stderr == b"dist: 1 of 1 image incomplete; dist pull brings what is missing\n"
    assert (record["complete"], record["missing"], record["missing_blobs"]) == (False, 4, 1)
    assert [(each["digest"], each["state"]) for each in record["problems"]] == [(layer, "missing")]


def test_check_wants_the_platforms_that_are_named(dist: Dist, sparse: Descriptor) -> None:
    codes = [
        dist("images", "check", *words, "app:all").returncode
        for words in (("--platform", "amd64"), ("--platform", "arm64"), ("--all-platforms",))
    ]
    other = dist("images", "check", "--platform", "s390x", "app:all")

    assert codes == [0, 11, 11]
    assert other.returncode == 11
    assert b"has nothing for linux/s390x; it has linux/amd64, linux/arm64" in other.stderr


def test_check_tells_damage_apart(dist: Dist, root: Descriptor, tmp_path: Path) -> None:
    path = tmp_path / ".content" / "blobs" / "sha256" / root.digest.encoded
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"schema", b"SCHEMA"))

    done = dist("images", "check", "app:1")

    assert done.returncode == 29
    assert b"1 of 1 image incomplete, 1 damaged; dist fsck --repair" in done.stderr


@pytest.mark.parametrize("action", ["check", "usage"])
def test_what_is_no_image_is_told_and_stops_no_other(dist: Dist, root: Descriptor, action: str) -> None:
    done = dist(
        "images", action, "none", "Bad", f"sha256:{'0' * 64}", Digest.of(b"layer"), "app:1", root.digest
    )

    assert done.returncode == 11
    assert [line.split()[0] for line in done.stdout.decode().splitlines()[1:]] == [
        "docker.io/library/app:1",
        root.digest,
    ]
    assert [" ".join(line.split()[:3]) for line in done.stderr.decode().splitlines()] == [
        "dist: image docker.io/library/none:latest:",
        "dist: reference 'Bad':",
        f"dist: content sha256:{'0' * 64}:",
        f"dist: manifest {Digest.of(b'layer')}:",
    ]


def test_usage_tells_what_is_shared(dist: Dist, root: Descriptor, sparse: Descriptor) -> None:
    dist("images", "rm", "r.example/app:2")

    records = [json.loads(line) for line in dist("images", "usage", "--json").stdout.splitlines()]
    one = json.loads(dist("images", "usage", "--json", "app:1").stdout)

    assert [(each["name"], each["total"] - each["shared"] - each["unique"]) for each in records] == [
        ("docker.io/library/app:1", 0),
        ("docker.io/library/app:all", 0),
    ]
    assert one == records[0]
    assert one["shared"] == 0 or one["shared"] < one["total"]


def test_a_store_that_is_not_there_has_none_and_is_not_made(dist: Dist, tmp_path: Path) -> None:
    listed, removed = dist("images", "--root", "none"), dist("images", "rm", "app", "--root", "none")
    for words in (["tag", "a", "b"], ["label", "a", "b=c"], ["inspect", "a"], ["check", "a"], ["usage", "a"]):
        assert dist("images", *words, "--root", "none").returncode == 11
    for action in ("check", "usage"):
        assert dist("images", action, "--root", "none").returncode == 0

    assert listed.returncode == 0
    assert listed.stderr.decode() == f"dist: no store at {tmp_path / 'none'} yet\n"
    assert removed.returncode == 11
    assert list(tmp_path.iterdir()) == []
