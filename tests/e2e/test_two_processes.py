"""Two ``dist pull`` of one image, one of which is killed, stopped, or interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.remotes.refkey import ref_key
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
LAYERS = [random.Random(n).randbytes(size) for n, size in enumerate((600_000, 10))]
BIG = LAYERS[0]
REF = ref_key(mediatypes.OCI_LAYER_GZIP, Digest.of(BIG))


@pytest.fixture
def image() -> Iterator[str]:
    """A name in a registry that takes two seconds for the large layer."""
    with FakeRegistry(rate=300_000) as registry:
        registry.image("demo", "latest", LAYERS)
        yield f"{registry.address}/demo"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """The one that ``dist`` uses."""
    return LocalStore(str(tmp_path / ".content"))


@pytest.fixture
def pull(tmp_path: Path, image: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Begin a pull; what still runs at the end of the test is killed."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(*flags: str) -> subprocess.Popen[bytes]:
        begun.append(
            subprocess.Popen(
                [sys.executable, "-I", "-m", "distore", "pull", image, "--json", *flags],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(os.environ),
            )
        )
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def wait_for(process: subprocess.Popen[bytes], event: bytes) -> None:
    """Read its events up to one about the large layer."""
    assert process.stdout is not None
    for line in process.stdout:
        if event in line and Digest.of(BIG).encode() in line:
            return
    raise AssertionError(process.communicate())


def under_way(store: LocalStore, pid: int) -> bool:
    return any(
        status.ref == REF and status.offset > 50_000 and status.owner and status.owner.pid == pid
        for status in store.statuses()
    )


def check(store: LocalStore) -> None:
    for data in LAYERS:
        assert read_blob(store, Digest.of(data), max_size=1 << 20) == data
    assert list(store.statuses()) == []


@pytest.mark.parametrize("concurrency", ["1", "6"])
def test_when_one_is_killed_the_other_goes_on_where_it_was(
    store: LocalStore, pull: Callable[..., subprocess.Popen[bytes]], concurrency: str
) -> None:
    first = pull()
    until(lambda: under_way(store, first.pid))
    second = pull("--concurrency", concurrency)
    wait_for(second, b'"moved"')  # it follows

    first.kill()
    out, err = second.communicate(timeout=30)

    assert (second.returncode, err) == (0, b"")
    assert b"resuming at byte" in out
    check(store)


def test_beside_one_that_is_stopped_ctrl_c_works_and_a_kill_sets_the_next_one_free(
    store: LocalStore, pull: Callable[..., subprocess.Popen[bytes]]
) -> None:
    first = pull()
    until(lambda: under_way(store, first.pid))
    first.send_signal(signal.SIGSTOP)
    second, third = pull(), pull("--concurrency", "1")
    wait_for(second, b'"moved"')
    wait_for(third, b'"moved"')

    second.send_signal(signal.SIGINT)
    second.communicate(timeout=5)
    first.kill()
    _, err = third.communicate(timeout=30)

    assert second.returncode == 130
    assert (third.returncode, err) == (0, b"")
    check(store)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once_and_what_came_is_kept(
    store: LocalStore, pull: Callable[..., subprocess.Popen[bytes]], number: int
) -> None:
    first = pull()
    until(lambda: under_way(store, first.pid))
    kept = store.status(REF).offset

    first.send_signal(number)
    first.send_signal(number)
    first.communicate(timeout=5)

    assert first.returncode in (130, 143)
    assert store.status(REF).offset >= kept
    assert store.status(REF).owner is None
    second = pull()
    assert second.wait(30) == 0
    check(store)


def test_without_threads_to_be_had_it_is_one_line_and_nothing_is_lost(
    tmp_path: Path, image: str, store: LocalStore
) -> None:
    """A small machine, and a container with a limit of processes."""
    code = (
        "import sys, threading\n"
        'def start(thread): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = start\n"
        "from distore.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, "pull", image],
        cwd=tmp_path,
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 18
    assert b"no thread can be started" in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr
    assert all(status.owner is None for status in store.statuses())
