"""``dist run`` with real runtimes, as root and without."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import pwd
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.conftest import eventually, program
from tests.interop.containers import CONFIG, RUNTIMES, Dist, write_layout

from distore.mount import mounts_below
from distore.testing.server import FakeRegistry

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be root and to be others"),
]
NOBODY = 65534
# What ctr run gives a process: 14 capabilities, a filter, and no way to more (CapBnd of containerd 1.6).
CAPABILITIES = "00000000a80425fb"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout")
    write_layout(folder, name="docker.io/library/box:1", config=CONFIG)
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Dist:
    found = Dist(tmp_path_factory.mktemp("store"))
    found.out("import", layout)
    return found


@pytest.fixture(scope="module")
def public(layout: Path) -> Iterator[Path]:
    """A folder that other users get to."""
    folder = Path(tempfile.mkdtemp(prefix="distore-run-"))
    folder.chmod(0o755)
    shutil.copytree(layout, folder / "layout")
    (folder / "layout").chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def nobody(public: Path) -> Dist:
    """``dist`` of a user without ranges of ids."""
    return user_of(public, NOBODY)


def user_of(public: Path, uid: int) -> Dist:
    store = public / f"store-{uid}"
    store.mkdir()
    os.chown(store, uid, uid)
    found = Dist(store, uid=uid)
    found.out("import", public / "layout")
    return found


@pytest.fixture(scope="module")
def ranged(public: Path) -> Iterator[Dist]:
    """``dist`` of a user who has ranges in /etc/subuid and /etc/subgid, as useradd gives them."""
    program("newuidmap")
    name = f"dist{os.getpid()}"
    subprocess.run([program("useradd"), "--shell", "/bin/sh", name], check=True)
    try:
        yield user_of(public, pwd.getpwnam(name).pw_uid)
    finally:
        subprocess.run([program("userdel"), name], check=True)


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    program(str(request.param))
    return str(request.param)


def left(dist: Dist) -> list[str]:
    """Runs whose folders are there, and mounts."""
    return [*os.listdir(dist.store / "run"), *(one.target for one in mounts_below(str(dist.store)))]


def cgroups(name: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/{name}"))


@pytest.mark.parametrize("who", ["dist", "nobody", "ranged"])
def test_the_images_command_runs_and_its_status_comes_through(
    request: pytest.FixtureRequest, runtime: str, who: str
) -> None:
    dist: Dist = request.getfixturevalue(who)

    plain = dist("run", "--runtime", runtime, "box:1")
    other = dist(
        "run", "--runtime", runtime, "-e", "GREETING=bye", "box:1", "sh", "-c", "echo $GREETING; exit 42"
    )

    assert (plain.returncode, plain.stdout, plain.stderr.splitlines()[:0]) == (0, "hello\n", [])
    assert (other.returncode, other.stdout) == (42, "bye\n"), other.stderr
    assert left(dist) == []


def test_an_image_that_is_not_here_is_pulled(dist: Dist, tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        name = f"{registry.address}/team/box:1"
        dist.out("push", name, "box:1")
        other = Dist(tmp_path / "store")

        refused = other("run", "--pull", "never", name)
        first = other("run", name)
        second = other("run", name)

    assert refused.returncode == 11
    assert (first.returncode, first.stdout) == (0, "hello\n"), first.stderr
    assert f"image {name}: not in the store, or not all of it; asking its registry" in first.stderr
    assert (second.stdout, second.stderr) == ("hello\n", "")


def test_an_image_for_another_machine_is_said_to_be_one(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", name="docker.io/library/far:1", config=CONFIG, architecture="mips64le")
    dist = Dist(tmp_path / "store")
    dist.out("import", tmp_path / "layout")

    done = dist("run", "-q", "far:1")

    assert (done.returncode, done.stdout) == (0, "hello\n")  # its program is one of this machine's
    assert "image far:1: made for linux/mips64le, and this machine is linux/" in done.stderr


def test_streams_go_through(dist: Dist, runtime: str) -> None:
    done = dist("run", "--runtime", runtime, "box:1", "sh", "-c", "cat; echo err >&2", stdin="in\n" * 20_000)

    assert done.stdout == "in\n" * 20_000
    assert done.stderr == "err\n"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["box:1", "none"], 127, "dist: image box:1: command 'none': not found in $PATH in the image\n"),
        (["box:1", "/bin/plain"], 126, "dist: image box:1: command '/bin/plain': nobody may run it\n"),
        (["-u", "mr-x", "box:1"], 11, "dist: user 'mr-x': /etc/passwd of the image has no such account\n"),
        (["-e", "=", "box:1"], 2, "dist: variable '=': want NAME=VALUE\n"),
        (["--runtime", "none", "box:1"], 11, "dist: runtime none: not found; give runc, crun or a path\n"),
        (["--mount", "src=/none,dst=/x", "box:1"], 11, "dist: mount: source '/none': not found\n"),
        (["--name", "../x", "box:1"], 2, "dist: container '../x': want letters, digits"),
        (["--pull", "never", "none:1"], 11, "dist: image docker.io/library/none:1: not in the store"),
        (["--tty", "box:1"], 2, "dist: --tty: standard input and output are no terminal\n"),
        (["--cap-add", "FLY", "box:1"], 2, "dist: capability 'FLY': there is none"),
        (["--seccomp", "/none", "box:1"], 11, "dist: /none: no such file\n"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(
    dist: Dist, words: list[str], status: int, message: str
) -> None:
    dist("run", "box:1", "true")
    before = dist.out("snapshots", "ls")

    done = dist("run", *words)

    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert left(dist) == []
    assert len(dist.out("snapshots", "ls").splitlines()) == len(before.splitlines())


def test_a_user_that_the_namespace_does_not_know_is_said(nobody: Dist) -> None:
    done = nobody("run", "-u", "app", "box:1")

    assert done.returncode == 14
    assert done.stderr.splitlines()[-1].startswith("dist: image box:1: user 1000 is not mapped")
    assert left(nobody) == []


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("", "0 0 root 0 44"),
        ("app", "1000 1000 app 1000 44 2000"),
        ("1000", "1000 1000 app 1000 44 2000"),
        ("app:extra", "1000 2000 app 2000"),
        ("77", "77 0 77 0"),
        ("77:78", "77 78 77 78"),
    ],
)
@pytest.mark.parametrize("who", ["dist", "ranged"])
def test_the_user_and_its_groups_are_those_of_the_image(
    request: pytest.FixtureRequest, runtime: str, user: str, ids: str, who: str
) -> None:
    dist: Dist = request.getfixturevalue(who)
    script = "echo $(id -u) $(id -g) $(whoami 2>/dev/null || id -u) $(grep Groups /proc/self/status)"

    found = dist.out("run", "--runtime", runtime, "-u", user, "box:1", "sh", "-c", script).split()

    uid, gid, name, *groups = ids.split()
    assert found[:3] == [uid, gid, name]
    assert sorted(found[4:]) == sorted(groups)


def test_the_process_may_what_containerd_lets_it(dist: Dist, runtime: str) -> None:
    words = ["run", "--runtime", runtime]

    root = status(dist.out(*words, "box:1", "cat", "/proc/self/status", "/proc/self/limits"))
    app = status(dist.out(*words, "-u", "app", "box:1", "cat", "/proc/self/status"))

    for key in ("CapPrm", "CapEff", "CapBnd"):
        assert root[key] == CAPABILITIES
    assert (root["CapInh"], root["CapAmb"]) == ("0" * 16, "0" * 16)
    assert (app["CapEff"], app["CapBnd"]) == ("0" * 16, CAPABILITIES)
    for found in (root, app):
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert root["Max open files"].split() == ["1024", "1024", "files"]


def status(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    found = {key: value.strip() for key, _, value in pairs}
    for line in text.splitlines():
        if line.startswith("Max open files"):
            found["Max open files"] = line.removeprefix("Max open files")
    return found


def test_rights_are_given_and_taken(dist: Dist, runtime: str) -> None:
    def found(*flags: str) -> dict[str, str]:
        words = ("run", "--runtime", runtime, *flags, "box:1", "cat", "/proc/self/status")
        return status(dist.out(*words))

    assert found("--cap-drop", "ALL", "--cap-add", "NET_RAW")["CapEff"] == f"{1 << 13:016x}"
    assert found("--no-seccomp")["Seccomp"] == "0"


@pytest.mark.parametrize(
    "script",
    [
        "mount -t tmpfs x /tmp",
        "umount /proc",
        "echo 1 > /proc/sys/kernel/ns_last_pid",
        "echo b > /proc/sysrq-trigger",
        "test -s /proc/kcore",
        "head -c 1 /dev/vda",
        "touch /sys/x",
        "hostname other",
    ],
)
def test_what_a_container_must_not_do_fails(dist: Dist, runtime: str, script: str) -> None:
    done = dist(
        "run", "--runtime", runtime, "box:1", "sh", "-c", f"test -s /proc/kcore || {script} && echo done"
    )

    assert done.stdout == ""


def test_a_profile_of_ones_own_is_used(dist: Dist, runtime: str, tmp_path: Path) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    (tmp_path / "p").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))

    done = dist("run", "--runtime", runtime, "--seccomp", tmp_path / "p", "box:1", "mkdir", "/tmp/x")

    assert done.returncode == 1
    assert "not supported" in done.stderr.lower()


@pytest.mark.parametrize("who", ["dist", "nobody"])
def test_the_network_is_none_or_the_machines(request: pytest.FixtureRequest, runtime: str, who: str) -> None:
    dist: Dist = request.getfixturevalue(who)

    def interfaces(network: str) -> set[str]:
        text = dist.out("run", "--runtime", runtime, "--network", network, "box:1", "cat", "/proc/net/dev")
        return {line.partition(":")[0].strip() for line in text.splitlines() if ":" in line}

    assert interfaces("none") == {"lo"}
    assert interfaces("host") == set(os.listdir("/sys/class/net"))


def test_the_folder_the_variables_and_the_host_name_are_as_asked(dist: Dist, runtime: str) -> None:
    flags = ["-w", "/not/there", "-e", "A=b c", "-e", "HOME", "--hostname", "box"]

    done = dist.out(
        "run", "--runtime", runtime, *flags, "box:1", "sh", "-c", 'pwd; echo "$A:$HOME"; hostname'
    )

    assert done.splitlines() == ["/not/there", f"b c:{os.environ.get('HOME', '/root')}", "box"]


def test_the_root_is_read_only_when_asked(dist: Dist, runtime: str) -> None:
    script = "touch /x; touch /run/y && echo run"

    done = dist("run", "--runtime", runtime, "--read-only", "box:1", "sh", "-c", script)

    assert done.stdout == "run\n"
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("who", ["dist", "nobody"])
def test_folders_are_mounted(request: pytest.FixtureRequest, runtime: str, who: str, public: Path) -> None:
    dist: Dist = request.getfixturevalue(who)
    share = public / f"share-{runtime}-{who}"
    share.mkdir()
    (share / "in").write_text("from outside")
    os.chown(share, dist.uid or 0, dist.uid or 0)
    mounts = [
        *("--mount", f"type=bind,src={share},dst=/rw"),
        *("--mount", f"src={share},dst=/deep/ro,readonly"),
        *("--mount", "type=tmpfs,dst=/home/app,size=64k"),
    ]
    fill = "head -c 100000 /dev/zero > /home/app/full || echo full"
    script = f"cat /rw/in; echo x > /rw/out; touch /deep/ro/no; {fill}"

    done = dist("run", "--runtime", runtime, *mounts, "box:1", "sh", "-c", script)

    assert done.stdout == "from outsidefull\n"
    assert "Read-only file system" in done.stderr
    assert (share / "out").read_text() == "x\n"


class Running:
    """A ``dist run`` of ``trap`` that has said that it is up."""

    def __init__(self, dist: Dist, runtime: str, script: str, *flags: str) -> None:
        words = dist.words("run", "--runtime", runtime, *flags, "box:1", "sh", "-c", script)
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"up\n"

    def ended(self) -> tuple[int, bytes]:
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
@pytest.mark.parametrize("who", ["dist", "nobody"])
def test_signals_reach_the_process(request: pytest.FixtureRequest, runtime: str, name: str, who: str) -> None:
    dist: Dist = request.getfixturevalue(who)
    script = f"trap 'echo got {name}; exit 9' {name}; echo up; while :; do sleep 0.05; done"

    running = Running(dist, runtime, script)
    running.process.send_signal(signal.Signals[f"SIG{name}"])

    assert running.ended() == (9, f"got {name}\n".encode())
    assert left(dist) == []


def test_a_process_that_a_signal_ends_has_its_status(dist: Dist, runtime: str) -> None:
    running = Running(dist, runtime, "trap 'trap - TERM; kill -TERM -1; exit' TERM; echo up; sleep 60 & wait")
    running.process.send_signal(signal.SIGTERM)

    status, _ = running.ended()

    assert status in (0, 128 + signal.SIGTERM)


def test_the_third_signal_ends_whatever_refuses_to(dist: Dist, runtime: str) -> None:
    running = Running(
        dist, runtime, "trap '' TERM; echo up; while :; do sleep 0.05; done", "--name", "stubborn"
    )
    for _ in range(3):
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)

    assert running.ended()[0] == 128 + signal.SIGKILL
    assert left(dist) == []
    assert cgroups("stubborn") == []


def is_alive(marker: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("who", ["dist", "nobody", "ranged"])
@pytest.mark.parametrize("next_verb", ["run", "gc"])
def test_a_killed_run_leaves_no_process_and_the_next_verb_clears_up(
    request: pytest.FixtureRequest, runtime: str, who: str, next_verb: str
) -> None:
    dist: Dist = request.getfixturevalue(who)
    name = f"killed-{runtime}-{who}-{next_verb}"
    marker = f"123.{os.getpid()}{hash(name) % 9999}"
    script = f"trap '' TERM HUP; echo mine > /tmp/mine; echo up; sleep {marker} & sleep {marker}; wait"
    running = Running(dist, runtime, script, "--name", name)
    eventually(lambda: is_alive(marker), "the container's process")

    running.process.kill()
    running.ended()

    eventually(lambda: not is_alive(marker), "the end of the container", 5)
    assert left(dist) == [name]
    again = dist("run", "box:1", "true") if next_verb == "run" else dist("gc")
    assert again.returncode == 0, again.stderr
    assert f"dist: container {name}: its dist run was killed; removed what was left of it" in again.stderr
    assert left(dist) == []
    assert cgroups(name) == []
    assert f"run-{name}" not in dist.out("snapshots", "ls")


def test_two_runs_of_an_image_do_not_see_each_other(dist: Dist, runtime: str) -> None:
    script = "echo up; touch /tmp/mine-$0; while test ! -e /go/x; do sleep 0.05; done; ls /tmp"
    with tempfile.TemporaryDirectory() as go:
        flags = ("--mount", f"src={go},dst=/go")
        both = [Running(dist, runtime, script.replace("$0", str(one)), *flags) for one in range(2)]
        Path(go, "x").touch()
        ended = [one.ended() for one in both]

    assert ended == [(0, b"mine-0\n"), (0, b"mine-1\n")]


def test_a_running_container_keeps_no_bundle_from_being_removed(
    dist: Dist, runtime: str, tmp_path: Path
) -> None:
    dist.out("bundle", "box:1", tmp_path / "b")
    running = Running(dist, runtime, "echo up; sleep 60")

    dist.out("bundle", "--remove", tmp_path / "b")

    left = dist.out("snapshots", "ls")
    running.process.send_signal(signal.SIGKILL)
    running.ended()
    assert "bundle-" not in left


def test_a_bundle_that_another_namespace_sees_is_removed_all_the_same(dist: Dist, tmp_path: Path) -> None:
    dist.out("bundle", "box:1", tmp_path / "b")
    other = subprocess.Popen(["unshare", "--mount", "sleep", "60"])
    target = str(tmp_path / "b" / "rootfs")
    eventually(lambda: target in Path(f"/proc/{other.pid}/mountinfo").read_text(), "a copy of the mount")
    eventually(lambda: Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n", "the namespace")

    dist.out("bundle", "--remove", tmp_path / "b")

    left = dist.out("snapshots", "ls")
    other.kill()
    other.wait()
    assert not (tmp_path / "b").exists()
    assert "bundle-" not in left


def test_a_name_is_taken_while_it_runs(dist: Dist, runtime: str) -> None:
    running = Running(dist, runtime, "echo up; sleep 60", "--name", "only")

    other = dist("run", "--name", "only", "box:1")

    running.process.send_signal(signal.SIGKILL)
    running.ended()
    assert other.returncode == 12
    assert other.stderr == f"dist: container only: is running (process {running.process.pid})\n"


def test_what_is_kept_is_a_snapshot_that_the_collector_spares(dist: Dist, runtime: str) -> None:
    name = f"kept-{runtime}"

    done = dist("run", "--keep", "--name", name, "--runtime", runtime, "box:1", "touch", "/tmp/mine")
    dist.out("gc")

    assert done.returncode == 0
    assert f"kept as snapshot run-{name}" in done.stderr
    assert f"run-{name}" in dist.out("snapshots", "ls")
    dist.out("snapshots", "rm", f"run-{name}")


def on_terminal(words: list[str], act: Callable[[int], None]) -> tuple[int, str]:
    """Run on a terminal of its own; the status and all that was on it."""
    pid, fd = pty.fork()
    if not pid:
        os.execvp(words[0], words)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    shown = b""
    acted = False
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if b"up" in shown and not acted:
            acted = True
            act(fd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return code, shown.decode(errors="replace")


@pytest.mark.parametrize("who", ["dist", "nobody"])
def test_a_terminal_is_handed_on(request: pytest.FixtureRequest, runtime: str, who: str) -> None:
    dist: Dist = request.getfixturevalue(who)
    script = 'tty; echo up; read line; stty size; echo "<$line $TERM>"; exit 5'

    words = dist.words("run", "--tty", "--quiet", "--runtime", runtime, "box:1", "sh", "-c", script)
    code, shown = on_terminal(words, lambda fd: assert_written(fd, b"hello\n"))

    assert code == 5, shown
    assert "33 77" in shown
    assert "<hello xterm>" in shown
    assert "/dev/pts/0" in shown or "/dev/console" in shown


def test_the_size_of_the_terminal_follows(dist: Dist) -> None:
    runtime = program("runc")  # crun 1.8 does not look at it again
    loop = (
        'i=0; while test $i -lt 400; do test "$(stty size)" = "44 99" && exit 6; sleep 0.05; i=$((i+1)); done'
    )
    script = f"echo up; {loop}"

    def resize(fd: int) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))

    words = dist.words("run", "--tty", "--quiet", "--runtime", runtime, "box:1", "sh", "-c", script)
    code, shown = on_terminal(words, resize)

    assert code == 6, shown


def test_the_keys_of_the_terminal_are_those_of_the_container(dist: Dist, runtime: str) -> None:
    script = "trap 'exit 30' INT; echo up; while :; do sleep 0.05; done"

    words = dist.words("run", "--tty", "--quiet", "--runtime", runtime, "box:1", "sh", "-c", script)
    code, shown = on_terminal(words, lambda fd: assert_written(fd, b"\x03"))

    assert code == 30, shown


def assert_written(fd: int, data: bytes) -> None:
    assert os.write(fd, data) == len(data)


def test_ctrl_c_arrives_once(dist: Dist, runtime: str) -> None:
    # Long enough behind the first one for a second one to come.
    loop = (
        "while test $n = 0; do sleep 0.05; done; i=0; while test $i -lt 10; do sleep 0.05; i=$((i+1)); done"
    )
    script = f"n=0; trap 'n=$((n+1)); echo int $n' INT; echo up; {loop}"

    words = dist.words("run", "--quiet", "--runtime", runtime, "box:1", "sh", "-c", script)
    code, shown = on_terminal(words, lambda fd: assert_written(fd, b"\x03"))

    assert code == 0, shown
    assert "int 1" in shown
    assert "int 2" not in shown
