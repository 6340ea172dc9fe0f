"""The fields of --json, golden: programs read them."""

from __future__ import annotations

import io
import json
import re
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import distore
from distore.cli.main import main
from distore.content.local.store import LocalStore
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.testing.server import FakeRegistry

GOLDEN = Path(__file__).parents[2] / "golden" / "cli" / "json.txt"
NOW = 1_767_323_045.123456
HELLO = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
IMAGE = "sha256:d839c1ff45fa9e9b3eb099b8cf301ae25f267a7339dff20b4cd24c30869510d6"  # of LAYER alone
LAYER = b"layer"
# Moments, ports and durations differ from run to run.
MASKS = (
    (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
    (r'"(seconds|ms)":[0-9.e-]+', r'"\1":NUMBER'),
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"pushed \d+s ago", "pushed SECONDS ago"),
    (r'"size":\d+,"log_size":\d+', '"size":NUMBER,"log_size":NUMBER'),
    (r'("kind":"database","count":\d,"size"):\d+', r"\1:NUMBER"),
)
PACE = ('{"event":"started"', '{"event":"moved"')
Lines = list[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = LocalStore(str(tmp_path / "s"), now=lambda: NOW)
    with store.writer("r") as writer:
        writer.write(b"hello\n")
        writer.commit(labels={"a": "b"})
    with store.writer("kept", total=10) as writer:
        writer.write(b"123")
    return tmp_path / "s"


@pytest.fixture
def private(registry_factory: Callable[..., FakeRegistry]) -> FakeRegistry:
    """A registry that lets ann in."""
    return registry_factory(users={"ann": "secret"})


@pytest.fixture
def public(registry: FakeRegistry) -> FakeRegistry:
    """A registry with an image, and an artifact about it."""
    image = registry.image("team/app", "1", [LAYER])
    empty = {"mediaType": mediatypes.OCI_EMPTY, "digest": registry.put("team/app", b"{}"), "size": 2}
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": "application/example",
        "config": empty,
        "layers": [empty],
        "subject": image.to_json(),
    }
    registry.tag("team/app", "about", json.dumps(document).encode())
    return registry


def run(commands: Sequence[Sequence[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Lines:
    """What each command prints, with what differs from run to run masked."""
    lines = []
    for name, *words in commands:
        main([*name.split(), *words, "--json", "--root", str(tmp_path / "s")])
        out = capsys.readouterr().out.replace(str(tmp_path / "s"), "ROOT").replace(str(tmp_path), "FOLDER")
        assert all(isinstance(json.loads(line), dict) for line in out.splitlines())
        for pattern, mask in MASKS:
            out = re.sub(pattern, mask, out)
        # How often a transfer tells where it is depends on its pace; test_progress.py has the fields.
        kept = [line for line in out.splitlines() if not line.startswith(PACE)]
        lines += [f"$ dist {name} --json", *kept]
    return lines


def of_the_store() -> list[list[str]]:
    return [
        ["list"],
        ["active"],
        ["info", HELLO],
        ["path", HELLO],
        ["label", HELLO, "c=d"],
        ["fsck"],
        ["db info"],
        ["prune", "ingests", "--older-than", "0", "--dry-run"],
        ["gc", "--dry-run"],
        ["gc --explain", HELLO],
        ["gc --schedule"],
        ["abort", "kept"],
        ["delete", HELLO],
        ["leases create", "--id", "work", "--label", "a=b"],
        ["leases add", "work", HELLO],
        ["leases"],
        ["leases resources", "work"],
        ["leases remove", "work", HELLO],
        ["leases rm", "work"],
        ["namespaces create", "team", "a=b"],
        ["namespaces label", "team", "a=c"],
        ["namespaces"],
        ["namespaces policy", "isolated"],
        ["namespaces rm", "team"],
    ]


def of_registries(public: FakeRegistry, private: FakeRegistry, folder: Path) -> list[list[str]]:
    host, auth = public.address, str(folder / "auth.json")
    app = f"{host}/team/app"
    (folder / "manifest.json").write_text('{"schemaVersion":2,"manifests":[]}')
    (folder / "blob").write_bytes(b"blob")
    return [
        ["pull", "--concurrency", "1", f"{app}:1"],
        ["images"],
        ["images --wide"],
        ["images tag", f"{app}:1", f"{host}/team/app:2"],
        ["images label", f"{app}:2", "a=b"],
        ["images inspect", f"{app}:1"],
        ["images check", f"{app}:1"],
        ["images usage", f"{app}:1"],
        ["df"],
        ["push", "--concurrency", "1", f"{host}/other/app:2", f"{app}:1"],
        ["copy", "--concurrency", "1", f"{app}:1", f"oci-archive:{folder}/out.tar:1"],
        ["import", "--concurrency", "1", "--name", f"{host}/imported:1", f"{folder}/out.tar"],
        ["export", f"{folder}/export.tar", IMAGE],  # its name has a port, which the digest would tell
        ["inventory", f"{app}:1"],
        ["convert", "--docker", f"{app}:1", f"{host}/converted/app:1"],
        ["mutate", f"{app}:1", f"{host}/changed/app:1", "--env", "A=1"],
        ["sync", "-q", "--tag", "1", app, f"oci:{folder}/mirror"],
        ["inspect", f"{app}:1"],
        ["tags", app],
        ["catalog", host],
        ["referrers", f"{app}:1"],
        ["manifest put", f"{app}:empty", str(folder / "manifest.json")],
        ["manifest delete", f"{app}:empty"],
        ["blob put", app, str(folder / "blob")],
        ["blob delete", f"{app}@{Digest.of(b'blob')}"],
        ["push-object", app, Digest.of(LAYER), mediatypes.OCI_LAYER_GZIP],
        ["images rm", f"{app}:1"],
        ["login", private.address, "-u", "ann", "--password-stdin", "--authfile", auth],
        ["registry explain", f"{private.address}/team/app", "--authfile", auth],
        ["logout", private.address, "--authfile", auth],
    ]


@pytest.fixture
def offering(tmp_path: Path) -> Path:
    """A store whose registry has a repository with two tags; the configuration to serve it with."""
    with distore.Store(tmp_path / "s") as store, store.serve(settings={"keep": {"grace": "0s"}}) as served:
        for tag in ("1", "2"):
            document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}
            request = urllib.request.Request(
                f"{served.url}/v2/team/app/manifests/{tag}",
                data=json.dumps({**document, "annotations": {"tag": tag}}).encode(),
                headers={"content-type": mediatypes.OCI_INDEX},
                method="PUT",
            )
            urllib.request.urlopen(request).close()
    config = tmp_path / "serve.toml"
    config.write_text(
        '[auth]\nanonymous = "pull"\n[keep]\ngrace = "0s"\n'
        '[[keep.rule]]\nrepositories = ["team/*"]\nnewest = 1\n'
    )
    return config


def of_a_registry(config: Path) -> list[list[str]]:
    given = ["--config", str(config)]
    return [
        ["serve --check-config", *given],
        ["registry may", "anonymous", "pull", "team/app", *given],
        ["registry prune", "--dry-run", *given],
    ]


def golden(first: str, before: str | None = None) -> Lines:
    """The part of the golden file from one command to another."""
    lines = GOLDEN.read_text().splitlines()
    end = None if before is None else lines.index(f"$ dist {before} --json")
    return lines[lines.index(f"$ dist {first} --json") : end]


def test_lines_about_the_store_are_those_of_the_golden_file(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(of_the_store(), tmp_path, capsys)

    assert lines == golden("list", before="pull")


@pytest.mark.slow
def test_lines_about_registries_and_images_are_those_of_the_golden_file(
    tmp_path: Path,
    public: FakeRegistry,
    private: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))

    lines = run(of_registries(public, private, tmp_path), tmp_path, capsys)

    assert lines == golden("pull", before="serve --check-config")


def test_lines_about_a_registry_of_ours_are_those_of_the_golden_file(
    tmp_path: Path, offering: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(of_a_registry(offering), tmp_path, capsys)

    assert lines == golden("serve --check-config")
