"""Bundles, run by real runtimes: as root, and by users without."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.conftest import Containerd, program
from tests.interop.containers import CONFIG, RUNTIMES, Dist, write_layout

from distore.bundle.supervisor import hidden_cgroups
from distore.mount import mounts_below

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be root and to be others"),
]
NOBODY = 65534


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that all users get to, with the image in it."""
    folder = Path(tempfile.mkdtemp(prefix="distore-bundle-"))
    folder.chmod(0o755)
    write_layout(folder / "layout", name="docker.io/library/box:1", config=CONFIG)
    yield folder
    shutil.rmtree(folder)


def dist_of(place: Path, uid: int | None) -> Dist:
    store = place / f"store-{uid}"
    if not store.exists():
        store.mkdir()
        os.chown(store, uid or 0, uid or 0)
        Dist(store, uid=uid).out("import", place / "layout")
    return Dist(store, uid=uid)


@pytest.fixture
def dist(place: Path) -> Dist:
    return dist_of(place, None)


@pytest.fixture(scope="module")
def ranged_uid() -> Iterator[int]:
    program("newuidmap")
    name = f"bundle{os.getpid()}"
    subprocess.run([program("useradd"), "--shell", "/bin/sh", name], check=True)
    try:
        yield pwd.getpwnam(name).pw_uid
    finally:
        subprocess.run([program("userdel"), name], check=True)


@pytest.fixture
def work(place: Path) -> Iterator[Path]:
    """Where bundles are made and runtimes keep their notes."""
    folder = Path(tempfile.mkdtemp(dir=place))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return program(str(request.param))


def run(
    runtime: str, bundle: Path, work: Path, *, uid: int | None = None
) -> subprocess.CompletedProcess[str]:
    """A runtime on a bundle. crun 1.8 does not start where both kinds of cgroups are in use, so it gets to
    see one."""
    words = [
        runtime,
        "--root",
        str(work / f"state-{uid}"),
        "run",
        "--bundle",
        str(bundle),
        f"box{os.getpid()}",
    ]
    if uid is not None:
        words = [program("setpriv"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *words]
    if runtime.endswith("crun") and (hidden := hidden_cgroups()):
        hide = f'mount -t tmpfs none {hidden[0].target} && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", hide, "sh", *words]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(work)}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.mark.parametrize("rootfs", ["mount", "copy"])
def test_a_bundle_of_root_runs(dist: Dist, runtime: str, work: Path, rootfs: str) -> None:
    script = 'id; echo "$GREETING $HOME $PWD"; exit 9'
    flags = ["--rootfs", rootfs, "-u", "app", "--cmd", json.dumps(["sh", "-c", script])]

    made = json.loads(dist.out("bundle", "--json", *flags, "box:1", work / "b").splitlines()[-1])
    done = run(runtime, work / "b", work)

    assert (made["bundle"], made["rootfs"]) == (str(work / "b"), rootfs)
    assert done.returncode == 9, done.stderr
    assert done.stdout.splitlines() == [
        "uid=1000(app) gid=1000(app) groups=44(video),1000(app),2000(extra)",
        "hello /home/app /home/app",
    ]
    dist.out("bundle", "--remove", work / "b")
    assert not (work / "b").exists()
    assert "bundle-" not in dist.out("snapshots", "ls")
    assert mounts_below(str(work)) == ()


@pytest.mark.parametrize("who", ["nobody", "ranged"])
def test_a_bundle_of_a_user_runs_without_root(
    request: pytest.FixtureRequest, place: Path, runtime: str, work: Path, who: str
) -> None:
    uid: int = NOBODY if who == "nobody" else request.getfixturevalue("ranged_uid")
    dist = dist_of(place, uid)
    script = "id -u; touch /x /home/app/y; stat -c '%u %n' /x /home/app; cat /proc/self/uid_map | wc -l"

    dist.out("bundle", "--cmd", json.dumps(["sh", "-c", script]), "box:1", work / "b")
    done = run(runtime, work / "b", work, uid=uid)

    assert done.returncode == 0, done.stderr
    app = "0" if who == "nobody" else "1000"
    maps = "1" if who == "nobody" else "2"
    assert done.stdout.splitlines() == ["0", "0 /x", f"{app} /home/app", maps]
    dist.out("bundle", "--remove", work / "b")
    assert not (work / "b").exists()


def test_a_user_of_the_image_is_one_of_the_ranges(
    place: Path, runtime: str, work: Path, ranged_uid: int
) -> None:
    dist = dist_of(place, ranged_uid)

    dist.out(
        "bundle", "-u", "app", "--cmd", "sh -c 'id -u; touch /home/app/x && echo mine'", "box:1", work / "b"
    )
    done = run(runtime, work / "b", work, uid=ranged_uid)

    assert done.stdout.splitlines() == ["1000", "mine"], done.stderr
    dist.out("bundle", "--remove", work / "b")


def test_root_may_give_a_container_other_ids(dist: Dist, runtime: str, work: Path) -> None:
    maps = ["--uid-map", "0:300000:65536", "--gid-map", "0:300000:65536"]
    script = "id -u; cat /proc/self/uid_map; touch /home/app/x; stat -c %u /home/app/x"

    dist.out("bundle", *maps, "-u", "app", "--cmd", json.dumps(["sh", "-c", script]), "box:1", work / "b")
    done = run(runtime, work / "b", work)

    assert [line.split() for line in done.stdout.splitlines()] == [
        ["1000"],
        ["0", "300000", "65536"],
        ["1000"],
    ]
    assert (work / "b" / "rootfs" / "home" / "app" / "x").stat().st_uid == 301000
    dist.out("bundle", "--remove", work / "b")


def test_the_collector_spares_a_mounted_bundle(dist: Dist, runtime: str, work: Path) -> None:
    dist.out("bundle", "--cmd", "touch /tmp/mine", "box:1", work / "b")
    run(runtime, work / "b", work)

    dist.out("gc")

    assert (work / "b" / "rootfs" / "tmp" / "mine").exists()
    dist.out("bundle", "--remove", work / "b")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-u", "mr-x", "box:1", "{0}/b"], 11, "user 'mr-x': /etc/passwd of the image has no such account"),
        (["none:1", "{0}/b"], 11, "image docker.io/library/none:1: not in the store"),
        (["box:1"], 2, "want an image and a folder"),
        (["box:1", "{0}/none/b"], 11, "folder {0}/none/b: no such file or directory"),
        (["box:1", "/etc"], 14, "folder /etc: not empty"),
        (["--remove", "/etc"], 14, "folder /etc: no bundle that dist made"),
        (["--hostname", "x" * 65, "box:1", "{0}/b"], 2, "hostname: want 64 bytes"),
        (["--uid-map", "0:1:2", "box:1", "{0}/b"], 2, "want both"),
        (["--rootfs", "copy", "--entrypoint", "[]", "--cmd", "[]", "box:1", "{0}/b"], 14, "nothing to run"),
    ],
)
def test_an_error_leaves_nothing(dist: Dist, work: Path, words: list[str], status: int, message: str) -> None:
    done = dist("bundle", "--quiet", *(word.format(work) for word in words))

    assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
    assert message.format(work) in done.stderr
    assert os.listdir(work) == []
    assert "bundle-" not in dist.out("snapshots", "ls")


def test_the_defaults_are_containerds(dist: Dist, work: Path, containerd: Containerd) -> None:
    """Field for field what Debian's ctr writes; where ours is younger it says how."""
    theirs = json.loads(containerd.ctr("oci", "spec").stdout)

    dist.out("bundle", "--rootfs", "copy", "--no-seccomp", "box:1", work / "b")
    ours = json.loads((work / "b" / "config.json").read_text())

    for key in ("capabilities", "rlimits", "noNewPrivileges"):
        assert ours["process"][key] == theirs["process"][key]
    assert ours["mounts"] == theirs["mounts"]
    assert ours["root"] == theirs["root"]
    assert {one["type"] for one in ours["linux"]["namespaces"]} == {
        one["type"] for one in theirs["linux"]["namespaces"]
    }
    assert ours["linux"]["readonlyPaths"] == theirs["linux"]["readonlyPaths"]
    more = {"/sys/devices/virtual/powercap"}  # since containerd 1.7
    assert set(ours["linux"]["maskedPaths"]) - set(theirs["linux"]["maskedPaths"]) <= more
    assert set(theirs["linux"]["maskedPaths"]) <= set(ours["linux"]["maskedPaths"])
    assert ours["linux"]["resources"]["devices"][0] == theirs["linux"]["resources"]["devices"][0]
    dist.out("bundle", "--remove", work / "b")
