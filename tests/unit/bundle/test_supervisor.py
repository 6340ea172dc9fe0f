"""Programs that end with us, and what is left of those whose keeper was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.bundle.bundle import BundledImage
from distore.bundle.cgroups import remove_cgroups
from distore.bundle.running import Record, Run, left_over, run, start
from distore.bundle.runtime import Runtime, find_runtime
from distore.bundle.spec import SpecOptions
from distore.bundle.supervisor import Job, supervise
from distore.errors import (
    AlreadyExists,
    CommandNotFound,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from distore.mount import Mount, may_mount, mounts_below
from distore.oci.runconfig import RunConfig

mounter = pytest.mark.skipif(not may_mount(), reason="only root may make namespaces")
pytestmark = pytest.mark.slow  # a handful of processes each
SHELL = "/bin/sh"


def shell(script: str, *mounts: Mount, prepare: Callable[[], None] = lambda: None) -> Job:
    command = (SHELL, "-c", script)
    return Job(command=command, environment={"PATH": os.defpath}, mounts=mounts, prepare=prepare)


@mounter
@pytest.mark.parametrize("status", [0, 1, 125, 255])
def test_the_status_comes_through(status: int) -> None:
    assert supervise(shell(f"exit {status}")) == status


@mounter
def test_a_signal_is_a_status_as_with_a_shell() -> None:
    assert supervise(shell("kill -KILL $$")) == 128 + signal.SIGKILL


@mounter
def test_other_threads_take_no_signal_away() -> None:
    stop = threading.Event()
    others = [threading.Thread(target=stop.wait) for _ in range(4)]
    for other in others:
        other.start()

    statuses = {supervise(shell("exit 3")) for _ in range(10)}

    stop.set()
    for other in others:
        other.join()
    assert statuses == {3}


@mounter
def test_streams_go_through(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.write("before ")

    supervise(shell("echo out; echo err >&2; echo $$"))

    out, err = capfd.readouterr()
    assert out.startswith("before out\n")
    assert out.splitlines()[1] == "2"  # process 1 takes in orphans
    assert err == "err\n"


@mounter
def test_mounts_are_seen_by_nobody_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    bind = Mount(type="", source=str(tmp_path / "in"), target=str(tmp_path / "out"), options=("bind",))

    assert supervise(shell(f"ls {tmp_path}/out", bind)) == 0

    assert capfd.readouterr().out == "file\n"
    assert mounts_below(str(tmp_path)) == ()
    assert os.listdir(tmp_path / "out") == []


@mounter
def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    supervise(shell(f"(sleep 0.4; touch {tmp_path}/late) & touch {tmp_path}/soon"))
    time.sleep(0.6)

    assert os.listdir(tmp_path) == ["soon"]


@mounter
def test_an_error_in_between_is_raised_here(tmp_path: Path) -> None:
    def fail() -> None:
        raise NotFound("user 'x': not\nthere")

    def break_down() -> None:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(NotFound, match="user 'x': not there"):
        supervise(shell("exit 0", prepare=fail))
    with pytest.raises(FailedPrecondition, match="ZeroDivisionError: division by zero"):
        supervise(shell("exit 0", prepare=break_down))
    with pytest.raises(DistoreError, match=f"mount {tmp_path}/none"):
        supervise(shell("exit 0", Mount(type="tmpfs", source="x", target=f"{tmp_path}/none")))
    with pytest.raises(FailedPrecondition, match="/none/program: no such file"):
        supervise(Job(command=("/none/program",), environment={}))


def script(tmp_path: Path, body: str) -> subprocess.Popen[bytes]:
    code = (
        "import os, sys\nfrom distore.bundle.supervisor import Job, supervise\n"
        f"sys.exit(supervise(Job(command=('/bin/sh', '-c', {body!r}), environment={{'PATH': os.defpath}})))"
    )
    process = subprocess.Popen([sys.executable, "-I", "-c", code])
    wait_for((tmp_path / "up").exists)
    return process


def wait_for(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


@mounter
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_signals_are_handed_on(tmp_path: Path, name: str) -> None:
    loop = f"trap 'exit 7' {name}; touch {tmp_path}/up; while :; do sleep 0.05; done"

    process = script(tmp_path, loop)
    process.send_signal(signal.Signals[f"SIG{name}"])

    assert process.wait(20) == 7


@mounter
def test_the_third_request_to_end_is_no_request(tmp_path: Path) -> None:
    process = script(tmp_path, f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done")
    for _ in range(3):
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)

    assert process.wait(20) == 128 + signal.SIGKILL


@mounter
def test_nothing_outlives_us(tmp_path: Path) -> None:
    beat = (
        f"(setsid sh -c 'while :; do date +%s%N > {tmp_path}/beat; sleep 0.02; done' &); touch {tmp_path}/up"
    )

    process = script(tmp_path, f"{beat}; sleep 60")
    wait_for((tmp_path / "beat").exists)
    process.kill()
    process.wait()

    time.sleep(0.3)
    last = (tmp_path / "beat").read_text()
    time.sleep(0.2)
    assert (tmp_path / "beat").read_text() == last


# Runs: the folder of each, and what becomes of it

IMAGE = BundledImage(name="box:1", config=RunConfig(cmd=("/bin/program",)), architecture="amd64")


class Store:
    """A root with one snapshot's folder in it, and a runtime that tells what it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dropped: list[str] = []
        (root / "files" / "bin").mkdir(parents=True)
        (root / "files" / "bin" / "program").write_text("")
        (root / "files" / "bin" / "program").chmod(0o755)
        self.runtime = root / "runtime"
        self.script('echo "$3" >> $0.log; test "$3" = delete && exit; ls $5/rootfs/bin; ls $5; exit 6')

    def script(self, body: str) -> None:
        self.runtime.write_text(f"#!{SHELL}\n{body}\n")
        self.runtime.chmod(0o755)

    def drop(self, record: Record) -> None:
        self.dropped.append(record.key)

    def start(self, id: str) -> Run:
        return start(str(self.root), id, drop=self.drop, sleep=time.sleep, fields={"pid": str(os.getpid())})

    def record(self) -> Record:
        return Record(
            runtime=str(self.runtime), namespace="default", snapshotter="fake", key="run-x", cgroup="/x/y"
        )

    def run(self, one: Run, options: SpecOptions | None = None) -> int:
        bind = Mount(type="", source=str(self.root / "files"), target="", options=("bind",))
        environment = {"PATH": os.defpath}
        return run(
            one,
            self.record(),
            IMAGE,
            options or SpecOptions(),
            mounts=lambda: (bind,),
            environment=environment,
        )

    def left_over(self) -> list[tuple[str, str]]:
        found = left_over(str(self.root), drop=self.drop, sleep=time.sleep)
        return [(id, str(problem or "")) for id, problem in found]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@mounter
def test_a_run_leaves_nothing(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    with store.start("box") as one:
        status = store.run(one)

    assert status == 6
    assert capfd.readouterr().out.split() == ["program", "config.json", "rootfs"]
    assert store.dropped == ["run-x"]
    assert os.listdir(store.root / "run") == []
    assert (store.root / "files" / "bin" / "program").exists()


@mounter
def test_a_command_that_is_not_there_starts_nothing(store: Store) -> None:
    with pytest.raises(CommandNotFound), store.start("box") as one:
        store.run(one, SpecOptions(command=("/bin/none",)))

    assert not Path(f"{store.runtime}.log").exists()
    assert os.listdir(store.root / "run") == []


@mounter
def test_a_runtime_forgets_a_container_that_was_killed(store: Store) -> None:
    one = store.start("box")
    runtime = one.begin(store.record())
    os.makedirs(os.path.join(runtime.state, "box"))
    one._lock.release()  # as a process that is killed

    assert store.left_over() == [("box", "")]

    assert Path(f"{store.runtime}.log").read_text() == "delete\n"
    assert store.dropped == ["run-x"]
    assert os.listdir(store.root / "run") == []


def test_a_run_that_lives_is_left_alone_and_its_name_taken(store: Store) -> None:
    with store.start("box") as one:
        assert store.left_over() == []
        with pytest.raises(AlreadyExists, match=rf"container box: is running \(process {os.getpid()}\)"):
            store.start("box")
        assert os.path.exists(one.path)
    assert os.listdir(store.root / "run") == []


def test_the_name_of_a_killed_run_is_free(store: Store) -> None:
    killed = store.start("box")
    killed.begin(store.record())
    killed._lock.release()

    with store.start("box") as again:
        assert os.listdir(again.path) == ["lock"]
    assert store.dropped == ["run-x"]


def test_what_cannot_be_undone_stays_for_the_next_time(store: Store) -> None:
    def refuse(record: Record) -> None:
        raise FailedPrecondition("snapshot run-x: is mounted")

    one = store.start("box")
    one.begin(store.record())
    one._lock.release()

    found = left_over(str(store.root), drop=refuse, sleep=time.sleep)
    assert [(id, str(problem)) for id, problem in found] == [("box", "snapshot run-x: is mounted")]
    assert store.left_over() == [("box", "")]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"runtime": 1}', '{"x": 1}'])
def test_a_damaged_record_is_no_reason_to_stop(store: Store, text: str) -> None:
    one = store.start("box")
    Path(one.path, "run").write_text(text)
    one._lock.release()

    assert [id for id, _ in store.left_over()] == ["box"]


@pytest.mark.parametrize("id", ["", ".", "..", "-x", "a/b", "a b", "x" * 65, "ä"])
def test_no_name_leads_elsewhere(store: Store, id: str) -> None:
    with pytest.raises(InvalidArgument, match="want letters, digits"):
        store.start(id)


def test_the_first_runtime_that_is_there_is_taken(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="neither runc nor crun"):
        find_runtime(None, path=str(tmp_path))
    for name in ("crun", "runc"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
        assert find_runtime(None, path=str(tmp_path)) == str(tmp_path / name)
    assert find_runtime("crun", path=str(tmp_path)) == str(tmp_path / "crun")
    with pytest.raises(NotFound, match="runtime other: not found"):
        find_runtime("other", path=str(tmp_path))
    (tmp_path / "plain").write_text("")
    with pytest.raises(FailedPrecondition, match="not a program"):
        find_runtime(str(tmp_path / "plain"), path=None)


def test_cgroups_of_a_killed_runtime_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in ("v1/default/box/inner", "v1/default/other", "default/box", "v2/default"):
        (tmp_path / name).mkdir(parents=True)

    for path in ("/default", "default/box", "/", "", "/default/../default", "/default/box"):
        remove_cgroups(path, root=str(tmp_path))

    left = sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*"))
    assert left == ["default", "v1", "v1/default", "v1/default/other", "v2", "v2/default"]
    remove_cgroups("/default/box", root=str(tmp_path / "none"))


def test_crun_makes_no_cgroups_where_it_may_not() -> None:
    assert "--cgroup-manager=disabled" in Runtime(path="/x/crun", state="s", has_cgroups=False).run("i", "b")
    assert "--cgroup-manager=disabled" not in Runtime(path="/x/crun", state="s").run("i", "b")
    assert Runtime(path="/x/runc", state="s", has_cgroups=False).delete("i") == (
        "/x/runc", "--root", "s", "delete", "--force", "i",
    )  # fmt: skip
