"""distore.Registry, and the examples of docs/api.md, against a registry on loopback."""

from __future__ import annotations

import io
import json
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, assert_type

import pytest
from tests.unit.transfer.ends_images import tar_of

import distore
from distore import errors
from distore.oci import mediatypes
from distore.testing.server import FakeRegistry, throttled

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
LAYERS = [b"one layer", b"another" * 100]
TARS = [tar_of({"bin/sh": b"shell"}), tar_of({"etc/motd": b"hello"})]


@pytest.fixture
def client() -> Iterator[distore.Registry]:
    with distore.Registry() as client:
        yield client


def test_a_name_is_resolved_and_its_manifest_read(registry: FakeRegistry, client: distore.Registry) -> None:
    root = registry.image("team/app", "latest", LAYERS)
    name = f"{registry.address}/team/app"

    found = client.resolve(name)
    document = client.manifest(name)
    by_digest = client.manifest(f"{name}@{root.digest}")

    assert_type(found, distore.Descriptor)
    assert found.digest == document.descriptor.digest == by_digest.descriptor.digest == root.digest
    assert document.descriptor.size == len(document.data)
    assert isinstance(document.parsed, distore.Manifest)
    assert [layer.size for layer in document.parsed.layers] == [len(layer) for layer in LAYERS]


def test_a_blob_is_read_by_digest(registry: FakeRegistry, client: distore.Registry) -> None:
    digest = registry.put("team/app", b"x" * 100_000)

    assert b"".join(client.blob(f"{registry.address}/team/app@{digest}")) == b"x" * 100_000
    with pytest.raises(errors.InvalidArgument, match="@DIGEST"):
        client.blob(f"{registry.address}/team/app:1")


def test_lists_are_iterators(registry: FakeRegistry, client: distore.Registry) -> None:
    root = registry.image("team/app", "1", LAYERS)
    registry.image("team/app", "2", [b"other"])
    signature = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": "application/x-signature",
        "config": root.to_json(),
        "layers": [],
        "subject": root.to_json(),
    }
    registry.tag("team/app", "signature", json.dumps(signature).encode())
    name = f"{registry.address}/team/app"

    assert list(client.tags(name)) == ["1", "2", "signature"]
    assert list(client.catalog(registry.address)) == ["team/app"]
    kinds = [each.artifact_type for each in client.referrers(f"{name}:1")]
    assert kinds == ["application/x-signature"]
    assert list(client.referrers(f"{name}@{root.digest}", artifact_type="application/x-other")) == []


def test_an_artifact_is_put_and_deleted(
    registry: FakeRegistry, client: distore.Registry, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/app"
    (tmp_path / "file").write_bytes(b"from a path")
    sources: list[bytes | Path | str | BinaryIO] = [
        b"from bytes",
        tmp_path / "file",
        str(tmp_path / "file"),
        io.BytesIO(b"from a file"),
    ]

    layers = [client.put_blob(name, source, media_type=mediatypes.OCI_LAYER) for source in sources]
    config = client.put_blob(name, b"{}")
    manifest = {"schemaVersion": 2, "config": {**config.to_json(), "mediaType": mediatypes.OCI_CONFIG}}
    data = json.dumps({**manifest, "layers": [layer.to_json() for layer in layers]}).encode()
    root = client.put_manifest(f"{name}:1", data)
    untagged = client.put_manifest(name, data + b"\n")
    client.delete(f"{name}:1")

    assert [layer.size for layer in layers] == [10, 11, 11, 11]
    assert config.media_type == mediatypes.OCTET_STREAM
    assert registry.has("team/app", root.digest)
    assert registry.has("team/app", untagged.digest)
    assert registry.repositories["team/app"] == {}


def test_a_manifest_that_is_not_the_digest_named_is_not_sent(
    registry: FakeRegistry, client: distore.Registry
) -> None:
    other = distore.Digest.of(b"other")

    with pytest.raises(errors.FailedPrecondition, match="its digest is"):
        client.put_manifest(f"{registry.address}/a@{other}", b'{"schemaVersion": 2, "manifests": []}')

    assert registry.requests == []


def test_nothing_is_deleted_without_a_tag_or_digest(client: distore.Registry) -> None:
    with pytest.raises(errors.InvalidArgument, match="want a tag or a digest"):
        client.delete("registry.example/team/app")


@pytest.mark.slow
def test_a_call_waits_for_a_registry_that_asks_for_patience(
    registry: FakeRegistry, client: distore.Registry
) -> None:
    root = registry.image("team/app", "1", LAYERS)
    registry.inject(throttled(0))

    assert client.resolve(f"{registry.address}/team/app:1").digest == root.digest


def test_credentials_are_given_by_host_and_shown_nowhere(
    registry_factory: Callable[..., FakeRegistry],
) -> None:
    registry = registry_factory(with_tokens=True, users={"ann": "s3cr3t"})
    registry.image("team/app", "1", LAYERS)
    name = f"{registry.address}/team/app:1"

    with distore.Registry(credentials={registry.address: ("ann", "s3cr3t")}) as client:
        client.resolve(name)
        assert "s3cr3t" not in repr(client) + repr(vars(client))
    wrong = distore.Registry(credentials={registry.address: ("ann", "wr0ng")})
    with wrong, pytest.raises(errors.DistoreError) as refused:
        wrong.resolve(name)

    assert "wr0ng" not in str(refused.value)
    assert "this program" in str(refused.value)


def test_an_identity_token_is_given_under_its_own_name(
    registry_factory: Callable[..., FakeRegistry],
) -> None:
    registry = registry_factory(with_tokens=True, users={"ann": "x"}, refresh_tokens={"t0k3n": "ann"})
    registry.image("team/app", "1", LAYERS)

    with distore.Registry(credentials={registry.address: ("<token>", "t0k3n")}) as client:
        client.resolve(f"{registry.address}/team/app:1")


@pytest.mark.parametrize(
    "given", [{"a b": ("u", "s3cr3t")}, {"host/path": ("u", "s3cr3t")}, {"host": "s3cr3t"}]
)
def test_bad_credentials_are_refused_without_showing_them(given: dict[str, tuple[str, str]]) -> None:
    with pytest.raises(errors.InvalidArgument) as refused:
        distore.Registry(credentials=given)

    assert "s3cr3t" not in str(refused.value)


def test_the_environment_counts_only_on_request(
    registry_factory: Callable[..., FakeRegistry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_factory(users={"ann": "secret"})
    registry.image("team/app", "1", LAYERS)
    name = f"{registry.address}/team/app:1"
    auth = tmp_path / "auth.json"
    auth.write_text(json.dumps({"auths": {registry.address: {"auth": "YW5uOnNlY3JldA=="}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth))

    with distore.Registry() as client, pytest.raises(errors.Unauthenticated):
        client.resolve(name)
    with distore.Registry.from_environment() as client:
        client.resolve(name)
    with distore.Registry.from_environment(auth_files=()) as client, pytest.raises(errors.Unauthenticated):
        client.resolve(name)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"DIST_HOSTS_DIR": "/hosts", "https_proxy": "http://proxy:1", "NO_PROXY": "example"},
        {"XDG_RUNTIME_DIR": "/run/u", "XDG_CONFIG_HOME": "/config", "DOCKER_CONFIG": "/docker"},
        {"REGISTRY_AUTH_FILE": "/auth.json"},
    ],
)
def test_the_environment_means_what_it_means_to_dist(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from distore.cli import flags
    from distore.config import Config

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    plain = Namespace(
        hosts_dir=None, plain_http=False, skip_verify=False, ca=None, min_speed=1024, authfile=None
    )

    options = distore.Registry.from_environment()._options

    assert options == flags.registry_config(Config(root="r"), plain).registry


@pytest.mark.slow
def test_the_examples_of_the_page_run(
    registry: FakeRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    offer_real_image(registry)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    space: dict[str, object] = {"__name__": "page"}

    for block in blocks:
        exec(compile(block.replace("registry.example", registry.address), str(PAGE), "exec"), space)

    assert len(blocks) > 6
    assert (tmp_path / "layer").read_bytes() == TARS[0]
    assert (tmp_path / "files" / "bin" / "sh").read_bytes() == b"shell"
    assert "not found" in capsys.readouterr().out
    assert registry.repositories["team/notes"].keys() == {"1"}


def offer_real_image(registry: FakeRegistry) -> None:
    """team/app:1, whose config says what its layers are: the examples convert and unpack it."""
    rootfs = {"type": "layers", "diff_ids": [distore.Digest.of(layer) for layer in TARS]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
    kinds = [mediatypes.OCI_CONFIG, *(mediatypes.OCI_LAYER for _ in TARS)]
    described = [
        {"mediaType": kind, "digest": registry.put("team/app", data), "size": len(data)}
        for kind, data in zip(kinds, [config, *TARS], strict=True)
    ]
    manifest = {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST}
    registry.tag(
        "team/app", "1", json.dumps({**manifest, "config": described[0], "layers": described[1:]}).encode()
    )
