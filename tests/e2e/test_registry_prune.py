"""`dist registry prune`: the rules of [keep], carried out."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distore.app import App
from distore.config import Config
from distore.oci.digest import Digest
from distore.registry.message import BytesBody, Request
from distore.registry.routes import PushRegistry

Dist = Callable[..., subprocess.CompletedProcess[bytes]]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
RULES = """
[keep]
grace = "0s"
[[keep.rule]]
repositories = ["team/**"]
tags = ["v*"]
newest = 1
"""


@contextmanager
def opened(root: Path) -> Iterator[PushRegistry]:
    """A registry over the store, in this process, two hours ago."""
    app = App(Config(root=str(root)))
    app.metadata.now = lambda: time.time() - 7200
    registry = PushRegistry(app.content, app.repositories)
    try:
        yield registry
    finally:
        registry.close()
        app.close()


def push(registry: PushRegistry, repository: str, tag: str, *, subject: Digest | None = None) -> Digest:
    """An image with a config of its own."""
    config = json.dumps({"tag": tag, "repository": repository}).encode()
    blob = {"mediaType": CONFIG, "digest": Digest.of(config), "size": len(config)}
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": MANIFEST, "config": blob, "layers": []}
    if subject is not None:
        document["subject"] = {"mediaType": MANIFEST, "digest": subject, "size": 1}
    data = json.dumps(document).encode()
    where = f"/v2/{repository}"
    for method, path, query, body in (
        ("POST", f"{where}/blobs/uploads/", {"digest": Digest.of(config)}, config),
        ("PUT", f"{where}/manifests/{tag}", {}, data),
    ):
        headers = {"content-length": str(len(body)), "content-type": MANIFEST}
        answer = registry.handle(
            Request(method=method, path=path, query=query, headers=headers, body=BytesBody(body))
        )
        assert answer.status == 201, answer
    return Digest.of(data)


def test_a_dry_run_says_what_would_stay_and_go_and_why(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(RULES)
    with opened(tmp_path / "store") as registry:
        for tag in ("v1", "v2", "latest"):
            push(registry, "team/app", tag)

    words = ("--root", str(tmp_path / "store"), "--config", str(tmp_path / "serve.toml"))
    done = dist("registry", "prune", "--dry-run", *words)
    again = dist("registry", "prune", "--dry-run", "--json", *words)

    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, done
    assert "keep     team/app:latest  no rule is about it" in lines
    assert "keep     team/app:v2  newest 1 of v*" in lines
    assert any(
        line.startswith("remove   team/app:v1  not among the newest 1 of v*; pushed ") for line in lines
    )
    assert (
        done.stderr.decode().splitlines()[-1].startswith("dist: would remove 1 tag, 1 manifest and 0 blobs")
    )
    assert {json.loads(line)["tag"] for line in again.stdout.splitlines()} == {"v1", "v2", "latest", None}


def test_what_no_rule_keeps_goes_and_the_collector_frees_it(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(RULES)
    root = tmp_path / "store"
    with opened(root) as registry:
        old = push(registry, "team/app", "v1")
        signature = push(registry, "team/app", "signature", subject=old)
        registry.handle(Request(method="DELETE", path="/v2/team/app/manifests/signature"))
        new = push(registry, "team/app", "v2")
        other = push(registry, "other/app", "v1")

    done = dist("registry", "prune", "--root", str(root), "--config", str(tmp_path / "serve.toml"))

    assert done.returncode == 0, done
    assert b"removed 1 tag, 2 manifests and 2 blobs that no manifest names" in done.stderr
    assert dist("gc", "-q", "--root", str(root)).returncode == 0
    left = {path.name for path in (root / "blobs" / "sha256").iterdir()}
    assert {str(digest)[7:] for digest in (new, other)} < left
    assert not {str(digest)[7:] for digest in (old, signature)} & left
    assert len(left) == 4
    assert dist("fsck", "--root", str(root)).returncode == 0


def test_only_the_named_repositories_are_looked_at(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(RULES)
    with opened(tmp_path / "store") as registry:
        for repository in ("team/a", "team/b"):
            for tag in ("v1", "v2"):
                push(registry, repository, tag)
    words = ("--root", str(tmp_path / "store"), "--config", str(tmp_path / "serve.toml"))

    done = dist("registry", "prune", *words, "team/b")

    assert done.stdout.decode().split()[:2] == ["removed", "team/b:v1"]
    assert b"team/a" not in done.stdout
    unknown = dist("registry", "prune", *words, "team/c")
    assert (unknown.returncode, unknown.stdout) == (11, b"")
    assert b"repository team/c: not found" in unknown.stderr


def test_without_rules_nothing_goes(dist: Dist, tmp_path: Path) -> None:
    with opened(tmp_path / "store") as registry:
        push(registry, "team/app", "v1")

    done = dist("registry", "prune", "--root", str(tmp_path / "store"))

    assert (done.returncode, done.stdout) == (0, b"")
    assert b"removed 0 tags, 0 manifests and 0 blobs" in done.stderr


def test_a_wrong_setting_is_named_with_file_table_and_key(dist: Dist, tmp_path: Path) -> None:
    for text, said in (
        ("[keep]\nnewst = 1\n", "'newst': no such setting"),
        ("[[keep.rule]]\nnewest = -1\n", "want a whole number"),
        ('[keep]\ninterval = "10ms"\n', "want 0 for never"),
        ("[keep]\nhigh_water = 95\n", "want a number above 0 and up to 1"),
        ('[keep]\ncollect = "some"\n', "want one of registry, all, nothing"),
        ("[[keep.quota]]\nrepositories = ['a']\n", "'size': is missing"),
    ):
        (tmp_path / "serve.toml").write_text(text)

        done = dist("registry", "prune", "--config", str(tmp_path / "serve.toml"))

        assert done.returncode == 2, text
        assert said in done.stderr.decode()
        assert "serve.toml [keep]" in done.stderr.decode()


def test_flags_of_the_other_action_are_refused(dist: Dist) -> None:
    assert b"registry explain: takes no --dry-run" in dist("registry", "explain", "--dry-run", "a/b").stderr
    assert b"registry prune: takes no --offline" in dist("registry", "prune", "--offline").stderr
    assert b"want one image" in dist("registry", "explain").stderr
