"""Real clients push to `dist serve` and pull from it: skopeo, podman, ctr, umoci, oras, python-dxf, ours."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.serving import Served, served
from tests.interop.conftest import DIST, Containerd, program
from tests.interop.guarded import environment, write_layout

from distore.oci.digest import Digest

pytestmark = [pytest.mark.interop, pytest.mark.slow]

Run = Callable[..., subprocess.CompletedProcess[str]]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
# One for each client: what one of them leaves takes no room from the next.
QUOTAS = "\n".join(
    f'[[keep.quota]]\nrepositories = ["small/{client}"]\nsize = 1500000'
    for client in ("skopeo", "podman", "dist")
)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Layouts with an image each."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("one", "two"):
        write_layout(folder / name, random.Random(name).randbytes(1_000_000))
    return [folder / "one", folder / "two"]


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "serve.toml").write_text(QUOTAS)
    with served(folder, "--config", str(folder / "serve.toml"), "--workers", str(request.param)) as running:
        yield running


@pytest.fixture
def host(server: Served) -> str:
    return server.address


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder of its own; podman takes no long paths."""
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run(home: Path) -> Run:
    """Run a client; its exit status is looked at unless ``check`` says otherwise."""

    def call(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program(str(words[0])), *map(str, words[1:])],
            capture_output=True,
            text=True,
            check=False,
            env=environment(home),
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return call


def root_of(layout: Path) -> str:
    """The digest of the image in a layout."""
    return str(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])


def blobs_of(layout: Path) -> set[str]:
    return {path.name for path in (layout / "blobs" / "sha256").iterdir()}


def skopeo_push(run: Run, layout: Path, target: str) -> None:
    # It would put other blobs in the place of those that it knows as the same content.
    words = ("skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false")
    run(*words, f"oci:{layout}:latest", f"docker://{target}")


def test_skopeo_pushes_and_gets_back_the_same(host: str, layouts: list[Path], run: Run, home: Path) -> None:
    skopeo_push(run, layouts[0], f"{host}/team/skopeo:1")

    inspected = run("skopeo", "inspect", "--tls-verify=false", f"docker://{host}/team/skopeo:1").stdout
    run(
        "skopeo",
        "copy",
        "-q",
        "--src-tls-verify=false",
        f"docker://{host}/team/skopeo:1",
        f"oci:{home}/b:latest",
    )

    assert json.loads(inspected)["Digest"] == root_of(layouts[0])
    assert blobs_of(home / "b") == blobs_of(layouts[0])
    listed = run("skopeo", "list-tags", "--tls-verify=false", f"docker://{host}/team/skopeo").stdout
    assert json.loads(listed)["Tags"] == ["1"]


def test_skopeo_deletes(host: str, layouts: list[Path], run: Run) -> None:
    skopeo_push(run, layouts[0], f"{host}/team/gone:1")

    run("skopeo", "delete", "--tls-verify=false", f"docker://{host}/team/gone:1")

    done = run("skopeo", "inspect", "--tls-verify=false", f"docker://{host}/team/gone:1", check=False)
    assert "manifest unknown" in done.stderr.lower(), done.stderr


def test_podman_pushes_and_pulls(host: str, layouts: list[Path], run: Run, home: Path) -> None:
    podman = ["podman", "--root", home / "r", "--runroot", home / "x", "--storage-driver", "vfs"]
    pulled = run(*podman, "pull", "-q", f"oci:{layouts[0]}:latest").stdout.strip()

    run(*podman, "push", "-q", "--tls-verify=false", pulled, f"docker://{host}/team/podman:1")
    run(*podman, "rmi", "-f", pulled)
    again = run(*podman, "pull", "-q", "--tls-verify=false", f"{host}/team/podman:1").stdout.strip()

    assert again == pulled


def test_containerd_pushes_and_pulls(
    host: str, layouts: list[Path], run: Run, home: Path, containerd: Containerd
) -> None:
    image = f"{host}/team/ctr:1"
    run("skopeo", "copy", "-q", f"oci:{layouts[0]}:latest", f"oci-archive:{home}/image.tar:{image}")
    imported = containerd.ctr("images", "import", "--no-unpack", str(home / "image.tar"))
    assert imported.returncode == 0, imported.stderr
    name = containerd.ctr("images", "ls", "-q").stdout.decode().split()[0]
    if name != image:
        containerd.ctr("images", "tag", name, image)

    pushed = containerd.ctr("images", "push", "--plain-http", image)
    for known in {name, image}:
        containerd.ctr("images", "rm", "--sync", known)
    pulled = containerd.ctr("content", "fetch", "--plain-http", image)

    assert pushed.returncode == 0, pushed.stderr
    assert pulled.returncode == 0, pulled.stderr
    there = {path.name for path in (containerd.content / "blobs" / "sha256").iterdir()}
    assert blobs_of(layouts[0]) <= there


def test_what_umoci_makes_of_an_image_goes_there_and_back(
    host: str, layouts: list[Path], run: Run, home: Path
) -> None:
    shutil.copytree(layouts[0], home / "work")
    run("umoci", "config", "--image", f"{home}/work:latest", "--config.label", "changed=yes")

    skopeo_push(run, home / "work", f"{host}/team/umoci:1")
    run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{host}/team/umoci:1", f"oci:{home}/b:1")
    run("umoci", "unpack", "--rootless", "--image", f"{home}/b:1", home / "bundle")

    labels = json.loads(run("umoci", "stat", "--json", "--image", f"{home}/b:1").stdout)
    assert labels["history"] is not None
    assert (home / "bundle" / "rootfs" / "file").stat().st_size == 1_000_000


def test_oras_pushes_artifacts_and_pulls_them(host: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    (home / "artifact.txt").write_text("artifact")
    client: Any = import_module("oras.client").OrasClient(hostname=host, insecure=True)

    pushed = client.push(target=f"{host}/team/oras:1", files=["artifact.txt"])
    pulled = client.pull(target=f"{host}/team/oras:1", outdir=str(home / "out"))

    assert pushed.status_code == 201
    assert [Path(path).read_text() for path in pulled] == ["artifact"]
    assert client.get_tags(f"{host}/team/oras") == ["1"]


def test_dxf_pushes_blobs_and_aliases(host: str, tmp_path: Path) -> None:
    dxf: Any = import_module("dxf")
    data = random.Random(3).randbytes(3_000_000)
    (tmp_path / "blob").write_bytes(data)

    with dxf.DXF(host, "team/dxf", insecure=True) as client:
        digest = client.push_blob(filename=str(tmp_path / "blob"))
        client.set_alias("latest", digest)

        assert b"".join(client.pull_blob(digest)) == data
        assert client.list_aliases() == ["latest"]
        assert client.get_alias("latest") == [digest]
        client.del_alias("latest")
        assert client.list_aliases() == []


def ours(*words: str, root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(DIST), words[0], "--root", str(root), "--plain-http", *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def test_our_own_client_pushes_and_pulls(host: str, layouts: list[Path], tmp_path: Path) -> None:
    name = f"{host}/team/dist:1"
    subprocess.run(
        [str(DIST), "copy", "-q", "--plain-http", f"oci:{layouts[0]}:latest", name], check=True, timeout=120
    )

    ours("pull", "-q", name, root=tmp_path / "store")
    ours("push", "-q", f"{host}/team/dist:2", name, root=tmp_path / "store")

    assert blobs_of(layouts[0]) == blobs_of(tmp_path / "store")
    listed = subprocess.run(
        [str(DIST), "tags", "--plain-http", f"{host}/team/dist"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert listed.stdout.split() == ["1", "2"]


def test_an_index_with_several_platforms_and_its_referrers(
    server: Served, layouts: list[Path], run: Run, home: Path
) -> None:
    host = server.address
    parts = []
    for arch, layout in zip(("amd64", "arm64"), layouts, strict=True):
        skopeo_push(run, layout, f"{host}/team/multi:{arch}")
        size = (layout / "blobs" / "sha256" / root_of(layout)[7:]).stat().st_size
        platform = {"os": "linux", "architecture": arch}
        parts.append({"mediaType": MANIFEST, "digest": root_of(layout), "size": size, "platform": platform})
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).encode()
    put = server.ask("PUT", "/v2/team/multi/manifests/all", index, content_type=INDEX)
    assert put.status == 201
    server.push("team/multi", b"{}")
    about = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "text/x-note",
        "config": {"mediaType": EMPTY, "digest": Digest.of(b"{}"), "size": 2},
        "layers": [{"mediaType": EMPTY, "digest": Digest.of(b"{}"), "size": 2}],
        "subject": {"mediaType": INDEX, "digest": Digest.of(index), "size": len(index)},
    }
    noted = server.ask(
        "PUT", "/v2/team/multi/manifests/note", json.dumps(about).encode(), content_type=MANIFEST
    )
    assert noted.headers["oci-subject"] == Digest.of(index)

    run(
        *("skopeo", "copy", "-q", "--all", "--src-tls-verify=false"),
        f"docker://{host}/team/multi:all",
        f"oci:{home}/all:all",
    )
    referrers = subprocess.run(
        [str(DIST), "referrers", "--plain-http", "--json", f"{host}/team/multi:all"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert root_of(home / "all") == Digest.of(index)
    assert blobs_of(layouts[0]) | blobs_of(layouts[1]) <= blobs_of(home / "all")
    assert json.loads(referrers.stdout.splitlines()[0])["digest"] == Digest.of(json.dumps(about).encode())


def test_digests_of_sha512_are_as_good(server: Served) -> None:
    data = random.Random(4).randbytes(100_000)
    digest = f"sha512:{hashlib.sha512(data).hexdigest()}"

    pushed = server.ask("POST", f"/v2/team/long/blobs/uploads/?digest={digest}", data)
    curl = subprocess.run(
        ["curl", "-sf", f"http://{server.address}/v2/team/long/blobs/{digest}"],
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert pushed.status == 201
    assert pushed.headers["docker-content-digest"] == digest
    assert curl.stdout == data


def test_concurrent_pushes_of_one_tag_end_with_one_whole_winner(
    host: str, layouts: list[Path], run: Run, home: Path
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: skopeo_push(run, layouts[number % 2], f"{host}/team/raced:1"), range(8)))

    run(
        "skopeo",
        "copy",
        "-q",
        "--src-tls-verify=false",
        f"docker://{host}/team/raced:1",
        f"oci:{home}/b:latest",
    )
    got = blobs_of(home / "b")
    assert got in (blobs_of(layouts[0]), blobs_of(layouts[1])), (got, [blobs_of(one) for one in layouts])


def test_sixteen_clients_at_once(server: Served) -> None:
    draw = random.Random(5)
    data = [draw.randbytes(2_000_000) for _ in range(4)]
    failures: list[str] = []

    def one(number: int) -> None:
        blob = data[number % 4]
        digest = server.push(f"crowd/{number}", blob)
        url = f"http://{server.address}/v2/crowd/{number}/blobs/{digest}"
        with urllib.request.urlopen(url, timeout=60) as response:
            if response.read() != blob:
                failures.append(url)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    names = json.loads(server.ask("GET", "/v2/_catalog?n=1000").body)["repositories"]
    assert {f"crowd/{number}" for number in range(16)} <= set(names)


@pytest.mark.parametrize("client", ["skopeo", "podman", "dist"])
def test_clients_show_why_a_push_over_quota_is_refused(
    client: str, host: str, layouts: list[Path], run: Run, home: Path
) -> None:
    skopeo_push(run, layouts[0], f"{host}/small/{client}:1")
    target = f"{host}/small/{client}:2"
    if client == "skopeo":
        words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layouts[1]}:latest"]
        done = run(*words, f"docker://{target}", check=False)
    elif client == "podman":
        podman = ["podman", "--root", home / "r", "--runroot", home / "x", "--storage-driver", "vfs"]
        pulled = run(*podman, "pull", "-q", f"oci:{layouts[1]}:latest").stdout.strip()
        done = run(*podman, "push", "-q", "--tls-verify=false", pulled, f"docker://{target}", check=False)
    else:
        done = subprocess.run(
            [str(DIST), "copy", "-q", "--plain-http", f"oci:{layouts[1]}:latest", target],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    assert done.returncode != 0
    assert f"quota of small/{client} is used up" in done.stderr, done.stderr
