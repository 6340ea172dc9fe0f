"""``dist tags``, ``catalog``, ``referrers``, ``manifest``, ``blob``, ``fetch-object`` and
``push-object``: results, messages and statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.offered import CONFIG, failure, image

from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.testing import server
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]
MISSING = Digest.of(b"missing")


@pytest.fixture
def app(registry: FakeRegistry) -> str:
    return f"{registry.address}/team/app"


class TestTagsAndCatalog:
    """Listings."""

    def test_tags_are_listed_and_chosen_by_pattern(
        self, dist: Dist, registry: FakeRegistry, app: str
    ) -> None:
        for tag in ("1.0", "1.1", "2.0", "latest"):
            image(registry, f"team/app:{tag}")

        assert dist("tags", app).stdout == b"1.0\n1.1\n2.0\nlatest\n"
        assert dist("tags", "--match", "1.*", "--match", "latest", app).stdout == b"1.0\n1.1\nlatest\n"
        assert json.loads(dist("tags", "--json", "--match", "2*", app).stdout) == {"tag": "2.0"}

    def test_a_repository_without_tags_lists_none(self, dist: Dist, registry: FakeRegistry) -> None:
        registry.put("empty/app", b"x")

        done = dist("tags", f"{registry.address}/empty/app")

        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def test_a_repository_that_is_not_there_is_named(self, dist: Dist, registry: FakeRegistry) -> None:
        message = failure(dist("tags", f"{registry.address}/none"), 11)

        assert message == f"tags of {registry.address}/none: not found (asked {registry.address})"

    def test_repositories_are_listed(self, dist: Dist, registry: FakeRegistry) -> None:
        for name in ("b/two", "a/one"):
            registry.put(name, b"x")

        assert dist("catalog", registry.address).stdout == b"a/one\nb/two\n"
        assert json.loads(dist("catalog", "--json", registry.address).stdout.splitlines()[0]) == {
            "repository": "a/one"
        }

    @pytest.mark.parametrize("host", ["http://r.example", "r.example/app", "", "a b", "r.example:99999"])
    def test_a_host_that_is_none_is_refused_with_what_is_wanted(self, dist: Dist, host: str) -> None:
        assert failure(dist("catalog", host), 2) == f"registry {host!r}: want HOST[:PORT] and nothing else"

    def test_a_registry_that_lists_nothing_says_so(self, dist: Dist, registry: FakeRegistry) -> None:
        registry.inject(server.refuse(401, "UNAUTHORIZED"), path="/v2/_catalog", times=None)

        assert registry.address in failure(dist("catalog", registry.address), 17)

    def test_a_reader_that_leaves_ends_a_listing_quietly(
        self, registry: FakeRegistry, app: str, tmp_path: Path
    ) -> None:
        for number in range(3000):
            registry.tag("team/app", f"a-rather-long-name-for-a-tag-{number}", b"{}")
        script = f"{sys.executable} -I -m distore tags {app} | head -n 1; echo ${{PIPESTATUS[0]}}"

        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=60
        )

        assert done.stdout.decode().split()[1:] == ["141"]
        assert done.stderr == b""


class TestReferrers:
    """Signatures and the like."""

    def test_referrers_are_listed_and_chosen_by_type(
        self, dist: Dist, registry: FakeRegistry, app: str
    ) -> None:
        root = image(registry)
        sbom = image(
            registry, "team/app:sbom", subject=root.to_json(), artifactType="a/sbom", annotations={"k": "v"}
        )
        image(registry, "team/app:sig", subject=root.to_json(), artifactType="a/sig")

        every = dist("referrers", f"{app}:1").stdout.decode().splitlines()
        by_digest = dist("referrers", f"{app}@{root.digest}").stdout.decode().splitlines()
        one = json.loads(dist("referrers", "--json", "--artifact-type", "a/sbom", f"{app}:1").stdout)

        assert sorted(line.split()[2] for line in every) == ["a/sbom", "a/sig"]
        assert sorted(by_digest) == sorted(every)
        assert (one["digest"], one["artifactType"], one["annotations"]) == (sbom.digest, "a/sbom", {"k": "v"})

    def test_an_image_that_nothing_refers_to_has_none(
        self, dist: Dist, registry: FakeRegistry, app: str
    ) -> None:
        image(registry)

        done = dist("referrers", f"{app}:1")

        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert failure(dist("referrers", f"{app}:none"), 11).startswith(f"{app}:none: not found")


class TestManifest:
    """One document."""

    def test_what_is_got_can_be_put_under_another_name(
        self, dist: Dist, registry: FakeRegistry, app: str
    ) -> None:
        root = image(registry)

        got = dist("manifest", "get", f"{app}:1")
        put = dist("manifest", "put", f"{app}:stable", "-", input=got.stdout)
        again = dist("manifest", "put", "--json", f"{app}@{root.digest}", "-", input=got.stdout)

        assert Digest.of(got.stdout) == root.digest
        assert put.stdout.decode() == f"{root.digest}\n"
        assert json.loads(again.stdout)["media_type"] == mediatypes.OCI_MANIFEST
        assert registry.repositories["team/app"]["stable"].digest == root.digest

    def test_a_tag_can_be_deleted_once(self, dist: Dist, registry: FakeRegistry, app: str) -> None:
        image(registry)

        done = dist("manifest", "delete", f"{app}:1")

        assert done.stdout.decode() == f"{app}:1\n"
        assert "1" not in registry.repositories["team/app"]
        assert "team/app" in failure(dist("manifest", "delete", f"{app}:1"), 11)

    @pytest.mark.parametrize(
        ("data", "status", "part"),
        [
            (b"", 2, "manifest standard input: not JSON"),
            (os.urandom(1000), 2, "manifest standard input: not JSON"),
            (b"{}", 2, "neither a manifest nor an index"),
            (b"[" * 100_000, 2, "not JSON"),
            (b" " * (4 * 1024 * 1024 + 1), 18, "standard input: more than 4194304 bytes"),
            (b'{"schemaVersion":2,"layers":[],"manifests":[]}', 2, "read as"),
        ],
    )
    def test_what_is_no_manifest_is_not_put(
        self, dist: Dist, registry: FakeRegistry, app: str, data: bytes, status: int, part: str
    ) -> None:
        message = failure(dist("manifest", "put", f"{app}:1", "-", input=data), status)

        assert part in message
        assert not registry.seen("/manifests/")

    @pytest.mark.parametrize(
        ("words", "status", "part"),
        [
            (["get", "APP:none"], 11, "APP:none: not found"),
            (["get", f"APP@{MISSING}"], 11, f"{MISSING}: not found"),
            (["get", "APP:1", "file"], 2, "a file is too much"),
            (["put", "APP:1"], 2, "a file is needed"),
            (["put", "APP:1", "none"], 11, "none: no such file"),
            (["put", "APP:1", "."], 14, ".: a folder, want a file"),
            (["take", "APP:1"], 2, "invalid choice"),
            (["get", "Bad/UPPER"], 2, "lower case"),
        ],
    )
    def test_wrong_words_are_one_line(
        self, dist: Dist, app: str, words: list[str], status: int, part: str
    ) -> None:
        done = dist("manifest", *(word.replace("APP", app) for word in words))

        assert part.replace("APP", app) in failure(done, status)

    def test_bytes_of_another_digest_are_not_put(self, dist: Dist, registry: FakeRegistry, app: str) -> None:
        data = b'{"schemaVersion":2,"manifests":[]}'

        message = failure(dist("manifest", "put", f"{app}@{MISSING}", "-", input=data), 14)

        assert message == f"standard input: its digest is {Digest.of(data)}, not {MISSING}"
        assert not registry.seen("/manifests/")


class TestBlob:
    """One blob."""

    def test_a_blob_is_put_got_and_deleted(
        self, dist: Dist, registry: FakeRegistry, app: str, tmp_path: Path
    ) -> None:
        data = os.urandom(100_000)
        (tmp_path / "file").write_bytes(data)
        name = f"{app}@{Digest.of(data)}"

        put = dist("blob", "put", app, "file")
        again = json.loads(dist("blob", "put", "--json", app, "-", input=data).stdout)
        got = dist("blob", "get", name)
        deleted = dist("blob", "delete", name)

        assert put.stdout.decode() == f"{Digest.of(data)}\n"
        assert again == {"digest": Digest.of(data), "size": 100_000, "how": "present"}
        assert got.stdout == data
        assert deleted.stdout.decode() == f"{Digest.of(data)}\n"
        assert "not" in failure(dist("blob", "get", name), 11)

    def test_an_empty_blob_can_be_put(self, dist: Dist, app: str) -> None:
        assert dist("blob", "put", app, "-").stdout.decode() == f"{Digest.of(b'')}\n"

    def test_wrong_bytes_end_in_an_error(self, dist: Dist, registry: FakeRegistry, app: str) -> None:
        digest = registry.put("team/app", b"right")
        registry.inject(server.other_bytes(), path="/blobs/", times=None)

        done = dist("blob", "get", f"{app}@{digest}")

        assert done.returncode == 20
        assert digest in done.stderr.decode()

    @pytest.mark.parametrize(
        ("words", "status", "part"),
        [
            (["get", "APP"], 2, "want REPOSITORY@DIGEST"),
            (["get", "APP:1"], 2, "want REPOSITORY@DIGEST"),
            (["get", "APP@sha256:12"], 2, "64 lower-case hex"),
            (["get", f"APP@{MISSING}"], 11, f"{MISSING}: not found"),
            (["delete", f"APP@{MISSING}"], 11, str(MISSING)),
            (["put", "APP"], 2, "a file is needed"),
            (["put", "APP:tag", "none"], 2, "without tag and digest"),
            (["put", "APP", "none"], 11, "none: no such file"),
            (["put", "APP", "."], 14, "a folder, want a file"),
        ],
    )
    def test_wrong_words_are_one_line(
        self, dist: Dist, app: str, words: list[str], status: int, part: str
    ) -> None:
        done = dist("blob", *(word.replace("APP", app) for word in words))

        assert part in failure(done, status)

    def test_a_reader_that_leaves_is_no_error(self, registry: FakeRegistry, app: str, tmp_path: Path) -> None:
        digest = registry.put("team/app", bytes(5_000_000))
        script = (
            f"{sys.executable} -I -m distore blob get {app}@{digest} | head -c 1; echo ${{PIPESTATUS[0]}}"
        )

        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=60
        )

        assert (done.stdout, done.stderr) == (b"\x00141\n", b"")


@pytest.mark.parametrize("words", [["manifest", "put", "APP:1", "-"], ["blob", "put", "APP", "-"]])
def test_closed_standard_input_is_said(app: str, words: list[str], tmp_path: Path) -> None:
    command = " ".join(word.replace("APP", app) for word in words)

    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -I -m distore {command} <&-"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert failure(done, 14) == "standard input is closed"


@pytest.mark.parametrize(
    "words",
    [["inspect", "APP:1"], ["inspect", "--raw", "APP:1"], ["manifest", "get", "APP:1"], ["tags", "APP"]],
)
def test_closed_and_full_standard_output_are_said(
    registry: FakeRegistry, app: str, words: list[str], tmp_path: Path
) -> None:
    image(registry)
    command = f"{sys.executable} -I -m distore " + " ".join(word.replace("APP", app) for word in words)

    def shell(script: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=60
        )

    assert failure(shell(f"{command} >&-"), 14) == "standard output is closed"
    assert failure(shell(f"{command} >/dev/full"), 1) == "no space left on device"


def test_objects_are_fetched_and_pushed_as_ctr_does(dist: Dist, registry: FakeRegistry, app: str) -> None:
    root = image(registry)
    dist("pull", "-q", f"{app}:1")
    layer = Digest.of(b"layer")
    other = f"{registry.address}/other/app"

    by_tag = dist("fetch-object", f"{app}:1")
    by_digest = dist("fetch-object", f"{app}@{layer}")
    pushed = [
        dist("push-object", other, digest, kind)
        for digest, kind in (
            (layer, mediatypes.OCI_LAYER),
            (Digest.of(json.dumps(CONFIG).encode()), mediatypes.OCI_CONFIG),
        )
    ]
    tagged = dist("push-object", "--json", f"{other}:1", root.digest, mediatypes.OCI_MANIFEST)

    assert Digest.of(by_tag.stdout) == root.digest
    assert by_digest.stdout == b"layer"
    assert [done.returncode for done in pushed] == [0, 0]
    assert json.loads(tagged.stdout) == {"digest": root.digest, "size": root.size, "how": "pushed"}
    assert registry.repositories["other/app"]["1"].digest == root.digest
    assert failure(dist("push-object", other, MISSING, "a/b"), 11) == f"content {MISSING}: not found"


@pytest.mark.parametrize(
    "words",
    [
        ["tags", "APP"],
        ["catalog", "HOST"],
        ["inspect", "APP:1"],
        ["referrers", "APP:1"],
        ["manifest", "get", "APP:1"],
        ["images"],
        ["images", "rm", "app"],
        ["inspect", "store:app"],
        ["push", "APP:2", "app"],
        ["sync", "--dry-run", "APP", "store:app"],
    ],
)
def test_a_verb_that_only_looks_makes_no_store(
    dist: Dist, registry: FakeRegistry, app: str, words: list[str], tmp_path: Path
) -> None:
    image(registry)

    done = dist(*(word.replace("APP", app).replace("HOST", registry.address) for word in words))

    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
